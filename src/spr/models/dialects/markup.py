"""The common part of all dialects: find box mark-up in a text, read it, write it, take it away.

A family says three things: how its mark-up looks (`marks`), on which grid its numbers lie (`grid`), and how a number is
written (`numbers`). Positions are character offsets; everything here is linear in the length of the text, and nothing
that a model may write makes it raise.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spr.boxes import Box, Size
from spr.errors import ModelError
from spr.models.dialects.grid import Grid
from spr.models.dialects.numerals import value
from spr.models.dialects.phrases import after, before
from spr.records import Mention

Span = tuple[int, int]
Edit = tuple[Span, str]


@dataclass(frozen=True, slots=True)
class Part:
    """One box of a mark-up: its span, the spans of its numbers, and why it is no box, if that is known already. `lone`: its
    span holds all mark-up of this box and of no other, though other boxes stand beside it."""

    span: Span
    numbers: tuple[Span, ...]
    fault: str = ""
    lone: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """One piece of mark-up: usually one box, several in `[[a;b]]`.

    `strip` is what goes when all its boxes go and the words stay, and `tags` go with it (what a family writes around the
    phrase of a box); `gap` stands in for it where words would run together. `item` is what goes when the words go too;
    `joiner` where the punctuation or space begins that ties the item to what stands before, None at the start of a sentence.
    """

    parts: tuple[Part, ...]
    phrase: str | None
    strip: Span
    item: Span
    joiner: int | None
    tags: tuple[Span, ...] = ()
    gap: str = ""


class MarkupDialect(ABC):
    """A dialect in terms of its mark-up; see `spr.models.base.Dialect` for what its methods promise."""

    name: str
    skip_special_tokens: bool = True
    whole_numbers: bool = True
    single_image: bool = False
    instructed: bool = True
    readings: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    """Dialect and options of every way to read the family's texts, where it leaves the frame open."""

    @property
    def options(self) -> Mapping[str, Any]:
        """What it was built with; nothing, unless a family takes options."""
        return {}

    @abstractmethod
    def marks(self, text: str) -> list[Mark]:
        """All mark-up of a text in reading order, attempts included."""

    @abstractmethod
    def grid(self, size: Size) -> Grid:
        """The family's coordinate frame for an image of `size` = (width, height)."""

    @abstractmethod
    def numbers(self, box: Box, size: Size, like: Sequence[str]) -> list[str]:
        """The four numbers of a box, quantised, in the style of the numbers `like` (which may be none)."""

    @abstractmethod
    def inside(self, numbers: Sequence[str]) -> str:
        """Four numbers as they stand inside the mark-up."""

    @abstractmethod
    def wrap(self, numbers: Sequence[str]) -> str:
        """Four numbers -> the mark-up of one box."""

    @abstractmethod
    def rec_prompt(self, expression: str) -> str:
        """The question for the box of a referring expression."""

    @abstractmethod
    def region_prompt(self, box: Box, size: Size, names: Sequence[str] = ()) -> str:
        """The plain question that asks for a grounded description of a region."""

    def phrases_prompt(self, phrases: Sequence[str]) -> str:
        """The question for a referring expression, asked of all phrases at once."""
        return self.rec_prompt(", ".join(phrases))

    def answer_prompt(self, question: str) -> str:
        """The question, and LLaVA's request for a short answer, which benchmarks of open questions are asked with."""
        return f"{question}\nAnswer the question using a single word or phrase."

    def caption_prompt(self, box: Box, size: Size) -> str:
        """The question for a few words about a region, without boxes."""
        return f"Describe the region {self.region_text(box, size)} of the image in a short phrase."

    def read(self, grid: Grid, values: Sequence[float]) -> tuple[Box | None, str]:
        """The numbers of one mark-up -> the box in pixels, or None and the reason why not; x first, corner by corner,
        unless a family says otherwise."""
        return grid.box(values)

    def format(self, box: Box, size: Size) -> str:
        """The mark-up of one box alone. Raises ValueError for what is no box."""
        return self.wrap(self.numbers(box, size, ()))

    def ground(self, phrase: str, box: Box, size: Size) -> str:
        """A phrase followed by its box."""
        return f"{phrase} {self.format(box, size)}"

    def region_text(self, box: Box, size: Size) -> str:
        """The region as it stands inside a question: its mark-up."""
        return self.format(box, size)

    def point_text(self, point: tuple[float, float], size: Size) -> str:  # noqa: ARG002 (the protocol's)
        """A point as it stands inside a question. Raises ModelError for a family that takes none, as here; ValueError for a
        point that does not lie in the image."""
        raise ModelError(f"{self.name} models take no points in a question; ask about a box instead of the point {point}")

    def parse(self, text: str, size: Size) -> list[Mention]:
        """All boxes of a text in reading order, readable or not."""
        grid = self.grid(size)
        return [self._mention(text, part, mark.phrase, grid) for mark in self.marks(text) for part in mark.parts]

    def rewrite(self, text: str, size: Size, boxes: Mapping[int, Box | None]) -> str:
        """Replace or take away the boxes of the mentions named; all other text survives byte for byte."""
        edits: list[Edit] = []
        for mark, first in _numbered(self.marks(text), boxes):
            named = {i: boxes[first + i] for i in range(len(mark.parts)) if first + i in boxes}
            for i, box in named.items():
                if box is not None:
                    edits += self._replace(text, mark, mark.parts[i], box, size)
            edits += _stripped(mark, {i for i, box in named.items() if box is None})
        return _edited(text, edits)

    def drop(self, text: str, size: Size, indices: Collection[int]) -> str:  # noqa: ARG002 (the protocol's)
        """Take mentions away with their words and the punctuation that joined them."""
        chosen = frozenset(indices)
        edits: list[Edit] = []
        reach = 0  # how far an item that led its sentence, and is gone, has taken the text with it
        for mark, first in _numbered(self.marks(text), chosen):
            dropped = {i for i in range(len(mark.parts)) if first + i in chosen}
            if mark.joiner is None or mark.joiner < reach:
                whole = (mark.item[0], after(text, mark.item[1]))
            else:
                whole = (mark.joiner, mark.item[1])
            edits += [(span, "") for span in _without(mark, dropped, whole)]
            if len(dropped) == len(mark.parts) and whole[0] == mark.item[0]:
                reach = whole[1]
        return _edited(text, edits)

    def words(self, text: str, size: Size) -> str:
        """The text without any mark-up and coordinates."""
        count = sum(len(mark.parts) for mark in self.marks(text))
        return self.rewrite(text, size, dict.fromkeys(range(count)))

    def _mention(self, text: str, part: Part, phrase: str | None, grid: Grid) -> Mention:
        box, fault = None, part.fault
        if not fault:
            read = [value(text[start:end], self.whole_numbers) for start, end in part.numbers]
            values = [number for number in read if number is not None]
            box, fault = self.read(grid, values) if len(values) == len(read) else (None, "malformed")
        return Mention(phrase, box, "unreadable" if fault else "ok", fault, part.span)

    def _replace(self, text: str, mark: Mark, part: Part, box: Box, size: Size) -> list[Edit]:
        if part.fault:
            numbers = self.numbers(box, size, ())
            return [(part.span, self.wrap(numbers) if part.lone or len(mark.parts) == 1 else self.inside(numbers))]
        like = [text[start:end] for start, end in part.numbers]
        return list(zip(part.numbers, self.numbers(box, size, like), strict=True))


