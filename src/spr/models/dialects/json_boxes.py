"""Dialects that write boxes in json: a list of `{"bbox_2d": [x1, y1, x2, y2], "label": "dog"}`, usually in a json fence.

Boxes in bare brackets, outside json, are read too. What the numbers count is the family's own module's business.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from spr.boxes import Box, Size
from spr.models.dialects.brackets import BracketDialect
from spr.models.dialects.markup import Mark, Span

_NAME = '"bbox_2d"'
_KEY = re.compile(r'"bbox_2d"\s*:\s*\Z')
_LABEL = re.compile(r'"label"\s*:\s*("(?:[^"\\]|\\.)*")')
_LABEL_ALONE = re.compile(r'\{\s*"label"\s*:\s*("(?:[^"\\]|\\.)*")\s*\}')
"""A json object that has lost its box."""
_COMMA_AFTER = re.compile(r"\s*,\s*")
_COMMA_BEFORE = re.compile(r",\s*\Z")
_FENCE = re.compile(r"```(?:json)?")


class JsonBoxDialect(BracketDialect):
    """A dialect of json objects with a box and a label."""

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
