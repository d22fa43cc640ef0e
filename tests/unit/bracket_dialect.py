"""A dialect that a pencil can follow: a box is ` [x0, y0, x1, y1]` in whole pixels, behind the words it belongs to."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from spr.boxes import Box, Size
from spr.records import Mention

_BOX = re.compile(r"(?P<phrase>[^.,\[\]]*?) \[(?P<box>\d+, \d+, \d+, \d+)\]")


class Bracket:
    name = "bracket"
    skip_special_tokens = True
    single_image = False
    instructed = True
    options: Mapping[str, Any] = {}

    def format(self, box: Box, size: Size) -> str:
        return f"[{', '.join(str(round(value)) for value in box)}]"

    def ground(self, phrase: str, box: Box, size: Size) -> str:
        return f"{phrase} {self.format(box, size)}"

    def parse(self, text: str, size: Size) -> list[Mention]:
        mentions = []
        for found in _BOX.finditer(text):
            x0, y0, x1, y1 = (float(value) for value in found["box"].split(", "))
            span = (found.start("box") - 1, found.end("box") + 1)
            if x0 < x1 <= size[0] and y0 < y1 <= size[1]:
                mentions.append(Mention(found["phrase"].strip(), (x0, y0, x1, y1), "ok", "", span))
            else:
                mentions.append(Mention(found["phrase"].strip(), None, "unreadable", "reversed", span))
        return mentions

    def rewrite(self, text: str, size: Size, boxes: Mapping[int, Box | None]) -> str:
        mentions = self.parse(text, size)
        for index in sorted(boxes, reverse=True):
            start, end = mentions[index].span
            box = boxes[index]
            text = text[: start - 1] + text[end:] if box is None else text[:start] + self.format(box, size) + text[end:]
        return text

    def drop(self, text: str, size: Size, indices: Sequence[int]) -> str:
        found = list(_BOX.finditer(text))
        for index in sorted(indices, reverse=True):
            text = text[: found[index].start()] + text[found[index].end() :]
        return text

    def words(self, text: str, size: Size) -> str:
        return self.rewrite(text, size, dict.fromkeys(range(len(self.parse(text, size)))))

    def rec_prompt(self, expression: str) -> str:
        return f"Where is {expression}?"

    def region_text(self, box: Box, size: Size) -> str:
        return self.format(box, size)

    def point_text(self, point: tuple[float, float], size: Size) -> str:
        return f"[{round(point[0])}, {round(point[1])}]"

    def region_prompt(self, box: Box, size: Size, names: Sequence[str] = ()) -> str:
        return f"Describe {self.region_text(box, size)}."
