"""GLM-4.1V and GLM-4.5V: `a dog <|begin_of_box|>[100,200,300,400]<|end_of_box|>`.

The brackets vary: `[..]`, `[[..], [..]]`, `(..)`, `<..>` and `{..}` are read, and a box alone in the first is written. The
two tags mark any final answer, so they are mark-up only where coordinates follow.
Frame: 0-1000 of the original image, each axis alone. A number is `round(pixel / width * 1000)`.
Source: `README.md` of zai-org/GLM-V (Grounding) and its grounding skill (rounding). The two tags are tokens that some of
its tokenizers call special.
"""

from __future__ import annotations

from collections.abc import Sequence

from spr.boxes import Box, Size
from spr.models.dialects.box_lists import BoxListDialect
from spr.models.dialects.grid import Grid
from spr.models.dialects.numerals import integers


class Glm45V(BoxListDialect):
    """GLM-4.5V's dialect."""

    name = "glm-4.5v"
    skip_special_tokens = False
    tag = ("<|begin_of_box|>", "<|end_of_box|>")
    brackets = ("[({<", "])}>")
    open_tag_is_attempt = False

    def grid(self, size: Size) -> Grid:
        """0-1000 of the original, each axis alone."""
        return Grid.stretched(size, (1000.0, 1000.0))

    def numbers(self, box: Box, size: Size, like: Sequence[str]) -> list[str]:
        """Rounded to whole numbers."""
        return integers(self.grid(size).cells(box, "nearest"), like)

    def inside(self, numbers: Sequence[str]) -> str:
        """`[a,b,c,d]`."""
        return f"[{','.join(numbers)}]"

    def wrap(self, numbers: Sequence[str]) -> str:
        """`<|begin_of_box|>[a,b,c,d]<|end_of_box|>`."""
        return f"{self.tag[0]}{self.inside(numbers)}{self.tag[1]}"

    def rec_prompt(self, expression: str) -> str:
        """The authors' grounding question that names the format."""
        return f"Please pinpoint the bounding box [[x1,y1,x2,y2], …] in the image as per the given description. {expression}"

    def region_text(self, box: Box, size: Size) -> str:
        """The numbers in brackets alone: the tags belong to answers."""
        return self.inside(self.numbers(box, size, ()))

    def region_prompt(self, box: Box, size: Size, names: Sequence[str] = ()) -> str:  # noqa: ARG002 (the protocol's)
        """The plain region question."""
        return (
            f"Describe every object in the region {self.region_text(box, size)} of the image, each with its bounding box "
            "[x1,y1,x2,y2]."
        )
