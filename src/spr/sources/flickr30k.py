"""Sentences and the boxes of their phrases: Flickr30k Entities, from its own folder or from MDETR's json of it.

The folder has Annotations, Sentences and <split>.txt, and its format is told in entities.py; the json is mdetr.py's. Phrases
that are said twice in a sentence stay two. Phrases without a box are left out, as in the evaluators of MDETR and Ferret.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from spr.errors import DataError
from spr.items import Phrase, SentenceItem
from spr.sources.entities import read_boxes, read_sentence
from spr.sources.following import Meter, unseen
from spr.sources.json_file import read_json
from spr.sources.mdetr import SentenceFile, is_mdetr, read_mdetr_sentences
from spr.sources.reading import Reading, check_image_root, reading

OFFICIAL_IMAGES: Mapping[str, int] = {"train": 29783, "val": 1000, "test": 1000}
"""Images of each split (BryanPlummer/flickr30k_entities: train.txt, val.txt, test.txt)."""


def read_sentences(
    path: Path, image_root: Path, limit: int | None = None, split: str | None = None, meter: Meter = unseen
) -> Reading[SentenceItem]:
    """One item a sentence that has a phrase with a box, the first `limit` of them. `path` is the folder of Flickr30k Entities,
    of which `split` (train, val, test) is read, or MDETR's `final_flickr_*.json`, which is one split. Ids are
    `<image>-<n>`, n counting the sentences of an image, in both. `meter` follows the images of a folder.

    Notes say what was read and left out, and a count of images that is not the official one. Raises DataError for a file
    that is missing or malformed, a split that is missing or has no meaning, and what `reading` refuses.
    """
    check_image_root(image_root)
    file = _folder(path, split, meter) if path.is_dir() else _json(path, split)
    return reading(path, image_root, file.items[:limit], len(file.items), file.digest, "sentences", None, file.notes)


def _json(path: Path, split: str | None) -> SentenceFile:
    if split is not None:
        raise DataError(f"{path} is a file of one split, for which split {split!r} has no meaning; leave split out")
    content, digest = read_json(path)
    if not is_mdetr(content, "tokens_positive_eval"):
        raise DataError(
            f"{path} holds no sentences with tokens_positive_eval; name MDETR's final_flickr_*.json, or the folder of "
            "Flickr30k Entities with Annotations, Sentences and <split>.txt"
        )
    return read_mdetr_sentences(content, digest, path)


def _folder(path: Path, split: str | None, meter: Meter) -> SentenceFile:
    for part in ("Annotations", "Sentences"):
        if not (path / part).is_dir():
            raise DataError(
                f"{path} has no folder {part}; name the folder of Flickr30k Entities, with Annotations and Sentences"
            )
    if split is None or split not in OFFICIAL_IMAGES:
        said = "no split is named" if split is None else f"split is {split!r}"
        raise DataError(f"{path}: {said}; the folder holds all splits, set split to one of {', '.join(OFFICIAL_IMAGES)}")
    listing = path / f"{split}.txt"
    digest = hashlib.sha256()
    ids = _ids(_content(listing, digest), listing)
    items: list[SentenceItem] = []
    sentences = phrases = 0
    with meter(f"reading {path.name}", len(ids), "images") as tick:
        for image_id in ids:
            found = _image(path, image_id, digest)
            sentences += len(found)
            phrases += sum(marked for _, marked in found)
            items += [item for item, _ in found if item.phrases]
            tick(1)
    boxed = sum(len(item.phrases) for item in items)
    notes = [
        f"{path.name}: read as Flickr30k Entities, split {split}: {boxed} phrases in {len(items)} sentences, {len(ids)} images",
        f"{path.name}: phrases_without_box: {phrases - boxed} of {phrases} phrases are left out, and "
        f"{sentences - len(items)} of {sentences} sentences, which have no other",
    ]
    if len(ids) != OFFICIAL_IMAGES[split]:
        official = OFFICIAL_IMAGES[split]
        notes.append(f"{listing} holds {len(ids)} images; the official split has {official}: results are not comparable")
    return SentenceFile(tuple(items), digest.hexdigest(), tuple(notes))


def _image(path: Path, image_id: str, digest: hashlib._Hash) -> list[tuple[SentenceItem, int]]:
    """The sentences of one image with their boxed phrases, and how many phrases each has with the others."""
    boxes, sentences = path / "Annotations" / f"{image_id}.xml", path / "Sentences" / f"{image_id}.txt"
    drawn = read_boxes(_content(boxes, digest), boxes)
    lines = [line for line in _text(_content(sentences, digest), sentences).split("\n") if line.strip()]
    found = []
    for place, line in enumerate(lines):
        sentence, marked = read_sentence(line, f"{sentences}: sentence {place}")
        phrases = tuple(Phrase(one.phrase, drawn.boxes[one.chain], one.types) for one in marked if one.chain in drawn.boxes)
        item = SentenceItem(f"{image_id}-{place}", f"{image_id}.jpg", *drawn.size, sentence, phrases)
        found.append((item, len(marked)))
    return found


def _ids(raw: bytes, path: Path) -> list[str]:
    ids: dict[str, int] = {}
    for number, line in enumerate(_text(raw, path).split("\n"), start=1):
        image_id = line.strip()
        if not image_id:
            continue
        if not (image_id.isascii() and image_id.isdigit() and len(image_id) < 20):
            raise DataError(f"{path}:{number} is {image_id[:40]!r}; each line is the number of an image")
        if image_id in ids:
            raise DataError(f"{path}:{number} is image {image_id} again, after line {ids[image_id]}; mend the file")
        ids[image_id] = number
    if not ids:
        raise DataError(f"{path} holds no ids of images; download it again")
    return list(ids)


def _content(path: Path, digest: hashlib._Hash) -> bytes:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: {error.strerror}; the folder of Flickr30k Entities must be whole, download it again"
        ) from None
    digest.update(hashlib.sha256(raw).digest())
    return raw


def _text(raw: bytes, path: Path) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text at byte {error.start}; copy or download it again") from None
