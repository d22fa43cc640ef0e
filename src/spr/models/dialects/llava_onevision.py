"""LLaVA-OneVision: `[0.61, 0.36, 0.92, 0.83]`, two decimals.

Frame: 0-1. The family leaves open of what: its base view is the whole image squashed to a square, in which 0-1 of the
original holds (`frame: original`, the default here); LLaVA-1.5's grounding data, which it was also trained on, counts 0-1
of the image padded to a square (`frame: padded`). Compare both on references before trusting either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

from spr.boxes import Box, Size
from spr.errors import RecipeError
from spr.models.dialects.brackets import BracketDialect
from spr.models.dialects.grid import Grid
from spr.models.dialects.numerals import decimal_places, decimals

Frame = Literal["original", "padded"]
_PLACES = 2


class LlavaOnevision(BracketDialect):
    """LLaVA-OneVision's dialect. Raises RecipeError for a frame that is neither original nor padded."""

    name = "llava-onevision"
    whole_numbers = False
    readings = (("llava-onevision", {"frame": "original"}), ("llava-onevision", {"frame": "padded"}))

    def __init__(self, frame: Frame = "original") -> None:
        if frame not in get_args(Frame):
            raise RecipeError(f"model.dialect_options.frame is {frame!r}; for llava-onevision it must be original or padded")
        self.frame = frame

    @property
    def options(self) -> Mapping[str, Any]:
        """The frame."""
        return {"frame": self.frame}

    def grid(self, size: Size) -> Grid:
        """0-1 of the original, or of the square that it is padded to on both sides."""
        if self.frame == "original":
            return Grid.stretched(size, (1.0, 1.0))
        side = max(size)
        return Grid(size, ((side - size[0]) / 2, (side - size[1]) / 2), (1 / side, 1 / side), (1.0, 1.0))

    def numbers(self, box: Box, size: Size, like: Sequence[str]) -> list[str]:
        """Rounded to two decimals, or to as many as the model wrote itself if those are more."""
        places = decimal_places(like, _PLACES)
        return decimals(self.grid(size).cells(box, "nearest", 10.0**-places), places, like)

    def rec_prompt(self, expression: str) -> str:
        """The family's own grounding question."""
        return f"Please provide the bounding box coordinate of the region this sentence describes: {expression}"

    def caption_prompt(self, box: Box, size: Size) -> str:
        """The question that goes with it in LLaVA-1.5's grounding data."""
        return f"Please provide a short description for this region: {self.region_text(box, size)}."

    def region_prompt(self, box: Box, size: Size, names: Sequence[str] = ()) -> str:  # noqa: ARG002 (the protocol's)
        """The plain region question."""
        return (
            f"Describe the region {self.region_text(box, size)} of the image. "
            "Give the bounding box coordinates of every object you mention."
        )
