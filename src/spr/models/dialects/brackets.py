"""Dialects that write a box as four numbers in square brackets: `[a, b, c, d]`, also `[[a,b,c,d;e,f,g,h]]`.

What counts as an attempt at a box: brackets that hold nothing but numbers, at least two of them, closed or cut off.
`[3]` is a footnote and `[sic]` a word.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from spr.boxes import Box, Size
from spr.models.dialects.markup import Edit, Mark, MarkupDialect, Part, Span, worded

_BRACKETS = re.compile(r"\[\[?(?P<body>[\d\s.,;+-]*)(?P<close>\]\]?)?")
"""What may be mark-up: `body` stands inside, `close` are the closing brackets. Looks at each character once."""
_NUMBER = re.compile(r"[^\s,;]+")
_PIECE = re.compile(r"[^;]+")


class BracketDialect(MarkupDialect):
    """Mark-up in square brackets; the phrase of a box is the words before it."""

    def inside(self, numbers: Sequence[str]) -> str:
        """`a, b, c, d`."""
        return ", ".join(numbers)

    def wrap(self, numbers: Sequence[str]) -> str:
        """`[a, b, c, d]`."""
        return f"[{self.inside(numbers)}]"

    def marks(self, text: str) -> list[Mark]:
        """All brackets that hold numbers."""
        found: list[Mark] = []
        since = 0
        for span, parts in self.attempts(text):
            found.append(worded(text, span, parts, since))
            since = found[-1].item[1]
        return found

    def attempts(self, text: str) -> Iterator[tuple[Span, tuple[Part, ...]]]:
        """Where there are brackets that hold numbers, and the boxes in them, at least one each."""
        for match in _BRACKETS.finditer(text):
            span, parts = _parts(text, match)
            if parts:
                yield span, parts

    def _replace(self, text: str, mark: Mark, part: Part, box: Box, size: Size) -> list[Edit]:
        """As everywhere; the last of several boxes in brackets that were cut off gets the bracket that it lacks."""
        edits = super()._replace(text, mark, part, box, size)
        if part.fault == "unclosed" and len(mark.parts) > 1 and not part.lone:
            return [(span, f"{new}]") for span, new in edits]
        return edits


def _parts(text: str, match: re.Match[str]) -> tuple[Span, tuple[Part, ...]]:
    """The span of a mark-up, its brackets paired, and its boxes; none if it is no attempt at a box."""
    first, last = match.span("body")
    numbers = [found.span() for found in _NUMBER.finditer(text, first, last)]
    closed = match["close"] is not None
    if not any(char.isdigit() for char in match["body"]) or (len(numbers) < 2 and (closed or last < len(text))):
        return match.span(), ()
    if not closed:
        span = (first - 1, numbers[-1][1])
        return span, tuple(_pieces(text, span, first, span[1], closed=False))
    depth = min(text[max(0, first - 2) : first].count("["), len(match["close"]))
    span = (first - depth, last + depth)
    return span, tuple(_pieces(text, span, first, last, closed=True))


def _pieces(text: str, span: Span, first: int, last: int, closed: bool) -> list[Part]:
    pieces = [piece for piece in _PIECE.finditer(text, first, last) if piece.group().strip()]
    single = len(pieces) == 1
    return [part(text, piece.span(), span if single else None, unclosed=not closed and piece is pieces[-1]) for piece in pieces]


def part(text: str, piece: Span, span: Span | None, unclosed: bool) -> Part:
    """The box in `text[piece]`; `span` is that of its mark-up where that holds it alone, else it is that of its own text,
    stray commas and all."""
    numbers = tuple(found.span() for found in _NUMBER.finditer(text, *piece))
    said = text[slice(*piece)]
    own = span or (piece[1] - len(said.lstrip()), piece[0] + len(said.rstrip()))
    if unclosed:
        return Part(own, numbers, "unclosed")
    if len(numbers) != 4:
        return Part(own, numbers, "wrong_count")
    gaps = [text[a[1] : b[0]].strip() for a, b in pairwise(numbers)]
    outside = text[piece[0] : numbers[0][0]] + text[numbers[-1][1] : piece[1]]
    return Part(own, numbers, "" if gaps == [","] * 3 and not outside.strip() else "malformed")
