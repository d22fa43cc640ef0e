"""Referring expressions from the per-expression json: RefCOCO, RefCOCO+, RefCOCOg, and whatever is written like them.

One row an expression: `img_id` (COCO_train2014_<12 digits>_<region>), `sents` (the expression), `bbox` (x, y, width,
height in pixels), `height`, `width`, and, where the img_id does not tell it, `file_name`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spr.errors import DataError
from spr.items import RecItem
from spr.sources.fields import check_inside, entry, shown, side, text, xywh
from spr.sources.referred import Referred, ReferredFile

COCO_ID = re.compile(r"(COCO_(?:train|val)2014_\d{12})_\d+")
"""A photo of COCO 2014 and the number of a region on it."""


def read_expressions(rows: list[Any], digest: str, path: Path) -> ReferredFile:
    """The rows of a per-expression json.

    The image of a row is its `file_name`, or for an img_id `COCO_train2014_000000533220_1954731` the file
    `COCO_train2014_000000533220.jpg`. An img_id is a region; ids are `<img_id>-<n>`, n counting its expressions.
    Raises DataError for a malformed row.
    """
    if not rows:
        raise DataError(f"{path} holds an empty list; a file of referring expressions is a list with one object an expression")
    seen: Counter[str] = Counter()
    found = tuple(_referred(row, f"{path}: row {index}", seen) for index, row in enumerate(rows))
    return ReferredFile(found, digest, path.stem.lower())


def _referred(row: Any, where: str, seen: Counter[str]) -> Referred:
    img_id, expression = (text(entry(row, where), key, where) for key in ("img_id", "sents"))
    width, height = (side(row, key, where) for key in ("width", "height"))
    item_id = f"{img_id}-{seen[img_id]}"
    seen[img_id] += 1
    box = xywh(row, "bbox", where)
    check_inside(box, (width, height), where)
    return Referred(RecItem(item_id, _image(row, img_id, where), width, height, expression.strip(), box), img_id)


def _image(row: Mapping[str, Any], img_id: str, where: str) -> str:
    if row.get("file_name") is not None:
        return text(row, "file_name", where)
    coco = COCO_ID.fullmatch(img_id)
    if not coco:
        raise DataError(f"{where} has img_id {shown(img_id)}, which names no COCO 2014 image; give the row a file_name")
    return f"{coco[1]}.jpg"
