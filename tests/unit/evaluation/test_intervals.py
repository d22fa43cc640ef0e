"""Intervals: the bootstrap against a loop that a reader can follow, and against simulated data with a known truth."""

from __future__ import annotations

import numpy as np
import pytest

from spr.evaluation.intervals import interval


def by_loop(values: list[float], clusters: list[str], resamples: int, seed: int) -> tuple[float, float]:
    """The cluster bootstrap as the textbook writes it, with draws of its own."""
    generator = np.random.default_rng(seed)
    names = sorted(set(clusters))
    members = {name: [value for value, cluster in zip(values, clusters, strict=True) if cluster == name] for name in names}
    means = []
    for _ in range(resamples):
        drawn: list[float] = []
        for pick in generator.integers(0, len(names), len(names)):
            drawn += members[names[pick]]
        means.append(sum(drawn) / len(drawn))
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def clustered(seed: int, images: int = 40) -> tuple[list[float], list[str]]:
    """Items whose values share a part with the others of their image; image sizes differ."""
    generator = np.random.default_rng(seed)
    values: list[float] = []
    clusters: list[str] = []
    for image in range(images):
        shared = generator.normal()
        for _ in range(int(generator.integers(1, 6))):
            values.append(float(5 + shared + 0.5 * generator.normal()))
            clusters.append(f"image {image}")
    return values, clusters


def test_it_agrees_with_the_loop() -> None:
    values, clusters = clustered(3)
    expected = by_loop(values, clusters, 4000, seed=1)
    assert interval(values, clusters, 4000, seed=2).tolist() == pytest.approx(expected, abs=0.04)


def test_two_images_give_the_four_possible_means() -> None:
    # Resamples of {0, 0} and {3}: 0, 1 (twice) or 3, each with its share, so the 2.5 % and 97.5 % points are 0 and 3.
    assert interval([0, 0, 3], ["a", "a", "b"], 2000, 0).tolist() == [0, 3]


def test_one_image_has_no_spread() -> None:
    assert interval([1, 2, 3], ["a"] * 3, 200, 0).tolist() == [2, 2]


def test_equal_items_of_an_image_count_as_one_observation() -> None:
    values = [float(n % 2) for n in range(30)]
    names = [str(n) for n in range(30)]
    alone = interval(values, names, 3000, 0)
    fourfold = interval(values * 4, names * 4, 3000, 0)
    as_if_independent = interval(values * 4, [str(n) for n in range(120)], 3000, 0)
    assert fourfold == pytest.approx(alone)
    assert np.ptp(as_if_independent) < 0.6 * np.ptp(alone)


def test_columns_see_the_same_images() -> None:
    values, clusters = clustered(5)
    both = interval(np.stack([values, np.asarray(values) + 1], axis=1), clusters, 500, 0)
    assert both.shape == (2, 2)
    assert both[:, 1] == pytest.approx(both[:, 0] + 1)
    assert both[:, 0] == pytest.approx(interval(values, clusters, 500, 0))


def test_the_order_of_items_does_not_matter_and_the_seed_does() -> None:
    values, clusters = clustered(7)
    assert interval(values[::-1], clusters[::-1], 500, 0) == pytest.approx(interval(values, clusters, 500, 0), abs=1e-12)
    assert interval(values, clusters, 500, 1).tolist() != interval(values, clusters, 500, 0).tolist()


def test_many_images_are_resampled_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    values, clusters = clustered(9)
    whole = interval(values, clusters, 500, 0)
    monkeypatch.setattr("spr.evaluation.intervals._CELLS", 7 * 40)
    assert interval(values, clusters, 500, 0) == pytest.approx(whole)


def test_no_items_give_nan_never_zero() -> None:
    assert np.isnan(interval([], [], 100, 0)).all()
    assert np.isnan(interval(np.zeros((0, 3)), [], 100, 0)).all()
    assert interval(np.zeros((0, 3)), [], 100, 0).shape == (2, 3)


def test_misaligned_or_missing_values_are_refused() -> None:
    with pytest.raises(ValueError, match="2 values for 3 clusters"):
        interval([1, 2], ["a", "b", "c"], 100, 0)
    with pytest.raises(ValueError, match="not finite"):
        interval([1, float("nan")], ["a", "b"], 100, 0)


def test_nineteen_of_twenty_intervals_hold_the_truth() -> None:
    held = 0
    for trial in range(400):
        low, high = interval(*clustered(1000 + trial, images=80), 400, trial)
        held += low <= 5 <= high
    assert 0.91 <= held / 400 <= 0.98
