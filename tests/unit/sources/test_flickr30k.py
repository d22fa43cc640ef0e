"""Flickr30k Entities from its folder: sentences with marked phrases, boxes of chains, a split of ids."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from told import Told

from spr.errors import DataError
from spr.items import Phrase, SentenceItem
from spr.sources.entities import Marked, read_boxes, read_sentence
from spr.sources.flickr30k import OFFICIAL_IMAGES, read_sentences

SENTENCES = """[/EN#1/people Two men] wave at [/EN#2/animals/other a dog] in [/EN#3/scene a park] .
[/EN#1/people Men] and [/EN#1/people men] in [/EN#0/notvisual it]
Nothing is marked here .
[/EN#3/scene A park]
"""


def box(names: str, x0: int, y0: int, x1: int, y1: int) -> str:
    edges = f"<xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax>"
    return f"<object>{''.join(f'<name>{name}</name>' for name in names.split())}<bndbox>{edges}</bndbox></object>"


SCENE = "<object><name>3</name><scene>1</scene><nobndbox>0</nobndbox></object>"


def xml(*objects: str, size: str = "<width>100</width><height>50</height><depth>3</depth>") -> str:
    return f"<annotation><filename>7.jpg</filename><size>{size}</size>{''.join(objects)}</annotation>"


BOXES = xml(box("1", 1, 2, 30, 40), SCENE, box("1 2", 5, 6, 70, 50))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One image, called 7, with four sentences: it is all of val."""
    for name in ("Annotations", "Sentences", "images"):
        (tmp_path / name).mkdir()
    (tmp_path / "Annotations" / "7.xml").write_text(BOXES)
    (tmp_path / "Sentences" / "7.txt").write_text(SENTENCES)
    (tmp_path / "val.txt").write_text("7\n")
    (tmp_path / "images" / "7.jpg").touch()
    return tmp_path


def test_phrases_have_every_box_of_their_chain(folder: Path) -> None:
    found = read_sentences(folder, folder / "images", split="val")
    men = ((1, 2, 30, 40), (5, 6, 70, 50))
    two, dog = Phrase("Two men", men, ("people",)), Phrase("a dog", men[1:], ("animals", "other"))
    assert found.items == (
        SentenceItem("7-0", "7.jpg", 100, 50, "Two men wave at a dog in a park .", (two, dog)),
        SentenceItem(
            "7-1", "7.jpg", 100, 50, "Men and men in it", (Phrase("Men", men, ("people",)), Phrase("men", men, ("people",)))
        ),
    )


def test_what_is_left_out_and_what_is_not_official_is_said(folder: Path) -> None:
    found = read_sentences(folder, folder / "images", split="val")
    assert found.notes == (
        f"{folder.name}: read as Flickr30k Entities, split val: 4 phrases in 2 sentences, 1 images",
        f"{folder.name}: phrases_without_box: 3 of 7 phrases are left out, and 2 of 4 sentences, which have no other",
        f"{folder / 'val.txt'} holds 1 images; the official split has 1000: results are not comparable",
    )


def test_the_images_of_the_folder_are_told(folder: Path) -> None:
    for kind, ending, content in (("Annotations", "xml", BOXES), ("Sentences", "txt", SENTENCES)):
        (folder / kind / f"8.{ending}").write_text(content)
    (folder / "val.txt").write_text("7\n8\n")
    told = Told()
    read_sentences(folder, folder / "images", split="val", meter=told)
    assert told.works == [(f"reading {folder.name}", 2, "images", [1, 1])]


def test_a_limit_takes_the_first_sentences(folder: Path) -> None:
    found = read_sentences(folder, folder / "images", limit=1, split="val")
    assert ([item.item_id for item in found.items], found.total) == (["7-0"], 2)
    assert found.notes[-1] == f"{folder.name}: subset of 2, the first 1 sentences"


def test_the_digest_is_of_every_file(folder: Path) -> None:
    digests = [read_sentences(folder, folder / "images", split="val").digest]
    for name, content in (("Annotations/7.xml", BOXES + " "), ("Sentences/7.txt", SENTENCES + "\n"), ("val.txt", "7")):
        (folder / name).write_text(content)
        digests.append(read_sentences(folder, folder / "images", split="val").digest)
    assert len(set(digests)) == 4


def sentence(folder: Path, split: str | None = "val") -> str:
    with pytest.raises(DataError) as caught:
        read_sentences(folder, folder, split=split)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)
    return str(caught.value)


def test_a_split_must_be_named_and_be_there(folder: Path) -> None:
    assert "no split is named; the folder holds all splits, set split to one of train, val, test" in sentence(folder, None)
    assert "split is '../val'; the folder holds all splits" in sentence(folder, "../val")
    assert "test.txt: No such file or directory; the folder of Flickr30k Entities must be whole" in sentence(folder, "test")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("val.txt", "7\n\n8x\n", "val.txt:3 is '8x'; each line is the number of an image"),
        ("val.txt", "7\n../7\n", "val.txt:2 is '../7'"),
        ("val.txt", "7\n7\n", "val.txt:2 is image 7 again, after line 1"),
        ("val.txt", "\n", "val.txt holds no ids of images"),
        ("val.txt", "7\n8\n", "8.xml: No such file or directory"),
        ("val.txt", "\xff", "val.txt is not UTF-8 text at byte 0"),
        ("Sentences/7.txt", "A [/EN#1/people man walks", "7.txt: sentence 0: '[/EN#1/people' is never closed"),
        ("Sentences/7.txt", "\nA man] walks", "7.txt: sentence 0: 'man]' closes no phrase"),
        ("Sentences/7.txt", "[/EN#1/people A m]an] walks", "'m]an]' closes no phrase"),
        ("Sentences/7.txt", "[/EN#1/people A [/EN#2/people man] walks", "'[/EN#2/people' opens inside another phrase"),
        ("Sentences/7.txt", "[/EN#1 A man] walks", "'[/EN#1' is no mark [/EN#id/type ...]"),
        ("Sentences/7.txt", "[man] walks", "'[man]' is no mark"),
        ("Sentences/7.txt", "[/EN#1/people ] walks", "']' closes no phrase"),
        ("Sentences/7.txt", "\xff", "7.txt is not UTF-8 text"),
        ("Sentences/7.txt", "", "holds no sentences"),
        ("Annotations/7.xml", BOXES[:99], "7.xml is no whole xml ("),
        ("Annotations/7.xml", "", "7.xml is no whole xml (no element found"),
        ("Annotations/7.xml", xml(size=""), "7.xml: size has width ''; it must be the image's width in pixels"),
        ("Annotations/7.xml", xml(box("", 1, 2, 3, 4)), "object 0 has names []"),
        ("Annotations/7.xml", xml(SCENE, box("x", 1, 2, 3, 4)), "object 1 has names ['x']"),
        ("Annotations/7.xml", xml(box("1", 5, 2, 5, 4)), "object 0 has the box (5, 2, 5, 4), which has no area"),
        (
            "Annotations/7.xml",
            xml(box("1", 100, 2, 120, 4)),
            "object 0 has the box (100, 2, 120, 4), which lies outside its image",
        ),
        ("Annotations/7.xml", xml("<object><name>1</name></object>"), "object 0 has neither bndbox nor scene or nobndbox"),
        (
            "Annotations/7.xml",
            xml("<object><name>1</name><bndbox/></object>"),
            "object 0 has xmin ''; it must be a whole number",
        ),
        ("Annotations/7.xml", BOXES.replace("<xmin>1<", "<xmin>1.5<"), "object 0 has xmin '1.5'"),
    ],
)
def test_a_bad_file_is_refused_with_its_place(folder: Path, name: str, content: str, said: str) -> None:
    (folder / name).write_bytes(content.encode("latin-1"))
    assert said in sentence(folder)


