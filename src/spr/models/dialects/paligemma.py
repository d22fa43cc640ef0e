"""PaliGemma: `<loc0256><loc0128><loc0767><loc0512> dog ; <loc...> cat`, y before x, the label after its box.

Frame: 1024 numbers along each axis of the image stretched to a square, `round(share * 1023)`, read as `number / 1023`.
That is what the authors' own code writes and reads (big_vision, `pp/proj/paligemma/segmentation.py` and
`evaluators/proj/paligemma/transfers/segmentation.py`); pages that divide by 1024 read the same box up to a thousandth smaller.
The family knows fixed prompts only, and finds what it is told the name of. Its prompts are those of PaliGemma's documentation
(ai.google.dev/gemma/docs/paligemma/prompt-system-instructions), whose final newline the processor writes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from spr.boxes import Box, Size
from spr.errors import ModelError
from spr.models.dialects.grid import Grid
from spr.models.dialects.location_tokens import LocationTokens
from spr.models.dialects.markup import Mark, MarkupDialect, Part, Span, spaced

_TOP = 1023.0
_TOKENS = LocationTokens("<loc")
_LABEL = re.compile(r"[^;\n]*")


class PaliGemma(MarkupDialect):
    """PaliGemma's dialect: detection by name, one image a prompt."""

    name = "paligemma"
    skip_special_tokens = False
    single_image = True
    instructed = False

    def marks(self, text: str) -> list[Mark]:
        """All runs of location tokens; the phrase is the label after a run, up to a semicolon or the next run."""
        runs = list(_TOKENS.runs(text))
        starts = [*(span[0] for span, _ in runs), len(text)][1:]
        found: list[Mark] = []
        since = 0
        for (span, parts), limit in zip(runs, starts, strict=True):
            found.append(_labelled(text, span, parts, (since, limit)))
            since = found[-1].item[1]
        return found

    def grid(self, size: Size) -> Grid:
        """0-1023 of the original, each axis alone."""
        return Grid.stretched(size, (_TOP, _TOP))

    def numbers(self, box: Box, size: Size, like: Sequence[str]) -> list[str]:  # noqa: ARG002 (tokens have one style)
        """Rounded, y first, four digits each: the tokens are written so."""
        x0, y0, x1, y1 = self.grid(size).cells(box, "nearest")
        return [f"{cell:04d}" for cell in (y0, x0, y1, x1)]

    def read(self, grid: Grid, values: Sequence[float]) -> tuple[Box | None, str]:
        """y0, x0, y1, x1 -> the box in pixels."""
        y0, x0, y1, x1 = values
        return grid.box((x0, y0, x1, y1))

    def inside(self, numbers: Sequence[str]) -> str:
        """Four location tokens."""
        return "".join(f"<loc{number}>" for number in numbers)

    def wrap(self, numbers: Sequence[str]) -> str:
        """The four tokens alone."""
        return self.inside(numbers)

    def ground(self, phrase: str, box: Box, size: Size) -> str:
        """A box followed by its label."""
        return f"{self.format(box, size)} {phrase}"

    def rec_prompt(self, expression: str) -> str:
        """`detect the red circle`"""
        return f"detect {expression}"

    def phrases_prompt(self, phrases: Sequence[str]) -> str:
        """`detect dog ; cat`"""
        return f"detect {' ; '.join(phrases)}"

    def answer_prompt(self, question: str) -> str:
        """`answer en what color is the cow?`"""
        return f"answer en {question}"

    def caption_prompt(self, box: Box, size: Size) -> str:  # noqa: ARG002 (the protocol's)
        """Raises ModelError: none of its prompts takes a region."""
        raise ModelError(
            "dialect paligemma: a region cannot be described, for none of the family's prompts takes one; ask it to find things"
        )

    def region_prompt(self, box: Box, size: Size, names: Sequence[str] = ()) -> str:  # noqa: ARG002 (the protocol's)
        """`detect dog ; cat`: the family takes no region, and no question that leaves the names open. Raises ModelError
        without names."""
        if not names:
            raise ModelError(
                "dialect paligemma: a region without named objects cannot be asked about, for the family only detects what "
                "it is given the name of; use regions with annotated objects"
            )
        return self.phrases_prompt(names)


def _labelled(text: str, span: Span, parts: tuple[Part, ...], bounds: Span) -> Mark:
    """The run at `span` with the label behind it; `bounds` are the end of the item before and the start of the next run."""
    since, limit = bounds
    label = _LABEL.match(text, span[1], limit)
    said = label.group().rstrip(" \t.,") if label else ""
    before = text[since : span[0]].rstrip()
    joiner = since + len(before[:-1].rstrip()) if before.endswith((";", ",")) else None
    return Mark(parts, said.strip() or None, spaced(text, span), (span[0], span[1] + len(said)), joiner)
