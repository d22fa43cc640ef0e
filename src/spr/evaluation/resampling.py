"""Random weights of clusters, and sums by them: how often a resample draws each cluster, and which clusters swap sides.

A resample draws C clusters out of C with replacement, so its counts are Multinomial(C; 1/C each). Independent Poisson counts
of one rate that sum to T are Multinomial(T); so a little fewer than C are drawn as Poisson counts, a byte a cluster, and the
C - T that are left one by one. That is no approximation, and several times faster than drawing C clusters and counting them.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from spr.boxes import FloatArray

Counts = NDArray[np.uint8]
"""A byte is enough: with up to 255 clusters no count can pass it, and with more the chance is below 1e-500."""
_DRAWS = 32
"""Draws worked on at a time."""
_BLOCK = 256
"""Clusters multiplied at a time: with some ten columns the product stays in a core's own cache. BLAS does so small a product on
one thread, so that sums do not depend on the number of threads, and never wait for one that is busy elsewhere."""
_TERMS = 25
"""Poisson counts of a rate below 1 go no further: the chance is below 1e-25."""


def weighted_sums(rows: FloatArray, draws: int, weights: Callable[[int], Counts]) -> FloatArray:
    """The sums (draws, m) of rows (C, m), each row as often as `weights` says, which gives n draws' weights, (n, C).

    Without rows the sums are 0.
    """
    clusters, columns = rows.shape
    sums = np.zeros((draws, columns))
    if not clusters:
        return sums
    blocks = -(-clusters // _BLOCK)
    padded = np.zeros((blocks * _BLOCK, columns))
    padded[:clusters] = rows
    by_block = padded.reshape(blocks, _BLOCK, columns)
    times = np.zeros((_DRAWS, blocks * _BLOCK))
    times_by_block = times.reshape(_DRAWS, blocks, _BLOCK).transpose(1, 0, 2)
    for start in range(0, draws, _DRAWS):
        part = sums[start : start + _DRAWS]
        times[: len(part), :clusters] = weights(len(part))
        part[:] = np.matmul(times_by_block[:, : len(part)], by_block).sum(axis=0)
    return sums


def resamples(draws: int, clusters: int, generator: np.random.Generator) -> Counts:
    """Counts (draws, clusters), each row of sum `clusters`: how often a resample draws each cluster. `clusters` >= 1."""
    counts = _poisson(draws, clusters, generator)
    totals = counts.sum(axis=1, dtype=np.int32)
    while len(over := np.flatnonzero(totals > clusters)):
        counts[over] = _poisson(len(over), clusters, generator)
        totals[over] = counts[over].sum(axis=1, dtype=np.int32)
    left = clusters - totals
    picks = generator.integers(0, clusters, left.sum()) + np.repeat(np.arange(draws) * clusters, left)
    np.add.at(counts.reshape(-1), picks, np.uint8(1))
    return counts


def swaps(draws: int, clusters: int, generator: np.random.Generator) -> Counts:
    """Independent fair coins (draws, clusters), 0 or 1: whether a cluster swaps sides."""
    cells = draws * clusters
    return np.unpackbits(_bytes(-(-cells // 8), generator), count=cells).reshape(draws, clusters)


def _poisson(draws: int, clusters: int, generator: np.random.Generator) -> Counts:
    """Independent Poisson counts (draws, clusters), of a rate that lets a row sum to more than `clusters` once in 20 to 40.

    Each byte value stands for one count, as many values for a count as its chance holds 256ths. The few values that are left
    stand for what is left of the chances, from which a second number draws.
    """
    rate = math.sqrt(clusters) / (math.sqrt(clusters) + 2)
    chances = np.asarray([256 * math.exp(-rate) * rate**k / math.factorial(k) for k in range(_TERMS)])
    whole = np.floor(chances)
    edges = np.cumsum(whole[whole > 0]).astype(int).tolist()
    rest = np.cumsum(chances - whole)
    drawn = _bytes(draws * clusters, generator)
    counts = np.zeros(draws * clusters, dtype=np.uint8)
    for edge in edges:
        beyond = drawn >= edge
        counts += beyond.view(np.uint8)
    unsettled = np.flatnonzero(beyond)
    counts[unsettled] = np.searchsorted(rest / rest[-1], generator.random(len(unsettled)), side="right")
    return counts.reshape(draws, clusters)


def _bytes(count: int, generator: np.random.Generator) -> Counts:
    """Independent uniform bytes: whole words of the generator, which takes a third of the time of `Generator.bytes`."""
    words = generator.integers(0, 2**64, size=-(-count // 8), dtype=np.uint64)
    return words.view(np.uint8)[:count]
