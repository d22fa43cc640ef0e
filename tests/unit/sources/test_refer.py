"""Refer's pickles: plain values only, boxes from instances.json, one split of several, and nothing that is ever run."""

from __future__ import annotations

import json
import os
import pickle
import pickletools
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from told import Told

from spr.errors import DataError
from spr.items import CaptionItem, RecItem
from spr.sources.expressions import read_captions, read_rec
from spr.sources.plain_pickle import read_plain_pickle

PHOTO = "COCO_train2014_000000581857.jpg"


def ref(number: int, split: str, *sents: str) -> dict[str, Any]:
    return {
        "ref_id": number,
        "ann_id": 100 + number,
        "image_id": 581857,
        "category_id": 1,
        "split": split,
        "file_name": f"COCO_train2014_000000581857_{number}.jpg",
        "sentences": [
            {"sent": sent, "raw": sent.title(), "tokens": sent.split(), "sent_id": 10 * number + place}
            for place, sent in enumerate(sents)
        ],
        "sent_ids": [10 * number + place for place in range(len(sents))],
    }


REFS = [ref(1, "train", "a navy shirt"), ref(2, "val", "woman on the left", "lady"), ref(3, "testA", "the man")]


def instances() -> dict[str, Any]:
    annotations = [
        {"id": 100 + n, "image_id": 581857, "category_id": 1, "bbox": [10 * n, 5, 20, 30], "iscrowd": 0, "area": 600.0}
        for n in (1, 2, 3)
    ]
    images = [{"id": 581857, "file_name": PHOTO, "width": 640, "height": 427}]
    return {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person", "supercategory": "x"}]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data set's folder, called as refer calls it, with its photo beside the annotations."""
    found = tmp_path / "refcoco"
    found.mkdir()
    (found / PHOTO).touch()
    (found / "instances.json").write_text(json.dumps(instances()))
    return found


def write(folder: Path, refs: Any = REFS, protocol: int = 2, name: str = "refs(unc).p") -> Path:
    (folder / name).write_bytes(refs if isinstance(refs, bytes) else pickle.dumps(refs, protocol))
    return folder / name


@pytest.mark.parametrize("protocol", range(6))
def test_a_split_is_read_by_every_protocol(folder: Path, protocol: int) -> None:
    found = read_rec(write(folder, protocol=protocol), folder, split="val")
    box = (20, 5, 40, 35)
    assert found.items == (
        RecItem("2-20", PHOTO, 640, 427, "woman on the left", box, "person"),
        RecItem("2-21", PHOTO, 640, 427, "lady", box, "person"),
    )
    assert found.notes == (
        "refs(unc).p: read as refer's pickle, split val, with the boxes of instances.json",
        f"{folder / 'refs(unc).p'} holds 2 expressions; the official split has 10834: results are not comparable",
    )


def test_a_ref_is_a_region(folder: Path) -> None:
    found = read_captions(write(folder), folder, split="val")
    assert found.items == (CaptionItem("2", PHOTO, 640, 427, (20, 5, 40, 35), ("woman on the left", "lady"), "person"),)
    assert "holds 1 regions; the official split has 3811" in found.notes[1]


def test_byte_strings_of_python_2_are_texts(folder: Path) -> None:
    """`[{'sent': 'caf\\xc3\\xa9', 'raw': '\\xff'}]` as cPickle of Python 2 wrote it by protocol 0."""
    raw = b"(lp1\n(dp2\nS'sent'\np3\nS'caf\\xc3\\xa9'\np4\nsS'raw'\np5\nS'\\xff'\np6\nsa."
    assert read_plain_pickle(raw, folder) == [{"sent": "café", "raw": "\udcff"}]


def test_only_the_official_partitions_have_official_counts(folder: Path) -> None:
    assert len(read_rec(write(folder, name="refs(google).p"), folder, split="val").notes) == 1


def test_the_digest_is_of_both_files(folder: Path) -> None:
    path = write(folder)
    before = read_rec(path, folder, split="val").digest
    (folder / "instances.json").write_text(json.dumps(instances(), indent=1))
    assert read_rec(path, folder, split="val").digest != before


def sentence(path: Path, split: str | None = "val") -> str:
    with pytest.raises(DataError) as caught:
        read_rec(path, path.parent, split=split)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_split_must_be_named_and_be_there(folder: Path) -> None:
    path = write(folder)
    assert "no split is named; refer's pickles hold all splits, set split to one of train, val, test" in sentence(path, None)
    assert "split is 'dev'; refer's pickles hold all splits" in sentence(path, "dev")
    assert "holds no expressions of split testB; it holds train (1 refs), val (1 refs), testA (1 refs)" in sentence(
        path, "testB"
    )


def test_instances_must_lie_beside_it(folder: Path) -> None:
    (folder / "instances.json").unlink()
    assert "instances.json is missing; refer's pickles hold no boxes" in sentence(write(folder))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"ann_id": 7}, "ref 0 has ann_id 7, and"),
        ({"image_id": 7}, "ref 0 has image_id 7, and"),
        ({"sentences": []}, "ref 0 has sentences []; it must be a list, not empty"),
        ({"sentences": ["lady"]}, "ref 0: sentences[0] is no object: 'lady'"),
        ({"sentences": [{"sent": "", "sent_id": 1}]}, "ref 0: sentences[0] has sent ''; it must be a text"),
        ({"sentences": [{"sent": "a\udcff", "sent_id": 1}]}, "sentences[0] has sent 'a\\udcff'; it must be a text"),
        ({"sentences": [{"sent": "a", "sent_id": 1}] * 2}, "expressions 0 and 1 have one id, 2-1"),
        ({"split": None}, "ref 0 has split None"),
        ({"ref_id": [1]}, "ref 0 has ref_id [1]; it must be an id"),
        ({"ref_id": 10**5000}, "ref 0 has ref_id a int too long to show"),
    ],
)
def test_a_bad_ref_is_refused_by_its_place(folder: Path, changes: dict[str, Any], said: str) -> None:
    assert said in sentence(write(folder, [REFS[1] | changes]))


