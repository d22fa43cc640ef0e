"""DeepSeek-VL2: `<|ref|>a dog<|/ref|><|det|>[[100, 200, 300, 400]]<|/det|>`; several boxes are `<|det|>[[..], [..]]<|/det|>`.

Frame: 0-999 of the original image, each axis alone: the right edge is 999, and reading is `number / 999 * width`. The
authors publish no writer; nearest is what reads back closest.
Source: `README.md` and `parse_ref_bbox` in `deepseek_vl2/serve/app_modules/utils.py` of deepseek-ai/DeepSeek-VL2. The four
tags and `<|grounding|>`, which asks for an answer with boxes, are special tokens (`processing_deepseek_vl_v2.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

from spr.boxes import Box, Size
from spr.models.dialects.box_lists import BoxListDialect
from spr.models.dialects.grid import Grid
from spr.models.dialects.numerals import integers


class DeepseekVL2(BoxListDialect):
    """DeepSeek-VL2's dialect."""

    name = "deepseek-vl2"
    skip_special_tokens = False
    ref = ("<|ref|>", "<|/ref|>")
    tag = ("<|det|>", "<|/det|>")

    def grid(self, size: Size) -> Grid:
        """0-999 of the original, each axis alone."""
        return Grid.stretched(size, (999.0, 999.0))

    def numbers(self, box: Box, size: Size, like: Sequence[str]) -> list[str]:
        """Rounded to whole numbers."""
        return integers(self.grid(size).cells(box, "nearest"), like)

    def rec_prompt(self, expression: str) -> str:
        """The authors' grounding question: the expression in its tags."""
        return self.phrases_prompt([expression])

    def phrases_prompt(self, phrases: Sequence[str]) -> str:
        """The same with several things, each in its tags (ours: the authors ask for one)."""
        return f"{', '.join(f'<|ref|>{phrase}<|/ref|>' for phrase in phrases)}."

    def region_prompt(self, box: Box, size: Size, names: Sequence[str] = ()) -> str:  # noqa: ARG002 (the protocol's)
        """The plain region question (ours: the authors show none), marked as one to be answered with boxes."""
        return f"<|grounding|>Describe every object in the region {self.region_text(box, size)} of the image."
