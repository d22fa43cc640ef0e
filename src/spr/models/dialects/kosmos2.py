"""Kosmos-2: `<phrase> a dog</phrase><object><patch_index_0044><patch_index_0863></object>`; several boxes of one phrase
stand in one object, `</delimiter_of_multi_objects/>` between them.

Frame: 32x32 cells of the image stretched to a square, counted row by row. A box is the cell of its upper left corner and
that of its lower right one. Read, a corner lies in the middle of its cell; a box that is one cell wide or high is read as
the whole cells instead, or it would have no area. So a corner is known to within half a cell at best, which is what caps
the family's accuracy at strict thresholds.
Source: transformers' `processing_kosmos2.py` (`coordinate_to_patch_index`, `patch_index_to_coordinate`); prompts: model card,
and `kosmos-2/evaluation/flickr_entities/cook_data.py` of microsoft/unilm.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from spr.boxes import Box, Size
from spr.errors import ModelError
from spr.models.dialects.grid import Grid
from spr.models.dialects.markup import Mark, MarkupDialect, Part, Span, worded

SIDE = 32
_DELIMITER = "</delimiter_of_multi_objects/>"
_TOKEN = r"<patch_index_\d+>"
_MARK = re.compile(
    rf"<object>(?P<body>(?:\s*(?:{_TOKEN}|{_DELIMITER}))*)\s*(?P<end></object>|(?:<[^<>]*)?\Z)?"
    rf"|(?P<bare>{_TOKEN}(?:\s*{_TOKEN})*)"
)
"""An object with its patches, closed or not; patches that stand alone are read too."""
_PATCH = re.compile(r"<patch_index_(\d+)>")
_PIECE = re.compile(rf"(?:(?!{_DELIMITER}).)+", re.DOTALL)
_TAG = re.compile(rf"</?(?:phrase|object|grounding)>|{_DELIMITER}|<patch_index_\d+>")
_OPEN, _SHUT = "<phrase>", "</phrase>"
_JOINT = re.compile(r"(?:\s*,)?(?:\s*\b(?:and|or))?\s*\Z")
_LOOK_BACK = 12
"""Characters in which the longest joint before a phrase fits, `  ,  and  ` say."""


class Kosmos2(MarkupDialect):
    """Kosmos-2's dialect: two numbers a box, one image a prompt, completed and not instructed."""

    name = "kosmos-2"
    single_image = True
    instructed = False

    def marks(self, text: str) -> list[Mark]:
        """All objects and patches. The phrase is what the tags before an object hold, else the words before it."""
        found: list[Mark] = []
        since = 0
        for match in _MARK.finditer(text):
            parts = tuple(_parts(text, match))
            if parts:
                found.append(_tagged(text, match.span(), parts, since) or _untagged(text, match.span(), parts, since))
                since = match.end()
        return found

    def grid(self, size: Size) -> Grid:
        """32 cells along each axis of the original."""
        return Grid.stretched(size, (float(SIDE), float(SIDE)))

    def numbers(self, box: Box, size: Size, like: Sequence[str]) -> list[str]:  # noqa: ARG002 (tokens have one style)
        """The cells of the upper left and the lower right corner, four digits each: the tokens are written so."""
        x0, y0, x1, y1 = self.grid(size).covered(box)
        return [f"{row * SIDE + column:04d}" for column, row in ((x0, y0), (x1, y1))]

    def read(self, grid: Grid, values: Sequence[float]) -> tuple[Box | None, str]:
        """Two cells -> the box from middle to middle, or that of the whole cells where they share a row or a column."""
        if max(values) >= SIDE * SIDE:
            return None, "out_of_range"
        (y0, x0), (y1, x1) = (divmod(value, SIDE) for value in values)
        if x1 < x0 or y1 < y0:
            return None, "reversed"
        inset = 0.5 if x0 < x1 and y0 < y1 else 0.0
        return grid.box((x0 + inset, y0 + inset, x1 + 1 - inset, y1 + 1 - inset))

    def inside(self, numbers: Sequence[str]) -> str:
        """The two patches of one box."""
        return "".join(f"<patch_index_{number}>" for number in numbers)

    def wrap(self, numbers: Sequence[str]) -> str:
        """An object with one box."""
        return f"<object>{self.inside(numbers)}</object>"

    def ground(self, phrase: str, box: Box, size: Size) -> str:
        """A phrase in its tags, and the object."""
        return f"{_OPEN} {phrase}{_SHUT}{self.format(box, size)}"

    def words(self, text: str, size: Size) -> str:
        """The text without objects and without any tags."""
        return _TAG.sub("", super().words(text, size)).strip()

    def rec_prompt(self, expression: str) -> str:
        """The expression as a phrase whose object is left to write."""
        return f"<grounding>{_OPEN} {expression}{_SHUT}"

    def phrases_prompt(self, phrases: Sequence[str]) -> str:
        """One phrase, like an expression. The family completes the object of one phrase a prompt: its authors ask about a
        sentence as often as it has phrases. Raises ModelError for several."""
        if len(phrases) != 1:
            raise ModelError(
                f"dialect kosmos-2: {len(phrases)} phrases cannot be asked about at once, for the family completes the box of "
                "one phrase; ask about referring expressions instead"
            )
        return self.rec_prompt(phrases[0])

    def answer_prompt(self, question: str) -> str:
        """The beginning that the model card has for an answer, without the mark that asks for boxes."""
        return f"Question: {question} Answer:"

    def caption_prompt(self, box: Box, size: Size) -> str:
        """The beginning of a description; what its answer says of other places is boxes, which are not counted."""
        return self.region_prompt(box, size)

    def region_prompt(self, box: Box, size: Size, names: Sequence[str] = ()) -> str:  # noqa: ARG002 (the protocol's)
        """The beginning that the model card has for a description of a region: `It`, at the region, `is`. Written patches
        are the very tokens that the processor makes of `bboxes=`."""
        return f"<grounding>{_OPEN} It{_SHUT}{self.region_text(box, size)} is"


