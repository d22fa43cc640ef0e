"""Paired tests: by enumeration of all swaps, by hand, and on simulated data in which nothing differs."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.stats import binomtest

from spr.boxes import FloatArray
from spr.evaluation.comparison import mcnemar, paired_test
from spr.evaluation.intervals import Clustered, Quantities, clustered, means

pytestmark = pytest.mark.filterwarnings("error")


def share(sums: FloatArray, counts: FloatArray) -> FloatArray:
    """One quantity of the columns (right, said): the share of what was said that is right."""
    return sums[:, :1] / sums[:, 1:]


def enumerated(base: Clustered, tuned: Clustered, quantities: Quantities) -> FloatArray:
    """The share of all swaps of whole clusters under which the change is at least as large as without any."""
    changes = []
    for swap in product([False, True], repeat=len(base.names)):
        turned = np.asarray(swap)[:, None]
        sides = np.where(turned, tuned.sums, base.sums).sum(axis=0), np.where(turned, base.sums, tuned.sums).sum(axis=0)
        before, after = (quantities(side[None], base.sizes.sum()[None])[0] for side in sides)
        changes.append(np.abs(after - before))
    as_large: FloatArray = (np.asarray(changes) >= changes[0] - 1e-12).mean(axis=0)
    return as_large


def test_four_images_that_all_gain_have_two_swaps_of_sixteen() -> None:
    names = ["a", "b", "c", "d"]
    base, tuned = clustered(np.zeros((4, 1)), names), clustered(np.ones((4, 1)), names)
    assert enumerated(base, tuned, means).tolist() == [2 / 16]
    assert paired_test(base, tuned, means, 20_000, 0) == pytest.approx([2 / 16], abs=0.01)


@pytest.mark.parametrize("quantities", [means, share])
def test_it_agrees_with_all_swaps_of_four_images(quantities: Quantities) -> None:
    names = ["a", "a", "a", "b", "c", "c", "d"]
    base = clustered([[0, 1], [1, 1], [0, 2], [1, 1], [0, 1], [0, 1], [1, 3]], names)
    tuned = clustered([[1, 1], [1, 1], [1, 2], [0, 1], [1, 2], [1, 1], [1, 1]], names)
    expected = enumerated(base, tuned, quantities)
    assert 0.1 < expected.min() < 0.9
    assert paired_test(base, tuned, quantities, 20_000, 0) == pytest.approx(expected, abs=0.015)


def test_equal_sides_have_p_1() -> None:
    side = clustered([[0.3], [0.1], [0.7]], ["a", "a", "b"])
    assert paired_test(side, side, means, 500, 0).tolist() == [1]


def test_tenths_tie_as_whole_numbers_do() -> None:
    # Many swaps give a change as large as the observed 8; in tenths, floats make some of them a little smaller.
    names = list("abcdefgh")
    gains = np.asarray([1, -2, 3, 1, 2, -1, 3, 1.0])[:, None]
    zeros = clustered(np.zeros((8, 1)), names)
    whole = paired_test(zeros, clustered(gains, names), means, 2000, 0)
    assert whole == pytest.approx(enumerated(zeros, clustered(gains, names), means), abs=0.03)
    base = np.linspace(0.1, 0.7, 8)[:, None]
    tenths = paired_test(clustered(base, names), clustered(base + gains / 10, names), means, 2000, 0)
    assert tenths.tolist() == whole.tolist()


def test_items_of_one_image_swap_together() -> None:
    # As 40 images the gain would be beyond doubt; as one image it is one coin, whose sides are equally large.
    zeros, ones = np.zeros((40, 1)), np.ones((40, 1))
    one_image, own_images = ["a"] * 40, [str(n) for n in range(40)]
    assert paired_test(clustered(zeros, one_image), clustered(ones, one_image), means, 999, 0).tolist() == [1]
    assert paired_test(clustered(zeros, own_images), clustered(ones, own_images), means, 999, 0).tolist() == [0.001]


def test_the_order_of_items_does_not_matter_and_the_seed_does() -> None:
    generator = np.random.default_rng(0)
    names = [f"image {n // 3}" for n in range(90)]
    before, after = generator.normal(size=(2, 90, 2))
    p = paired_test(clustered(before, names), clustered(after, names), means, 500, 0)
    turned = paired_test(clustered(before[::-1], names[::-1]), clustered(after[::-1], names[::-1]), means, 500, 0)
    assert turned.tolist() == p.tolist()
    assert paired_test(clustered(before, names), clustered(after, names), means, 500, 1).tolist() != p.tolist()


def test_a_quantity_that_base_or_tuned_lacks_has_no_p() -> None:
    silent, spoken = clustered([[0, 0], [0, 0]], ["a", "b"]), clustered([[1, 1], [0, 1]], ["a", "b"])
    assert np.isnan(paired_test(silent, spoken, share, 100, 0)).all()
    empty = clustered(np.zeros((0, 2)), [])
    assert np.isnan(paired_test(empty, empty, means, 100, 0)).tolist() == [True, True]


def test_swaps_without_a_value_count_as_large() -> None:
    # Base speaks in image a alone and is right, tuned in image b alone and is wrong: one swap alone leaves a side silent.
    base, tuned = clustered([[1, 1], [0, 0]], ["a", "b"]), clustered([[0, 0], [0, 1]], ["a", "b"])
    assert paired_test(base, tuned, share, 500, 0).tolist() == [1]


def test_sides_with_other_items_are_refused() -> None:
    with pytest.raises(ValueError, match="2 items in 2 clusters and tuned 2 in 1"):
        paired_test(clustered([[1], [1]], ["a", "b"]), clustered([[1], [1]], ["a", "a"]), means, 100, 0)


def test_where_nothing_differs_one_p_in_twenty_is_below_5_percent() -> None:
    generator = np.random.default_rng(8)
    names = [f"image {n // 4}" for n in range(120)]
    low = 0
    for trial in range(400):
        shared = np.repeat(generator.normal(size=(2, 30, 1)), 4, axis=1)
        before, after = shared + generator.normal(size=(2, 120, 1))
        low += paired_test(clustered(before, names), clustered(after, names), means, 199, trial)[0] <= 0.05
    assert 0.02 <= low / 400 <= 0.085


def test_mcnemar_by_hand() -> None:
    # Five heads of five, either way: 2 / 32. At most one of four, either way: 2 (1 + 4) / 16.
    assert mcnemar([0] * 5 + [1], [1] * 6).p == pytest.approx(2 / 32)
    found = mcnemar([0, 0, 0, 1, 1, 0], [1, 1, 1, 0, 1, 0])
    assert (found.gained, found.lost) == (3, 1)
    assert found.p == pytest.approx(10 / 16)


def test_mcnemar_without_a_difference_has_p_1() -> None:
    assert mcnemar([1, 0], [1, 0]).p == 1
    assert mcnemar([], []).p == 1
    assert mcnemar([1, 0], [0, 1]).p == 1


@pytest.mark.parametrize(("gained", "lost"), [(1, 0), (2, 5), (30, 12), (7, 7), (8, 7), (5200, 4900)])
def test_mcnemar_agrees_with_the_binomial_test(gained: int, lost: int) -> None:
    found = mcnemar([0] * gained + [1] * lost, [1] * gained + [0] * lost)
    assert found.p == pytest.approx(binomtest(gained, gained + lost, 0.5).pvalue)


def test_mcnemar_refuses_other_items() -> None:
    with pytest.raises(ValueError, match=r"\(2,\) and \(3,\)"):
        mcnemar([1, 0], [1, 0, 1])
