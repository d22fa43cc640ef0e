"""Dialects that write boxes as lists between tags: `<box>[[1, 2, 3, 4], [5, 6, 7, 8]]</box>`.

What counts as an attempt at a box: an opening tag, whatever follows it, and brackets that hold nothing but numbers, as in
`brackets`. Several boxes without outer brackets, or as `[[a;b]]`, are read as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from spr.models.dialects.brackets import part
from spr.models.dialects.markup import Part
from spr.models.dialects.tagged import Group, TaggedDialect

_NUMBER = re.compile(r"[^\s,;]+")
_PIECE = re.compile(r"[^;]+")


class BoxListDialect(TaggedDialect):
    """Lists of boxes between tags. `brackets` are the kinds of brackets read, opening and closing ones in the same order;
    all but square ones count outside tags only where they hold four numbers. `open_tag_is_attempt` is False where the
    tags may hold any answer."""

    brackets: tuple[str, str] = ("[", "]")
    open_tag_is_attempt = True

    def __init__(self) -> None:
        opening, closing = (f"[{re.escape(kinds)}]" for kinds in self.brackets)
        opening += r"(?!\|)"  # a tag's own `<|` opens no brackets
        flat = r"[\d\s.,;+-]*+"
        inner = rf"{opening}{flat}{closing}?+"
        several = rf"{inner}(?:\s*+[,;]\s*+{inner})*+"
        listed = rf"(?:{opening}\s*+{several}(?:\s*+{closing})?+|{several})"
        first, last = map(re.escape, self.tag)
        self._group = re.compile(rf"(?P<open>{first})(?:\s*+{listed}|{flat})(?:\s*+(?P<close>{last}))?+|{listed}")
        self._inner = re.compile(rf"{opening}(?P<body>{flat})(?P<close>{closing})?+")

    def inside(self, numbers: Sequence[str]) -> str:
        """`[a, b, c, d]`."""
        return f"[{', '.join(numbers)}]"

    def wrap(self, numbers: Sequence[str]) -> str:
        """`<box>[[a, b, c, d]]</box>`."""
        return f"{self.tag[0]}[{self.inside(numbers)}]{self.tag[1]}"

    def groups(self, text: str) -> Iterator[Group]:
        """All lists of boxes, in tags or not."""
        for match in self._group.finditer(text):
            tagged = match["open"] is not None
            boxes = self._boxes(text, match)
            if not boxes and tagged and self.open_tag_is_attempt:
                boxes = [_bare(text, match)]
            attempts = [box for box in boxes if tagged or self.is_attempt(text, box)]
            if len(attempts) < len(boxes):
                yield from (Group(box.span, (box,), tagged=False) for box in attempts)
            elif boxes:
                closed = match["close"] or match.group()[-1] in self.brackets[1]
                span = (match.start(), match.end() if closed else max(boxes[-1].span[1], match.end("open")))
                alone = len(boxes) == 1
                yield Group(span, (replace(boxes[0], span=span),) if alone else tuple(boxes), tagged)

    def boxed(self, text: str, inner: Sequence[re.Match[str]], closed: int) -> list[Part]:
        """The boxes in pairs of brackets, one in each; what ends at `closed` is closed off by a tag anyhow."""
        return [_boxed(text, pair, closed) for pair in inner]

    def is_attempt(self, text: str, box: Part) -> bool:
        """Whether coordinates outside tags are meant as a box."""
        if text[box.span[0]] != "[":
            return len(box.numbers) == 4
        return len(box.numbers) > 1 or box.fault == "unclosed"

    def _boxes(self, text: str, match: re.Match[str]) -> list[Part]:
        """The boxes of a list, each in brackets of its own; those of `[[a;b]]` have none."""
        first = match.start() if match["open"] is None else match.end("open")
        limit = match.start("close") if match["close"] else match.end()
        found = [inner for inner in self._inner.finditer(text, first, limit) if any(map(str.isdigit, inner["body"]))]
        if len(found) == 1 and ";" in found[0]["body"] and found[0]["close"]:
            split = [part(text, piece.span(), None, unclosed=False) for piece in _PIECE.finditer(text, *found[0].span("body"))]
            if not any(piece.fault for piece in split):
                return split
        return self.boxed(text, found, limit if match["close"] else -1)


def _boxed(text: str, inner: re.Match[str], closed: int) -> Part:
    if inner["close"] is not None or inner.end() == closed:
        return part(text, inner.span("body"), inner.span(), unclosed=False)
    box = part(text, inner.span("body"), None, unclosed=True)
    cut_off = len(box.numbers) > 1 or inner.end() == len(text)
    return Part((inner.start(), box.numbers[-1][1]), box.numbers, "unclosed" if cut_off else "wrong_count")


def _bare(text: str, match: re.Match[str]) -> Part:
    """The box between tags without brackets, or the attempt at one."""
    end = match.start("close") if match["close"] else match.end()
    span = (match.end("open"), end)
    numbers = tuple(number.span() for number in _NUMBER.finditer(text, *span) if any(map(str.isdigit, number.group())))
    if not numbers:
        return Part((match.start(), match.end("open")), (), "wrong_count")
    box = part(text, (numbers[0][0], numbers[-1][1]), None, unclosed=match["close"] is None)
    return Part(span, box.numbers, box.fault)
