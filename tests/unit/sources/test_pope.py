"""POPE: one yes/no question a line, sizes from the photos, and what makes a result incomparable said beforehand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from spr.errors import DataError
from spr.items import YesNoItem
from spr.sources.pope import read_pope
from spr.sources.reading import Reading

ROW: dict[str, Any] = {"question_id": 7, "image": "cat.png", "text": "Is there a cat in the image?", "label": "yes"}

Read = Callable[..., Reading[YesNoItem]]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Write rows beside a photo of 6 x 4 pixels and read them."""
    Image.new("RGB", (6, 4)).save(tmp_path / "cat.png")

    def read(rows: list[dict[str, Any]], limit: int | None = None, name: str = "rows.json") -> Reading[YesNoItem]:
        (tmp_path / name).write_text("\n".join(json.dumps(row) for row in rows))
        return read_pope(tmp_path / name, tmp_path, limit)

    return read


def test_a_line_becomes_an_item(read: Read) -> None:
    (item,) = read([ROW]).items
    assert item == YesNoItem("7", "cat.png", 6, 4, "Is there a cat in the image?", "yes")


def test_a_missing_photo_has_no_size_and_is_said(read: Read) -> None:
    found = read([ROW, ROW | {"question_id": 8, "image": "dog.png"}])
    assert found.items[1].size == (0, 0)
    assert found.missing == ("dog.png",)
    assert found.notes == ("rows.json: 1 images are missing, 1 questions are dropped with them: dog.png",)


def test_a_limit_is_said_aloud(read: Read) -> None:
    found = read([ROW | {"question_id": number} for number in range(5)], limit=2)
    assert [item.item_id for item in found.items] == ["0", "1"]
    assert found.total == 5
    assert found.notes == ("rows.json: subset of 5, the first 2 questions",)


def test_an_official_name_stands_for_a_count_and_a_balance(read: Read) -> None:
    balance, count = read([ROW], name="coco_pope_Popular.json").notes
    assert "holds 1 yes and 0 no; the official split has equally many" in balance
    assert "holds 1 questions; the official split has 3000" in count


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"label": "Yes"}, ":2 has label 'Yes'; it must be yes or no"),
        ({"label": None}, ":2 has label None; it must be a text"),
        ({"text": " "}, ":2 has text ' '"),
        ({"image": 5}, ":2 has image 5"),
        ({"image": "../cat.png"}, "an image is refused, image_outside_root"),
        ({"question_id": None}, ":2 has question_id None"),
        ({"question_id": 7}, "questions 0 and 1 have one id, 7"),
    ],
)
def test_a_bad_line_is_refused_by_its_number_even_beyond_a_limit(read: Read, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError) as caught:
        read([ROW, ROW | {"question_id": 8} | changes], None if "one id" in said else 1)
    assert said in str(caught.value)


def test_a_json_list_is_told_from_json_lines(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text(json.dumps([ROW]))
    with pytest.raises(DataError, match=r"is one json document \(list\), not json lines"):
        read_pope(tmp_path / "rows.json", tmp_path)


def test_a_missing_image_root_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere is not a directory"):
        read_pope(tmp_path / "rows.json", tmp_path / "nowhere")


def test_the_official_file(real_data: Path, tmp_path: Path) -> None:
    Image.new("RGB", (640, 480)).save(tmp_path / "COCO_val2014_000000310196.jpg")
    found = read_pope(real_data / "pope" / "coco_pope_random.json", tmp_path)
    assert len(found.items) == found.total == 3000
    assert sum(item.label == "yes" for item in found.items) == 1500
    assert len(found.missing) == 499
    assert len(found.notes) == 1
    assert found.items[0] == YesNoItem(
        "1", "COCO_val2014_000000310196.jpg", 640, 480, "Is there a snowboard in the image?", "yes"
    )
