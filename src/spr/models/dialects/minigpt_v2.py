"""MiniGPT-v2: `<p>a dog</p> {<12><20><33><41>}`; several boxes are `{<..>..}<delim>{<..>..}`. The tags are plain text.

Frame: 0-100 of the original image, each axis alone: a cell is a hundredth of the side, which bounds how exact this family
can be. A number is `int(pixel / width * 100)`.
Source: `minigpt4/datasets/datasets/coco_dataset.py` and `flickr.py` (format, questions), `coco_caption.py` (RefCOCO
question), `vqa_datasets.py` (questions of its evaluation) and `demo_v2.py` (reading, `[identify]`) of Vision-CAIR/MiniGPT-4.
What is asked for stands in front of a question, as `[grounding]`; free questions are answered without boxes. One image a
question.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from spr.boxes import Box, Size
from spr.models.dialects.grid import Grid
from spr.models.dialects.markup import Part
from spr.models.dialects.numerals import integers
from spr.models.dialects.tagged import Group, TaggedDialect

_RUN = re.compile(r"\{?+<\d+(?:>|\Z)(?:\s*+<\d+(?:>|\Z))*+(?:\s*+\})?+")
_DIGITS = re.compile(r"\d+")


class MiniGPTv2(TaggedDialect):
    """MiniGPT-v2's dialect: a box is a run of exactly four numbers in angle brackets; the braces may be missing."""

    name = "minigpt-v2"
    single_image = True
    instructed = False
    ref = ("<p>", "</p>")
    tag = ("{", "}")
    between = re.compile(r"\s*+(?:,|<delim>)?+\s*+")

    def groups(self, text: str) -> Iterator[Group]:
        """All runs of numbers in angle brackets."""
        for run in _RUN.finditer(text):
            numbers = tuple(digits.span() for digits in _DIGITS.finditer(text, *run.span()))
            fault = "unclosed" if run.group()[-1].isdigit() else "" if len(numbers) == 4 else "wrong_count"
            yield Group(run.span(), (Part(run.span(), numbers, fault),), tagged=True)

    def grid(self, size: Size) -> Grid:
        """0-100 of the original, each axis alone."""
        return Grid.stretched(size, (100.0, 100.0))

    def numbers(self, box: Box, size: Size, like: Sequence[str]) -> list[str]:
        """Cut down to whole numbers."""
        return integers(self.grid(size).cells(box, "floor"), like)

    def inside(self, numbers: Sequence[str]) -> str:
        """`<a><b><c><d>`."""
        return "".join(f"<{number}>" for number in numbers)

    def wrap(self, numbers: Sequence[str]) -> str:
        """`{<a><b><c><d>}`."""
        return f"{{{self.inside(numbers)}}}"

    def ground(self, phrase: str, box: Box, size: Size) -> str:
        """The phrase in its tags, a space and the box."""
        return f"<p>{phrase}</p> {self.format(box, size)}"

    def rec_prompt(self, expression: str) -> str:
        """The question of the authors' RefCOCO evaluation."""
        return f"[refer] give me the location of {expression}"

    def phrases_prompt(self, phrases: Sequence[str]) -> str:
        """The phrases as the caption whose things are to be found."""
        return f"[detection] {', '.join(phrases)}"

    def answer_prompt(self, question: str) -> str:
        """The question of the authors' own evaluation of GQA and others."""
        return f"[vqa] Based on the image, respond to this question with a short answer: {question}"

    def caption_prompt(self, box: Box, size: Size) -> str:
        """The question that is answered by the words for a region."""
        return f"[identify] what is this {self.region_text(box, size)}"

    def region_prompt(self, box: Box, size: Size, names: Sequence[str] = ()) -> str:  # noqa: ARG002 (the protocol's)
        """The plain region question: the family's question for a grounded description, asked of a region."""
        return f"[grounding] please describe the region {self.region_text(box, size)} in details"
