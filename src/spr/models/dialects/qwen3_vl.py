"""Qwen3-VL: the json of Qwen2.5-VL, `{"bbox_2d": [x1, y1, x2, y2], "label": "dog"}`, in another frame.

Frame: 0-1000 of the original image, each axis alone, whatever size the processor gives it. A number is
`round(pixel / width * 1000)`.
Source: the model's repository (QwenLM/Qwen3-VL): `cookbooks/2d_grounding.ipynb` (relative coordinates) and the grounding
example of `qwen-vl-finetune/README.md` for the question. The repository gives no rounding for this model; nearest is that
of its `qwen-vl-finetune/tools/process_bbox.ipynb` for the 0-1000 frame of Qwen2-VL.
"""

from __future__ import annotations

from collections.abc import Sequence

from spr.boxes import Box, Size
from spr.models.dialects.grid import Grid
from spr.models.dialects.json_boxes import JsonBoxDialect
from spr.models.dialects.numerals import integers


class Qwen3VL(JsonBoxDialect):
    """Qwen3-VL's dialect."""

    name = "qwen3-vl"
    readings = (("qwen2.5-vl", {}), ("qwen3-vl", {}))

    def grid(self, size: Size) -> Grid:
        """0-1000 of the original, each axis alone."""
        return Grid.stretched(size, (1000.0, 1000.0))

    def numbers(self, box: Box, size: Size, like: Sequence[str]) -> list[str]:
        """Rounded to whole numbers."""
        return integers(self.grid(size).cells(box, "nearest"), like)
