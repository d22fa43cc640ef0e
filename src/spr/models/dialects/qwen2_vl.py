"""Qwen2-VL: `<|object_ref_start|>a dog<|object_ref_end|><|box_start|>(100,200),(300,400)<|box_end|>`.

Frame: 0-1000 of the original image, each axis alone, whatever size the processor gives it. A number is
`round(pixel / width * 1000)`. Several boxes have tags each; more corners in one pair of tags are read two by two.
Source: the Qwen2-VL report (arXiv 2409.12191), `qwen-vl-finetune/tools/process_bbox.ipynb` of QwenLM/Qwen3-VL (frame and
rounding), and ms-swift's page on Qwen2-VL (question). The four tags are special tokens of its tokenizer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from spr.boxes import Box, Size
from spr.models.dialects.box_lists import BoxListDialect
from spr.models.dialects.grid import Grid
from spr.models.dialects.markup import Part
from spr.models.dialects.numerals import integers

_BETWEEN_CORNERS = re.compile(r"\s*\)\s*,?\s*\(\s*")


class Qwen2VL(BoxListDialect):
    """Qwen2-VL's dialect."""

    name = "qwen2-vl"
    skip_special_tokens = False
    ref = ("<|object_ref_start|>", "<|object_ref_end|>")
    tag = ("<|box_start|>", "<|box_end|>")
    brackets = ("[(", "])")

    def boxed(self, text: str, inner: Sequence[re.Match[str]], closed: int) -> list[Part]:
        """Two corners in round brackets each; four numbers in one pair of brackets are a box too."""
        boxes: list[Part] = []
        corner: Part | None = None
        for box in super().boxed(text, inner, closed):
            rounded = text[box.span[0]] == "("
            if corner is not None and rounded and len(box.numbers) != 4:
                boxes[-1], corner = _cornered(text, corner, box), None
            else:
                boxes.append(box)
                corner = box if rounded and len(box.numbers) == 2 and box.fault != "unclosed" else None
        return boxes

    def is_attempt(self, text: str, box: Part) -> bool:
        """Whether coordinates outside tags are meant as a box: two corners are, one is a point."""
        return super().is_attempt(text, box) or (len(box.numbers) == 3 and box.fault == "unclosed")

    def grid(self, size: Size) -> Grid:
        """0-1000 of the original, each axis alone."""
        return Grid.stretched(size, (1000.0, 1000.0))

    def numbers(self, box: Box, size: Size, like: Sequence[str]) -> list[str]:
        """Rounded to whole numbers."""
        return integers(self.grid(size).cells(box, "nearest"), like)

    def inside(self, numbers: Sequence[str]) -> str:
        """`(a,b),(c,d)`."""
        return f"({','.join(numbers[:2])}),({','.join(numbers[2:])})"

    def wrap(self, numbers: Sequence[str]) -> str:
        """`<|box_start|>(a,b),(c,d)<|box_end|>`."""
        return f"{self.tag[0]}{self.inside(numbers)}{self.tag[1]}"

    def rec_prompt(self, expression: str) -> str:
        """Find, with the expression in its tags."""
        return self.phrases_prompt([expression])

    def phrases_prompt(self, phrases: Sequence[str]) -> str:
        """Find, with each phrase in its tags."""
        return f"Find {', '.join(f'{self.ref[0]}{phrase}{self.ref[1]}' for phrase in phrases)}"

    def region_prompt(self, box: Box, size: Size, names: Sequence[str] = ()) -> str:  # noqa: ARG002 (the protocol's)
        """The plain region question (ours: the authors show none)."""
        return f"Describe every object in the region {self.region_text(box, size)} of this image with grounding."


def _cornered(text: str, first: Part, second: Part) -> Part:
    """Two corners as one box."""
    numbers = first.numbers + second.numbers
    span = (first.span[0], second.span[1])
    if second.fault == "unclosed":
        return Part(span, numbers, "unclosed")
    if len(first.numbers) != 2 or len(second.numbers) != 2:
        return Part(span, numbers, "wrong_count")
    (a, b), (c, d) = first.numbers, second.numbers
    commas = text[a[1] : b[0]].strip() == "," == text[c[1] : d[0]].strip()
    return Part(span, numbers, "" if commas and _BETWEEN_CORNERS.fullmatch(text, b[1], c[0]) else "malformed")
