"""CogVLM (grounding generalist): `a dog [[086,540,400,760]]`, three digits each; several boxes are `[[a,b,c,d;e,f,g,h]]`.

Frame: thousandths of the original image, each axis alone (it is resized without padding), from 000 to 999: three digits
hold no 1000, so a box that reaches the right or lower edge ends one thousandth short of it. Reading is `number / 1000 *
width`, as in the authors' parser; they publish no writer, and nearest is what reads back closest.
Source: `README.md` (format of coordinates), `utils/utils/template.py` and `utils/utils/language.py` (questions) and
`utils/utils/grounding_parser.py` of THUDM/CogVLM. Its grounding checkpoints take the bare question (template `base`) and one
image.
"""

from __future__ import annotations

from collections.abc import Sequence

from spr.boxes import Box, Size
from spr.models.dialects.brackets import BracketDialect
from spr.models.dialects.grid import Grid
from spr.models.dialects.numerals import integers

_DIGITS = 3


class CogVLM(BracketDialect):
    """CogVLM's dialect."""

    name = "cogvlm"
    single_image = True

    def grid(self, size: Size) -> Grid:
        """Thousandths of the original, each axis alone, 999 at most."""
        return Grid(size, (0.0, 0.0), (1000 / size[0], 1000 / size[1]), (999.0, 999.0))

    def numbers(self, box: Box, size: Size, like: Sequence[str]) -> list[str]:
        """Rounded to whole numbers of three digits, unless `like` is seen to leave out the zeros."""
        padded = all(len(text) >= _DIGITS for text in like)
        return integers(self.grid(size).cells(box, "nearest"), ("0" * _DIGITS,) if padded else like)

    def inside(self, numbers: Sequence[str]) -> str:
        """`a,b,c,d`."""
        return ",".join(numbers)

    def wrap(self, numbers: Sequence[str]) -> str:
        """`[[a,b,c,d]]`."""
        return f"[[{self.inside(numbers)}]]"

    def rec_prompt(self, expression: str) -> str:
        """The authors' question that names the format."""
        return f"Where is {expression}? answer in [[x0,y0,x1,y1]] format."

    def phrases_prompt(self, phrases: Sequence[str]) -> str:
        """The same for several things (ours: the authors ask for one)."""
        return f"Where are {', '.join(phrases)}? answer in [[x0,y0,x1,y1]] format."

    def answer_prompt(self, question: str) -> str:
        """The authors' template `vqa`."""
        return f"Question: {question} Short answer:"

    def caption_prompt(self, box: Box, size: Size) -> str:
        """The authors' question about a region, which is answered by words without boxes."""
        return f"Tell me what you see within the designated area {self.region_text(box, size)} in the picture."

    def region_prompt(self, box: Box, size: Size, names: Sequence[str] = ()) -> str:  # noqa: ARG002 (the protocol's)
        """The plain region question, with the ending of the authors' one for boxes in a caption: their own question about a
        region is answered without."""
        return (
            f"Can you provide a description of the area {self.region_text(box, size)} in the image and include the "
            "coordinates [[x0,y0,x1,y1]] for each mentioned object?"
        )