def _parts(text: str, match: re.Match[str]) -> Iterator[Part]:
    """The boxes of a mark-up; `<object>` alone amid other text is none."""
    bare = match["bare"] is not None
    closed = bare or match["end"] == "</object>"
    if not closed and not match["body"] and match["end"] is None:
        return
    body = match.span("bare" if bare else "body")
    pieces = [piece.span() for piece in _PIECE.finditer(text, *body)] or [body]
    for place, piece in enumerate(pieces):
        patches = list(_PATCH.finditer(text, *piece))
        single = len(pieces) == 1
        span = match.span() if single or not patches else (patches[0].start(), patches[-1].end())
        fault = "unclosed" if not closed and place == len(pieces) - 1 else "" if len(patches) == 2 else "wrong_count"
        if single or patches:
            yield Part(span, tuple(patch.span(1) for patch in patches), fault)


def _tagged(text: str, span: Span, parts: tuple[Part, ...], since: int) -> Mark | None:
    """The object and the tagged phrase right before it; None where there is no such phrase."""
    end = since + len(text[since : span[0]].rstrip())
    shut = end - len(_SHUT)
    start = text.rfind(_OPEN, since, shut) if shut >= since and text.startswith(_SHUT, shut) else -1
    if start < 0:
        return None
    opened = (start, start + len(_OPEN))
    return Mark(
        parts,
        text[opened[1] : shut].strip() or None,
        strip=span,
        item=(start, span[1]),
        joiner=_joiner(text, since, start),
        tags=(opened, (shut, end)),
    )


def _untagged(text: str, span: Span, parts: tuple[Part, ...], since: int) -> Mark:
    """The object, and the words before it back to the last tag."""
    return worded(text, span, parts, max(since, text.rfind(">", since, span[0]) + 1))


def _joiner(text: str, since: int, start: int) -> int | None:
    """Where the comma or conjunction before a tagged phrase begins; None at the start of a sentence."""
    before = text[max(since, start - _LOOK_BACK) : start]
    if not (since or text[:start].removeprefix("<grounding>").strip()) or before.rstrip().endswith((".", "!", "?")):
        return None
    joint = _JOINT.search(before)
    return start - len(before) + joint.start() if joint and joint.group().strip() else start
