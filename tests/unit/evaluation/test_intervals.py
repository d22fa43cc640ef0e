"""Intervals: the bootstrap against a loop that a reader can follow, by hand, and on simulated data with a known truth."""

from __future__ import annotations

import numpy as np
import pytest

from spr.boxes import FloatArray
from spr.evaluation.intervals import bootstrap, clustered, interval, means, observed

pytestmark = pytest.mark.filterwarnings("error")


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


def drawn(seed: int, images: int = 40) -> tuple[list[float], list[str]]:
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


def share(sums: FloatArray, counts: FloatArray) -> FloatArray:
    """One quantity of the columns (right, said): the share of what was said that is right."""
    return sums[:, :1] / sums[:, 1:]


def test_items_are_summed_by_image_in_the_order_of_names() -> None:
    side = clustered([[1, 10], [2, 20], [4, 40]], ["b", "a", "b"])
    assert side.names.tolist() == ["a", "b"]
    assert side.sums.tolist() == [[2, 20], [5, 50]]
    assert side.sizes.tolist() == [1, 2]
    assert observed(side, means).tolist() == [7 / 3, 70 / 3]


def test_it_agrees_with_the_loop() -> None:
    values, clusters = drawn(3)
    expected = by_loop(values, clusters, 4000, seed=1)
    assert interval(values, clusters, 4000, seed=2).tolist() == pytest.approx(expected, abs=0.04)


def test_two_images_give_the_four_possible_means() -> None:
    # Resamples of {0, 0} and {3}: 0, 1 (twice) or 3, each with its share, so the 2.5 % and 97.5 % points are 0 and 3.
    assert interval([0, 0, 3], ["a", "a", "b"], 2000, 0).tolist() == [0, 3]


def test_a_share_is_the_ratio_of_sums_not_the_mean_of_shares() -> None:
    # Image a: 1 said, 1 right; image b: 3 said, 1 right. Resamples: 2 of 2, 2 of 4 (twice), 2 of 6.
    side = clustered([[1, 1], [1, 3]], ["a", "b"])
    assert bootstrap([side], share, 2000, 0).sides[0].ravel().tolist() == pytest.approx([1 / 3, 1])


def test_base_and_tuned_see_the_same_images() -> None:
    values, clusters = drawn(11)
    base = clustered(np.asarray(values)[:, None], clusters)
    tuned = clustered(np.asarray(values)[:, None] + 0.25, clusters)
    both = bootstrap([base, tuned], means, 500, 0)
    assert both.change == pytest.approx(np.full((2, 1), 0.25))
    assert both.sides[1] == pytest.approx(both.sides[0] + 0.25)
    alone = bootstrap([base], means, 500, 0)
    assert alone.change is None
    assert alone.sides[0] == pytest.approx(both.sides[0])


def test_the_change_of_two_images_by_hand() -> None:
    # Image a has two items that gain 1, image b one that loses 3: resamples gain 1, (2 - 3) / 3 (twice), or -3.
    base, tuned = clustered([[0], [0], [3]], ["a", "a", "b"]), clustered([[1], [1], [0]], ["a", "a", "b"])
    change = bootstrap([base, tuned], means, 2000, 0).change
    assert change is not None
    assert change.ravel().tolist() == [-3, 1]


def test_draws_without_a_value_are_left_out() -> None:
    # Image a says nothing, image b says 2 of which 1 is right: a twice is 0 / 0, all else 1 / 2.
    side = clustered([[0, 0], [1, 2]], ["a", "b"])
    assert bootstrap([side], share, 200, 0).sides[0].ravel().tolist() == [0.5, 0.5]


def test_what_is_never_defined_has_no_bounds() -> None:
    silent, spoken = clustered([[0, 0], [0, 0]], ["a", "b"]), clustered([[1, 1], [1, 1]], ["a", "b"])
    both = bootstrap([silent, spoken], share, 200, 0)
    assert both.change is not None
    assert np.isnan(both.sides[0]).all()
    assert np.isnan(both.change).all()
    assert both.sides[1].ravel().tolist() == [1, 1]
    assert np.isnan(observed(silent, share)).all()


def test_a_part_of_a_task_may_be_empty() -> None:
    empty = clustered(np.zeros((0, 2)), [])
    both = bootstrap([empty, empty], share, 100, 0)
    assert both.change is not None
    assert both.change.shape == both.sides[0].shape == (2, 1)
    assert np.isnan(both.change).all()
    assert np.isnan(observed(empty, share)).all()


def test_sides_with_other_items_are_refused() -> None:
    base = clustered([[1], [1]], ["a", "b"])
    for names in (["a", "c"], ["a", "b", "b"], ["a"]):
        with pytest.raises(ValueError, match="base has 2 items in 2 clusters and tuned"):
            bootstrap([base, clustered([[1]] * len(names), names)], means, 100, 0)


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
    values, clusters = drawn(5)
    both = interval(np.stack([values, np.asarray(values) + 1], axis=1), clusters, 500, 0)
    assert both.shape == (2, 2)
    assert both[:, 1] == pytest.approx(both[:, 0] + 1)
    assert both[:, 0] == pytest.approx(interval(values, clusters, 500, 0))


def test_the_order_of_items_does_not_matter_and_the_seed_does() -> None:
    values, clusters = drawn(7)
    assert interval(values[::-1], clusters[::-1], 500, 0) == pytest.approx(interval(values, clusters, 500, 0), abs=1e-12)
    assert interval(values, clusters, 500, 1).tolist() != interval(values, clusters, 500, 0).tolist()


def test_no_items_give_nan_never_zero() -> None:
    assert np.isnan(interval([], [], 100, 0)).all()
    assert np.isnan(interval(np.zeros((0, 3)), [], 100, 0)).all()
    assert interval(np.zeros((0, 3)), [], 100, 0).shape == (2, 3)


def test_misaligned_or_missing_values_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(2, 1\) for 3 clusters"):
        interval([1, 2], ["a", "b", "c"], 100, 0)
    with pytest.raises(ValueError, match="not finite"):
        interval([1, float("nan")], ["a", "b"], 100, 0)


def test_nineteen_of_twenty_intervals_hold_the_truth() -> None:
    held = 0
    for trial in range(400):
        low, high = interval(*drawn(1000 + trial, images=80), 400, trial)
        held += low <= 5 <= high
    assert 0.91 <= held / 400 <= 0.98
