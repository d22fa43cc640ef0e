"""A category that one object of an image has, and no other, refers to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from spr.errors import DataError
from spr.items import RecItem
from spr.sources.expressions import read_rec

BOXES = [("dog", [10, 20, 30, 40], 0), ("cup", [0, 0, 20, 20], 0), ("cup", [50, 50, 20, 20], 0), ("kite", [60, 0, 20, 30], 0)]


def write(folder: Path, boxes: list[Any]) -> Path:
    names = ["dog", "cup", "kite"]
    content = {
        "images": [{"id": 7, "file_name": "a.png", "width": 100, "height": 80}],
        "annotations": [
            {"id": n, "image_id": 7, "category_id": names.index(name), "bbox": box, "iscrowd": crowd}
            for n, (name, box, crowd) in enumerate(boxes)
        ],
        "categories": [{"id": n, "name": name} for n, name in enumerate(names)],
    }
    (folder / "a.png").touch()
    (folder / "coco.json").write_text(json.dumps(content))
    return folder / "coco.json"


def test_a_name_that_stands_alone_refers(tmp_path: Path) -> None:
    found = read_rec(write(tmp_path, BOXES), tmp_path)
    assert found.items == (
        RecItem("7-0", "a.png", 100, 80, "dog", (10, 20, 40, 60), "dog"),
        RecItem("7-3", "a.png", 100, 80, "kite", (60, 0, 80, 30), "kite"),
    )


def test_crowds_do_not_count_and_small_objects_do(tmp_path: Path) -> None:
    found = read_rec(write(tmp_path, [*BOXES, ("dog", [0, 0, 90, 70], 1), ("kite", [0, 0, 0.5, 1], 0)]), tmp_path)
    assert [item.expression for item in found.items] == ["dog"]


def test_a_limit_takes_the_first_names(tmp_path: Path) -> None:
    found = read_rec(write(tmp_path, BOXES), tmp_path, limit=1)
    assert ([item.expression for item in found.items], found.total) == (["dog"], 2)
    assert found.notes[1] == "coco.json: subset of 2, the first 1 expressions"


def test_where_no_name_stands_alone_there_is_no_reference(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"coco\.json holds no usable reference: no name stands alone; name a file"):
        read_rec(write(tmp_path, BOXES[1:3]), tmp_path)


def test_a_real_coco_file_is_a_source_of_references(real_data: Path) -> None:
    folder = real_data / "coco_train128"
    found = read_rec(folder / "instances.json", folder / "images")
    content = json.loads((folder / "instances.json").read_text())
    real = [(one["image_id"], one["category_id"]) for one in content["annotations"] if not one["iscrowd"]]
    assert len(found.items) == sum(real.count(pair) == 1 for pair in real)
    assert found.missing == ()
