"""Is tuned other than base? Paired tests over the same items.

`paired_test` knows that the items of an image belong together, and judges any quantity; `mcnemar` is the textbook's test of
right and wrong answers, for readers who expect it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import bdtr

from spr.boxes import FloatArray
from spr.evaluation.intervals import Clustered, Quantities, evaluated, observed, same_items
from spr.evaluation.resampling import swaps, weighted_sums

_ROUNDING = 1e-9
"""Changes closer than this, as a part of the quantity, are equal: sums of floats depend on their order."""


def paired_test(base: Clustered, tuned: Clustered, quantities: Quantities, draws: int, seed: int) -> FloatArray:
    """Two-sided p-values (q,) of a randomisation test (Efron & Tibshirani 1993, chapter 15): were it all the same which model
    is which, how often would the change be at least as large as it is?

    In each draw every cluster swaps base and tuned with probability 1/2, all its items at once, and
    p = (1 + draws with a change at least as large) / (1 + draws). A draw in which the quantity is 0 / 0 counts as one, so that
    p is never too small for it. NaN where the quantity of base or tuned is. The result depends on `seed` and on the items, not
    on their order. Raises ValueError when base and tuned do not hold the same items.
    """
    same_items(base, tuned)
    before, after = observed(base, quantities), observed(tuned, quantities)
    wanted = np.abs(after - before) - _ROUNDING * (np.abs(before) + np.abs(after))
    totals, gain = (base.sums.sum(axis=0), tuned.sums.sum(axis=0)), tuned.sums - base.sums
    generator = np.random.default_rng(seed)
    moved = weighted_sums(gain, draws, lambda count: swaps(count, len(gain), generator))
    counts = np.full(draws, base.sizes.sum())
    change = evaluated(quantities, totals[1] - moved, counts) - evaluated(quantities, totals[0] + moved, counts)
    as_large = (~(np.abs(change) < wanted)).sum(axis=0)
    return np.where(np.isnan(wanted), np.nan, (1 + as_large) / (1 + draws))


@dataclass(frozen=True)
class McNemar:
    """Items that only tuned has right (gained), items that only base has right (lost), and the exact two-sided p-value."""

    gained: int
    lost: int
    p: float


def mcnemar(base_right: ArrayLike, tuned_right: ArrayLike) -> McNemar:
    """McNemar's exact test: if neither is better, each of the items on which they differ is gained or lost by a fair coin.

    base_right, tuned_right: (n,) booleans of the same items. p is 1 where they differ on none. The test takes items as
    independent, which items of one image are not: it is given beside `paired_test`, not in its place. Raises ValueError when
    the shapes differ.
    """
    base, tuned = np.asarray(base_right, dtype=np.bool_), np.asarray(tuned_right, dtype=np.bool_)
    if base.shape != tuned.shape or base.ndim != 1:
        raise ValueError(f"answers of shape {base.shape} and {tuned.shape}; expected the same (n,) items twice")
    gained, lost = int((tuned & ~base).sum()), int((base & ~tuned).sum())
    # The binomial distribution of a fair coin is symmetric, so both tails are twice the smaller; they meet when gained = lost.
    return McNemar(gained, lost, min(1.0, 2 * float(bdtr(min(gained, lost), gained + lost, 0.5))))
