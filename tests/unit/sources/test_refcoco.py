"""The per-expression json: one item a row, strict rows, and all that makes a result incomparable said beforehand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spr.errors import DataError
from spr.items import CaptionItem, RecItem
from spr.sources.expressions import read_captions, read_rec
from spr.sources.reading import Reading
from spr.sources.referred import OFFICIAL_COUNTS, OFFICIAL_REGIONS

ROW: dict[str, Any] = {
    "img_id": "COCO_train2014_000000533220_1954731",
    "sents": " a bush behind the woman ",
    "bbox": [285.04, 23.29, 139.74, 123.11],
    "height": 427,
    "width": 640,
}
Read = Callable[..., Reading[RecItem]]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Write rows (or raw bytes) beside an image root that holds the first row's image, and read them."""
    (tmp_path / "COCO_train2014_000000533220.jpg").touch()

    def reading(rows: Any, limit: int | None = None, name: str = "rows.json", how: Any = read_rec) -> Any:
        (tmp_path / name).write_bytes(rows if isinstance(rows, bytes) else json.dumps(rows).encode())
        return how(tmp_path / name, tmp_path, limit)

    return reading


def test_a_row_becomes_an_item(read: Read) -> None:
    found = read([ROW])
    (item,) = found.items
    assert (item.item_id, item.path) == ("COCO_train2014_000000533220_1954731-0", "COCO_train2014_000000533220.jpg")
    assert (item.expression, item.size, item.category) == ("a bush behind the woman", (640, 427), "")
    assert item.box == pytest.approx((285.04, 23.29, 424.78, 146.40))
    assert found.notes == ()


def test_the_file_name_wins_over_the_img_id(read: Read, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "tiny_000000012.png").touch()
    row = ROW | {"img_id": "tiny_000000012_3", "file_name": "images/tiny_000000012.png"}
    assert read([row]).items[0].path == "images/tiny_000000012.png"


def test_expressions_of_one_object_have_ids_of_their_own(read: Read) -> None:
    ids = [item.item_id for item in read([ROW, ROW | {"sents": "another"}]).items]
    assert ids == [f"{ROW['img_id']}-0", f"{ROW['img_id']}-1"]


def test_a_limit_is_said_aloud(read: Read) -> None:
    found = read([ROW] * 5, limit=2)
    assert (len(found.items), found.total) == (2, 5)
    assert found.notes == ("rows.json: subset of 5, the first 2 expressions",)
    assert read([ROW] * 5, limit=5).notes == ()


def test_another_count_than_the_official_one_is_said_with_both(read: Read) -> None:
    (note,) = read([ROW] * 3, name="refcoco+_testA.json").notes
    assert "holds 3 expressions; the official split has 5726" in note
    (note,) = read([ROW] * 3, name="refcoco+_testA.json", how=read_captions).notes
    assert "holds 1 regions; the official split has 1975" in note


def test_missing_images_are_listed_once_with_a_count(read: Read) -> None:
    gone = ROW | {"img_id": "COCO_train2014_000000000007_1"}
    found = read([ROW, gone, gone])
    assert found.missing == ("COCO_train2014_000000000007.jpg",)
    assert found.notes == (
        "rows.json: 1 images are missing, 2 expressions are dropped with them: COCO_train2014_000000000007.jpg",
    )
    assert len(found.items) == 3


def test_an_img_id_is_a_region_with_all_its_expressions(read: Read) -> None:
    other = ROW | {"img_id": "COCO_train2014_000000533220_8", "sents": "the sky", "bbox": [0, 0, 640, 20]}
    found = read([ROW, other, ROW | {"sents": "green leaves"}], how=read_captions)
    box = (285.04, 23.29, 285.04 + 139.74, 23.29 + 123.11)
    assert found.items == (
        CaptionItem(
            ROW["img_id"], "COCO_train2014_000000533220.jpg", 640, 427, box, ("a bush behind the woman", "green leaves")
        ),
        CaptionItem(other["img_id"], "COCO_train2014_000000533220.jpg", 640, 427, (0, 0, 640, 20), ("the sky",)),
    )


def test_a_limit_of_regions_keeps_every_expression_of_those_it_keeps(read: Read) -> None:
    other = ROW | {"img_id": "COCO_train2014_000000533220_8", "sents": "the sky"}
    found = read([ROW, other, ROW | {"sents": "green leaves"}], limit=1, how=read_captions)
    assert [(item.item_id, item.references) for item in found.items] == [
        (ROW["img_id"], ("a bush behind the woman", "green leaves"))
    ]
    assert (found.total, found.notes) == (2, ("rows.json: subset of 2, the first 1 regions",))


