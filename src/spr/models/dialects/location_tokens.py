"""Boxes written as runs of location tokens, four a box: `<loc_12><loc_20>...`; several boxes may follow each other.

A family whose tokenizer holds a token for every number has no way to write a box in part, but an answer can be cut off
within a run, or hold one of other than four tokens; both are attempts at a box that cannot be read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from spr.models.dialects.markup import Part, Span

_SIZE = 4


class LocationTokens:
    """Finds the runs of one family's tokens, `opening` and digits and `>`, in time linear in the length of a text."""

    def __init__(self, opening: str) -> None:
        token = rf"{re.escape(opening)}\d+>"
        cut = rf"{re.escape(opening)}\d*\Z"
        self._run = re.compile(rf"{token}(?:\s*{token})*(?:\s*{cut})?|{cut}")
        self._token = re.compile(rf"{re.escape(opening)}(\d*)>?")

    def runs(self, text: str) -> Iterator[tuple[Span, tuple[Part, ...]]]:
        """Every run with its boxes, in reading order."""
        for run in self._run.finditer(text):
            yield run.span(), tuple(self._parts(text, run))

    def _parts(self, text: str, run: re.Match[str]) -> Iterator[Part]:
        tokens = list(self._token.finditer(text, *run.span()))
        for first in range(0, len(tokens), _SIZE):
            group = tokens[first : first + _SIZE]
            span = (group[0].start(), group[-1].end())
            numbers = tuple(token.span(1) for token in group if token[1])
            fault = "unclosed" if text[span[1] - 1] != ">" else "" if len(group) == _SIZE else "wrong_count"
            yield Part(span, numbers, fault)
