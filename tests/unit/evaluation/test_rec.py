"""REC: accuracy that a pencil can check, and which box of an answer counts."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spr.errors import ModelError
from spr.evaluation.rec import RecStage, rec_accuracy
from spr.recipe import Evaluation, Model
from spr.records import Dropped, Prediction, RecItem

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


def item(name: str, image: str = "1", box: tuple[float, ...] = SQUARE) -> RecItem:
    x0, y0, x1, y1 = box
    return RecItem(f"{image}-{name}", f"{image}.png", 100, 50, name, (x0, y0, x1, y1))


def predictions(rec_stage: Any, *pairs: tuple[str, str]) -> list[Prediction]:
    stage, _ = rec_stage({f"Where is {name}?": answer for name, answer in pairs})
    return list(stage.process([item(name) for name, _ in pairs]))


def test_the_first_box_of_the_answer_counts(rec_stage: Any) -> None:
    (found,) = predictions(rec_stage, ("the cup", "cup [0, 0, 10, 9], or a cup [0, 0, 10, 10]"))
    assert (found.box, found.status, found.iou) == ((0, 0, 10, 9), "ok", pytest.approx(0.9))
    assert (found.task, found.item_id, found.cluster) == ("rec", "1-the cup", "1.png")
    assert found.payload == {"gt_x0": 0, "gt_y0": 0, "gt_x1": 10, "gt_y1": 10, "boxes": 2, "cut_off": 0}


def test_a_first_box_that_cannot_be_read_is_not_forgiven(rec_stage: Any) -> None:
    (found,) = predictions(rec_stage, ("the cup", "cup [9, 0, 1, 9], no: cup [0, 0, 10, 10]"))
    assert (found.box, found.status, found.iou) == (None, "unreadable", 0)


def test_an_answer_without_a_box_is_wrong_and_says_none(rec_stage: Any) -> None:
    (found,) = predictions(rec_stage, ("the cup", "there is no cup here, but ..."))
    assert (found.box, found.status, found.iou, found.payload["cut_off"]) == (None, "none", 0, 1)


def test_items_keep_their_order_and_those_without_a_photo_are_dropped(rec_stage: Any) -> None:
    stage, model = rec_stage({"Where is b?": "b [0, 0, 10, 10]"})
    items = [item("a"), item("x", "3"), item("b", "2"), item("c", "2"), item("d")]
    found = list(stage.process(items))
    assert [row.row_id if isinstance(row, Dropped) else row.item_id for row in found] == [one.item_id for one in items]
    assert found[1] == Dropped("3-x", "rec", "image_missing")
    assert found[2].iou == 1
    assert [len(requests) for requests, _ in model.asked] == [1, 2, 1]


def test_expressions_of_one_photo_share_its_decoding(rec_stage: Any) -> None:
    stage, model = rec_stage({})
    list(stage.process([item("a"), item("b"), item("c"), item("d", "2")]))
    (first, second), (third, other) = (requests for requests, _ in model.asked)
    assert first.images[0] is second.images[0] is third.images[0]
    assert other.images[0] is not third.images[0]


def test_questions_are_greedy_and_in_the_models_own_words(rec_stage: Any) -> None:
    stage, model = rec_stage({})
    list(stage.process([item("the left cup")]))
    ((request,), sampling) = model.asked[0]
    assert request.prompt == "Where is the left cup?"
    assert (sampling.temperature, sampling.max_new_tokens, sampling.batch_size) == (0, 512, 2)


def test_notes_count_tokens_and_cut_off_answers_once(rec_stage: Any) -> None:
    stage, _ = rec_stage({"Where is a?": "on and on ..."})
    list(stage.process([item("a"), item("b")]))
    assert stage.notes() == {"completion_tokens": 5, "cut_off": 1}
    assert stage.notes() == {}


def test_ids(rec_stage: Any) -> None:
    stage, _ = rec_stage({})
    (found,) = stage.process([item("a")])
    assert stage.row_id(item("a")) == stage.parent_id(found) == "1-a"


def test_the_key_knows_weights_and_adapter_by_content_and_not_by_place(tmp_path: Path) -> None:
    def part(place: str, weights: bytes, adapter: bytes | None) -> dict[str, Any]:
        folder = tmp_path / place / "model"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.safetensors").write_bytes(weights)
        tuned = None
        if adapter is not None:
            tuned = tmp_path / place / "adapter"
            tuned.mkdir(exist_ok=True)
            (tuned / "adapter_model.safetensors").write_bytes(adapter)
        model = Model(name=str(folder), dialect="tiny")
        return RecStage(model, Evaluation(), tmp_path, tuned).recipe_part

    base = part("a", b"1", None)
    assert part("b", b"1", None) == base
    assert part("c", b"2", None) != base
    assert part("d", b"1", b"x") != base
    assert part("d", b"1", b"y") != part("e", b"1", b"x")


def test_a_stage_that_was_not_set_up_says_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="call setup first"):
        RecStage(Model(name="m", dialect="tiny"), Evaluation(), tmp_path).prompt(item("a"))


def test_a_stage_travels_to_a_worker_before_it_is_set_up(tmp_path: Path) -> None:
    stage = RecStage(Model(name="m", dialect="tiny"), Evaluation(), tmp_path)
    assert pickle.loads(pickle.dumps(stage)) == stage
