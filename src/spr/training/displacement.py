"""Likelihood displacement: the margin grows, but the chosen answers become less likely than they were under the reference.

Light on purpose: the watch during a training, its report and the report's page ask the same question here. Training begins
at the reference, so both rewards begin at 0 and a fall is a mean below it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from scipy.special import stdtr

_FEWEST = 8
"""Updates that are looked at at least."""
_SHARE = 4
"""One in so many updates is looked at: the last quarter."""
_CHANCE = 0.001
"""How rarely batches alone, about a mean of 0, give such values (Student's t, one-sided)."""
_MATERIAL = 0.5
"""Nats an answer that a fall has to reach to be worth a word (ours): the answers are then 40 % less likely."""
_UNITS = 2**40
"""Parts of a nat that are counted."""
_CHOSEN, _MARGIN = "rewards/chosen", "rewards/margins"
Lines = Sequence[Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the answers stand over the last `updates` updates: `chosen`, the log-probability of the chosen against the
    reference, and `margin`, by how much more than the rejected's that is; means in nats an answer. `displaced`: the chosen
    are half a nat or more below the reference and the margin is above 0, both by more than batches differ by chance."""

    updates: int
    chosen: float
    margin: float
    displaced: bool


class Tally:
    """The log of a training as it grows, added up so that where it stands takes as long after ten thousand updates as after
    ten. Lines without rewards (SFT), or with rewards that are not finite, count for nothing."""

    def __init__(self, beta: float, lines: Iterable[Mapping[str, float]] = ()) -> None:
        """TRL logs rewards as `beta` times log-probability against the reference."""
        self._beta = beta
        self._chosen, self._margin = _Series(), _Series()
        for line in lines:
            self.add(line)

    def add(self, line: Mapping[str, float]) -> None:
        """Add the next line of the log."""
        chosen, margin = line.get(_CHOSEN, math.nan) / self._beta, line.get(_MARGIN, math.nan) / self._beta
        if math.isfinite(chosen) and math.isfinite(margin):
            self._chosen.add(chosen)
            self._margin.add(margin)

    def standing(self) -> Standing | None:
        """Where the answers stand over the last quarter of the updates, eight of them at least; None with fewer."""
        size = max(_FEWEST, len(self._chosen) // _SHARE)
        if len(self._chosen) < size:
            return None
        (chosen, fall), (margin, growth) = self._chosen.last(size), self._margin.last(size)
        displaced = chosen <= -_MATERIAL and _beyond_chance(-chosen, fall, size) and _beyond_chance(margin, growth, size)
        return Standing(size, chosen, margin, displaced)


def standing(lines: Lines, beta: float) -> Standing | None:
    """Where the answers stand at the end of a log; see `Tally`."""
    return Tally(beta, lines).standing()


def first_displaced(lines: Lines, beta: float) -> int | None:
    """The first update at which the watch saw displacement, whatever came after; None where it never did."""
    tally = Tally(beta)
    for line in lines:
        tally.add(line)
        found = tally.standing()
        if found is not None and found.displaced:
            return int(line["step"])
    return None


class _Series:
    """Sums of values and of their squares up to every place. They are of whole units and so exact: a difference of two holds
    nothing of what came before."""

    def __init__(self) -> None:
        self._sums, self._squares = [0], [0]

    def __len__(self) -> int:
        return len(self._sums) - 1

    def add(self, value: float) -> None:
        units = round(value * _UNITS)
        self._sums.append(self._sums[-1] + units)
        self._squares.append(self._squares[-1] + units * units)

    def last(self, size: int) -> tuple[float, float]:
        """Mean and standard deviation (of a sample) of the last `size` values."""
        total, squares = (sums[-1] - sums[-1 - size] for sums in (self._sums, self._squares))
        variance = (size * squares - total * total) / (size * (size - 1) * _UNITS**2)
        return total / (size * _UNITS), math.sqrt(variance)


def _beyond_chance(mean: float, spread: float, size: int) -> bool:
    """Whether the mean of `size` values lies above 0 by more than chance."""
    return spread > 0 and float(stdtr(size - 1, -mean / spread * math.sqrt(size))) < _CHANCE
