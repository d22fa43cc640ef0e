"""The COCO reader: what a file promises is what the scenes hold, and everything else is said or counted."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spr.errors import DataError
from spr.recipe import Queries, Source
from spr.records import Dropped, SceneObject
from spr.sources.coco import SceneReading, read_scenes, usable_box

Content = dict[str, Any]


def content(**changes: Any) -> Content:
    """Two images of 100 x 50; the first has two objects, the second one."""
    images = [{"id": n, "file_name": f"{n}.jpg", "width": 100, "height": 50} for n in (1, 2)]
    boxes = {11: (1, [10, 10, 20, 20]), 12: (1, [50, 5, 40, 40]), 13: (2, [0, 0, 100, 50])}
    annotations = [{"id": n, "image_id": i, "category_id": 7, "bbox": box, "iscrowd": 0} for n, (i, box) in boxes.items()]
    return {"images": images, "annotations": annotations, "categories": [{"id": 7, "name": "cup"}], **changes}


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., SceneReading]:
    """Write a file's content (a json value, or raw bytes) beside an empty image root, and read it."""

    def reading(value: Any, limit: int | None = None, **queries: Any) -> SceneReading:
        file = tmp_path / "a.json"
        file.write_bytes(value if isinstance(value, bytes) else json.dumps(value).encode())
        return read_scenes(Source(annotations=file, image_root=tmp_path, limit=limit), Queries(**queries))

    return reading


def annotated(read: Callable[..., SceneReading], **changes: Any) -> dict[str, int]:
    """The counts of a file with one good annotation and one changed one."""
    value = content()
    value["annotations"] = [value["annotations"][0], value["annotations"][1] | changes]
    return read(value).annotations


def test_scenes_hold_the_files_images_and_boxes_in_its_order(read: Callable[..., SceneReading]) -> None:
    found = read(content())
    assert [(s.image_id, s.path, s.size) for s in found.scenes] == [("1", "1.jpg", (100, 50)), ("2", "2.jpg", (100, 50))]
    assert found.scenes[0].objects == (SceneObject("11", "cup", (10, 10, 30, 30)), SceneObject("12", "cup", (50, 5, 90, 45)))
    assert found.annotations == {"usable": 3}
    assert found.dropped == ()


def test_the_digest_is_that_of_the_bytes(read: Callable[..., SceneReading]) -> None:
    raw = json.dumps(content()).encode()
    assert read(raw).digest == hashlib.sha256(raw).hexdigest()


def test_limit_takes_the_first_images_and_counts_the_annotations_beyond(read: Callable[..., SceneReading]) -> None:
    found = read(content(), limit=1)
    assert [scene.image_id for scene in found.scenes] == ["1"]
    assert found.annotations == {"usable": 2, "beyond_limit": 1}


def test_images_without_objects_stay(read: Callable[..., SceneReading]) -> None:
    value = content()
    value["annotations"] = value["annotations"][:2]
    assert read(value).scenes[1].objects == ()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"iscrowd": 1}, "iscrowd"),
        ({"isfake": 1}, "isfake"),
        ({"isreflected": 1}, "isreflected"),
        ({"category_id": 8}, "unknown_category"),
        ({"image_id": 9}, "unknown_image"),
        ({"id": 11}, "duplicate_annotation"),
        ({"bbox": [float("nan"), 0, 5, 5]}, "nan_box"),
        ({"bbox": [0, 0, float("inf"), 5]}, "nan_box"),
        ({"bbox": [0, 0, 10**400, 5]}, "nan_box"),
        ({"bbox": [9, 9, -5, 5]}, "negative_size"),
        ({"bbox": [9, 9, 5, 0]}, "zero_area"),
        ({"bbox": [99, 9, 50, 5]}, "out_of_bounds"),
        ({"bbox": [200, 200, 50, 50]}, "out_of_bounds"),
        ({"bbox": [-60, 9, 50, 5]}, "out_of_bounds"),
        ({"bbox": [9, 9, 1.5, 5]}, "too_small"),
        ({"bbox": [9, 9, 5]}, "malformed_box"),
        ({"bbox": None}, "malformed_box"),
        ({"bbox": ["9", 9, 5, 5]}, "malformed_box"),
        ({"bbox": [True, 9, 5, 5]}, "malformed_box"),
    ],
)
def test_an_annotation_that_cannot_serve_is_counted_under_its_reason(
    read: Callable[..., SceneReading], changes: Content, reason: str
) -> None:
    assert annotated(read, **changes) == {"usable": 1, reason: 1}


