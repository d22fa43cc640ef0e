"""The localization and composite scores, by pencil."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spr.recipe_score import Preset
from spr.records import Detection, Mention
from spr.rewards.composite import composite_score
from spr.rewards.localization import (
    Predicted,
    best_overlaps,
    detected_objects,
    inside,
    localization_score,
    predictions,
)

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


DOG, CAT, FISH = (0.0, 0.0, 10.0, 10.0), (20.0, 0.0, 30.0, 10.0), (40.0, 0.0, 50.0, 10.0)


def wrote(phrase: str, box: tuple[float, float, float, float] | None) -> Mention:
    return Mention(phrase, box, "ok" if box else "unreadable", "" if box else "out_of_range", (0, 5))


def predicted(preset: Preset, mentions: list[Mention], detections: list[Detection], credit: float = 0.0) -> Predicted:
    """What a text as the model wrote it is credited with."""
    return predictions(preset, mentions, mentions, detections, credit)


def test_without_a_detector_all_readable_mentions_count_also_outside_the_region() -> None:
    credited = predicted("annotations_only", [wrote("cat", CAT), wrote("dog", None)], [Detection("dog", DOG, 0.9)])
    assert credited.boxes.tolist() == [list(CAT)]
    assert credited.credits.tolist() == [1]


def test_the_paper_credits_a_text_with_the_detectors_boxes_too() -> None:
    credited = predicted("paper", [wrote("cat", CAT)], [Detection("cat", FISH, 0.9), Detection("dog", DOG, 0.8)])
    assert credited.boxes.tolist() == [list(CAT), list(FISH), list(DOG)]
    assert credited.credits.tolist() == [1, 1, 1]


def test_strict_credits_the_detector_only_for_phrases_without_a_box() -> None:
    mentions = [wrote("A Cat.", CAT), wrote("dog", None)]
    detections = [Detection("a cat", FISH, 0.9), Detection("dog", DOG, 0.8)]
    credited = predicted("strict", mentions, detections, 0.25)
    assert credited.boxes.tolist() == [list(CAT), list(DOG)]
    assert credited.credits.tolist() == [1, 0.25]


def test_strict_lets_no_stripped_box_be_made_up_for() -> None:
    mentions, detections = [wrote("cat", FISH)], [Detection("cat", CAT, 0.9)]
    credited = predictions("strict", [], mentions, detections, ungrounded_credit=1.0)
    assert credited.boxes.shape == (0, 4)


def test_strict_takes_boxes_without_a_phrase_for_all_of_the_text() -> None:
    nameless = Mention(None, CAT, "ok", "", (0, 5))
    assert predicted("strict", [nameless], [Detection("a dog runs", DOG, 0.9)], 1.0).boxes.tolist() == [list(CAT)]


def test_a_credit_scales_what_a_box_recovers() -> None:
    gt, boxes = [DOG, CAT], [(0, 0, 10, 8), CAT]
    assert localization_score(gt, boxes, credits=[0.5, 1]) == pytest.approx((0.5 * 0.8 + 1) / 2)
    assert localization_score(gt, boxes, credits=[0.5, 1], binary=True) == pytest.approx((0.5 + 1) / 2)
    assert localization_score(gt, boxes, credits=[0, 0]) == 0


def test_a_box_of_full_credit_beats_a_nearer_one_of_none() -> None:
    assert localization_score([DOG], [DOG, (0, 0, 10, 6)], credits=[0, 1]) == pytest.approx(0.6)


def test_the_detector_adds_what_is_not_annotated_once_for_all_texts() -> None:
    first = [Detection("dog", (0, 0, 10, 8), 0.9), Detection("fish", FISH, 0.6)]
    second = [Detection("a fish", (40, 0, 50, 9), 0.8), Detection("a cat", (20, 0, 30, 4), 0.5)]
    # The dog overlaps its annotation by 0.8; both fish are one (IoU 0.9), the better stays; 0.4 of the cat is another thing.
    added = detected_objects([DOG, CAT], [first, second], 0.7)
    assert added.tolist() == [[40, 0, 50, 9], [20, 0, 30, 4]]
    assert detected_objects([DOG], [[], []], 0.7).shape == (0, 4)
    assert detected_objects([], [first], 0.7).tolist() == [[0, 0, 10, 8], list(FISH)]


def test_inside_is_the_share_of_the_box_that_the_region_covers() -> None:
    half_out = Detection("dog", (90, 0, 110, 10), 0.9)
    assert inside((0, 0, 100, 100), [half_out], 0.5) == (half_out,)
    assert inside((0, 0, 100, 100), [half_out], 0.51) == ()
    assert inside((0, 0, 1, 1), [], 0.5) == ()


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
