"""The composite score that candidates are ranked by: S = weight * S_sem + (1 - weight) * S_loc."""

from __future__ import annotations


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
