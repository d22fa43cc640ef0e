"""The json objects of a text that need not be json: where they stand, which boxes and which label are their own.

Models write json with either kind of quotes, forget brackets, and are cut off. So this is no parser: it looks at each
character about once and takes what is there. What keeps a slip small: a string ends with its line at the latest, an object
stands in a list or behind a colon or else the one before has lost its brace, and an object without an end goes no further
than the first words that cannot belong to it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from spr.models.dialects.markup import Span

BOX_KEY, LABEL_KEY = "bbox_2d", "label"
_OPENING = re.compile(r"""\{(?=\s*+(["'])[^"'\n]{0,64}\1\s*+:)""")
"""A brace that begins an object: a key and its colon follow."""
_ENDED = r"(?=[^\S\n]*+(?:[\n,:}\]]|\Z))"
"""What follows the quote at the end of a string; before anything else a quote stands inside, as in `"a "big" dog"`."""
_ESCAPED = re.compile(r'\\.|"', re.DOTALL)
_OTHER = re.compile(r"""[{}\[\],:]|[^\s{}\[\],:"']++|["']""")
_SPACE = re.compile(r"\s*+")


def _string(quote: str) -> str:
    """A string, cut off by the end of its line or by an object with such quotes. Its one group is the quote at its end."""
    inside = f"{quote}(?!{_ENDED})"
    return rf"{quote}(?:[^{quote}\\\n{{]++|\\.?+|\{{(?!\s*+{inside})|{inside})*+({quote})?+"


_STRING = re.compile(f"{_string(chr(34))}|{_string(chr(39))}")


@dataclass(frozen=True, slots=True)
class BoxValue:
    """What an object has under its key for boxes: where the key begins, and the span of the value."""

    key: int
    span: Span


@dataclass(frozen=True, slots=True)
class JsonObject:
    """One object. `span` is all of it, `item` also takes in the key that it is the value of."""

    span: Span
    item: Span
    label: str | None
    boxes: tuple[BoxValue, ...]


def json_objects(text: str, boxes: Iterable[Span]) -> list[JsonObject]:
    """All objects of a text, by where they begin; those inside of others are listed too. `boxes` are brackets with numbers,
    closed or not: each is taken as one whole, so that a new box in its place changes nothing else."""
    ends = dict(boxes)
    found: list[JsonObject] = []
    position = 0
    while opening := _OPENING.search(text, position):
        scan = _Scan(text, ends, found)
        position = scan.run(opening.start())
    return sorted(found, key=lambda one: one.span)


@dataclass(slots=True)
class _Open:
    """An object that has begun. `broken` is where words stand that cannot belong to it, should it have no end."""

    start: int
    item: int
    lists: int = 0
    key: int = 0
    name: str = ""
    value: int = 0
    broken: int | None = None
    label: Span | None = None
    boxes: list[BoxValue] = field(default_factory=list)


class _Scan:
    """One object of the outermost kind with all that it holds."""

    def __init__(self, text: str, boxes: Mapping[int, int], found: list[JsonObject]) -> None:
        self._text, self._boxes, self._found = text, boxes, found
        self._open: list[_Open] = []
        self._last = ""
        """The last token: a mark of punctuation, or `string`, `cut` (a string without an end), `word`."""
        self._start, self._end, self._end_before = 0, 0, 0
        """The last token that is no comma and no colon, and where the one before it ended."""

    def run(self, position: int) -> int:
        """Read from the brace at `position`; returns where the object ends."""
        self._begin(position)
        position = self._advance("{", position, position + 1)
        while self._open and position < len(self._text):
            position = self._token(position)
        broken: int | None = None
        while self._open:
            broken = self._lost(broken, len(self._text))
        return max(position, self._end)

    def _token(self, position: int) -> int:
        start = position
        if start in self._boxes:
            return self._advance("]", start, self._boxes[start])
        quote = self._text[start] in "\"'" and self._last != "word"
        match = (_STRING if quote else _OTHER).match(self._text, start)
        end = match.end() if match else start + 1
        kind = ("string" if match and match.lastindex else "cut") if quote else self._text[start:end]
        top = self._open[-1]
        if quote:
            if kind == "string" and self._last == ":" and top.name == LABEL_KEY and top.label is None and not top.lists:
                top.label = (start, end)
        elif kind == "{":
            self._begin(start)
        elif kind == "}":
            self._close(self._open.pop(), start + 1, self._end)
        elif kind == "[":
            top.lists += 1
        elif kind == "]":
            self._end_list(top, start)
        elif kind == ":":
            self._name(top, start)
        elif kind != ",":
            kind = "word"
            if self._last in ("string", "}", "]") and top.broken is None:
                top.broken = self._end
        return self._advance(kind, start, end)

    def _advance(self, kind: str, start: int, end: int) -> int:
        self._last = kind
        if kind not in (",", ":"):
            self._start, self._end, self._end_before = start, end, self._end
        space = _SPACE.match(self._text, end)
        return space.end() if space else end

    def _begin(self, start: int) -> None:
        value = self._last == ":"
        if self._open and not value and not self._open[-1].lists:
            self._lost(None, self._end)
        self._open.append(_Open(start, self._open[-1].key if value and self._open else start))

    def _end_list(self, top: _Open, start: int) -> None:
        if top.lists:
            top.lists -= 1
        elif top.broken is None:
            top.broken = start

    def _name(self, top: _Open, colon: int) -> None:
        """The last token was a key: the value before it, and its lists, are over."""
        if self._last in ("string", "cut", "word"):
            self._end_value(top, self._end_before)
            top.lists, top.key, top.value = 0, self._start, colon + 1
            top.name = self._text[self._start : self._end].strip("\"'")

    def _end_value(self, top: _Open, end: int) -> None:
        if top.name == BOX_KEY:
            top.boxes.append(BoxValue(top.key, (top.value, max(top.value, end))))

    def _lost(self, broken: int | None, end: int) -> int | None:
        """End an object that has no brace for it; returns where it broke, if it did."""
        top = self._open.pop()
        broken = min((place for place in (broken, top.broken) if place is not None), default=None)
        self._close(top, end if broken is None else broken, end)
        return broken

    def _close(self, top: _Open, end: int, value: int) -> None:
        self._end_value(top, min(value, end))
        label = _said(self._text[slice(*top.label)]) if top.label and top.label[1] <= end else None
        boxes = tuple(BoxValue(box.key, (box.span[0], min(box.span[1], end))) for box in top.boxes if box.span[0] < end)
        self._found.append(JsonObject((top.start, end), (top.item, end), label, boxes))


def _said(string: str) -> str | None:
    """What a string in either kind of quotes says; as it is written where its escapes are not json's."""
    try:
        said = str(json.loads(f'"{_ESCAPED.sub(_json_escape, string[1:-1])}"', strict=False))
        said.encode()  # half a surrogate pair is no text
    except ValueError:
        said = string[1:-1]
    return said or None


def _json_escape(match: re.Match[str]) -> str:
    return {"\\'": "'", '"': '\\"'}.get(match.group(), match.group())