def test_boxes_are_clipped_to_the_image() -> None:
    assert usable_box([-5, 40, 20.5, 30], (100, 50), 2.0) == ((0, 40, 15.5, 50), None)


def test_no_smallest_side_still_leaves_no_empty_box() -> None:
    assert usable_box([100, 0, 5, 5], (100, 50), 0.0) == (None, "out_of_bounds")
    assert usable_box([0, 0, 0.01, 5], (100, 50), 0.0) == ((0, 0, 0.01, 5), None)


def test_objects365_is_read_like_the_official_file(read: Callable[..., SceneReading]) -> None:
    image = {"id": 420917, "file_name": "images/v1/patch8/objects365_v1_00420917.jpg", "width": 100, "height": 50}
    image |= {"license": 5, "url": ""}
    box = {"id": 1, "iscrowd": 0, "isfake": 0, "isreflected": 0, "area": 9.5, "image_id": 420917, "category_id": 25}
    value = content(images=[image], annotations=[box | {"bbox": [1, 2, 3, 3]}], categories=[{"id": 25, "name": "Moniter/TV"}])
    scene = read(value).scenes[0]
    assert scene.path == "patch8/objects365_v1_00420917.jpg"
    assert scene.objects[0].category == "Moniter/TV"


def test_objects365_in_its_official_folders_keeps_its_path(read: Callable[..., SceneReading], tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    image = {"id": 1, "file_name": "images/v2/patch16/objects365_v2_00908726.jpg", "width": 100, "height": 50}
    assert read(content(images=[image])).scenes[0].path == image["file_name"]


@pytest.mark.parametrize(
    "size",
    [
        {"width": None},
        {"width": 0},
        {"height": -5},
        {"height": "50"},
        {"width": float("nan")},
        {"width": 9.5},
        {"width": 10**400},
    ],
)
def test_an_image_without_a_size_is_dropped_with_its_annotations(read: Callable[..., SceneReading], size: Content) -> None:
    value = content()
    value["images"][0] |= size
    found = read(value)
    assert found.dropped == (Dropped("1", "source", "no_image_size"),)
    assert [scene.image_id for scene in found.scenes] == ["2"]
    assert found.annotations == {"usable": 1, "image_dropped": 2}


def test_text_ids_and_whole_floats_are_ids_too(read: Callable[..., SceneReading]) -> None:
    value = content()
    value["images"][0]["id"] = "a"
    value["annotations"] = [value["annotations"][0] | {"image_id": "a"}, value["annotations"][2] | {"image_id": 2.0}]
    assert [len(scene.objects) for scene in read(value).scenes] == [1, 1]


def sentence(read: Callable[..., SceneReading], value: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["../x.jpg", "/etc/passwd", "a/../../x.jpg", "..", "."])
def test_a_file_name_out_of_the_image_root_is_refused(read: Callable[..., SceneReading], name: str) -> None:
    value = content()
    value["images"][1]["file_name"] = name
    assert f"images[1] (id 2) has file_name {name!r}, which leads out of image_root" in sentence(read, value)


def test_a_file_name_that_only_wanders_is_fine(read: Callable[..., SceneReading]) -> None:
    value = content()
    value["images"][0]["file_name"] = "a/../b//1.jpg"
    assert read(value).scenes[0].path == "b/1.jpg"


@pytest.mark.parametrize("name", [None, "", 5, "a\0b", "\ud800"])
def test_an_image_without_a_file_name_is_refused(read: Callable[..., SceneReading], name: Any) -> None:
    value = content()
    value["images"][0]["file_name"] = name
    assert "images[0] (id 1) has file_name" in sentence(read, value)


def test_duplicate_image_ids_are_refused_with_both_places(read: Callable[..., SceneReading]) -> None:
    value = content()
    value["images"][1]["id"] = 1
    assert "images[0] and images[1] have the same id 1" in sentence(read, value)


def test_duplicate_category_ids_are_refused(read: Callable[..., SceneReading]) -> None:
    said = sentence(read, content(categories=[{"id": 7, "name": "cup"}, {"id": 7, "name": "dog"}]))
    assert "two categories have the id 7 ('cup' and 'dog')" in said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([{"img_id": 1}], "is no COCO file: it holds a list"),
        (5, "is no COCO file: it holds a number"),
        ({"info": 1, "images": []}, "holds no images"),
        ({"images": [1], "info": 1}, "it has no list `annotations` (it holds images, info)"),
        (content(annotations=[]), "holds no annotations"),
        (content(categories={}), "it has no list `categories`"),
        (content(categories=[]), "holds no categories"),
        (content(categories=[{"id": 7, "name": " "}]), "categories[0] (id 7) has name ' '"),
        (content(images=["1.jpg"]), "images[0] is a text"),
        (content(images=[{"file_name": "1.jpg"}]), "images[0] has id None"),
        (content(annotations=[{"image_id": 1}]), "annotations[0] has id None"),
        (content(annotations=[{"id": 1, "image_id": 1, "category_id": [2]}]), "annotations[0] has category_id [2]"),
        (content(annotations=[{"id": True, "image_id": 1}]), "annotations[0] has id True"),
    ],
)
def test_what_is_no_coco_file_is_refused(read: Callable[..., SceneReading], value: Any, said: str) -> None:
    assert said in sentence(read, value)


