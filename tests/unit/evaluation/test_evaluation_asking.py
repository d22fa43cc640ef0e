"""Asking: one greedy answer a question, in order, photo by photo; what cannot be shown or is refused is dropped."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from spr.errors import ModelError
from spr.evaluation.asking import AskStage
from spr.items import Answer, Question
from spr.models.base import Generation
from spr.recipe import Evaluation, Model
from spr.records import Dropped


def question(name: str, image: str = "1", size: tuple[int, int] = (100, 50)) -> Question:
    return Question(f"{image}-{name}", f"{image}.png", *size, f"Where is {name}?")


def test_an_answer_is_the_models_own_words(ask_stage: Any) -> None:
    stage, _ = ask_stage({"Where is a?": "a [0, 0, 10, 10], or so ...", "Where is b?": "there"})
    cut, whole = stage.process([question("a"), question("b")])
    assert cut == Answer("1-a", "a [0, 0, 10, 10], or so ...", "length", 9, 8)
    assert whole == Answer("1-b", "there", "stop", 9, 1)


def test_questions_keep_their_order_and_those_without_a_photo_are_dropped(ask_stage: Any) -> None:
    stage, model = ask_stage({"Where is b?": "b [0, 0, 10, 10]"})
    asked = [question("a"), question("x", "3"), question("b", "2"), question("c", "2"), question("d")]
    found = list(stage.process(asked))
    assert [row.row_id if isinstance(row, Dropped) else row.item_id for row in found] == [one.item_id for one in asked]
    assert found[1] == Dropped("3-x", "rec", "image_missing")
    assert found[2].text == "b [0, 0, 10, 10]"
    assert [len(requests) for requests, _ in model.asked] == [1, 2, 1]


def test_what_is_dropped_is_counted_under_the_data_sets_name(ask_stage: Any) -> None:
    stage, _ = ask_stage({}, "rec/refcoco_val")
    assert list(stage.process([question("x", "3", (0, 0))])) == [Dropped("3-x", "rec/refcoco_val", "image_missing")]


def test_a_photo_of_another_size_than_the_file_states_is_dropped(ask_stage: Any) -> None:
    stage, model = ask_stage({})
    (found,) = stage.process([question("a", size=(100, 51))])
    assert isinstance(found, Dropped)
    assert found.reason == "size_mismatch"
    assert model.asked == []


def test_what_a_server_refuses_is_dropped_and_its_neighbours_are_kept(ask_stage: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    stage, model = ask_stage({})

    def refuses_the_second(requests: Sequence[Any], *_: Any) -> list[list[Generation]]:
        return [[Generation(request.prompt, "refused" if "b?" in request.prompt else "stop", 1, 1)] for request in requests]

    monkeypatch.setattr(model, "generate", refuses_the_second)
    found = list(stage.process([question("a"), question("b"), question("c")]))
    assert found[1] == Dropped("1-b", "rec", "refused")
    assert [row.item_id for row in (found[0], found[2])] == ["1-a", "1-c"]
    assert stage.notes() == {"completion_tokens": 2}


def test_questions_about_one_photo_share_its_decoding(ask_stage: Any) -> None:
    stage, model = ask_stage({})
    list(stage.process([question("a"), question("b"), question("c"), question("d", "2")]))
    (first, second), (third, other) = (requests for requests, _ in model.asked)
    assert first.images[0] is second.images[0] is third.images[0]
    assert other.images[0] is not third.images[0]


def test_questions_are_greedy_and_asked_as_they_are(ask_stage: Any) -> None:
    stage, model = ask_stage({})
    list(stage.process([question("the left cup")]))
    ((request,), sampling) = model.asked[0]
    assert request.prompt == "Where is the left cup?"
    assert (sampling.temperature, sampling.max_new_tokens, sampling.batch_size) == (0, 512, 2)


def test_notes_count_tokens_and_cut_off_answers_once(ask_stage: Any) -> None:
    stage, _ = ask_stage({"Where is a?": "on and on ..."})
    list(stage.process([question("a"), question("b")]))
    assert stage.notes() == {"completion_tokens": 5, "cut_off": 1}
    assert stage.notes() == {}


def test_ids(ask_stage: Any) -> None:
    stage, _ = ask_stage({})
    (found,) = stage.process([question("a")])
    assert stage.row_id(question("a")) == stage.parent_id(found) == "1-a"


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
        return AskStage("rec", model, Evaluation(), tmp_path, tuned).recipe_part

    base = part("a", b"1", None)
    assert part("b", b"1", None) == base
    assert part("c", b"2", None) != base
    assert part("d", b"1", b"x") != base
    assert part("d", b"1", b"y") != part("e", b"1", b"x")


def test_what_is_counted_afterwards_is_no_part_of_an_answers_key(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "model.safetensors").write_bytes(b"1")

    def part(**changes: Any) -> dict[str, Any]:
        return AskStage("rec", Model(name=str(tmp_path / "m"), dialect="ferret"), Evaluation(**changes), tmp_path).recipe_part

    assert part(bootstrap=500, protocol="ferret") == part()
    assert part(max_new_tokens=64) != part()
    assert part(batch_size=4) != part()


def test_a_stage_that_was_not_set_up_says_so(tmp_path: Path) -> None:
    stage = AskStage("rec/val", Model(name="m", dialect="tiny"), Evaluation(), tmp_path)
    with pytest.raises(ModelError, match="rec/val: the model is not loaded; call setup first"):
        list(stage.process([question("a")]))


def test_a_stage_travels_to_a_worker_before_it_is_set_up(tmp_path: Path) -> None:
    stage = AskStage("rec", Model(name="m", dialect="tiny"), Evaluation(), tmp_path)
    assert pickle.loads(pickle.dumps(stage)) == stage