def worded(text: str, span: Span, parts: tuple[Part, ...], since: int) -> Mark:
    """The mark-up at `span`, whose phrase is the words before it, looking back no further than `since`."""
    start, end = span
    if start > since and text[start - 1] == "(" and text[end : end + 1] == ")":
        start, end = start - 1, end + 1
    phrase = before(text, since, start)
    words = text[phrase.start : phrase.end] or None
    return Mark(parts, words, spaced(text, (start, end)), (phrase.item, end), phrase.joiner)


def spaced(text: str, span: Span) -> Span:
    """Mark-up with the one space that set it apart from the words."""
    start, end = span
    following = text[end : end + 1]
    if start and text[start - 1] in " \t" and not following.isalnum():
        return start - 1, end
    if (start == 0 or text[start - 1] == "\n") and following in (" ", "\t"):
        return start, end + 1
    return start, end


def _numbered(marks: Iterable[Mark], indices: Collection[int]) -> list[tuple[Mark, int]]:
    """Each mark with the index of its first mention. Raises KeyError for an index that no mention has."""
    numbered, count = [], 0
    for mark in marks:
        numbered.append((mark, count))
        count += len(mark.parts)
    for index in indices:
        if not 0 <= index < count:
            raise KeyError(index)
    return numbered


def _stripped(mark: Mark, gone: Collection[int]) -> list[Edit]:
    """The edits that take boxes away and leave the words: with the last box its tags go too."""
    edits = [(span, "") for span in _without(mark, gone, mark.strip)]
    return [(mark.strip, mark.gap), *((span, "") for span in mark.tags)] if len(gone) == len(mark.parts) else edits


def _without(mark: Mark, gone: Collection[int], whole: Span) -> list[Span]:
    """What to cut so that the parts named go: `whole` if all do, else each with the `;` that sets it apart."""
    if not gone:
        return []
    kept = [i for i in range(len(mark.parts)) if i not in gone]
    if not kept:
        return [whole]
    spans = [part.span for part in mark.parts]
    head = [(spans[0][0], spans[kept[0]][0])] if kept[0] else []
    return head + [(spans[i - 1][1], spans[i][1]) for i in sorted(gone) if i > kept[0]]


def _edited(text: str, edits: Iterable[Edit]) -> str:
    pieces, cursor = [], 0
    for (start, end), new in sorted(edits):
        pieces += [text[cursor:start], new]
        cursor = max(cursor, end)
    return "".join([*pieces, text[cursor:]])
