"""Qwen2.5-VL: a json list of `{"bbox_2d": [x1, y1, x2, y2], "label": "dog"}`, usually in a json fence.

Frame: absolute pixels of the RESIZED image. The processor rounds both sides to multiples of 28 and keeps the area between
`min_pixels` and `max_pixels`; the same limits must be set here and in `model.processor`. Or give `processed_size`, if all
images are processed to one size. Boxes in bare brackets, outside json, are read too.
Source: the model card and the processor's `smart_resize`.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence

from spr.boxes import Box, Size
from spr.errors import RecipeError
from spr.models.dialects.brackets import BracketDialect
from spr.models.dialects.grid import Grid
from spr.models.dialects.markup import Mark, Span
from spr.models.dialects.numerals import integers

FACTOR = 28
MIN_PIXELS = 56 * 56
MAX_PIXELS = 16384 * 28 * 28
"""Limits in the published checkpoints' preprocessor_config.json."""
_NAME = '"bbox_2d"'
_KEY = re.compile(r'"bbox_2d"\s*:\s*\Z')
_LABEL = re.compile(r'"label"\s*:\s*("(?:[^"\\]|\\.)*")')
_LABEL_ALONE = re.compile(r'\{\s*"label"\s*:\s*("(?:[^"\\]|\\.)*")\s*\}')
"""A json object that has lost its box."""
_COMMA_AFTER = re.compile(r"\s*,\s*")
_COMMA_BEFORE = re.compile(r",\s*\Z")
_FENCE = re.compile(r"```(?:json)?")


class Qwen25VL(BracketDialect):
    """Qwen2.5-VL's dialect. Raises RecipeError for sizes or limits that no image could have."""

    name = "qwen2.5-vl"

    def __init__(
        self,
        processed_size: Sequence[int] | None = None,
        min_pixels: int = MIN_PIXELS,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        if processed_size is not None and (len(processed_size) != 2 or min(processed_size) < 1):
            raise RecipeError(f"dialect qwen2.5-vl: processed_size is {processed_size}; it must be [width, height]")
        if not 0 < min_pixels <= max_pixels:
            raise RecipeError(f"dialect qwen2.5-vl: min_pixels {min_pixels} and max_pixels {max_pixels} leave no size")
        self._processed_size = (int(processed_size[0]), int(processed_size[1])) if processed_size is not None else None
        self._limits = (min_pixels, max_pixels)

    def processed_size(self, size: Size) -> Size:
        """(width, height) of the image that the model sees, for an original of `size`."""
        return self._processed_size or smart_resize(size, *self._limits)

    def grid(self, size: Size) -> Grid:
        """Pixels of the resized image."""
        width, height = self.processed_size(size)
        return Grid.stretched(size, (float(width), float(height)))

    def numbers(self, box: Box, size: Size, like: Sequence[str]) -> list[str]:
        """Rounded to whole pixels of the resized image."""
        return integers(self.grid(size).cells(box, "nearest"), like)

    def ground(self, phrase: str, box: Box, size: Size) -> str:
        """One json object: box and label."""
        return f'{{"bbox_2d": {self.format(box, size)}, "label": {json.dumps(phrase, ensure_ascii=False)}}}'

    def marks(self, text: str) -> list[Mark]:
        """All brackets that hold numbers. A box inside a json object has the object's label as its phrase."""
        found: list[Mark] = []
        since = 0
        for mark in super().marks(text):
            found.append(_in_json(text, mark, since) or mark)
            since = max(since, found[-1].item[1])
        return found

    def words(self, text: str, size: Size) -> str:
        """The labels, joined by commas, and what was said outside the json."""
        pieces: list[str] = []
        cursor, labelled = 0, False
        for (start, end), label in self._objects(text):
            if said := self._said(text[cursor:start], size):
                pieces.append(f"{said} " if not pieces else f" {said} ")
                labelled = False
            if label:
                pieces.append(f", {label}" if labelled else label)
                labelled = True
            cursor = max(cursor, end)
        rest = super().words(text, size) if not cursor else self._said(text[cursor:], size)
        return "".join([*pieces, " " if pieces and rest else "", rest])

    def _objects(self, text: str) -> list[tuple[Span, str | None]]:
        """The json objects in reading order, with their labels: those with a box, and those that have lost it."""
        boxed = [(mark.item, mark.phrase) for mark in self.marks(text) if text[mark.item[0]] == "{"]
        bare = [(found.span(), _label(text, found.span())) for found in _LABEL_ALONE.finditer(text)]
        return sorted({*boxed, *bare}, key=lambda found: found[0])

    def _said(self, text: str, size: Size) -> str:
        """Text between json objects, without list brackets, commas and fences."""
        return super().words(_FENCE.sub("", text).strip(" \t\n[],"), size)

    def region_prompt(self, box: Box, size: Size, names: Sequence[str] = ()) -> str:  # noqa: ARG002 (the protocol's)
        """The plain region question."""
        return (
            f"Describe the region {self.region_text(box, size)} of this image: locate every object in it and output the "
            "bbox coordinates in JSON format."
        )

    def rec_prompt(self, expression: str) -> str:
        """The question of the model card."""
        return f"Locate {expression} in this image and output the bbox coordinates in JSON format."


def smart_resize(size: Size, min_pixels: int, max_pixels: int) -> Size:
    """(width, height) after the processor's resize: sides are multiples of 28, near the original's, with an area within the
    limits as far as the multiples allow."""
    sides = [max(FACTOR, round(side / FACTOR) * FACTOR) for side in size]
    area = size[0] * size[1]
    if sides[0] * sides[1] > max_pixels:
        shrink = math.sqrt(area / max_pixels)
        sides = [max(FACTOR, math.floor(side / shrink / FACTOR) * FACTOR) for side in size]
    elif sides[0] * sides[1] < min_pixels:
        stretch = math.sqrt(min_pixels / area)
        sides = [math.ceil(side * stretch / FACTOR) * FACTOR for side in size]
    return sides[0], sides[1]


def _in_json(text: str, mark: Mark, since: int) -> Mark | None:
    """The mark-up as part of the json object around it; None where it is in none."""
    end = mark.parts[-1].span[1]
    key = _KEY.search(text, since, mark.parts[0].span[0])
    opening = text.rfind("{", since, key.start()) if key else -1
    if key is None or opening < 0:
        return None
    following = text.find(_NAME, end)
    limit = len(text) if following < 0 else following
    item = (opening, text.find("}", end, limit) + 1 or limit)
    return Mark(mark.parts, _label(text, item), _pair(text, key.start(), end, item), item, _joiner(text, since, opening))


def _label(text: str, item: Span) -> str | None:
    label = _LABEL.search(text, *item)
    if label is None:
        return None
    try:
        return str(json.loads(label[1])) or None
    except ValueError:
        return label[1].strip('"') or None


def _pair(text: str, start: int, end: int, item: Span) -> Span:
    """The `"bbox_2d": [...]` of a json object with the comma that sets it apart from the rest of the object."""
    if comma := _COMMA_AFTER.match(text, end, item[1]):
        return start, comma.end()
    if comma := _COMMA_BEFORE.search(text, item[0], start):
        return comma.start(), end
    return start, end


def _joiner(text: str, since: int, opening: int) -> int | None:
    comma = _COMMA_BEFORE.search(text, since, opening)
    return comma.start() if comma else None