@pytest.mark.parametrize("part", [0.1, 0.35, 0.5, 0.77, 0.99])
def test_a_json_cut_off_is_refused_with_the_byte(read: Callable[..., SceneReading], part: float) -> None:
    raw = json.dumps(content(categories=[{"id": 7, "name": "kőris"}]), ensure_ascii=False).encode()
    cut = raw[: int(len(raw) * part)]
    said = sentence(read, cut)
    assert "is cut off" in said
    assert f"of {len(cut)} " in said
    assert "copy or download it again" in said


def test_every_cut_of_a_file_is_one_clear_sentence(read: Callable[..., SceneReading]) -> None:
    raw = json.dumps(content(categories=[{"id": 7, "name": "kőris"}]), ensure_ascii=False).encode()
    assert all("a.json is " in sentence(read, raw[:end]) for end in range(len(raw) - 1))


def test_the_byte_counts_bytes_and_not_characters(read: Callable[..., SceneReading]) -> None:
    raw = '{"ő": 1 !}'.encode()  # The "!" is the 9th character and, after the two bytes of ő, at byte offset 9.
    assert "is not valid json: reading stops at byte 9 of 11" in sentence(read, raw)


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "is empty (0 bytes)"),
        (b" \n", "is empty (2 bytes)"),
        (b"\x1f\x8b\x08\x00" + b"z" * 40, "is not UTF-8 text"),
        (b"[" * 100_000 + b"]" * 100_000, "is no annotation file"),
        (b'{"images": ' + b"9" * 5000 + b"}", "is no annotation file"),
    ],
)
def test_a_file_that_is_no_json_is_refused(read: Callable[..., SceneReading], raw: bytes, said: str) -> None:
    assert said in sentence(read, raw)


def test_a_missing_file_and_a_missing_root_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.json: No such file or directory"):
        read_scenes(Source(annotations=tmp_path / "none.json", image_root=tmp_path), Queries())
    with pytest.raises(DataError, match="nowhere is not a directory"):
        read_scenes(Source(annotations=tmp_path / "none.json", image_root=tmp_path / "nowhere"), Queries())


def test_progress_is_said_where_somebody_listens(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(content()))
    said: list[str] = []
    read_scenes(Source(annotations=tmp_path / "a.json", image_root=tmp_path), Queries(), said.append)
    assert said[1] == "2 images, 3 annotations, 1 categories"


def test_a_real_coco_file_is_read_whole(real_data: Path) -> None:
    folder = real_data / "coco_train128"
    source = Source(annotations=folder / "instances.json", image_root=folder / "images")
    found = read_scenes(source, Queries(min_box_side=0))
    assert (len(found.scenes), found.dropped) == (128, ())
    raw = json.loads((folder / "instances.json").read_text())["annotations"]
    crowds = Counter(one["iscrowd"] for one in raw)[1]
    assert found.annotations == {"iscrowd": crowds, "usable": len(raw) - crowds}
    assert sum(found.annotations.values()) == 939
