"""Dialects that write boxes in json: a list of `{"bbox_2d": [x1, y1, x2, y2], "label": "dog"}`, usually in a json fence.

Boxes in bare brackets, outside json, are read too; inside of it only `bbox_2d` has boxes, one or a list of them. What the
numbers count is the family's own module's business.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from spr.boxes import Box, Size
from spr.models.dialects.brackets import BracketDialect
from spr.models.dialects.json_objects import BOX_KEY, LABEL_KEY, BoxValue, JsonObject, json_objects
from spr.models.dialects.markup import Mark, Part, Span, worded

_COMMA_AFTER = re.compile(r"\s*,\s*")
_LIST_ENDS = re.compile(r"(?:\s*+(?:\]|```))*+")
_FENCE = re.compile(r"```(?:json)?")

Attempt = tuple[Span, tuple[Part, ...]]


class JsonBoxDialect(BracketDialect):
    """A dialect of json objects with a box and a label."""

    def ground(self, phrase: str, box: Box, size: Size) -> str:
        """One json object: box and label."""
        return f'{{"{BOX_KEY}": {self.format(box, size)}, "{LABEL_KEY}": {json.dumps(phrase, ensure_ascii=False)}}}'

    def marks(self, text: str) -> list[Mark]:
        """All brackets that hold numbers, but for those that json has for something else. Those of a json object are one
        mark-up, with the object's label as its phrase."""
        brackets = list(self.attempts(text))
        objects = _Objects(json_objects(text, (span for span, _ in brackets)))
        attempts = [(*objects.owner(attempt[0][0]), attempt) for attempt in brackets]
        starts = [attempt[0][0] for _, owner, attempt in attempts if owner]
        found: list[Mark] = []
        since = 0
        for (end, owner), group in groupby(attempts, key=lambda owned: owned[:2]):
            own = [attempt for *_, attempt in group]
            if owner is not None:
                found.append(_in_json(text, owner, own, starts, since))
            elif own[0][0][0] >= end:
                found += _bare(text, own, max(since, end))
            since = max(since, found[-1].item[1]) if found else since
        return found

    def words(self, text: str, size: Size) -> str:
        """The labels, joined by commas, and what was said outside the json."""
        pieces: list[str] = []
        cursor, labelled = 0, False
        for one in json_objects(text, (span for span, _ in self.attempts(text))):
            inside = one.span[0] < cursor
            if not one.boxes and (inside or not one.label):
                continue
            if said := self._said(text[cursor : one.span[0]], size):
                pieces.append(f"{said} " if not pieces else f" {said} ")
                labelled = False
            if one.label:
                pieces.append(f", {one.label}" if labelled else one.label)
                labelled = True
            cursor = max(cursor, one.span[1])
        rest = super().words(text, size) if not cursor else self._said(text[cursor:], size)
        return "".join([*pieces, " " if pieces and rest else "", rest])

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

    def phrases_prompt(self, phrases: Sequence[str]) -> str:
        """The question of Qwen3-VL's own evaluation of detection (`evaluation/ODinW-13` of QwenLM/Qwen3-VL)."""
        named = f"'{', '.join(phrases)}'"
        return (
            f"Locate every instance that belongs to the following categories: {named}. Report bbox coordinates in JSON format."
        )


class _Objects:
    """The objects of a text, asked from its beginning to its end."""

    def __init__(self, objects: Sequence[JsonObject]) -> None:
        self._objects = objects
        self._values = sorted(((value, one) for one in objects for value in one.boxes), key=lambda owned: owned[0].span)
        self._starts = [value.span[0] for value, _ in self._values]
        self._seen, self._end = 0, 0

    def owner(self, place: int) -> tuple[int, tuple[BoxValue, JsonObject] | None]:
        """Where the objects end that begin before `place`, and the value for boxes that it stands in."""
        while self._seen < len(self._objects) and self._objects[self._seen].span[0] <= place:
            self._end = max(self._end, self._objects[self._seen].span[1])
            self._seen += 1
        index = bisect_right(self._starts, place) - 1
        held = index >= 0 and place < self._values[index][0].span[1]
        return self._end, self._values[index] if held else None


def _in_json(text: str, owner: tuple[BoxValue, JsonObject], own: Sequence[Attempt], starts: Sequence[int], since: int) -> Mark:
    """The boxes of one json object. With boxes of other objects inside of it, it keeps everything but its own."""
    value, one = owner
    end = max(value.span[1], own[-1][0][1])
    item = (one.item[0], max(one.item[1], end))
    pair = _pair(text, value.key, end, item)
    shared = bisect_left(starts, one.span[1]) - bisect_left(starts, one.span[0]) > len(own)
    parts = tuple(replace(part, lone=len(several) == 1) for _, several in own for part in several)
    item = pair if shared else item
    return Mark(parts, one.label, pair, item, _joiner(text, since, item[0]))


def _bare(text: str, own: Sequence[Attempt], since: int) -> Iterator[Mark]:
    """Boxes outside json, with the words before them."""
    ends = _LIST_ENDS.match(text, since) if since else None
    since = min(ends.end(), own[0][0][0]) if ends else since
    for span, parts in own:
        mark = worded(text, span, parts, since)
        since = mark.item[1]
        yield mark


def _pair(text: str, start: int, end: int, item: Span) -> Span:
    """The `"bbox_2d": [...]` of a json object with the comma that sets it apart from the rest of the object."""
    if comma := _COMMA_AFTER.match(text, end, item[1]):
        return start, comma.end()
    before = _joiner(text, item[0], start)
    return (start if before is None else before), end


def _joiner(text: str, since: int, start: int) -> int | None:
    """Where the comma stands right before `start`, if one does."""
    while start > since and text[start - 1].isspace():
        start -= 1
    return start - 1 if start > since and text[start - 1] == "," else None
