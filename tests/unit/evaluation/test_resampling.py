"""Weights of clusters: multinomial counts against their exact distribution, fair coins, and sums by either."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from scipy.stats import binom

from spr.evaluation.resampling import Counts, resamples, swaps, weighted_sums


@pytest.mark.parametrize("clusters", [1, 2, 7, 300, 1000])
def test_every_resample_draws_as_many_clusters_as_there_are(clusters: int) -> None:
    counts = resamples(500, clusters, np.random.default_rng(0))
    assert counts.shape == (500, clusters)
    assert (counts.sum(axis=1, dtype=int) == clusters).all()


@pytest.mark.parametrize("clusters", [2, 3, 4])
def test_every_resample_of_few_clusters_is_as_frequent_as_it_should_be(clusters: int) -> None:
    # C draws from C clusters: C! / (a! b! ...) of the C^C sequences give the counts a, b, ...
    draws = 50_000
    found = Counter(map(tuple, resamples(draws, clusters, np.random.default_rng(1)).tolist()))
    for counts, times in found.items():
        chance = math.factorial(clusters) / math.prod(map(math.factorial, counts)) / clusters**clusters
        assert times == pytest.approx(draws * chance, abs=4.5 * math.sqrt(draws * chance))
    assert len(found) == math.comb(2 * clusters - 1, clusters)


def test_a_cluster_among_many_is_drawn_binomially() -> None:
    clusters, draws = 500, 4000
    counts = resamples(draws, clusters, np.random.default_rng(2))
    for times in range(8):
        chance = binom.pmf(times, clusters, 1 / clusters)
        assert (counts == times).mean() == pytest.approx(chance, abs=4.5 * math.sqrt(chance / (draws * clusters)))


def test_first_and_last_clusters_are_drawn_alike_and_spread_as_they_should() -> None:
    # The sum of C values drawn with replacement has the variance C var(values); 0.045 is three standard errors of 10,000 draws.
    values = np.arange(400.0)[:, None]
    generator = np.random.default_rng(3)
    sums = weighted_sums(values, 10_000, lambda count: resamples(count, 400, generator))
    assert sums.mean() == pytest.approx(values.sum(), abs=4 * math.sqrt(400 * values.var() / 10_000))
    assert sums.var() == pytest.approx(400 * values.var(), rel=0.045)


def test_draws_are_independent_of_each_other() -> None:
    counts = resamples(4000, 100, np.random.default_rng(4)).astype(float)
    among = np.corrcoef(counts[:-1].ravel(), counts[1:].ravel())[0, 1]
    assert abs(among) < 4 / math.sqrt(4000 * 100)


def test_coins_are_fair_and_each_its_own() -> None:
    found = Counter(map(tuple, swaps(32_000, 4, np.random.default_rng(5)).tolist()))
    assert len(found) == 16
    assert all(times == pytest.approx(2000, abs=4 * math.sqrt(2000)) for times in found.values())


@pytest.mark.parametrize("clusters", [1, 256, 600])
@pytest.mark.parametrize("draws", [5, 70])
def test_sums_in_blocks_are_the_plain_product(clusters: int, draws: int) -> None:
    generator = np.random.default_rng(6)
    rows = generator.normal(size=(clusters, 3))
    given: list[Counts] = []

    def weights(count: int) -> Counts:
        given.append(generator.integers(0, 5, (count, clusters), dtype=np.uint8))
        return given[-1]

    sums = weighted_sums(rows, draws, weights)
    assert sums.shape == (draws, 3)
    assert sums == pytest.approx(np.concatenate(given).astype(float) @ rows)
