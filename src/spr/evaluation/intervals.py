"""95 % intervals by bootstrap over images.

Items of one image are not independent, so whole images are resampled: a cluster bootstrap with percentile intervals (Efron &
Tibshirani 1993, chapters 13 and 17). What is judged is a function of sums over items, so that a resample needs the clusters'
sums and never the items. Base and tuned see the same resampled images, and the interval of a change is that of the paired
differences. numpy only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spr.boxes import FloatArray
from spr.evaluation.resampling import resamples, weighted_sums

LEVEL = 0.95

Quantities = Callable[[FloatArray, FloatArray], FloatArray]
"""Sums (R, m) and item counts (R,) of R samples -> what is judged of each, (R, q). 0 / 0 is welcome: it is NaN, not a fault."""


@dataclass(frozen=True, eq=False)
class Clustered:
    """One side's items by cluster: names (C,) in sorted order, sums (C, m) of its columns, sizes (C,) in items."""

    names: NDArray[np.str_]
    sums: FloatArray
    sizes: FloatArray


@dataclass(frozen=True, eq=False)
class Intervals:
    """95 % percentile intervals: low and high, (2, q), of each side's quantities, and of tuned - base where there are both."""

    sides: tuple[FloatArray, ...]
    change: FloatArray | None


def clustered(columns: ArrayLike, clusters: Sequence[str]) -> Clustered:
    """Columns (n, m), one row an item, and the cluster (image) of each -> their sums by cluster.

    Raises ValueError when rows are not aligned or a value is not finite.
    """
    array = np.asarray(columns, dtype=np.float64)
    if array.ndim != 2 or len(array) != len(clusters):
        raise ValueError(f"columns of shape {array.shape} for {len(clusters)} clusters; expected one row an item, (n, m)")
    if not np.isfinite(array).all():
        raise ValueError("a value is not finite; leave items without a value out, with their clusters")
    names = sorted(set(clusters))
    place = {name: index for index, name in enumerate(names)}
    member = np.fromiter(map(place.__getitem__, clusters), np.intp, len(clusters))
    sums = np.zeros((len(names), array.shape[1]))
    for index, column in enumerate(array.T):
        sums[:, index] = np.bincount(member, weights=column, minlength=len(names))
    return Clustered(np.asarray(names, dtype=np.str_), sums, np.bincount(member, minlength=len(names)).astype(np.float64))


def means(sums: FloatArray, counts: FloatArray) -> FloatArray:
    """The mean of each column: the plain choice of `Quantities`, with q = m."""
    values: FloatArray = sums / counts[:, None]
    return values


def evaluated(quantities: Quantities, sums: FloatArray, counts: FloatArray) -> FloatArray:
    """`quantities`, with NaN for whatever has no finite value, and no warning of it."""
    with np.errstate(divide="ignore", invalid="ignore"):
        values = quantities(sums, counts)
    defined: FloatArray = np.where(np.isfinite(values), values, np.nan)
    return defined


def observed(side: Clustered, quantities: Quantities) -> FloatArray:
    """The quantities (q,) of the items themselves; NaN where one is 0 / 0, as a mean of no items is."""
    values: FloatArray = evaluated(quantities, side.sums.sum(axis=0)[None], side.sizes.sum()[None])[0]
    return values


def bootstrap(sides: Sequence[Clustered], quantities: Quantities, draws: int, seed: int) -> Intervals:
    """The intervals of one side, or of base and tuned and of their paired change, from `draws` resamples of the clusters.

    All sides see the same resampled clusters. The result depends on `seed` and on the items, not on their order. Draws in which
    a quantity is 0 / 0 are left out of its interval; where it is so in every draw, as without items, the bounds are NaN.
    Raises ValueError when the sides do not hold the same items.
    """
    for side in sides[1:]:
        same_items(sides[0], side)
    rows = np.concatenate([*(side.sums for side in sides), sides[0].sizes[:, None]], axis=1)
    generator = np.random.default_rng(seed)
    sums = weighted_sums(rows, draws, lambda count: resamples(count, len(rows), generator))
    edges = np.cumsum([0, *(side.sums.shape[1] for side in sides)])
    values = [evaluated(quantities, sums[:, low:high], sums[:, -1]) for low, high in pairwise(edges)]
    change = _bounds(values[1] - values[0]) if len(values) == 2 else None
    return Intervals(tuple(_bounds(side) for side in values), change)


def interval(values: ArrayLike, clusters: Sequence[str], draws: int, seed: int) -> FloatArray:
    """The 95 % interval of the mean of `values` over the items.

    values (n,) or (n, m), one column a quantity; clusters (n,): the image of each item. Returns (2,) or (2, m): low, high.
    The rest as in `bootstrap` and `clustered`.
    """
    array = np.asarray(values, dtype=np.float64)
    columns = array if array.ndim == 2 else array[:, None]
    bounds = bootstrap([clustered(columns, clusters)], means, draws, seed).sides[0]
    return bounds if array.ndim == 2 else bounds[:, 0]


def same_items(base: Clustered, tuned: Clustered) -> None:
    """Raises ValueError when two sides differ in their clusters or in the number of items in one."""
    if not (np.array_equal(base.names, tuned.names) and np.array_equal(base.sizes, tuned.sizes)):
        raise ValueError(
            f"base has {base.sizes.sum():.0f} items in {len(base.names)} clusters and tuned {tuned.sizes.sum():.0f} in "
            f"{len(tuned.names)}, and they are not the same ones; a paired comparison needs equal items"
        )


def _bounds(values: FloatArray) -> FloatArray:
    """values (draws, q) -> low and high (2, q), over the draws that have a value."""
    bounds = np.full((2, values.shape[1]), np.nan)
    for index, column in enumerate(values.T):
        defined = column[~np.isnan(column)]
        if len(defined):
            bounds[:, index] = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return bounds
