"""One preference pair over its photo, as an SVG element: chosen boxes solid, rejected dashed, ground truth thin and white."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from spr import images
from spr.boxes import Box
from spr.records import Mention, PreferencePair
from spr.report.photo_svg import CHOSEN, REJECTED, TRUTH, nearest, opening, outline, photo_part, shown_view, tag, veil

_LONGEST = 640
_SHOWN = 420


@dataclass(frozen=True, slots=True)
class Numbered:
    """A readable box of a text with the number that it bears in the text."""

    number: int
    mention: Mention
    box: Box


def numbered(mentions: Sequence[Mention]) -> list[Numbered]:
    """The readable mentions, numbered from 1 in reading order."""
    readable = [(mention, mention.box) for mention in mentions if mention.box is not None]
    return [Numbered(i, mention, box) for i, (mention, box) in enumerate(readable, 1)]


def draw_pair(
    pair: PreferencePair,
    truth: Sequence[tuple[Box, str]],
    chosen: Sequence[Mention],
    rejected: Sequence[Mention],
    root: Path,
) -> str:
    """The SVG of one pair: `truth` is its ground truth with names, `chosen` and `rejected` are the mentions of its two texts,
    `root` the photos' folder.

    Shown is the region with all boxes that were written, and a little more. Raises ImageFault when the photo cannot be used.
    """
    photo = images.load(root, pair.path, pair.size)
    first, second = numbered(chosen), numbered(rejected)
    view = shown_view(pair.region, [*(box for box, _ in truth), *(item.box for item in (*first, *second))], pair.size)
    unit = max(view[2] - view[0], view[3] - view[1]) / _SHOWN
    head = opening(view, f"Chosen, rejected and annotated boxes of pair {pair.pair_id}", "img")
    parts = [head, photo_part(photo, view, _LONGEST), veil(view, pair.region)]
    parts += [outline(item.box, REJECTED, 2.4, _title(item, truth, "rejected"), dash="6 4") for item in second]
    parts += [outline(item.box, CHOSEN, 3.2, _title(item, truth, "chosen")) for item in first]
    parts += [outline(box, TRUTH, 1.1, f"ground truth: {category}") for box, category in truth]
    parts += [tag(str(item.number), item.box, REJECTED, view, unit, corner=(2, 3)) for item in second]
    parts += [tag(str(item.number), item.box, CHOSEN, view, unit, corner=(0, 1)) for item in first]
    return "".join([*parts, "</svg>"])


def _title(item: Numbered, truth: Sequence[tuple[Box, str]], side: str) -> str:
    """What the pointer is told: which box, of what, and how well it fits the nearest ground truth."""
    name = f"{side} {item.number}" + (f": {item.mention.phrase}" if item.mention.phrase else "")
    overlap, category = nearest(item.box, truth)
    return f"{name} (IoU {overlap:.2f} with {category})" if overlap else f"{name} (touches no ground truth)"
