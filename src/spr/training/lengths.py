"""How long the sequences of a training are: statistics, a histogram, and the histogram as text.

Light on purpose: terminal and report read it without torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Histogram = dict[str, list[int]]
"""`edges` (n + 1,) in tokens and `pairs` (n,): bin i counts the pairs with edges[i] <= tokens < edges[i + 1]."""
_BINS = 12
"""Bins at most."""
_BAR = 40
"""Characters of the longest bar."""


def columns(counts: Sequence[tuple[int, int, int]]) -> dict[str, NDArray[np.int64]]:
    """Tokens of prompt, chosen and rejected, (n, 3), n >= 1 -> those by name, and of the sequence: the prompt and the longer
    answer."""
    table = np.array(counts, dtype=np.int64)
    parts = {"prompt": table[:, 0], "chosen": table[:, 1], "rejected": table[:, 2]}
    return {**parts, "sequence": table[:, 0] + table[:, 1:].max(axis=1)}


def statistics(values: NDArray[np.int64]) -> dict[str, float]:
    """Min, median, p95 and max of counts (n,), n >= 1."""
    return {
        "min": float(values.min()),
        "median": float(np.median(values)),
        "p95": float(np.percentile(values, 95)),
        "max": float(values.max()),
    }


def histogram(values: NDArray[np.int64]) -> Histogram:
    """Counts (n,), n >= 1, in at most twelve bins whose edges are multiples of 1, 2 or 5 times a power of ten."""
    low, high = int(values.min()), int(values.max())
    step = next(step for step in _steps() if high // step - low // step < _BINS)
    edges = np.arange(low // step, high // step + 2) * step
    return {"edges": edges.tolist(), "pairs": np.histogram(values, bins=[*edges[:-1], edges[-1] - 0.5])[0].tolist()}


def bars(found: Mapping[str, Sequence[int]]) -> list[str]:
    """A histogram as lines of text: tokens from and to, a bar, pairs. What is not zero has a bar."""
    edges, pairs = found["edges"], found["pairs"]
    most, digits = max(pairs), len(f"{edges[-1] - 1:,}")
    ranges = [f"{low:{digits},} to {high - 1:{digits},}" for low, high in pairwise(edges)]
    drawn = ["█" * -(-_BAR * count // most) for count in pairs]
    width = max(map(len, drawn))
    return [f"{name} {bar:{width}} {count:,}" for name, bar, count in zip(ranges, drawn, pairs, strict=True)]


def _steps() -> Sequence[int]:
    return [digit * 10**power for power in range(18) for digit in (1, 2, 5)]