def test_a_region_with_two_boxes_is_refused(read: Read) -> None:
    with pytest.raises(DataError, match=r"1954731-0 and .*1954731-1 name region .* with different images or boxes"):
        read([ROW, ROW | {"bbox": [1, 2, 3, 4]}], how=read_captions)


def sentence(read: Read, rows: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(rows)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"img_id": "image_7"}, "img_id 'image_7', which names no COCO 2014 image; give the row a file_name"),
        ({"img_id": None}, "img_id None; it must be a text"),
        ({"sents": " "}, "sents ' '; it must be a text"),
        ({"sents": ["a", "b"]}, "it must be a text"),
        ({"sents": "\ud800"}, "sents '\\ud800'; it must be a text"),
        ({"bbox": [1, 2, 3]}, "bbox [1, 2, 3]; it must be"),
        ({"bbox": [1, 2, 0, 4]}, "with a positive area"),
        ({"bbox": [1, 2, 1e-30, 4]}, "with a positive area"),
        ({"bbox": [1, 2, float("nan"), 4]}, "with a positive area"),
        ({"bbox": [1, 2, 10**400, 4]}, "with a positive area"),
        ({"bbox": None}, "bbox None"),
        ({"bbox": [640, 2, 3, 4]}, "the box (640, 2, 643, 6), which lies outside its image of 640 x 427 pixels"),
        ({"bbox": [-9, 2, 3, 4]}, "the box (-9, 2, -6, 6), which lies outside"),
        ({"width": "640"}, "width '640'; it must be the image's width in pixels"),
        ({"height": 0}, "height 0"),
        ({"height": 10**4000}, "height 1000"),
        ({"file_name": "../x.jpg"}, "an image is refused, image_outside_root"),
        ({"file_name": 5}, "file_name 5"),
        ({"file_name": "none.jpg"}, "none of its 1 images is under"),
    ],
)
def test_a_bad_row_is_refused_by_its_number(read: Read, changes: dict[str, Any], said: str) -> None:
    assert said in sentence(read, [ROW | changes])


def test_a_box_may_reach_over_the_edge(read: Read) -> None:
    assert read([ROW | {"bbox": [-1, -2, 700, 500]}]).items[0].box == (-1, -2, 699, 498)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "holds an empty list"),
        ({"a": 1}, "holds {'a': 1}, no referring expressions; known are"),
        (["x"], "row 0 is no object"),
        (b'[{"img_id": "COC', "is cut off"),
        (b"", "is empty"),
    ],
)
def test_what_is_no_such_list_is_refused(read: Read, rows: Any, said: str) -> None:
    assert said in sentence(read, rows)


def test_a_missing_image_root_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere is not a directory"):
        read_rec(tmp_path / "rows.json", tmp_path / "nowhere")


@pytest.mark.parametrize("split", ["refcoco_val", "refcoco+_val", "refcocog_val"])
def test_the_official_files_hold_the_official_counts(real_data: Path, tmp_path: Path, split: str) -> None:
    file = real_data / "refcoco_eval_json" / f"{split}.json"
    first = json.loads(file.read_text())[0]["img_id"]
    (tmp_path / f"{first.rpartition('_')[0]}.jpg").touch()
    found = read_rec(file, tmp_path)
    assert len(found.items) == found.total == OFFICIAL_COUNTS[split]
    assert len({item.item_id for item in found.items}) == len(found.items)
    (note,) = found.notes
    assert "images are missing" in note
    regions = read_captions(file, tmp_path)
    assert len(regions.items) == regions.total == OFFICIAL_REGIONS[split]
    assert sum(len(item.references) for item in regions.items) == OFFICIAL_COUNTS[split]


def test_real_expressions_on_real_photos(real_data: Path, tmp_path: Path) -> None:
    slices = json.loads((real_data / "slices" / "refcoco_on_coco_train128.json").read_text())
    rows = [row for split in slices.values() for row in split]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    found = read_rec(tmp_path / "rows.json", real_data / "coco_train128" / "images")
    assert (len(found.items), found.missing, found.notes) == (30, (), ())
    assert all(isinstance(item, RecItem) and item.box[2] <= item.width + 1 for item in found.items)
