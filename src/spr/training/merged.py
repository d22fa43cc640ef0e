"""What rounding left of an adapter that was merged, in numbers and in words. Loads no torch; the merging is `merge`'s."""

from __future__ import annotations

from dataclasses import dataclass

LEAST_KEPT = 0.9
MOST_NOISE = 1.0
"""Beyond either limit more than an eighth of what the adapter does to the logits is lost or scattered (measured in
docs/results-out.md)."""


@dataclass(frozen=True, slots=True)
class Merged:
    """What came of a merge: the precision of the files, and what rounding to it left of the adapter's change.

    Over all adapted weights w, with the change d: r = round(w + d) - round(w) is the change that the files hold. `kept` is
    its part along d, <r, d> / <d, d>: 1 where all is there, 0 where nothing is. `noise` is |r - d| / |d|, which rounding
    scatters over all directions. Both are None where the adapter changes no weight.
    """

    dtype: str
    kept: float | None
    noise: float | None

    def told(self) -> str:
        """One sentence on what is left, and in plain words what that means where it is little."""
        if self.kept is None or self.noise is None:
            return "WARNING: the adapter changes no weight: what is written is the base model"
        share = f"{100 * self.kept:.1f} % of the adapter's change survived rounding to {self.dtype}"
        remedy = "merge with --dtype float32, or use the adapter unmerged"
        if self.kept < LEAST_KEPT:
            return (
                f"WARNING: only {share}; the rest lies below half a step of the weights, so the merged model answers more like "
                f"the base than the tuned one does: {remedy}"
            )
        if self.noise > MOST_NOISE:
            return (
                f"WARNING: rounding to {self.dtype} moves the adapted weights {self.noise:.1f} times as far as the adapter "
                f"does, in directions of its own, so the merged model's answers will differ from the tuned one's: {remedy}"
            )
        return f"{share}, beside rounding noise of {100 * self.noise:.0f} % of its size"
