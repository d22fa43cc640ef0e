"""Ferret-Bench: three folders as one set, boxes in pixels of the photo, questions ready for a dialect to fill."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from spr.errors import DataError
from spr.items import BenchItem
from spr.models import dialects
from spr.sources.ferret_bench import FOLDERS, read_ferret_bench

CATEGORIES = {"ground_conv": "ground_conv", "refer_caption": "refer_desc", "refer_reason": "refer_reason"}
TEXTS = {"question": "What is in [0.25, 0.5, 0.75, 1.000]?", "answer": "A dog [0.1, 0.2].", "context": "Objects: {dog}"}


def bench(folder: Path, count: int = 1, **changes: Any) -> Path:
    """A small bench beside a photo of 640 x 480 pixels; `changes` replace values of refer_caption's first question."""
    Image.new("RGB", (640, 480)).save(folder / "dog.png")
    for name in FOLDERS:
        (folder / name).mkdir(exist_ok=True)
        for kind, text in TEXTS.items():
            rows = [
                {"question_id": number, "image": "dog.png", "category": CATEGORIES[name], "text": text}
                for number in range(count)
            ]
            if (name, kind) == ("refer_caption", "question"):
                rows[0] |= changes
            (folder / name / f"{kind}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    rules = {category: {"role": "Assistant", "prompt": f"Judge {category}."} for category in CATEGORIES.values()}
    (folder / "rule.json").write_text(json.dumps(rules))
    return folder


def test_a_question_becomes_an_item(tmp_path: Path) -> None:
    assert read_ferret_bench(bench(tmp_path), tmp_path).items[1] == BenchItem(
        item_id="refer_desc-0",
        path="dog.png",
        width=640,
        height=480,
        category="refer_desc",
        question="What is in {0}?",
        regions=((160.0, 240.0, 480.0, 480.0),),
        reference="A dog [0.1, 0.2].",
        context="Objects: {dog}",
        text="What is in [0.25, 0.5, 0.75, 1.000]?",
        role="Assistant",
        rule="Judge refer_desc.",
    )


def test_boxes_are_counted_and_braces_survive(tmp_path: Path) -> None:
    text = "Is {a} [0,0,.5,.5] on [0.5, 0, 1, 1] or [0, 0, 0.5, 0.5]}? "
    item = read_ferret_bench(bench(tmp_path, text=text), tmp_path).items[1]
    assert item.question == "Is {{a}} {0} on {1} or {2}}}? "
    assert item.question.format("A", "B", "C") == "Is {a} A on B or C}? "
    assert item.regions == ((0, 0, 320, 240), (320, 0, 640, 480), (0, 0, 320, 240))


def test_the_kinds_take_turns_so_that_a_limit_has_all_of_them(tmp_path: Path) -> None:
    found = read_ferret_bench(bench(tmp_path, 3), tmp_path, limit=4)
    assert [item.item_id for item in found.items] == ["ground_conv-0", "refer_desc-0", "refer_reason-0", "ground_conv-1"]
    assert found.total == 9
    assert f"{tmp_path.name}: subset of 9, the first 4 questions" in found.notes


def test_another_count_than_forty_is_said_for_each_folder(tmp_path: Path) -> None:
    notes = read_ferret_bench(bench(tmp_path, 2), tmp_path).notes
    assert len(notes) == 3
    assert "refer_reason holds 2 questions; the official set has 40: results are not comparable" in notes[2]
    assert read_ferret_bench(bench(tmp_path, 40), tmp_path).notes == ()


def test_a_missing_photo_leaves_empty_regions(tmp_path: Path) -> None:
    folder = bench(tmp_path)
    for kind in TEXTS:
        path = folder / "refer_caption" / f"{kind}.jsonl"
        path.write_text(path.read_text().replace("dog.png", "cat.png"))
    item = read_ferret_bench(folder, tmp_path).items[1]
    assert (item.size, item.regions, item.question) == ((0, 0), ((0, 0, 0, 0),), "What is in {0}?")


@pytest.mark.parametrize(("file", "old"), [("refer_reason/context.jsonl", "dog}"), ("rule.json", "Judge ground_conv")])
def test_the_digest_changes_with_any_of_the_ten_files(tmp_path: Path, file: str, old: str) -> None:
    before = read_ferret_bench(bench(tmp_path), tmp_path).digest
    path = tmp_path / file
    path.write_text(path.read_text().replace(old, "Other"))
    assert read_ferret_bench(tmp_path, tmp_path).digest != before


@pytest.mark.parametrize("rule", [None, {"role": "Assistant"}, {"role": 1, "prompt": "Judge."}, "Judge."])
def test_a_category_without_a_rule_is_one_sentence(tmp_path: Path, rule: Any) -> None:
    path = bench(tmp_path) / "rule.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"refer_desc": rule}))
    with pytest.raises(
        DataError, match=r"rule\.json has no role and prompt for refer_desc, the category of .*question\.jsonl:1;"
    ):
        read_ferret_bench(tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"text": "In [0.5, 0.5, 0.4, 1]?"}, "question.jsonl:1 has [0.5, 0.5, 0.4, 1] in its text; a bracket must hold a box"),
        ({"text": "In [10, 20, 30, 40]?"}, "in 0..1 of the photo"),
        ({"text": "In [0.1, 0.2, 0.3]?"}, "has [0.1, 0.2, 0.3] in its text"),
        ({"text": "In [sic]?"}, "has [sic] in its text"),
        ({"text": "In [nan, 0, 1, 1]?"}, "has [nan, 0, 1, 1] in its text"),
        ({"text": ""}, "question.jsonl:1 has text ''"),
        ({"category": 1}, "question.jsonl:1 has category 1"),
        ({"question_id": 9}, "question 9 is not in"),
        ({"question_id": 1}, "question.jsonl:1 and"),
        ({"image": "cat.png"}, "answer.jsonl:1 speaks of dog.png, its question of cat.png"),
    ],
)
def test_a_bad_question_is_one_sentence(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError) as caught:
        read_ferret_bench(bench(tmp_path, 2, **changes), tmp_path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    (bench(tmp_path) / "refer_reason" / "context.jsonl").unlink()
    with pytest.raises(DataError, match=r"refer_reason/context.jsonl: No such file"):
        read_ferret_bench(tmp_path, tmp_path)
    with pytest.raises(DataError, match="nowhere is not a directory"):
        read_ferret_bench(tmp_path, tmp_path / "nowhere")


@pytest.mark.parametrize("size", [(640, 480), (427, 640), (333, 500)])
def test_the_official_questions_reach_ferret_as_its_authors_write_them(
    real_data: Path, tmp_path: Path, size: tuple[int, int]
) -> None:
    folder = real_data / "ferret_bench"
    asked: dict[str, dict[str, Any]] = {}
    for name in FOLDERS:
        for line in (folder / name / "question.jsonl").read_text().splitlines():
            row = json.loads(line)
            asked[f"{row['category']}-{row['question_id']}"] = row
            Image.new("L", size).save(tmp_path / row["image"])
    found = read_ferret_bench(folder, tmp_path)
    assert (len(found.items), found.missing, found.notes) == (120, (), ())
    ferret = dialects.get("ferret")
    for item in found.items:
        # The authors cut fraction * 1000 to a whole number (model_gpt4eval_3newclass.py).
        wanted = re.sub(r"0?\.(\d{3})|1\.000", lambda number: str(int(number[1] or 1000)), asked[item.item_id]["text"])
        assert item.question.format(*(ferret.format(box, item.size) for box in item.regions)) == wanted
