"""Dialects that put a box between tags, and mostly the phrase before it too: `<ref>a dog</ref><box>[[1, 2, 3, 4]]</box>`.

What counts as a box is the same in all of them: four numbers, each closed off by what follows it. Brackets or tags around
them may be missing or broken, for then it is still plain which box is meant; a number that the text breaks off in is not.
A family says where its coordinates stand (`groups`); which words belong to them is found here.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

from spr.boxes import Box, Size
from spr.models.dialects.markup import Mark, MarkupDialect, Part, Span, worded
from spr.models.dialects.phrases import before

_SPECIAL = r"<[|｜][^<>|｜]{1,40}[|｜]>"
"""Other special tokens, such as those at the end of an answer: texts are decoded with them, so they turn up."""


@dataclass(frozen=True, slots=True)
class Group:
    """Coordinates that stand together: where, which boxes, and whether tags hold them."""

    span: Span
    parts: tuple[Part, ...]
    tagged: bool


class TaggedDialect(MarkupDialect):
    """Mark-up between tags. The phrase of a box is what its tags hold, or else the words before it."""

    ref: tuple[str, str] | None = None
    """The tags around a phrase."""
    tag: tuple[str, str]
    """The tags around coordinates."""
    between = re.compile(r"\s*+[,;]?+\s*+")
    """What may stand between two tagged groups of one phrase."""

    @abstractmethod
    def groups(self, text: str) -> Iterator[Group]:
        """All coordinates of a text in reading order, attempts included, each with at least one box."""

    def ground(self, phrase: str, box: Box, size: Size) -> str:
        """The phrase in its tags and the box right behind; words and box where the family has no such tags."""
        if self.ref is None:
            return super().ground(phrase, box, size)
        return f"{self.ref[0]}{phrase}{self.ref[1]}{self.format(box, size)}"

    def marks(self, text: str) -> list[Mark]:
        """All groups with their phrases. Boxes in tags of their own that follow one phrase are one mark-up."""
        found: list[Mark] = []
        since = 0
        for first, *more in self._runs(text):
            end = (more or [first])[-1].span[1]
            parts = first.parts
            if more:
                parts = tuple(replace(group.parts[0], span=group.span, lone=True) for group in (first, *more))
            found.append(self._marked(text, (first.span[0], end), parts, since))
            since = end
        return found

    def words(self, text: str, size: Size) -> str:
        """The text without mark-up, coordinates and any tags that are left."""
        return _tags(*(self.ref or ()), *self.tag).sub("", super().words(text, size))

    def _runs(self, text: str) -> Iterator[list[Group]]:
        """Groups that follow each other, as long as each holds one box: else it would be unclear whose the tags are."""
        run: list[Group] = []
        for group in self.groups(text):
            single = group.tagged and len(group.parts) == 1
            if run and not (single and self._follows(text, run[-1], group)):
                yield run
                run = []
            run.append(group)
        if run:
            yield run

    def _follows(self, text: str, last: Group, group: Group) -> bool:
        joined = self.between.fullmatch(text, last.span[1], group.span[0])
        return joined is not None and last.tagged and len(last.parts) == 1

    def _marked(self, text: str, span: Span, parts: tuple[Part, ...], since: int) -> Mark:
        opening, closing = self._ref_before(text, span[0], since)
        if self.ref is None or opening < 0:
            mark = worded(text, span, parts, since)
            return replace(mark, phrase=self._plain(mark.phrase or ""))
        inner, outer = opening + len(self.ref[0]), closing + len(self.ref[1])
        lead = before(text, since, opening)
        joiner = lead.end if lead.start < lead.end else lead.joiner
        tags = ((opening, inner), (closing, outer))
        return Mark(parts, self._plain(text[inner:closing]), (outer, span[1]), (opening, span[1]), joiner, tags)

    def _ref_before(self, text: str, start: int, since: int) -> Span:
        """Where the tags of the phrase begin that ends right before `start`; -1 for both where there is none."""
        if self.ref is None:
            return -1, -1
        while start > since and text[start - 1].isspace():
            start -= 1
        if not text.endswith(self.ref[1], since, start):
            return -1, -1
        closing = start - len(self.ref[1])
        opening = text.rfind(self.ref[0], since, closing)
        return (opening, closing) if opening >= 0 else (-1, -1)

    def _plain(self, phrase: str) -> str | None:
        return _tags(*(self.ref or ()), *self.tag).sub("", phrase).strip() or None


@cache
def _tags(*tags: str) -> re.Pattern[str]:
    """A family's tags, and every other special token."""
    return re.compile("|".join([*map(re.escape, tags), _SPECIAL]))
