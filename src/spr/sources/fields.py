"""The fields of one row of an annotation file, each as its format promises it or one sentence on what it is instead.

Rows come from json, parquet and pickles alike; `where` is the file and the place of the row in it.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

from spr.boxes import Box, Size, near
from spr.errors import DataError
from spr.sources.json_file import is_text

LARGEST_SIDE = 1_000_000
"""Pixels; no photo has more, and a number beyond any float would break the arithmetic of boxes."""
_LARGEST_ID = 2**64
"""Ids of databases have 64 bits; a larger number is no id, and may be longer than Python writes."""


def shown(value: Any) -> str:
    """A value for a sentence, on one line and short, however large or deep it is."""
    try:
        written = reprlib.repr(value)
    except ValueError:  # Python writes no whole number of more than 4,300 digits.
        written = f"a {type(value).__name__} too long to show"
    return written if len(written) <= 100 else f"{written[:100]}..."


def entry(row: Any, where: str) -> Mapping[str, Any]:
    """The row itself. Raises DataError unless it is an object with named fields."""
    if not isinstance(row, dict):
        raise DataError(f"{where} is no object: {shown(row)}; mend the file or download it again")
    return row


def listed(row: Mapping[str, Any], key: str, where: str, least: int = 1) -> list[Any]:
    """A list of at least so many values. Raises DataError."""
    value = row.get(key)
    if not isinstance(value, list) or len(value) < least:
        raise DataError(f"{where} has {key} {shown(value)}; it must be a list{'' if not least else ', not empty'}")
    return value


def text(row: Mapping[str, Any], key: str, where: str) -> str:
    """A text that is not empty. Raises DataError."""
    value = row.get(key)
    if not is_text(value):
        raise DataError(f"{where} has {key} {shown(value)}; it must be a text")
    return str(value)


def ident(row: Mapping[str, Any], key: str, where: str) -> str:
    """An id, a whole number or a text, as text. Raises DataError."""
    value = row.get(key)
    if (type(value) is int and abs(value) < _LARGEST_ID) or is_text(value):
        return str(value)
    raise DataError(f"{where} has {key} {shown(value)}; it must be an id, a whole number or a text")


def side(row: Mapping[str, Any], key: str, where: str, written: bool = False) -> int:
    """The width or height of an image in pixels; where `written`, a text of digits will do. Raises DataError."""
    value = row.get(key)
    if written and isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        value = int(value)
    if type(value) is not int or not 1 <= value <= LARGEST_SIDE:
        raise DataError(f"{where} has {key} {shown(row.get(key))}; it must be the image's {key} in pixels")
    return value


def xywh(row: Mapping[str, Any], key: str, where: str) -> Box:
    """A box from [x, y, width, height] in pixels. Raises DataError unless it is finite and has a positive area."""
    value = row.get(key)
    if isinstance(value, list) and len(value) == 4 and all(type(number) in (int, float) for number in value) and near(value):
        x, y, width, height = (float(number) for number in value)
        if x + width > x and y + height > y:
            return (x, y, x + width, y + height)
    raise DataError(f"{where} has {key} {shown(value)}; it must be [x, y, width, height] in pixels with a positive area")


def check_inside(box: Box, size: Size, where: str) -> None:
    """Raises DataError for a box that does not meet its image of (width, height) pixels; one may reach over its edge."""
    x0, y0, x1, y1 = box
    if x0 >= size[0] or y0 >= size[1] or x1 <= 0 or y1 <= 0:
        edges = ", ".join(f"{edge:g}" for edge in box)
        raise DataError(
            f"{where} has the box ({edges}), which lies outside its image of {size[0]} x {size[1]} pixels; mend the file"
        )
