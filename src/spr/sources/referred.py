"""What a file of referring expressions gives, whatever its format, and what the official splits hold.

An expression names a region, and several may name the same one: a task asks about expressions or about regions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from spr.errors import DataError
from spr.items import CaptionItem, RecItem

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
"""Expressions of each official split (unc; RefCOCOg: umd)."""

OFFICIAL_REGIONS: Mapping[str, int] = {
    "refcoco_val": 3811,
    "refcoco_testa": 1975,
    "refcoco_testb": 1810,
    "refcoco+_val": 3805,
    "refcoco+_testa": 1975,
    "refcoco+_testb": 1798,
    "refcocog_val": 2573,
    "refcocog_test": 5023,
}
"""Regions (refs) that these expressions name."""


@dataclass(frozen=True, slots=True)
class Referred:
    """One expression, and the id of the region that it names."""

    item: RecItem
    region: str


def as_stated(rows: Sequence[Referred]) -> Sequence[Referred]:
    """The rows of a file that states its images' sizes."""
    return rows


@dataclass(frozen=True, slots=True)
class ReferredFile:
    """Every expression of a file, in its order, and the sha256 of its bytes.

    `split` is the official split that it is by its name, a key of OFFICIAL_COUNTS, or another name, or empty. `measure`
    fills in the sizes of images for formats where they cost reading: it is given the rows that count.
    """

    rows: tuple[Referred, ...]
    digest: str
    split: str
    notes: tuple[str, ...] = ()
    measure: Callable[[Sequence[Referred]], Sequence[Referred]] = as_stated


def regions(rows: Sequence[Referred], where: str) -> list[tuple[Referred, CaptionItem]]:
    """Rows to one item a region, in the order of their first expressions, with that first row.

    Raises DataError when two expressions of a region have different images or boxes.
    """
    found: dict[str, list[Referred]] = {}
    for row in rows:
        group = found.setdefault(row.region, [])
        group.append(row)
        first = group[0].item
        if (row.item.path, row.item.box) != (first.path, first.box):
            raise DataError(
                f"{where}: expressions {first.item_id} and {row.item.item_id} name region {row.region} with different images "
                "or boxes; mend the file"
            )
    return [(group[0], _region(group)) for group in found.values()]


def _region(group: Sequence[Referred]) -> CaptionItem:
    first = group[0].item
    references = tuple(row.item.expression for row in group)
    return CaptionItem(group[0].region, first.path, first.width, first.height, first.box, references, first.category)
