"""Referring expressions as refer keeps them: `refs(unc).p`, `refs(umd).p` or `refs(google).p` beside `instances.json`.

The pickle is a list of refs {ref_id, ann_id, image_id, split, sentences: [{sent, sent_id, ...}], ...}, after
lichengunc/refer; the boxes are those of the annotations of instances.json, which is in COCO's format. All splits of a
data set are in one pickle.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spr.errors import DataError
from spr.items import RecItem
from spr.sources.fields import check_inside, entry, ident, listed, shown, side, text, xywh
from spr.sources.following import Meter, megabytes, unseen
from spr.sources.json_file import read_json
from spr.sources.plain_pickle import read_plain_pickle
from spr.sources.referred import Referred, ReferredFile

SPLITS = ("train", "val", "test", "testA", "testB")
_OFFICIAL = {("refcoco", "refs(unc)"), ("refcoco+", "refs(unc)"), ("refcocog", "refs(umd)")}


def read_refer(path: Path, raw: bytes, split: str | None, meter: Meter = unseen) -> ReferredFile:
    """The expressions (`sent`) of one split; ids are `<ref_id>-<sent_id>`, a region is a ref.

    Raises DataError for a split that is not named or not in the file, a pickle that is broken or names anything, an
    instances.json that is missing or broken, and a ref that is malformed or whose annotation is not there.
    """
    if split not in SPLITS:
        said = "no split is named" if split is None else f"split is {split!r}"
        raise DataError(f"{path}: {said}; refer's pickles hold all splits, set split to one of {', '.join(SPLITS)}")
    refs = read_plain_pickle(raw, path, meter)
    if not isinstance(refs, list):
        raise DataError(f"{path} holds {shown(refs)}; refer's pickles hold a list of refs")
    instances = _read_instances(path.with_name("instances.json"), meter)
    held: dict[str, int] = {}
    rows: list[Referred] = []
    for place, ref in enumerate(refs):
        where = f"{path}: ref {place}"
        found = text(entry(ref, where), "split", where)
        held[found] = held.get(found, 0) + 1
        if found == split:
            rows += _expressions(ref, instances, where)
    if not rows:
        counts = ", ".join(f"{name} ({count} refs)" for name, count in list(held.items())[:8]) or "no refs"
        raise DataError(f"{path} holds no expressions of split {split}; it holds {counts}")
    digest = hashlib.sha256(raw + instances.digest.encode()).hexdigest()
    official = (path.parent.name, path.stem) in _OFFICIAL
    note = f"{path.name}: read as refer's pickle, split {split}, with the boxes of instances.json"
    return ReferredFile(tuple(rows), digest, f"{path.parent.name}_{split}".lower() if official else "", (note,))


@dataclass(frozen=True, slots=True)
class _Instances:
    """An instances.json, by id."""

    path: Path
    digest: str
    images: Mapping[str, Any]
    annotations: Mapping[str, Any]
    names: Mapping[str, Any]


def _read_instances(path: Path, meter: Meter) -> _Instances:
    if not path.is_file():
        raise DataError(f"{path} is missing; refer's pickles hold no boxes, put the instances.json of the data set beside them")
    size = megabytes(path.stat().st_size)
    with meter(f"reading {path.name}", size, "MB") as tick:
        content, digest = read_json(path)
        tick(size)
    parts = [_by_id(entry(content, str(path)), key, path) for key in ("images", "annotations", "categories")]
    return _Instances(path, digest, *parts)


def _by_id(content: Mapping[str, Any], key: str, path: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for place, one in enumerate(listed(content, key, str(path))):
        where = f"{path}: {key}[{place}]"
        one_id = ident(entry(one, where), "id", where)
        if one_id in found:
            raise DataError(f"{where} has the id {one_id} of another one before it; ids must differ, mend the file")
        found[one_id] = one
    return found


def _expressions(ref: Mapping[str, Any], instances: _Instances, where: str) -> Iterator[Referred]:
    ref_id, image_id = ident(ref, "ref_id", where), ident(ref, "image_id", where)
    annotation, drawn = _looked_up(ref, "ann_id", instances.annotations, (where, instances.path, "annotation"))
    image, shot = _looked_up(ref, "image_id", instances.images, (where, instances.path, "image"))
    if ident(annotation, "image_id", drawn) != image_id:
        raise DataError(
            f"{drawn} is of image {shown(annotation['image_id'])}, but {where} is of image {image_id}; mend the files"
        )
    size = (side(image, "width", shot), side(image, "height", shot))
    box = xywh(annotation, "bbox", drawn)
    check_inside(box, size, drawn)
    category, named = _looked_up(annotation, "category_id", instances.names, (drawn, instances.path, "category"))
    for place, sentence in enumerate(listed(ref, "sentences", where)):
        at = f"{where}: sentences[{place}]"
        item_id = f"{ref_id}-{ident(entry(sentence, at), 'sent_id', at)}"
        expression = text(sentence, "sent", at).strip()
        item = RecItem(item_id, text(image, "file_name", shot), *size, expression, box, text(category, "name", named).strip())
        yield Referred(item, ref_id)


def _looked_up(
    row: Mapping[str, Any], key: str, table: Mapping[str, Any], names: tuple[str, Path, str]
) -> tuple[Mapping[str, Any], str]:
    """The entry of `table` that `row` names, and its place for a sentence. Raises DataError where it has none."""
    where, path, what = names
    wanted = ident(row, key, where)
    if wanted not in table:
        raise DataError(f"{where} has {key} {wanted}, and {path} holds no such {what}; the two files must be of one data set")
    return table[wanted], f"{path}: {what} {wanted}"