def test_a_folder_that_is_not_whole_is_named(folder: Path) -> None:
    (folder / "Sentences" / "7.txt").unlink()
    assert "7.txt: No such file or directory" in sentence(folder)
    (folder / "Sentences").rmdir()
    assert "has no folder Sentences; name the folder of Flickr30k Entities" in sentence(folder)


LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10 if n else "lol"}">' for n in range(9))


@pytest.mark.parametrize(
    "doctype",
    [f"<!DOCTYPE x [{LAUGHS}]>", '<!DOCTYPE x [<!ENTITY l8 SYSTEM "file:///etc/hostname">]>', '<!DOCTYPE x SYSTEM "x.dtd">'],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_documents_that_declare_a_type_are_refused(folder: Path, doctype: str, encoding: str) -> None:
    text = f'<?xml version="1.0" encoding="{encoding}"?>{doctype}{BOXES.replace("7.jpg", "&l8;")}'
    (folder / "Annotations" / "7.xml").write_bytes(text.encode(encoding))
    assert "declares a document type 'x', which no file of Flickr30k Entities does; refused" in sentence(folder)


WORDS = st.text(st.characters(blacklist_categories=("Z", "C"), blacklist_characters="[]"), min_size=1, max_size=5)
PART = (
    st.tuples(st.integers(0, 99), st.lists(st.sampled_from(["people", "other"]), min_size=1), st.lists(WORDS, min_size=1))
    | WORDS
)


@given(parts=st.lists(PART, max_size=6))
def test_what_was_marked_is_read_back(parts: list[tuple[int, list[str], list[str]] | str]) -> None:
    line = " ".join(
        part if isinstance(part, str) else f"[/EN#{part[0]}/{'/'.join(part[1])} {' '.join(part[2])}]" for part in parts
    )
    words = " ".join(part if isinstance(part, str) else " ".join(part[2]) for part in parts)
    marked = [Marked(" ".join(part[2]), str(part[0]), tuple(part[1])) for part in parts if not isinstance(part, str)]
    assert read_sentence(line, "here") == (words, marked)


MARKS = [
    "[/EN#1/people",
    "[/EN#",
    "]",
    "[",
    "word]",
    "a",
    " ",
    "\n",
    "\x85",
    "\u2028",
    "<object>",
    "<name>1</name>",
    "</object>",
    "<bndbox>",
]
BYTES = st.binary(max_size=60) | st.lists(st.sampled_from(MARKS), max_size=15).map(lambda parts: "".join(parts).encode())


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw=BYTES)
def test_any_bytes_are_read_or_refused(folder: Path, raw: bytes) -> None:
    for name, whole in (("Sentences/7.txt", SENTENCES), ("Annotations/7.xml", BOXES), ("val.txt", "7\n")):
        half = len(whole) // 2
        for content in (raw, whole.encode()[:half] + raw + whole.encode()[half:]):
            (folder / name).write_bytes(content)
            assert "\n" not in outcome(folder)
        (folder / name).write_text(whole)


