"""The composite score that candidates are ranked by: S = weight * S_sem + (1 - weight) * S_loc.

Either term can first be put on the scale of its query's K candidates. A term that does not exist (no semantic model) is
NaN and stays NaN.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from spr.boxes import FloatArray

Normalize = Literal["none", "zscore", "rank"]


def composite_score(semantic: float, localization: float, weight: float = 0.8) -> float:
    """Mix both scores (arXiv 2510.14374, sec. 3.4; `weight` is the paper's lambda, in 0..1).

    A score whose weight is 0 plays no part, so it may be NaN. Raises ValueError for a weight outside 0..1.
    """
    if not 0 <= weight <= 1:
        raise ValueError(f"weight is {weight}; it must lie in 0..1")
    if weight == 0:
        return localization
    if weight == 1:
        return semantic
    return weight * semantic + (1 - weight) * localization


def normalized(values: ArrayLike, how: Normalize) -> FloatArray:
    """One term of a query's K candidates, values (K,), on the query's own scale (K,): each by `placed` among them all."""
    terms = np.asarray(values, dtype=np.float64)
    return np.array([placed(value, terms, how) for value in terms.tolist()])


def placed(value: float, among: ArrayLike, how: Normalize) -> float:
    """Where a value lies on the scale of a query's K candidates, `among` (K,): one of theirs, or that of a changed text.

    none: the value itself. zscore: (value - mean) / std with the population's std; 0 for all values where the K are equal,
    for then they give no scale. rank: the share of the K that it beats plus half the share that it ties, in 0..1: one of K
    different candidates lies at (its rank from below - 1/2) / K, ties share their average, a lone candidate lies at 1/2,
    and a new value above all of them at 1. Higher values never lie lower. NaN among the K do not count; a NaN value, or a
    value among NaN alone, gives NaN.
    """
    if how == "none":
        return value
    known = np.asarray(among, dtype=np.float64)
    known = known[~np.isnan(known)]
    if math.isnan(value) or len(known) == 0:
        return math.nan
    if how == "rank":
        return float((known < value).mean() + (known == value).mean() / 2)
    # Equal values can leave a std of rounding errors, so they are compared themselves.
    spread = 0.0 if known.min() == known.max() else float(known.std())
    return (value - float(known.mean())) / spread if spread else 0.0
