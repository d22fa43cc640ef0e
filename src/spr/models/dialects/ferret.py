"""Ferret: `phrase [x1, y1, x2, y2]`, whole numbers without padding.

Frame: 0-1000 of the original image, each axis alone. A number is `int(pixel * 1000 / width)`, so a corner is known to
within a thousandth of the side. Reading gives `number * width / 1000` as it is: the authors' evaluation also cuts that to
a whole pixel, which would only add to the error of every box.
Source: Ferret (You et al. 2023, arXiv 2310.07704) and its public code.
"""

from __future__ import annotations

from collections.abc import Sequence

from spr.boxes import Box, Size
from spr.models.dialects.brackets import BracketDialect
from spr.models.dialects.grid import Grid
from spr.models.dialects.numerals import integers


class Ferret(BracketDialect):
    """Ferret's dialect."""

    name = "ferret"
    single_image = True

    def grid(self, size: Size) -> Grid:
        """0-1000 of the original, each axis alone."""
        return Grid.stretched(size, (1000.0, 1000.0))

    def numbers(self, box: Box, size: Size, like: Sequence[str]) -> list[str]:
        """Cut down to whole numbers."""
        return integers(self.grid(size).cells(box, "floor"), like)

    def rec_prompt(self, expression: str) -> str:
        """The question of Ferret's RefCOCO evaluation; commas are left out of the expression, as there."""
        return f"What is the location of {expression.replace(',', '').strip()} in the image?"

    def phrases_prompt(self, phrases: Sequence[str]) -> str:
        """The question of Ferret's Flickr30k evaluation: phrases in lower case and without commas, repeated ones too."""
        asked = (phrase.lower().replace(",", "").strip() for phrase in phrases)
        return f"What are the locations of {', '.join(asked)}?"

    def region_text(self, box: Box, size: Size) -> str:
        """The box, and the mark for which the model puts the region's own features."""
        return f"{self.format(box, size)} <region_fea>"

    def point_text(self, point: tuple[float, float], size: Size) -> str:
        """The point, cut down to whole numbers, and the mark for which the model puts the features around it."""
        x, y = self.grid(size).point(point, "floor")
        return f"[{x}, {y}] <region_fea>"

    def region_prompt(self, box: Box, size: Size, names: Sequence[str] = ()) -> str:  # noqa: ARG002 (the protocol's)
        """The plain region question."""
        return f"What is in the region {self.region_text(box, size)}? Describe every object in it with its location."
