"""MDETR's annotation files: COCO-like json in which an image entry is one text about a photo.

    finetune_refcoco+_testA.json          a referring expression (caption) an entry, and one annotation for each, in order
    final_flickr_separateGT_test.json     a sentence (caption) an entry, the spans of its phrases, and a box an annotation

Written by scripts/fine-tuning/refexp_coco_format.py and scripts/pre-training/flickr_combined.py of ashkamath/mdetr. An
annotation belongs to the phrases whose spans its `tokens_positive` hold. Boxes are [x, y, width, height] in pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spr.boxes import Box
from spr.errors import DataError
from spr.items import Phrase, RecItem, SentenceItem
from spr.sources.fields import check_inside, entry, ident, listed, shown, side, text, xywh
from spr.sources.referred import Referred, ReferredFile

Span = tuple[int, int]
"""First character of a phrase in its caption, and the one after its last."""


def is_mdetr(content: Any, key: str) -> bool:
    """Whether the image entries of a json are texts that have `key`, by the first of them."""
    images = content.get("images") if isinstance(content, dict) else None
    return isinstance(images, list) and bool(images) and isinstance(images[0], dict) and key in images[0]


def read_mdetr_expressions(content: Mapping[str, Any], digest: str, path: Path) -> ReferredFile:
    """The expressions of a `finetune_refcoco*.json`; a region is an annotation of COCO (`original_id`).

    Raises DataError for a malformed entry, two with one id, or where images and annotations do not go together in order.
    """
    where = str(path)
    images, annotations = listed(content, "images", where), listed(content, "annotations", where)
    if len(images) != len(annotations):
        raise DataError(f"{where} has {len(images)} images and {len(annotations)} annotations; it must have one for each")
    names = _categories(content, where)
    seen: dict[str, int] = {}
    rows = tuple(
        _expression(image, annotation, names, seen, (where, place))
        for place, (image, annotation) in enumerate(zip(images, annotations, strict=True))
    )
    note = f"{path.name}: read as MDETR's annotations, an image entry an expression"
    return ReferredFile(rows, digest, path.stem.lower().removeprefix("finetune_"), (note,))


def _expression(
    image: Any, annotation: Any, names: Mapping[str, str] | None, seen: dict[str, int], at: tuple[str, int]
) -> Referred:
    file, place = at
    where, drawn = f"{file}: images[{place}]", f"{file}: annotations[{place}]"
    image_id = _new_id(entry(image, where), seen, file, place)
    if ident(entry(annotation, drawn), "image_id", drawn) != image_id:
        raise DataError(
            f"{drawn} has image_id {shown(annotation['image_id'])}, but images[{place}] has id {image_id}; "
            "images and annotations must go together in order"
        )
    size = (side(image, "width", where), side(image, "height", where))
    box = xywh(annotation, "bbox", drawn)
    check_inside(box, size, drawn)
    caption, name = text(image, "caption", where).strip(), _category(annotation, names, drawn)
    item = RecItem(image_id, text(image, "file_name", where), *size, caption, box, name)
    region = ident(annotation, "original_id", drawn) if "original_id" in annotation else f"{item.path} {box}"
    return Referred(item, region)


def _new_id(image: Mapping[str, Any], seen: dict[str, int], file: str, place: int) -> str:
    image_id = ident(image, "id", f"{file}: images[{place}]")
    if image_id in seen:
        raise DataError(f"{file}: images[{seen[image_id]}] and images[{place}] have the same id {image_id}; mend the file")
    seen[image_id] = place
    return image_id


def _categories(content: Mapping[str, Any], where: str) -> dict[str, str] | None:
    if content.get("categories") is None:
        return None
    names = {}
    for place, one in enumerate(listed(content, "categories", where, least=0)):
        at = f"{where}: categories[{place}]"
        name = text(entry(one, at), "name", at).strip()
        names[ident(one, "id", at)] = name
    return names


def _category(annotation: Mapping[str, Any], names: Mapping[str, str] | None, where: str) -> str:
    if not names or "category_id" not in annotation:
        return ""
    category_id = ident(annotation, "category_id", where)
    if category_id not in names:
        raise DataError(f"{where} has category_id {category_id}, which is none of the file's categories; mend the file")
    return names[category_id]


@dataclass(frozen=True, slots=True)
class SentenceFile:
    """Every sentence of a source that has a phrase with a box, and the sha256 of its bytes."""

    items: tuple[SentenceItem, ...]
    digest: str
    notes: tuple[str, ...]


def read_mdetr_sentences(content: Mapping[str, Any], digest: str, path: Path) -> SentenceFile:
    """The sentences of a `final_flickr_{separateGT,mergedGT}_*.json`, with ids `<original_img_id>-<sentence_id>`.

    A sentence without phrases to evaluate is no item. Raises DataError for a malformed entry, two with one id, a span outside
    its caption, or a phrase that no annotation belongs to.
    """
    where = str(path)
    images, annotations = listed(content, "images", where), listed(content, "annotations", where)
    places: dict[str, int] = {}
    for place, image in enumerate(images):
        _new_id(entry(image, f"{where}: images[{place}]"), places, where, place)
    boxes = _boxes(annotations, places, where)
    items = tuple(
        item for place, image_id in enumerate(places) if (item := _sentence(images[place], boxes[image_id], (where, place)))
    )
    notes = [f"{path.name}: read as MDETR's annotations, an image entry a sentence"]
    if len(items) < len(images):
        notes.append(f"{path.name}: {len(images) - len(items)} of {len(images)} sentences have no phrase with a box, no items")
    return SentenceFile(items, digest, tuple(notes))


Drawn = dict[Span, list[tuple[Box, str]]]
"""The boxes of one caption by the spans that they belong to, each with its place in the file."""


def _boxes(annotations: Sequence[Any], places: Mapping[str, int], file: str) -> dict[str, Drawn]:
    found: dict[str, Drawn] = {image_id: {} for image_id in places}
    for place, annotation in enumerate(annotations):
        where = f"{file}: annotations[{place}]"
        image_id = ident(entry(annotation, where), "image_id", where)
        if image_id not in found:
            raise DataError(f"{where} has image_id {image_id}, which none of the images has; mend the file")
        box = xywh(annotation, "bbox", where)
        for span in _spans(annotation.get("tokens_positive"), f"{where} has tokens_positive"):
            found[image_id].setdefault(span, []).append((box, where))
    return found


def _sentence(image: Mapping[str, Any], drawn: Drawn, at: tuple[str, int]) -> SentenceItem | None:
    where = f"{at[0]}: images[{at[1]}]"
    width, height = (side(image, key, where, written=True) for key in ("width", "height"))
    caption = text(image, "caption", where)
    phrases = []
    for given in listed(image, "tokens_positive_eval", where, least=0):
        spans = _spans(given, f"{where} has in tokens_positive_eval", len(caption))
        boxes = list(dict.fromkeys(found for span in spans for found in drawn.get(span, ())))
        words = " ".join(caption[start:end] for start, end in spans)
        if not boxes or not words.strip():
            raise DataError(
                f"{where} has the phrase {shown(words)} at {shown(given)}, to which no annotation belongs; mend the file"
            )
        for box, place in boxes:
            check_inside(box, (width, height), place)
        phrases.append(Phrase(words, tuple(box for box, _ in boxes)))
    item_id = f"{ident(image, 'original_img_id', where)}-{ident(image, 'sentence_id', where)}"
    path = text(image, "file_name", where)
    return SentenceItem(item_id, path, width, height, caption, tuple(phrases)) if phrases else None


def _spans(given: Any, where: str, length: int | None = None) -> list[Span]:
    """One phrase's spans. Raises DataError unless they are pairs of whole numbers within a caption of `length` characters."""
    if isinstance(given, list) and given and all(isinstance(pair, list) and len(pair) == 2 for pair in given):
        spans = [(start, end) for start, end in given]
        if all(type(edge) is int for span in spans for edge in span) and all(
            0 <= start < end and (length is None or end <= length) for start, end in spans
        ):
            return spans
    raise DataError(f"{where} {shown(given)}; it must be spans [[start, end], ...] of characters of the caption")
