"""Referring expressions and the regions they name: RefCOCO, RefCOCO+, RefCOCOg, and whatever is written like them.

Which format a file has is told from what it holds, never from its name:

    a json list of rows, one an expression          refcoco.py
    MDETR's finetune_refcoco*.json                  mdetr.py
    lmms-lab's parquet, one file or a folder        rec_parquet.py
    refer's refs(unc).p beside instances.json       refer.py, which needs a split
    a COCO-format json: names that stand alone      coco_names.py

Annotations only; an evaluation set is read strictly, since leaving out a row would make another benchmark of it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from spr.errors import DataError
from spr.items import CaptionItem, RecItem
from spr.sources.coco_names import read_coco_names
from spr.sources.fields import shown
from spr.sources.following import Meter, unseen
from spr.sources.json_file import read_json
from spr.sources.mdetr import is_mdetr, read_mdetr_expressions
from spr.sources.reading import Reading, check_image_root, reading
from spr.sources.rec_parquet import read_rec_parquet
from spr.sources.refcoco import read_expressions
from spr.sources.refer import read_refer
from spr.sources.referred import OFFICIAL_COUNTS, OFFICIAL_REGIONS, ReferredFile, regions

_KNOWN = (
    "known are the per-expression json, MDETR's finetune_refcoco*.json, parquet as lmms-lab publishes it, refer's refs(...).p, "
    "and COCO-format json"
)


def read_rec(
    path: Path, image_root: Path, limit: int | None = None, split: str | None = None, meter: Meter = unseen
) -> Reading[RecItem]:
    """One item an expression, the first `limit` of them. `split` is for formats that hold several in one place: refer's
    pickles, and folders of parquet. `meter` follows what takes long: unpickling, hashing, the sizes of photos within a parquet.

    Notes say which format was read, unless it is the per-expression json, and a count that is not the official one.
    Raises DataError when the file is missing, cut off or of no known format, when a row is malformed, a split is missing or
    has no meaning, an image lies outside the image root, the image root is no directory, or none of the images is there.
    """
    file = _read(path, image_root, split, meter)
    kept = file.measure(file.rows[:limit])
    official = OFFICIAL_COUNTS.get(file.split)
    items = [row.item for row in kept]
    return reading(path, image_root, items, len(file.rows), file.digest, "expressions", official, file.notes)


def read_captions(
    path: Path, image_root: Path, limit: int | None = None, split: str | None = None, meter: Meter = unseen
) -> Reading[CaptionItem]:
    """The same files, one item a region with all its expressions as references, the first `limit` regions. A region is what
    the format gives an id (the img_id, refer's ref, COCO's annotation, a row of parquet), else an image and a box.

    Raises DataError as `read_rec` does, for a COCO-format json, whose names nobody wrote about a region, and where two
    expressions of a region have different images or boxes.
    """
    file = _read(path, image_root, split, meter, names=False)
    found = regions(file.rows, str(path))
    measured = file.measure([first for first, _ in found[:limit]])
    items = [
        replace(item, width=row.item.width, height=row.item.height)
        for row, (_, item) in zip(measured, found[:limit], strict=True)
    ]
    official = OFFICIAL_REGIONS.get(file.split)
    return reading(path, image_root, items, len(found), file.digest, "regions", official, file.notes)


def _read(path: Path, image_root: Path, split: str | None, meter: Meter, names: bool = True) -> ReferredFile:
    check_image_root(image_root)
    start = _start(path)
    if path.is_dir() or start.startswith(b"PAR1"):
        return read_rec_parquet(path, split, meter)
    start = start.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if start in (b"(", b"]", b"\x80"):  # No json begins so; a pickled list does, by protocol 0, 1 and those after.
        return read_refer(path, path.read_bytes(), split, meter)
    if start not in (b"", b"[", b"{"):
        raise DataError(f"{path} is no file of referring expressions, it begins with {start!r}; {_KNOWN}")
    if split is not None:
        raise DataError(f"{path} is json of one split, for which split {split!r} has no meaning; leave split out")
    return _read_json(path, image_root, names)


def _start(path: Path) -> bytes:
    if path.is_dir():
        if not any(path.glob("*.parquet")):
            raise DataError(f"{path} is a folder without parquet files; name a file of referring expressions")
        return b""
    try:
        with path.open("rb") as file:
            return file.read(4096)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; name an existing file of referring expressions") from None


def _read_json(path: Path, image_root: Path, names: bool) -> ReferredFile:
    content, digest = read_json(path)
    if isinstance(content, list):
        return read_expressions(content, digest, path)
    if is_mdetr(content, "tokens_positive_eval"):
        raise DataError(
            f"{path} holds sentences and their phrases (MDETR's Flickr30k) and no referring expressions; read it as "
            "phrase_grounding"
        )
    if is_mdetr(content, "caption"):
        return read_mdetr_expressions(content, digest, path)
    if not isinstance(content, dict) or "images" not in content:
        raise DataError(f"{path} holds {shown(content)}, no referring expressions; {_KNOWN}")
    if not names:
        raise DataError(f"{path} is a COCO-format json: it holds names and no expressions about regions; name a file that does")
    return read_coco_names(content, digest, path, image_root)