@pytest.mark.parametrize(
    ("part", "changes", "said"),
    [
        ("annotations", {"bbox": [640, 0, 5, 5]}, "annotation 102 has the box (640, 0, 645, 5), which lies outside"),
        ("annotations", {"bbox": [0, 0, 0, 5]}, "annotation 102 has bbox [0, 0, 0, 5]"),
        ("annotations", {"image_id": 7}, "annotation 102 is of image 7, but"),
        ("annotations", {"category_id": 9}, "annotation 102 has category_id 9, and"),
        ("annotations", {"id": 101}, "annotations[1] has the id 101 of another one before it"),
    ],
)
def test_a_bad_annotation_is_refused(folder: Path, part: str, changes: dict[str, Any], said: str) -> None:
    content = instances()
    content[part][1] |= changes
    (folder / "instances.json").write_text(json.dumps(content))
    assert said in sentence(write(folder))


def test_a_pickle_that_is_no_list_of_refs_is_refused(folder: Path) -> None:
    assert "holds {'a': 1}; refer's pickles hold a list of refs" in sentence(write(folder, {"a": 1}, protocol=4))
    assert "ref 0 is no object: 5" in sentence(write(folder, [5]))


class Evil:
    """Unpickled by anything that trusts it, leaves a file behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.system, (f"touch '{self.mark}'",)


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_would_run_something_is_refused_by_its_name(folder: Path, protocol: int) -> None:
    mark = folder / "it-ran"
    path = write(folder, [Evil(mark)], protocol)
    assert "names 'posix.system', and a pickle with names can run anything; refused" in sentence(path)
    assert not mark.exists()
    with path.open("rb") as file:
        pickle.load(file)
    assert mark.exists(), "the pickle is one that runs"


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"}]R.", "R"),  # REDUCE: calls the one before with the last.
        (b"}}b.", "b"),  # BUILD: gives the one before the state that is last.
        (b"\x80\x02}]\x81.", "\\x81"),  # NEWOBJ: makes an object of the one before.
        (b"\x80\x04}]}\x92.", "\\x92"),  # NEWOBJ_EX: the same with keywords.
        (b"(}o.", "o"),  # OBJ: calls the first after the mark.
    ],
)
def test_what_makes_something_without_a_name_is_refused_too(folder: Path, raw: bytes, code: str) -> None:
    with pytest.raises(DataError) as caught:
        read_plain_pickle(raw, folder)
    assert f"has the instruction b'{code}', which no pickle of lists, dicts, texts and numbers has" in str(caught.value)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_the_way_through_a_large_pickle_and_its_instances_is_told(folder: Path, protocol: int) -> None:
    """Three texts of a million letters: the pickle's three megabytes are told in steps, instances.json as the one begun."""
    long = [ref(n, "val", letter * 1_000_000) for n, letter in ((1, "a"), (2, "b"), (3, "c"))]
    for one in long:
        del one["sentences"][0]["raw"], one["sentences"][0]["tokens"]
    told = Told()
    read_rec(write(folder, long, protocol), folder, split="val", meter=told)
    pickled, beside = told.works
    assert pickled == ("reading refs(unc).p", 3, "MB", pickled[3])
    assert sum(pickled[3]) == 3
    assert len(pickled[3]) > 1
    assert beside == ("reading instances.json", 1, "MB", [1])


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"(ios\nsystem\n.", "names 'os.system'"),
        (b"(cbuiltins\neval\nS'1'\ntR.", "names 'builtins.eval'"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "names 'os.system'"),
        (b"\x80\x02]\x82\x01.", "has the instruction b'\\x82', which no pickle of lists"),
        (b"(P1\n.", "has the instruction b'P'"),
        (b"]r\xff\xff\xff\xff", "is no whole pickle (EOFError"),
        (b"]p4294967295\n", "is no whole pickle (EOFError"),
        (b"]r\xff\xff\xff\xffh\x01.", "is no whole pickle (UnpicklingError: 'Memo value not found at index 1'"),
        (b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f]", "is no whole pickle"),
        (b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7fab.", "is no whole pickle"),
        (b"\x80\x09.", "is no whole pickle (ValueError: 'unsupported pickle protocol: 9')"),
    ],
)
def test_broken_and_crafted_pickles_are_refused(folder: Path, raw: bytes, said: str) -> None:
    assert said in sentence(write(folder, raw))


def test_every_cut_of_a_pickle_is_refused(folder: Path) -> None:
    whole = pickletools.optimize(pickle.dumps(REFS[:1], 2))
    for end in range(1, len(whole)):
        with pytest.raises(DataError, match="is no whole pickle"):
            read_plain_pickle(whole[:end], folder)


PIECES = [bytes([code]) for code in range(256)] + [
    b"S'sent'\n",
    b"I1\n",
    b"p1\n",
    b"g1\n",
    b"K\x01",
    b"r\xff\xff\xff\xff",
    b"(l",
    b"cos\nsystem\n",
]


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw=st.binary(max_size=60) | st.lists(st.sampled_from(PIECES), max_size=20).map(b"".join))
@example(raw=b"]" * 5000 + b"a" * 4999 + b".")
def test_any_bytes_are_read_or_refused(folder: Path, raw: bytes) -> None:
    for value in (raw, b"]" + raw, b"(" + raw):
        assert "\n" not in outcome(folder, value)


def outcome(folder: Path, value: bytes) -> str:
    """The sentence of a refusal, or how many items there are."""
    try:
        return str(len(read_rec(write(folder, value), folder, split="val").items))
    except DataError as error:
        return str(error)
