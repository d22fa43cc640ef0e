"""95 % intervals by bootstrap over images.

Expressions of one image are not independent, so whole images are resampled: a cluster bootstrap of the mean over items,
percentile interval (Efron & Tibshirani 1993, chapters 13 and 17). A paired comparison is the interval of the items'
differences. numpy only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spr.boxes import FloatArray

LEVEL = 0.95
_CELLS = 4_000_000
"""Resamples x clusters drawn at a time: 32 MB."""


def interval(values: ArrayLike, clusters: Sequence[str], resamples: int, seed: int) -> FloatArray:
    """The 95 % interval of the mean of `values` over the items.

    values (n,) or (n, m), one column a quantity; clusters (n,): the image of each item. Returns (2,) or (2, m): low, high.
    The same resampled images serve every column. With no items the bounds are NaN. The result depends on `seed` and on
    the items, not on their order. Raises ValueError when rows are not aligned or a value is not finite.
    """
    array = np.asarray(values, dtype=np.float64)
    columns = array.reshape(len(array), -1) if array.size else np.zeros((0, array.shape[1] if array.ndim == 2 else 1))
    if len(columns) != len(clusters):
        raise ValueError(f"{len(columns)} values for {len(clusters)} clusters; rows must be aligned")
    if not np.isfinite(columns).all():
        raise ValueError("a value is not finite; leave items without a value out, with their clusters")
    bounds = np.full((2, columns.shape[1]), np.nan)
    if len(columns):
        means = _resampled_means(columns, np.asarray(clusters), resamples, seed)
        bounds = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return bounds if array.ndim == 2 else bounds[:, 0]


def _resampled_means(columns: FloatArray, clusters: NDArray[np.str_], resamples: int, seed: int) -> FloatArray:
    """Means (resamples, m): each resample draws as many clusters as there are, with replacement, and all their items."""
    names, member = np.unique(clusters, return_inverse=True)
    sizes = np.bincount(member).astype(np.float64)
    sums = np.stack([np.bincount(member, weights=column) for column in columns.T], axis=1)
    generator = np.random.default_rng(seed)
    chances = np.full(len(names), 1 / len(names))
    step = max(1, _CELLS // len(names))
    means = []
    for start in range(0, resamples, step):
        times = generator.multinomial(len(names), chances, size=min(step, resamples - start)).astype(np.float64)
        means.append((times @ sums) / (times @ sizes)[:, None])
    return np.concatenate(means)
