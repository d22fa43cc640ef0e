"""InternVL 2 to 3.5: `<ref>a dog</ref><box>[[100, 200, 300, 400]]</box>`; several boxes are `<box>[[..], [..]]</box>`.

Frame: 0-1000 of the original image, each axis alone, whatever tiles it is cut into. A number is
`round(pixel / width * 1000)`, as `normalize_coordinates` of the documentation has it for these models. For InternVL-Chat 1.5,
the one before, its authors answered `int(pixel / width * 1000)`, up to one step lower.
Source: the chat data format of InternVL's documentation (internvl.readthedocs.io, Grounding / Detection Data), and of
OpenGVLab/InternVL `internvl_chat/eval/refcoco/evaluate_grounding.py` and `internvl_chat/eval/vqa/evaluate_vqa.py` (questions)
and issue 285 for 1.5. `<ref>`, `</ref>`, `<box>` and `</box>` are special tokens of its tokenizers.
"""

from __future__ import annotations

from collections.abc import Sequence

from spr.boxes import Box, Size
from spr.models.dialects.box_lists import BoxListDialect
from spr.models.dialects.grid import Grid
from spr.models.dialects.numerals import integers


class InternVL(BoxListDialect):
    """InternVL's dialect."""

    name = "internvl"
    skip_special_tokens = False
    ref = ("<ref>", "</ref>")
    tag = ("<box>", "</box>")

    def grid(self, size: Size) -> Grid:
        """0-1000 of the original, each axis alone."""
        return Grid.stretched(size, (1000.0, 1000.0))

    def numbers(self, box: Box, size: Size, like: Sequence[str]) -> list[str]:
        """Rounded to whole numbers."""
        return integers(self.grid(size).cells(box, "nearest"), like)

    def rec_prompt(self, expression: str) -> str:
        """The question of InternVL's RefCOCO evaluation."""
        return f"Please provide the bounding box coordinate of the region this sentence describes: <ref>{expression}</ref>"

    def phrases_prompt(self, phrases: Sequence[str]) -> str:
        """The detection question of the documentation, for what is named in tags (ours: it names nothing)."""
        named = ", ".join(f"<ref>{phrase}</ref>" for phrase in phrases)
        return f"Please detect and label {named} in the image and mark their positions."

    def answer_prompt(self, question: str) -> str:
        """The question as InternVL's evaluation of GQA, TextVQA and others asks it, in one line."""
        return f"{question} Answer the question using a single word or phrase."

    def region_prompt(self, box: Box, size: Size, names: Sequence[str] = ()) -> str:  # noqa: ARG002 (the protocol's)
        """The plain region question: the detection question of the documentation, asked of a region."""
        return (
            f"Please detect and label all objects in the region {self.region_text(box, size)} of the image and mark their "
            "positions."
        )