def outcome(folder: Path) -> str:
    """The sentence of a refusal, or how many items there are."""
    try:
        return str(len(read_sentences(folder, folder / "images", split="val").items))
    except DataError as error:
        return str(error)


def test_genuine_sentences_are_read_with_every_phrase(real_data: Path, tmp_path: Path) -> None:
    genuine = real_data / "flickr30k_sentences8"
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "Sentences").symlink_to(genuine / "Sentences")
    ids, marks = [], 0
    for file in sorted((genuine / "Sentences").glob("*.txt")):
        chains = re.findall(r"\[/EN#(\d+)/", file.read_text())
        marks += sum(chain != "0" for chain in chains)
        boxes = [box(chain, 1, 1, 20, 20) for chain in sorted(set(chains) - {"0"})]
        (tmp_path / "Annotations" / f"{file.stem}.xml").write_text(xml(*boxes))
        ids.append(file.stem)
    (tmp_path / "val.txt").write_text("\n".join(ids))
    found = read_sentences(tmp_path, genuine / "images", split="val")
    assert len(found.items) == 40
    assert sum(len(item.phrases) for item in found.items) == marks
    assert found.items[0].item_id == "134206-0"
    assert found.items[0].phrases[1].phrase == "the field"
    assert found.items[0].sentence == (
        "The players of the baseball team are standing on the field , with many people watching from the stands ."
    )
    assert found.missing == ()


def test_the_genuine_list_of_val_has_the_official_count(real_data: Path, tmp_path: Path) -> None:
    ids = (real_data / "flickr30k_splits" / "val.txt").read_text()
    for name in ("Annotations", "Sentences"):
        (tmp_path / name).mkdir()
    (tmp_path / "val.txt").write_text(ids)
    for image_id in ids.split():
        (tmp_path / "Annotations" / f"{image_id}.xml").write_text(BOXES)
        (tmp_path / "Sentences" / f"{image_id}.txt").write_text("[/EN#1/people Men]")
    (tmp_path / f"{ids.split()[0]}.jpg").touch()
    found = read_sentences(tmp_path, tmp_path, split="val")
    assert found.total == OFFICIAL_IMAGES["val"] == 1000
    assert not [note for note in found.notes if "official" in note]


def test_boxes_of_a_chain_come_in_the_order_of_the_file(tmp_path: Path) -> None:
    drawn = read_boxes(BOXES.encode(), tmp_path)
    assert drawn.size == (100, 50)
    assert drawn.boxes == {"1": ((1, 2, 30, 40), (5, 6, 70, 50)), "2": ((5, 6, 70, 50),)}
