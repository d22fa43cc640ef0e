"""REC: accuracy that a pencil can check, and which box of an answer counts."""

from __future__ import annotations

import numpy as np
import pytest
from bracket_dialect import Bracket

from spr.evaluation.rec import Rec, rec_accuracy
from spr.items import Answer, Question, RecItem
from spr.records import Prediction

NAN = (float("nan"),) * 4
SQUARE = (0.0, 0.0, 10.0, 10.0)


def test_accuracy_at_each_threshold() -> None:
    # IoUs with the unit square of 10 x 10: 1, 0.9, 0.6, and an answer without a box.
    predicted = [SQUARE, (0, 0, 10, 9), (0, 0, 6, 10), NAN]
    found = rec_accuracy(predicted, [SQUARE] * 4)
    assert found["acc"] == {"0.5": 75, "0.6": 75, "0.7": 50, "0.8": 50, "0.9": 50}
    assert found["mean_acc"] == 60
    assert found["mean_iou"] == pytest.approx((1 + 0.9 + 0.6) / 4)


def test_an_iou_equal_to_the_threshold_counts() -> None:
    assert rec_accuracy([(0, 0, 10, 5)], [SQUARE], [0.5])["acc"] == {"0.5": 100}


def test_rows_are_aligned_not_matched() -> None:
    swapped = [(20, 20, 30, 30), SQUARE]
    assert rec_accuracy(swapped, swapped[::-1])["acc"]["0.5"] == 0


def test_thresholds_are_an_option() -> None:
    assert rec_accuracy([(0, 0, 10, 9)], [SQUARE], [0.25, 0.95])["acc"] == {"0.25": 100, "0.95": 0}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("box", [NAN, (10, 10, 0, 0), (5, 5, 5, 5), (float("inf"),) * 4, (0, 0, float("inf"), 10)])
def test_what_is_no_box_is_wrong(box: tuple[float, ...]) -> None:
    found = rec_accuracy([box], [SQUARE])
    assert set(found["acc"].values()) == {0}
    assert found["mean_iou"] == 0


def test_nothing_asked_is_nan_never_zero() -> None:
    found = rec_accuracy([], [])
    assert np.isnan([*found["acc"].values(), found["mean_acc"], found["mean_iou"]]).all()


@pytest.mark.parametrize("truth", [NAN, (0, 0, 0, 5), (5, 5, 1, 9)])
def test_ground_truth_must_be_a_box(truth: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="ground-truth box 1 is"):
        rec_accuracy([SQUARE, SQUARE], [SQUARE, truth])


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="1 boxes against 2"):
        rec_accuracy([SQUARE], [SQUARE, SQUARE])


def item(name: str, box: tuple[float, ...] = SQUARE, category: str = "") -> RecItem:
    x0, y0, x1, y1 = box
    return RecItem(f"1-{name}", "1.png", 640, 480, name, (x0, y0, x1, y1), category)


def judged(bracket: Bracket, answer: str, one: RecItem | None = None, ended: str = "stop") -> Prediction:
    one = one or item("the cup")
    (found,) = Rec().score(one, Answer(one.item_id, answer, ended), bracket)
    return found


def test_the_question_is_in_the_models_own_words(bracket: Bracket) -> None:
    found = Rec().ask(item("the left cup"), bracket)
    assert found == Question("1-the left cup", "1.png", 640, 480, "Where is the left cup?")


def test_the_first_box_of_the_answer_counts(bracket: Bracket) -> None:
    found = judged(bracket, "cup [0, 0, 10, 9], or a cup [0, 0, 10, 10]")
    assert (found.box, found.status, found.iou) == ((0, 0, 10, 9), "ok", pytest.approx(0.9))
    assert (found.task, found.item_id, found.cluster) == ("rec", "1-the cup", "1.png")
    assert found.payload == {"boxes": 2, "cut_off": 0}


def test_a_prediction_says_what_was_asked_of_which_photo_and_what_is_right(bracket: Bracket) -> None:
    found = judged(bracket, "cup [0, 0, 10, 9]")
    assert found.answer == "cup [0, 0, 10, 9]"
    assert (found.question, found.path, found.size, found.truth) == ("the cup", "1.png", (640, 480), (SQUARE,))


def test_a_first_box_that_cannot_be_read_is_not_forgiven(bracket: Bracket) -> None:
    found = judged(bracket, "cup [9, 0, 1, 9], no: cup [0, 0, 10, 10]")
    assert (found.box, found.status, found.iou) == (None, "unreadable", 0)


def test_an_answer_without_a_box_is_wrong_and_says_none(bracket: Bracket) -> None:
    found = judged(bracket, "there is no cup here, but ...", ended="length")
    assert (found.box, found.status, found.iou, found.payload["cut_off"]) == (None, "none", 0, 1)


@pytest.mark.parametrize(
    ("box", "size"),
    [
        ((0, 0, 32, 31.9), "small"),
        ((0, 0, 32, 32), "medium"),  # COCO's limits: 32 x 32 is no longer small, 96 x 96 no longer medium.
        ((0, 0, 96, 95.9), "medium"),
        ((0, 0, 96, 96), "large"),
    ],
)
def test_objects_are_grouped_by_their_area_in_pixels(bracket: Bracket, box: tuple[float, ...], size: str) -> None:
    assert judged(bracket, "", item("the cup", box)).groups["size"] == size


@pytest.mark.parametrize(
    ("words", "length"),
    [
        (1, "1-3 words"),
        (3, "1-3 words"),
        (4, "4-6 words"),
        (6, "4-6 words"),
        (7, "7-9 words"),
        (9, "7-9 words"),
        (10, "10 words and more"),
    ],
)
def test_expressions_are_grouped_by_their_length(bracket: Bracket, words: int, length: str) -> None:
    assert judged(bracket, "", item(" ".join(["cup"] * words))).groups["length"] == length


def test_a_category_groups_only_where_the_file_tells_it(bracket: Bracket) -> None:
    assert set(judged(bracket, "").groups) == {"size", "length"}
    assert judged(bracket, "", item("the cup", category="mug")).groups["category"] == "mug"


def test_the_columns_are_the_accuracies_their_mean_and_the_iou(bracket: Bracket) -> None:
    found = Rec().columns([judged(bracket, "cup [0, 0, 10, 6]"), judged(bracket, "nothing")])
    # IoU 0.6 reaches two of the five thresholds.
    assert found.tolist() == [[100, 100, 0, 0, 0, 40, 0.6], [0] * 7]
    assert Rec().quantities(found.sum(axis=0)[None], np.asarray([2.0]))[0].tolist() == [50, 50, 0, 0, 0, 20, 0.3]


def test_right_answers_are_told_at_every_threshold(bracket: Bracket) -> None:
    rights = Rec().rights([judged(bracket, "cup [0, 0, 10, 6]"), judged(bracket, "nothing")])
    assert {key: right.tolist() for key, right in rights.items()} == {
        "acc/0.5": [True, False],
        "acc/0.6": [True, False],
        "acc/0.7": [False, False],
        "acc/0.8": [False, False],
        "acc/0.9": [False, False],
    }
