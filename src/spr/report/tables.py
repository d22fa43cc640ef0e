"""The report's tables as rows of plain values: results of an evaluated data set, the funnel, where the time went.

It reads metrics.json as it stands and rounds nothing: rounding is the page's. What is not defined is None.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spr.evaluation.layouts import Layout, Line, inner, lookup
from spr.report.data import Flow


@dataclass(frozen=True, slots=True)
class Row:
    """One measure before and after. `tuned` and `gain` are None while only the base model was evaluated.

    `interval` is the 95 % interval of the gain (paired), or of the base alone; None where none was computed. `p` is the paired
    test's.
    """

    label: str
    base: float | None
    tuned: float | None
    gain: float | None
    interval: tuple[float, float] | None
    digits: int
    p: float | None = None

    @property
    def beyond(self) -> int:
        """1 or -1 where the gain's whole interval lies above or below 0, else 0."""
        if self.interval is None or self.gain is None:
            return 0
        return int(self.interval[0] > 0) - int(self.interval[1] < 0)


def layout_rows(metrics: Mapping[str, Any], layout: Layout) -> list[Row]:
    """The lines of a layout that a data set's metrics hold."""
    rows = [row_of(metrics, line) for line in layout.lines]
    return [row for row in rows if row.base is not None or row.tuned is not None]


def row_of(metrics: Mapping[str, Any], line: Line) -> Row:
    """One line of a data set, or of one of its groups; beside the boxes a description stand the objects that there are."""
    base, tuned = (lookup(metrics.get(side, {}), line.key) for side in ("base", "tuned"))
    side = "delta" if "tuned" in metrics else "base"
    ends = inner(metrics.get(side, {}), "ci95", line.key)
    stated = lookup(metrics.get("delta", {}), line.key)
    if stated is None and base is not None and tuned is not None:
        stated = tuned - base  # Rates of reading stand beside the comparison, which does not hold their difference.
    objects = f" ({metrics['objects']:.2f} objects)" if line.key == "boxes" and metrics.get("objects") is not None else ""
    return Row(
        label=line.label + objects,
        base=base,
        tuned=tuned,
        gain=stated,
        interval=(ends[0], ends[1]) if ends and None not in ends else None,
        digits=line.digits,
        p=inner(metrics.get("delta", {}), "p", line.key),
    )


@dataclass(frozen=True, slots=True)
class Step:
    """One stage of the funnel in words: what came in, in `unit_in`, and what came out, in `unit_out`."""

    title: str
    unit_in: str
    unit_out: str
    flow: Flow
    share_in: float


_STEPS = {
    "images": ("Read images", "images", "usable images"),
    "annotations": ("Read annotations", "annotations", "usable annotations"),
    "queries": ("Draw regions", "images", "regions"),
    "imported": ("Read imported texts", "query ids", "ids of this run"),
    "candidates": ("Describe", "regions", "descriptions"),
    "scores": ("Score", "regions", "scored descriptions"),
    "pairs": ("Pair and refine", "regions", "pairs"),
    "train": ("Check before training", "pairs", "pairs trained on"),
}
_APART = ("annotations", "imported")


def funnel(flows: Mapping[str, Flow]) -> list[Step]:
    """The steps from images to training that have run, in the order of the flow.

    Shares are of the widest step's input; annotations and imported texts are measured by themselves.
    """
    shown = {name: flows[name] for name in _STEPS if name in flows}
    widest = max((flow.rows_in for name, flow in shown.items() if name not in _APART), default=0) or 1
    shares = {name: 1.0 if name in _APART else flow.rows_in / widest for name, flow in shown.items()}
    return [Step(*_STEPS[name], flow, shares[name]) for name, flow in shown.items()]


def verdict(row: Row) -> str:
    """What may be said of one gain, in words."""
    if row.interval is None:
        return "no interval was computed"
    if row.beyond == 0:
        return "no change beyond the 95 % interval"
    return "a rise beyond the 95 % interval" if row.beyond > 0 else "a fall beyond the 95 % interval"
