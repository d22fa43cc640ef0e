"""Shikra: `a dog[0.123,0.456,0.700,0.800]`, three decimals, behind the words without a space; several boxes are
`[0.1,0.2,0.3,0.4;0.5,0.6,0.7,0.8]`.

Frame: 0-1 of the image PADDED to a square, the image in the middle (an odd pixel of padding goes below or to the right).
Three decimals, rounded. Points are `[0.123,0.456]`.
Source: `mllm/dataset/utils/transform.py` (padding), `mllm/dataset/process_function/box_process_function.py` (texts) and
`config/_base_/dataset/template/` (questions) of shikras/shikra. Its questions hold a mark where the image goes, which is
left out here: where the image stands is the business of whoever runs the model. One image a question.
"""

from __future__ import annotations

from collections.abc import Sequence

from spr.boxes import Box, Size
from spr.models.dialects.brackets import BracketDialect
from spr.models.dialects.grid import Grid
from spr.models.dialects.numerals import decimal_places, decimals

_PLACES = 3


class Shikra(BracketDialect):
    """Shikra's dialect."""

    name = "shikra"
    whole_numbers = False
    single_image = True

    def grid(self, size: Size) -> Grid:
        """0-1 of the square that the image is padded to."""
        side = max(size)
        offset = (float((side - size[0]) // 2), float((side - size[1]) // 2))
        return Grid(size, offset, (1 / side, 1 / side), (1.0, 1.0))

    def numbers(self, box: Box, size: Size, like: Sequence[str]) -> list[str]:
        """Rounded to three decimals, or to as many as the model wrote itself if those are more."""
        places = decimal_places(like, _PLACES)
        return decimals(self.grid(size).cells(box, "nearest", 10.0**-places), places, like)

    def inside(self, numbers: Sequence[str]) -> str:
        """`a,b,c,d`."""
        return ",".join(numbers)

    def ground(self, phrase: str, box: Box, size: Size) -> str:
        """The box right behind the phrase."""
        return f"{phrase}{self.format(box, size)}"

    def point_text(self, point: tuple[float, float], size: Size) -> str:
        """The point in three decimals, in the brackets of a box."""
        x, y = self.grid(size).point(point, "nearest", 10.0**-_PLACES)
        return f"[{','.join(decimals((x, y), _PLACES, ()))}]"

    def rec_prompt(self, expression: str) -> str:
        """The authors' question that names the format."""
        return f"Where is {expression}? answer in [x0,y0,x1,y1] format."

    def phrases_prompt(self, phrases: Sequence[str]) -> str:
        """The same for several things (ours: the authors ask for one)."""
        return f"Where are {', '.join(phrases)}? answer in [x0,y0,x1,y1] format."

    def answer_prompt(self, question: str) -> str:
        """One of the authors' requests for a short answer (`VQA.json`)."""
        return f"For this image, I want a simple and direct answer to my question: {question}"

    def caption_prompt(self, box: Box, size: Size) -> str:
        """One of the authors' requests for what tells a region from others (`REG.json`)."""
        return f"Please generate a distinguishing description for the region {self.region_text(box, size)} in the image."

    def region_prompt(self, box: Box, size: Size, names: Sequence[str] = ()) -> str:  # noqa: ARG002 (the protocol's)
        """The plain region question: the authors' question about a region, ending like the one for boxes in a caption."""
        return (
            f"Can you give me a description of the region {self.region_text(box, size)} in the image and include the "
            "coordinates [x0,y0,x1,y1] for each mentioned object?"
        )
