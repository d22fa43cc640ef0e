"""Referring expressions from the per-expression json: RefCOCO, RefCOCO+, RefCOCOg, and whatever is written like them.

One row an expression: `img_id`, `sents` (the expression), `bbox` (x, y, width, height in pixels), `height`, `width`, and,
where the img_id does not tell it, `file_name`. Annotations only; an evaluation set is read strictly, since leaving out a
row would make another benchmark of it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spr.boxes import Box, xywh_to_xyxy
from spr.errors import DataError
from spr.images import ImageFault, resolve
from spr.records import RecItem
from spr.sources.json_file import is_text, read_json

OFFICIAL_COUNTS: Mapping[str, int] = {
    "refcoco_val": 10834,
    "refcoco_testa": 5657,
    "refcoco_testb": 5095,
    "refcoco+_val": 10758,
    "refcoco+_testa": 5726,
    "refcoco+_testb": 4889,
    "refcocog_val": 4896,
    "refcocog_test": 9602,
}
"""Expressions of each official split (unc; RefCOCOg: umd), by the file's name without `.json`, in lower case."""
_COCO_ID = re.compile(r"(COCO_(?:train|val)2014_\d{12})_\d+")


@dataclass(frozen=True, slots=True)
class RecReading:
    """What a file gave: items in the order of the file, at most `limit` of them, out of `total` in the file.

    `missing` are the images of these items that are not there, each once. `notes` are sentences to be said before anything
    runs: a subset, a count that is not the official one, missing images. `digest` is the sha256 of the file.
    """

    items: tuple[RecItem, ...]
    total: int
    missing: tuple[str, ...]
    notes: tuple[str, ...]
    digest: str


def read_rec(path: Path, image_root: Path, limit: int | None = None) -> RecReading:
    """Read a per-expression json, the first `limit` rows of it.

    The image of a row is its `file_name`, or for an img_id `COCO_train2014_000000533220_1954731` the file
    `COCO_train2014_000000533220.jpg`. Ids are `<img_id>-<n>`, n counting the expressions of one img_id.

    Raises DataError when the file is missing, cut off or no such list, when a row is malformed or its image lies outside
    the image root, when the image root is no directory, or when none of the images is there.
    """
    if not image_root.is_dir():
        raise DataError(f"image_root {image_root} is not a directory; name the folder that holds the images")
    rows, digest = read_json(path)
    if not isinstance(rows, list) or not rows:
        held = "an empty list" if rows == [] else type(rows).__name__
        raise DataError(f"{path} holds {held}; a file of referring expressions is a list with one object an expression")
    seen: Counter[str] = Counter()
    items = tuple(_item(row, f"{path}: row {index}", seen) for index, row in enumerate(rows[:limit]))
    missing = _missing(items, image_root, path)
    return RecReading(items, len(rows), missing, tuple(_notes(path, len(items), len(rows), items, missing)), digest)


def _item(row: Any, where: str, seen: Counter[str]) -> RecItem:
    if not isinstance(row, dict):
        raise DataError(f"{where} is no object; each row needs img_id, sents, bbox, height and width")
    img_id, expression = (_text(row, key, where) for key in ("img_id", "sents"))
    width, height = (_side(row, key, where) for key in ("width", "height"))
    item_id = f"{img_id}-{seen[img_id]}"
    seen[img_id] += 1
    return RecItem(item_id, _image(row, img_id, where), width, height, expression.strip(), _box(row, where))


def _image(row: Mapping[str, Any], img_id: str, where: str) -> str:
    if row.get("file_name") is not None:
        return _text(row, "file_name", where)
    coco = _COCO_ID.fullmatch(img_id)
    if not coco:
        raise DataError(f"{where} has img_id {img_id!r}, which names no COCO 2014 image; give the row a file_name")
    return f"{coco[1]}.jpg"


def _text(row: Mapping[str, Any], key: str, where: str) -> str:
    value = row.get(key)
    if not is_text(value):
        raise DataError(f"{where} has {key} {value!r}; it must be a text")
    return str(value)


def _side(row: Mapping[str, Any], key: str, where: str) -> int:
    value = row.get(key)
    if type(value) is not int or value < 1:
        raise DataError(f"{where} has {key} {value!r}; it must be the image's {key} in pixels")
    return value


def _box(row: Mapping[str, Any], where: str) -> Box:
    bbox = row.get("bbox")
    if isinstance(bbox, list) and len(bbox) == 4 and all(type(value) in (int, float) and abs(value) < 1e9 for value in bbox):
        x0, y0, x1, y1 = xywh_to_xyxy([bbox])[0].tolist()
        if x1 > x0 and y1 > y0:
            return (x0, y0, x1, y1)
    raise DataError(f"{where} has bbox {bbox!r}; it must be [x, y, width, height] in pixels with a positive area")


def _missing(items: tuple[RecItem, ...], image_root: Path, path: Path) -> tuple[str, ...]:
    paths = dict.fromkeys(item.path for item in items)
    try:
        missing = tuple(name for name in paths if not resolve(image_root, name).is_file())
    except ImageFault as fault:
        raise DataError(f"{path}: an image is refused, {fault}") from None
    if len(missing) == len(paths):
        raise DataError(f"{path}: none of its {len(paths)} images is under {image_root}, e.g. {missing[0]}; set image_root")
    return missing


def _notes(path: Path, read: int, total: int, items: tuple[RecItem, ...], missing: tuple[str, ...]) -> list[str]:
    notes = []
    official = OFFICIAL_COUNTS.get(path.stem.lower())
    if official is not None and total != official:
        notes.append(f"{path} holds {total} expressions; the official split has {official}: results are not comparable")
    if read < total:
        notes.append(f"{path.name}: subset of {total}, the first {read} expressions")
    if missing:
        gone = set(missing)
        lost = sum(item.path in gone for item in items)
        listed = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        notes.append(f"{path.name}: {len(missing)} images are missing, {lost} expressions are dropped with them: {listed}")
    return notes
