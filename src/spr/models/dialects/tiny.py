"""The bundled tiny model: `red circle <12> <20> <33> <41> , blue square <40> <8> <61> <30>`, each coordinate one token.

Frame: the image stretched to 96x96. A coordinate is `round(pixel * 96 / width)`, each axis alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from spr.boxes import Box, Size
from spr.models.dialects.grid import Grid
from spr.models.dialects.markup import Mark, MarkupDialect, Part, worded
from spr.models.dialects.numerals import integers

_RUN = re.compile(r"<\d+(?:>|\Z)(?:\s*<\d+(?:>|\Z))*")
_DIGITS = re.compile(r"\d+")
_SIDE = 96.0


class Tiny(MarkupDialect):
    """The bundled model's dialect: a box is a run of exactly four coordinate tokens."""

    name = "tiny"

    def marks(self, text: str) -> list[Mark]:
        """All runs of coordinate tokens; a run of other than four is an attempt at a box that cannot be read."""
        found: list[Mark] = []
        since = 0
        for run in _RUN.finditer(text):
            numbers = tuple(digits.span() for digits in _DIGITS.finditer(text, *run.span()))
            fault = "unclosed" if not run.group().endswith(">") else "" if len(numbers) == 4 else "wrong_count"
            found.append(worded(text, run.span(), (Part(run.span(), numbers, fault),), since))
            since = found[-1].item[1]
        return found

    def grid(self, size: Size) -> Grid:
        """0-96 of the original, each axis alone."""
        return Grid.stretched(size, (_SIDE, _SIDE))

    def numbers(self, box: Box, size: Size, like: Sequence[str]) -> list[str]:
        """Rounded to whole numbers."""
        return integers(self.grid(size).cells(box, "nearest"), like)

    def inside(self, numbers: Sequence[str]) -> str:
        """`<a> <b> <c> <d>`."""
        return " ".join(f"<{number}>" for number in numbers)

    def wrap(self, numbers: Sequence[str]) -> str:
        """The four tokens alone."""
        return self.inside(numbers)

    def rec_prompt(self, expression: str) -> str:
        """`where is the red circle ?`"""
        return f"where is {expression} ?"

    def phrases_prompt(self, phrases: Sequence[str]) -> str:
        """`where are red circle , blue square ?`"""
        return f"where are {' , '.join(phrases)} ?"

    def answer_prompt(self, question: str) -> str:
        """The question alone: it answers in a word."""
        return question

    def region_prompt(self, box: Box, size: Size, names: Sequence[str] = ()) -> str:  # noqa: ARG002 (the protocol's)
        """`what is in <x0> <y0> <x1> <y1> ?`"""
        return f"what is in {self.region_text(box, size)} ?"
