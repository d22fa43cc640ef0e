"""Parquet as lmms-lab publishes it: a row a region, its expressions in `answer`, the photo's size from its header."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from told import Told

from spr.errors import DataError
from spr.items import CaptionItem, RecItem
from spr.sources import rec_parquet
from spr.sources.expressions import read_captions, read_rec

PHOTO = "COCO_train2014_000000581857.jpg"


def jpeg(width: int = 64, height: int = 48, orientation: int = 1) -> bytes:
    content, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (width, height)).save(content, "JPEG", exif=exif)
    return content.getvalue()


def row(question_id: str = "1719310", *answer: str, **changes: Any) -> dict[str, Any]:
    return {
        "question_id": question_id,
        "image": {"bytes": jpeg(), "path": None},
        "question": "Please carefully observe the area circled in the image and come up with a caption for the area.",
        "answer": list(answer),
        "segmentation": [1.0, 2.0],
        "bbox": [4.0, 8.5, 20.0, 10.0],
        "iscrowd": 0,
        "file_name": "COCO_train2014_000000581857_16.jpg",
        **changes,
    }


ROWS = [row("1719310", "navy shirt", "woman in blue"), row("62", "lady", bbox=[0, 0, 9, 9], file_name=PHOTO)]
SCHEMA = {"bbox": pa.list_(pa.float32()), "segmentation": pa.list_(pa.float32()), "iscrowd": pa.int8()}


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    table = pa.Table.from_pylist(rows)
    for name, kind in SCHEMA.items():
        if name in table.schema.names and pa.types.is_list(table.schema.field(name).type):
            table = table.set_column(table.schema.get_field_index(name), name, table[name].cast(kind))
    pq.write_table(table, path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / PHOTO).touch()
    (tmp_path / "data").mkdir()
    return tmp_path


def test_a_row_is_a_region_and_each_of_its_answers_an_item(folder: Path) -> None:
    path = write(folder / "x", ROWS)
    box = (4, 8.5, 24, 18.5)
    found = read_rec(path, folder)
    assert found.items == (
        RecItem("1719310-0", PHOTO, 64, 48, "navy shirt", box),
        RecItem("1719310-1", PHOTO, 64, 48, "woman in blue", box),
        RecItem("62-0", PHOTO, 64, 48, "lady", (0, 0, 9, 9)),
    )
    assert found.notes == (
        "x: read as lmms-lab's parquet, 2 regions with 3 expressions",
        f"{path} holds 3 expressions, as no official split of RefCOCO, RefCOCO+ or RefCOCOg does",
    )
    assert read_captions(path, folder).items == (
        CaptionItem("1719310-row0", PHOTO, 64, 48, box, ("navy shirt", "woman in blue")),
        CaptionItem("62-row1", PHOTO, 64, 48, (0, 0, 9, 9), ("lady",)),
    )


def test_two_refs_of_one_object_stay_two_regions(folder: Path) -> None:
    path = write(folder / "x", [ROWS[0], row("1719310", "her")])
    assert [item.item_id for item in read_rec(path, folder).items] == ["1719310-0", "1719310-1", "1719310-2"]
    assert [item.references for item in read_captions(path, folder).items] == [("navy shirt", "woman in blue"), ("her",)]


def test_a_limit_reads_no_photo_beyond_it(folder: Path) -> None:
    path = write(folder / "x", [*ROWS, row("9", "him", image={"bytes": b"no photo", "path": None})])
    found = read_rec(path, folder, limit=3)
    assert (len(found.items), found.total) == (3, 4)
    with pytest.raises(DataError, match=r"row 2 has an image that cannot be read"):
        read_rec(path, folder)


def test_a_photo_that_begins_the_second_batch_is_found(folder: Path) -> None:
    """Photos are read 64 at a time."""
    other = {"bytes": jpeg(80, 60), "path": None}
    rows = [row(str(n), f"the {n}", image=other if n == 64 else row()["image"]) for n in range(66)]
    items = read_rec(write(folder / "x", rows), folder).items
    assert [(item.item_id, item.size) for item in items[63:]] == [("63-0", (64, 48)), ("64-0", (80, 60)), ("65-0", (64, 48))]
    assert read_rec(folder / "x", folder, limit=65).items == items[:65]


def test_hashing_and_the_sizes_of_photos_are_told(folder: Path) -> None:
    for number, one in enumerate(ROWS):
        write(folder / "data" / f"val-{number:05}-of-00002.parquet", [one])
    told = Told()
    read_rec(folder / "data", folder, meter=told)
    assert told.works == [("hashing data", 2, "MB", [1, 1]), ("sizes of the photos in data", 2, "photos", [1, 1])]


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_photo_that_exif_turns_has_its_sides_swapped(folder: Path, orientation: int) -> None:
    path = write(folder / "x", [row("1", "a", image={"bytes": jpeg(64, 48, orientation), "path": None})])
    assert read_rec(path, folder).items[0].size == (48, 64)


def test_shards_of_a_split_are_one_file(folder: Path) -> None:
    for number, one in enumerate(ROWS):
        write(folder / "data" / f"val-{number:05}-of-00002.parquet", [one])
    write(folder / "data" / "testA-00000-of-00001.parquet", [row("5", "boy")])
    found = read_rec(folder / "data", folder, split="val")
    assert [item.expression for item in found.items] == ["navy shirt", "woman in blue", "lady"]
    assert [item.expression for item in read_rec(folder / "data", folder, split="testA").items] == ["boy"]
    assert found.digest != read_rec(folder / "data", folder, split="testA").digest


def test_one_split_needs_no_name(folder: Path) -> None:
    write(folder / "data" / "val-00000-of-00001.parquet", ROWS)
    assert read_rec(folder / "data", folder).items == read_rec(folder / "data", folder, split="val").items


def test_the_larger_val_splits_are_told_from_the_official_ones(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rec_parquet, "_LARGER", {2: "refcocog_val"})
    path = write(folder / "x", ROWS)
    assert read_rec(path, folder).notes[1] == (
        f"{path} is lmms-lab's refcocog_val: 2 regions with 3 expressions, where the official split has 2573 with 4896: "
        "results are not comparable"
    )


def sentence(path: Path, split: str | None = None) -> str:
    with pytest.raises(DataError) as caught:
        read_rec(path, path.parent, split=split)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_what_is_missing_among_shards_is_said(folder: Path) -> None:
    data = folder / "data"
    write(data / "val-00001-of-00002.parquet", ROWS)
    assert "holds 1 of the 2 shards that val-00001-of-00002.parquet is one of" in sentence(data)
    write(data / "val-00000-of-00002.parquet", ROWS)
    write(data / "test-00000-of-00001.parquet", ROWS)
    assert "holds shards of test, val; the split has to be named, set split" in sentence(data)
    assert "holds shards of test, val; the split 'testA' is none of them" in sentence(data, "testA")
    write(data / "more.parquet", ROWS)
    assert "holds more.parquet; shards are called" in sentence(data, "val")
    assert "is one file, for which split 'val' has no meaning" in sentence(data / "more.parquet", "val")


def test_the_last_shard_is_missed_too(folder: Path) -> None:
    for number in (0, 1):
        write(folder / "data" / f"val-0000{number}-of-00003.parquet", ROWS)
    assert "holds 2 of the 3 shards that val-00000-of-00003.parquet is one of" in sentence(folder / "data")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"answer": []}, "row 1 has answer []; it must be a list, not empty"),
        ({"answer": ["a", " "]}, "row 1 has answer 1 ' '; it must be a text"),
        ({"bbox": [1, 2, 3]}, "row 1 has bbox [1.0, 2.0, 3.0]; it must be"),
        ({"bbox": [64, 0, 5, 5]}, "row 1 has the box (64, 0, 69, 5), which lies outside its image of 64 x 48"),
        ({"bbox": None}, "row 1 has bbox None"),
        ({"file_name": None}, "row 1 has file_name None"),
        ({"question_id": None}, "row 1 has question_id None"),
        ({"image": {"bytes": None, "path": "a.jpg"}}, "row 1 has image {'bytes': None, 'path': 'a.jpg'}; it must be"),
        ({"image": {"bytes": b"no photo", "path": None}}, "row 1 has an image that cannot be read"),
        ({"file_name": "../a.jpg"}, "an image is refused, image_outside_root"),
    ],
)
def test_a_bad_row_is_refused_by_its_number(folder: Path, changes: dict[str, Any], said: str) -> None:
    assert said in sentence(write(folder / "x.parquet", [ROWS[0], ROWS[1] | changes]))


def test_a_column_that_is_not_there_is_named(folder: Path) -> None:
    rows = [{name: value for name, value in one.items() if name != "answer"} for one in ROWS]
    assert "has no column answer (it has question_id, image, question," in sentence(write(folder / "x.parquet", rows))


def test_a_file_that_is_cut_off_is_refused(folder: Path) -> None:
    path = write(folder / "x.parquet", ROWS)
    whole = path.read_bytes()
    for end in (5, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:end])
        assert "is no whole parquet file" in sentence(path)
