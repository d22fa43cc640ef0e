"""Florence-2: `a dog<loc_100><loc_200><loc_300><loc_400>a cat<loc_...>`; several boxes of one phrase follow each other.

Frame: 1000 cells along each axis of the original, `floor(pixel * 1000 / width)`; a number is read as the middle of its cell.
Texts may begin with `</s><s>`, which stand for nothing.
The family knows fixed tasks only, and finds what it is told the name of.
Source: transformers' `processing_florence2.py` (`Florence2PostProcessor.quantize` and `dequantize`, which also cuts what it
read to whole pixels; here the pixels stay as they are), and the tasks that its processor knows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from spr.boxes import Box, Size
from spr.errors import ModelError
from spr.models.dialects.grid import Grid
from spr.models.dialects.location_tokens import LocationTokens
from spr.models.dialects.markup import Mark, MarkupDialect, worded
from spr.models.dialects.numerals import integers

_BINS = 1000
_TOKENS = LocationTokens("<loc_")
_SPECIAL = re.compile(r"</?s>|<pad>")
_GROUND = "<CAPTION_TO_PHRASE_GROUNDING>"
_DESCRIBE = "<REGION_TO_DESCRIPTION>"


class Florence2(MarkupDialect):
    """Florence-2's dialect: phrases of a caption found in one image."""

    name = "florence-2"
    skip_special_tokens = False
    single_image = True
    instructed = False

    def marks(self, text: str) -> list[Mark]:
        """All runs of location tokens. Words that would run together without their boxes are set apart by a comma."""
        found: list[Mark] = []
        since = 0
        for span, parts in _TOKENS.runs(text):
            for special in _SPECIAL.finditer(text, since, span[0]):
                since = special.end()
            mark = worded(text, span, parts, since)
            apart = span[0] > since and text[span[1] : span[1] + 1].isalnum()
            found.append(replace(mark, gap=", ") if apart and mark.strip == span else mark)
            since = mark.item[1]
        return found

    def grid(self, size: Size) -> Grid:
        """1000 cells along each axis of the original, read in their middle."""
        return Grid(size, (0.0, 0.0), (_BINS / size[0], _BINS / size[1]), (_BINS - 1.0, _BINS - 1.0), centre=0.5)

    def numbers(self, box: Box, size: Size, like: Sequence[str]) -> list[str]:
        """The cells that the corners lie in."""
        return integers(self.grid(size).cells(box, "floor"), like)

    def inside(self, numbers: Sequence[str]) -> str:
        """Four location tokens."""
        return "".join(f"<loc_{number}>" for number in numbers)

    def wrap(self, numbers: Sequence[str]) -> str:
        """The four tokens alone."""
        return self.inside(numbers)

    def ground(self, phrase: str, box: Box, size: Size) -> str:
        """A phrase and, without a space, its box."""
        return f"{phrase}{self.format(box, size)}"

    def words(self, text: str, size: Size) -> str:
        """The phrases, joined by commas."""
        return _SPECIAL.sub("", super().words(text, size))

    def rec_prompt(self, expression: str) -> str:
        """The expression as a caption to ground."""
        return f"{_GROUND}{expression}"

    def phrases_prompt(self, phrases: Sequence[str]) -> str:
        """The phrases as a caption to ground, a sentence each, for the open-vocabulary task takes one name only."""
        return _GROUND + " ".join(f"{phrase}." for phrase in phrases)

    def answer_prompt(self, question: str) -> str:
        """Raises ModelError: none of its tasks answers a question."""
        raise ModelError(
            f"dialect florence-2: no question can be asked, such as {question!r}, for none of the family's tasks answers one; "
            "ask it to find or to describe things"
        )

    def caption_prompt(self, box: Box, size: Size) -> str:
        """The task that describes a region in words."""
        return f"{_DESCRIBE}{self.region_text(box, size)}"

    def region_prompt(self, box: Box, size: Size, names: Sequence[str] = ()) -> str:  # noqa: ARG002 (the protocol's)
        """The names as a caption to ground. The task takes no region, and the one that does answers without boxes. Raises
        ModelError without names."""
        if not names:
            raise ModelError(
                "dialect florence-2: a region without named objects cannot be asked about, for the family only grounds what "
                "it is given the name of; use regions with annotated objects"
            )
        return self.phrases_prompt(names)
