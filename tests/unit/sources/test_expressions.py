"""What format a file of referring expressions has is told from what it holds, and a split from the format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spr.errors import DataError
from spr.sources.expressions import read_captions, read_rec

IMAGE = {"file_name": "a.jpg", "width": 100, "height": 50, "id": 1}
ANNOTATION = {"id": 1, "image_id": 1, "category_id": 7, "bbox": [0, 0, 20, 10]}
CATEGORIES = [{"id": 7, "name": "cup"}]
FORMATS: dict[str, Any] = {
    "rows": [{"img_id": "1", "sents": "a cup", "bbox": [0, 0, 20, 10], "width": 100, "height": 50, "file_name": "a.jpg"}],
    "mdetr": {"images": [IMAGE | {"caption": "a cup"}], "annotations": [ANNOTATION]},
    "coco": {"images": [IMAGE], "annotations": [ANNOTATION], "categories": CATEGORIES},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.jpg").touch()
    return tmp_path


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("rows", ()),
        ("mdetr", ("x: read as MDETR's annotations, an image entry an expression",)),
        ("coco", ("x: read as COCO annotations, 1 names that one object of its image has, and no other",)),
    ],
)
def test_a_json_is_known_by_what_it_holds_and_the_name_says_nothing(folder: Path, name: str, note: tuple[str, ...]) -> None:
    (folder / "x").write_bytes(b"\xef\xbb\xbf \n" + json.dumps(FORMATS[name]).encode())
    found = read_rec(folder / "x", folder)
    assert [(item.path, item.size, item.box) for item in found.items] == [("a.jpg", (100, 50), (0, 0, 20, 10))]
    assert found.notes == note


def sentence(path: Path, how: Any = read_rec, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        how(path, path.parent, **options)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", FORMATS)
def test_a_split_of_a_json_has_no_meaning(folder: Path, name: str) -> None:
    (folder / "x.json").write_text(json.dumps(FORMATS[name]))
    assert "for which split 'val' has no meaning; leave split out" in sentence(folder / "x.json", split="val")


def test_sentences_are_for_another_task(folder: Path) -> None:
    images = [IMAGE | {"caption": "a cup", "tokens_positive_eval": [[[0, 5]]]}]
    (folder / "x.json").write_text(json.dumps({"images": images, "annotations": [ANNOTATION]}))
    assert "no referring expressions; read it as phrase_grounding" in sentence(folder / "x.json")


def test_names_are_no_descriptions_of_regions(folder: Path) -> None:
    (folder / "x.json").write_text(json.dumps(FORMATS["coco"]))
    assert "it holds names and no expressions about regions" in sentence(folder / "x.json", how=read_captions)


def test_a_folder_without_parquet_a_missing_file_and_another_format_are_named(folder: Path) -> None:
    (folder / "sub").mkdir()
    assert "is a folder without parquet files" in sentence(folder / "sub")
    assert "No such file or directory; name an existing file" in sentence(folder / "none.json")
    (folder / "x.zip").write_bytes(b"PK\x03\x04")
    assert "begins with b'P'; known are the per-expression json, MDETR's" in sentence(folder / "x.zip")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
ENTRY = st.dictionaries(
    st.sampled_from(
        [
            "id",
            "image_id",
            "original_id",
            "category_id",
            "caption",
            "file_name",
            "width",
            "height",
            "bbox",
            "name",
            "img_id",
            "sents",
        ]
    ),
    JSON | st.sampled_from([1, "1", "a.jpg", [1, 2, 3, 4]]),
)
FILE = st.lists(ENTRY, max_size=2) | st.dictionaries(
    st.sampled_from(["images", "annotations", "categories"]), st.lists(ENTRY, max_size=2) | JSON
)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=FILE)
def test_any_json_is_read_or_refused_in_one_sentence(folder: Path, content: Any) -> None:
    (folder / "x.json").write_text(json.dumps(content))
    for how in (read_rec, read_captions):
        assert "\n" not in outcome(how, folder)


def outcome(how: Any, folder: Path) -> str:
    """The sentence of a refusal, or how many items there are."""
    try:
        return str(len(how(folder / "x.json", folder).items))
    except DataError as error:
        return str(error)
