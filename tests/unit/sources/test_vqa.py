"""GQA and TextVQA: one item a question with its answers, strict rows, sizes from the photos."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from spr.errors import DataError
from spr.items import VqaItem
from spr.sources.vqa import read_gqa, read_textvqa

GQA: dict[str, Any] = {
    "imageId": "n161313",
    "question": "Is it overcast?",
    "answer": "no",
    "types": {"structural": "verify", "semantic": "global", "detailed": "weatherVerify"},
    "isBalanced": True,
}
TEXTVQA: dict[str, Any] = {
    "question_id": 34602,
    "image_id": "003a8ae2ef43b901",
    "question": "what is the brand of this camera?",
    "answers": ["nous les gosses", "dakota", "", *["dakota"] * 7],
    "image_width": 1024,
    "image_height": 664,
}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("n161313.jpg", "003a8ae2ef43b901.jpg"):
        Image.new("RGB", (6, 4)).save(tmp_path / name)
    return tmp_path


def gqa(folder: Path, content: Any, limit: int | None = None, name: str = "questions.json") -> Any:
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return read_gqa(folder / name, folder, limit)


def textvqa(folder: Path, content: Any, limit: int | None = None, name: str = "questions.json") -> Any:
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return read_textvqa(folder / name, folder, limit)


def test_a_question_of_gqa_has_one_answer_and_its_structural_type(photos: Path) -> None:
    found = gqa(photos, {"201307251": GQA})
    assert found.items == (VqaItem("201307251", "n161313.jpg", 6, 4, "Is it overcast?", ("no",), "verify"),)
    assert found.notes == ()


def test_a_question_of_textvqa_has_ten_answers_and_the_size_of_the_photo_at_hand(photos: Path) -> None:
    found = textvqa(photos, {"data": [TEXTVQA]})
    answers = ("nous les gosses", "dakota", "", *["dakota"] * 7)
    assert found.items == (VqaItem("34602", "003a8ae2ef43b901.jpg", 6, 4, "what is the brand of this camera?", answers),)


def test_a_kind_is_not_needed(photos: Path) -> None:
    (item,) = gqa(photos, {"1": {key: value for key, value in GQA.items() if key != "types"}}).items
    assert item.kind == ""


def test_a_missing_photo_has_no_size(photos: Path) -> None:
    found = gqa(photos, {"1": GQA, "2": GQA | {"imageId": 3}})
    assert (found.items[1].path, found.items[1].size, found.missing) == ("3.jpg", (0, 0), ("3.jpg",))


def test_a_limit_reads_the_first_questions_only(photos: Path) -> None:
    found = gqa(photos, {"1": GQA, "2": GQA, "3": {}}, limit=2)
    assert (len(found.items), found.total, found.notes) == (2, 3, ("questions.json: subset of 3, the first 2 questions",))
    rows = [TEXTVQA, TEXTVQA | {"question_id": 34603}, {}]
    found = textvqa(photos, {"data": rows}, limit=2)
    assert ([item.item_id for item in found.items], found.total) == (["34602", "34603"], 3)


def test_official_names_stand_for_counts(photos: Path) -> None:
    assert "official split has 12578" in gqa(photos, {"1": GQA}, name="testdev_balanced_questions.json").notes[0]
    assert "official split has 5000" in textvqa(photos, {"data": [TEXTVQA]}, name="TextVQA_0.5.1_val.json").notes[0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"1": GQA | {"answer": 5}}, "question 1 has answer 5; it must be a text"),
        ({"1": {"imageId": "n1", "question": "?", "isBalanced": True}}, "has no answer, as in GQA's test and challenge sets"),
        ({"1": GQA | {"question": ""}}, "question 1 has question ''"),
        ({"1": GQA | {"imageId": None}}, "question 1 has imageId None"),
        ({"1": GQA | {"imageId": "../n161313"}}, "image_outside_root"),
        ({"1": GQA | {"types": {"structural": 1}}}, "it must be an object with structural"),
        ({"1": GQA | {"types": "verify"}}, "question 1 has types 'verify'"),
        ({"1": GQA | {"types": "x" * 500}}, "xxx...xxx"),
        ({"data": [GQA]}, "question data is list, not an object"),
        ([GQA], "holds list; GQA's questions are one object, question id -> question"),
        ({}, "holds no questions"),
        ({"1": GQA | {"imageId": "none"}}, "none of its 1 images is under"),
        (json.dumps({"1": GQA})[:40], "is cut off"),
        ('{"question_id": 1}\n{"question_id": 2}\n', "holds json lines; GQA's questions are one object"),
    ],
)
def test_what_is_no_gqa_is_one_sentence(photos: Path, content: Any, said: str) -> None:
    with pytest.raises(DataError) as caught:
        gqa(photos, content)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"data": [TEXTVQA | {"answers": ["a"] * 9}]}, "they must be a list of 10 texts"),
        (
            {"data": [TEXTVQA | {"answers": ["a"] * 11}]},
            "question 0 has answers ['a', 'a', 'a', 'a', 'a', 'a', ...]; they must be a list of 10 texts",
        ),
        ({"data": [TEXTVQA | {"answers": [{"answer": "a"}] * 10}]}, "they must be a list of 10 texts"),
        ({"data": [TEXTVQA | {"answers": ["\udc00"] * 10}]}, "they must be a list of 10 texts"),
        (
            {"data": [{key: value for key, value in TEXTVQA.items() if key != "answers"}]},
            "has no answers, as in TextVQA's test",
        ),
        ({"data": [TEXTVQA, TEXTVQA]}, "questions 0 and 1 have one id, 34602"),
        ({"data": ["x"]}, "question 0 is str, not an object"),
        ({"1": GQA}, "has data NoneType; TextVQA's questions are an object with a list under data"),
        ([TEXTVQA], "holds list; TextVQA's questions"),
        ('{"question_id": 1}\n{"question_id": 2}\n', "holds json lines; TextVQA's questions"),
    ],
)
def test_what_is_no_textvqa_is_one_sentence(photos: Path, content: Any, said: str) -> None:
    with pytest.raises(DataError) as caught:
        textvqa(photos, content)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("read", [read_gqa, read_textvqa])
def test_a_missing_image_root_is_named(tmp_path: Path, read: Any) -> None:
    with pytest.raises(DataError, match="nowhere is not a directory"):
        read(tmp_path / "questions.json", tmp_path / "nowhere")
