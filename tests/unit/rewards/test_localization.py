"""The localization and composite scores, by pencil."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spr.records import Mention, RegionQuery, SceneObject
from spr.rewards.composite import composite_score
from spr.rewards.localization import annotations_only, best_overlaps, localization_score

SQUARE = (0, 0, 10, 10)
"""Against (0, 0, 10, 8): 80 / 100 = 0.8; against (0, 0, 10, 5): 0.5; against (0, 0, 10, 4): 0.4."""


@pytest.mark.parametrize(("height", "score"), [(10, 1.0), (8, 0.8), (5, 0.5), (4, 0.0)])
def test_iou_counts_from_the_threshold_on(height: float, score: float) -> None:
    assert localization_score([SQUARE], [(0, 0, 10, height)]) == pytest.approx(score)


def test_the_mean_runs_over_ground_truth_and_the_best_box_counts() -> None:
    gt = [SQUARE, (20, 0, 30, 10), (40, 0, 50, 10)]
    predicted = [(0, 0, 10, 8), (0, 0, 10, 6), (20, 0, 30, 10)]
    assert localization_score(gt, predicted) == pytest.approx((0.8 + 1.0 + 0.0) / 3)


def test_superfluous_boxes_cost_nothing_and_one_box_may_serve_two() -> None:
    gt = [(0, 0, 10, 10), (0, 0, 10, 8)]
    assert localization_score(gt, [(0, 0, 10, 10)]) == pytest.approx((1.0 + 0.8) / 2)
    assert localization_score(gt, [(0, 0, 10, 10), (90, 90, 99, 99)]) == pytest.approx(0.9)


def test_binary_counts_recovered_boxes() -> None:
    gt = [SQUARE, (20, 0, 30, 10)]
    assert localization_score(gt, [(0, 0, 10, 8)], binary=True) == 0.5


def test_another_threshold() -> None:
    assert localization_score([SQUARE], [(0, 0, 10, 8)], threshold=0.9) == 0
    assert localization_score([SQUARE], [(0, 0, 10, 2)], threshold=0.1) == pytest.approx(0.2)


def test_no_predicted_box_scores_zero() -> None:
    assert localization_score([SQUARE], []) == 0.0
    assert best_overlaps([SQUARE], []).tolist() == [0.0]


def test_no_ground_truth_is_an_error() -> None:
    with pytest.raises(ValueError, match="no ground-truth boxes"):
        localization_score([], [SQUARE])


boxes = st.tuples(*[st.floats(0, 50)] * 2, *[st.floats(51, 100)] * 2)


@given(st.lists(boxes, min_size=1, max_size=5), st.lists(boxes, max_size=5), boxes)
def test_another_predicted_box_never_lowers_the_score(gt: list[object], predicted: list[object], extra: object) -> None:
    before, after = localization_score(gt, predicted), localization_score(gt, [*predicted, extra])
    assert 0 <= before <= after <= 1
    assert localization_score(gt, gt) == 1


def test_annotations_against_all_readable_mentions_even_outside_the_region() -> None:
    query = RegionQuery("q", "i", "i.png", 100, 100, (0, 0, 50, 50), (SceneObject("1", "dog", (1, 1, 9, 9)),))
    outside = Mention("cat", (60.0, 60.0, 90.0, 90.0), "ok", "", (0, 5))
    unreadable = Mention("dog", None, "unreadable", "out_of_range", (6, 9))
    compared = annotations_only(query, [[outside, unreadable], []])
    np.testing.assert_array_equal(compared.gt, [(1, 1, 9, 9)])
    assert [predicted.tolist() for predicted in compared.predicted] == [[[60, 60, 90, 90]], []]


def test_composite_mixes_by_the_papers_lambda() -> None:
    assert composite_score(0.25, 0.75) == pytest.approx(0.8 * 0.25 + 0.2 * 0.75)
    assert composite_score(0.25, 0.75, weight=0.5) == pytest.approx(0.5)


def test_a_score_of_weight_zero_plays_no_part() -> None:
    assert composite_score(math.nan, 0.75, weight=0) == 0.75
    assert composite_score(0.25, math.nan, weight=1) == 0.25
    assert math.isnan(composite_score(math.nan, 0.75, weight=0.5))


def test_a_weight_outside_its_range_is_refused() -> None:
    with pytest.raises(ValueError, match=r"1\.3"):
        composite_score(0.1, 0.1, weight=1.3)
