"""The rewards for boxes, by pencil, and what must hold for any boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spr.boxes import Box, as_boxes, giou
from spr.recipe_score import BoxReward
from spr.records import Mention
from spr.rewards.box_rewards import (
    box_rewards,
    combine,
    count_penalty,
    f1_hungarian,
    format_valid,
    mean_giou,
    no_duplicate,
)
from spr.rewards.localization import Predicted, localization_score

SQUARE = (0, 0, 10, 10)
FAR = (40, 0, 50, 10)
SIZE = (100, 60)
NAMES = get_args(BoxReward)


def mention(box: tuple[float, float, float, float] | None) -> Mention:
    return Mention("dog", box, *(("ok", "") if box else ("unreadable", "malformed")), (0, 5))


def rewards_of(
    gt: Sequence[Box], boxes: Sequence[Box], names: Sequence[BoxReward], threshold: float = 0.5, binary: bool = False
) -> dict[BoxReward, float]:
    """The rewards of a text that writes `boxes` and is credited with nothing else."""
    credited = Predicted(as_boxes(boxes), np.ones(len(boxes)))
    return box_rewards(gt, credited, [mention(box) for box in boxes], SIZE, names, threshold, binary)


# f1_hungarian


def test_f1_counts_a_superfluous_box_as_lost_precision() -> None:
    # M = 0.8; P = 0.8 / 2, R = 0.8 / 1: F1 = 2 * 0.4 * 0.8 / 1.2 = 1.6 / 3.
    assert f1_hungarian([SQUARE], [(0, 0, 10, 8), FAR]) == pytest.approx(1.6 / 3)


def test_f1_counts_a_missed_box_as_lost_recall() -> None:
    assert f1_hungarian([SQUARE, FAR], [SQUARE]) == pytest.approx(2 * 1 / 3)


def test_f1_lets_one_box_serve_one_ground_truth_only() -> None:
    gt = [SQUARE, (0, 0, 10, 8)]
    assert localization_score(gt, [SQUARE]) == pytest.approx(0.9)
    assert f1_hungarian(gt, [SQUARE]) == pytest.approx(2 * 1 / 3)


def test_f1_takes_the_best_matching_and_not_the_first() -> None:
    # IoU: a-x 0.8, a-y 1, b-x 1, b-y 0.8. By order 1.6, at best 2.
    a, b = SQUARE, (0, 0, 10, 8)
    assert f1_hungarian([a, b], [b, a]) == 1


def test_f1_counts_no_pair_under_the_threshold() -> None:
    assert f1_hungarian([SQUARE], [(0, 0, 10, 5)]) == pytest.approx(0.5)
    assert f1_hungarian([SQUARE], [(0, 0, 10, 4)]) == 0
    assert f1_hungarian([SQUARE], [(0, 0, 10, 4)], threshold=0.4) == pytest.approx(0.4)


def test_poor_pairs_are_not_sought_at_the_cost_of_a_good_one() -> None:
    # a-x 0.6; a-y and b-x 0.4 each. Unthresholded, the two poor pairs (0.8) would win, and then count nothing.
    a, x = (0, 0, 10, 10), (0, 0, 6, 10)
    b, y = (0, 0, 2.4, 10), (6, 0, 10, 10)
    assert f1_hungarian([a, b], [x, y]) == pytest.approx(2 * 0.6 / 4)


def test_binary_f1_counts_matches() -> None:
    assert f1_hungarian([SQUARE, FAR], [(0, 0, 10, 8)], binary=True) == pytest.approx(2 / 3)


# mean_giou


def test_giou_is_mapped_to_the_unit_interval() -> None:
    # Two squares of area 100, 30 apart: hull 500, union 200, GIoU = 0 - 300 / 500 = -0.6, mapped to 0.2.
    assert mean_giou([SQUARE], [FAR]) == pytest.approx(0.2)
    assert mean_giou([SQUARE, FAR], [SQUARE]) == pytest.approx((1 + 0.2) / 2)


def test_a_near_miss_is_better_than_a_wild_one() -> None:
    assert mean_giou([SQUARE], [(11, 0, 21, 10)]) > mean_giou([SQUARE], [FAR]) > 0


# count_penalty, no_duplicate, format_valid


@pytest.mark.parametrize(("predicted", "penalty"), [(0, 1.0), (1, 1.0), (2, 1.0), (3, 2 / 3), (8, 0.25)])
def test_only_boxes_beyond_the_ground_truths_number_cost(predicted: int, penalty: float) -> None:
    assert count_penalty([SQUARE, FAR], [SQUARE] * predicted) == pytest.approx(penalty)


def test_of_equal_boxes_one_is_good() -> None:
    assert no_duplicate([SQUARE, FAR, SQUARE, SQUARE]) == 0.5
    assert no_duplicate([]) == 1


def test_boxes_are_duplicates_above_the_threshold() -> None:
    assert no_duplicate([SQUARE, (0, 0, 10, 7)]) == 1  # IoU 0.7 is not more than 0.7.
    assert no_duplicate([SQUARE, (0, 0, 10, 7.1)]) == 0.5
    assert no_duplicate([SQUARE, (0, 0, 10, 7)], threshold=0.6) == 0.5


def test_in_a_chain_of_overlaps_the_order_can_matter() -> None:
    # IoU: low and middle 0.75, middle and high 0.8, low and high 0.6.
    low, middle, high = (0, 0, 10, 6), (0, 0, 10, 8), (0, 0, 10, 10)
    assert no_duplicate([low, high, middle]) == pytest.approx(2 / 3)
    assert no_duplicate([middle, low, high]) == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    "bad", [None, (5, 5, 5, 9), (9, 5, 5, 9), (5, 9, 9, 9), (-1, 0, 9, 9), (0, 0, 101, 9), (0, 0, 9, 60.5)]
)
def test_a_mention_must_parse_be_ordered_and_lie_in_the_image(bad: tuple[float, float, float, float] | None) -> None:
    whole = (0.0, 0.0, 100.0, 60.0)
    assert format_valid([mention(whole), mention(bad), mention(SQUARE), mention(SQUARE)], SIZE) == 0.75


def test_a_rounding_error_is_no_bad_format() -> None:
    assert format_valid([mention((-1e-9, 0, 100 + 1e-9, 60))], SIZE) == 1


def test_a_text_without_boxes_has_no_valid_format() -> None:
    assert format_valid([], SIZE) == 0


# all together


def test_nothing_predicted() -> None:
    rewards = rewards_of([SQUARE], [], NAMES)
    assert rewards == {
        "recall_iou": 0,
        "f1_hungarian": 0,
        "mean_giou": 0,
        "count_penalty": 1,
        "format_valid": 0,
        "no_duplicate": 1,
    }


def test_only_what_is_asked_for_is_returned_in_that_order() -> None:
    rewards = rewards_of([SQUARE], [SQUARE], ["mean_giou", "recall_iou"])
    assert list(rewards.items()) == [("mean_giou", 1.0), ("recall_iou", 1.0)]


def test_recall_iou_is_the_localization_score_with_its_options() -> None:
    predicted = [(0, 0, 10, 8)]
    for threshold, binary in ((0.5, False), (0.9, False), (0.5, True)):
        rewards = rewards_of([SQUARE, FAR], predicted, ["recall_iou"], threshold, binary)
        assert rewards["recall_iou"] == localization_score([SQUARE, FAR], predicted, threshold, binary)


def test_a_detectors_box_counts_for_recall_and_is_no_box_too_many() -> None:
    credited = Predicted(as_boxes([SQUARE, FAR]), np.array([1.0, 0.5]))
    assert box_rewards([SQUARE, FAR], credited, [mention(SQUARE)], SIZE, NAMES) == {
        "recall_iou": 0.75,
        "f1_hungarian": pytest.approx(2 / 3),
        "mean_giou": pytest.approx((1 + (1 + giou([FAR], [SQUARE])[0, 0]) / 2) / 2),
        "count_penalty": 1,
        "format_valid": 1,
        "no_duplicate": 1,
    }


@pytest.mark.parametrize("name", ["recall_iou", "f1_hungarian", "mean_giou"])
def test_a_mean_over_no_ground_truth_is_an_error(name: BoxReward) -> None:
    with pytest.raises(ValueError, match="no ground-truth boxes"):
        rewards_of([], [SQUARE], [name])


def test_the_others_need_no_ground_truth() -> None:
    names: tuple[BoxReward, ...] = ("count_penalty", "format_valid", "no_duplicate")
    assert rewards_of([], [SQUARE], names) == {
        "count_penalty": 0,
        "format_valid": 1,
        "no_duplicate": 1,
    }


def test_rewards_are_combined_by_weight() -> None:
    assert combine({"recall_iou": 0.5, "format_valid": 1.0, "mean_giou": 0.9}, {"recall_iou": 3, "format_valid": 1}) == 0.625


@pytest.mark.parametrize("weights", [{"recall_iou": -1}, {"recall_iou": 0}, {}, {"mean_giou": 1}])
def test_weights_without_a_mean_are_refused(weights: dict[BoxReward, float]) -> None:
    with pytest.raises(ValueError, match=r"weights are|no reward mean_giou"):
        combine({"recall_iou": 0.5}, weights)


boxes = st.builds(
    lambda x, y, width, height: (x, y, x + width, y + height),
    *[st.floats(0, 20).map(lambda value: round(value, 2))] * 2,
    *[st.floats(1, 30).map(lambda value: round(value, 2))] * 2,
)


@given(st.lists(boxes, min_size=1, max_size=5), st.lists(boxes, max_size=5), st.floats(0, 1), st.booleans())
def test_every_reward_lies_between_0_and_1(gt: list[Box], predicted: list[Box], threshold: float, binary: bool) -> None:
    rewards = rewards_of(gt, predicted, NAMES, threshold, binary)
    assert list(rewards) == list(NAMES)
    assert all(-1e-12 <= value <= 1 + 1e-12 for value in rewards.values())
    assert -1e-12 <= combine(rewards, dict.fromkeys(NAMES, 2.0)) <= 1 + 1e-12


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2)), min_size=1, max_size=6, unique=True))
def test_a_perfect_text_is_worth_1(cells: list[tuple[int, int]]) -> None:
    gt = [(20.0 * x, 20.0 * y, 20.0 * x + 20, 20.0 * y + 20) for x, y in cells]
    rewards = rewards_of(gt, gt, NAMES)
    assert rewards == pytest.approx(dict.fromkeys(NAMES, 1.0))


@given(st.lists(boxes, min_size=1, max_size=4), st.lists(boxes, max_size=5), st.randoms())
def test_the_order_of_the_boxes_does_not_matter(gt: list[Box], predicted: list[Box], random: object) -> None:
    names = [name for name in NAMES if name != "no_duplicate"]
    shuffled, turned = list(predicted), list(gt)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    random.shuffle(turned)  # type: ignore[attr-defined]
    before = rewards_of(gt, predicted, names)
    assert rewards_of(turned, shuffled, names) == pytest.approx(before)


@given(st.lists(boxes, min_size=1, max_size=4), st.lists(boxes, min_size=1, max_size=4))
def test_f1_is_never_above_the_recall_score_of_as_many_boxes(gt: list[Box], predicted: list[Box]) -> None:
    same = (predicted * len(gt))[: len(gt)]
    assert f1_hungarian(gt, same) <= localization_score(gt, same) + 1e-12
