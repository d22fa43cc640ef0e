"""One item of an evaluation over its photo, as an SVG element: ground truth thin and white, base dashed, tuned solid."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from spr import boxes
from spr.boxes import Box
from spr.report.photo_svg import CHOSEN, REJECTED, TRUTH, opening, outline, photo_within


def draw_answers(
    photo: Image.Image, truth: Sequence[Box], base: Sequence[Box], tuned: Sequence[Box], label: str, longest: int, most: int
) -> str:
    """The whole photo with the boxes that are right, and those that base and tuned wrote.

    `label` tells it to those who cannot see it; the photo is kept as JPEG of at most `longest` pixels a side in `most` bytes.
    """
    view = (0.0, 0.0, float(photo.width), float(photo.height))
    parts = [opening(view, label, "img"), photo_within(photo, longest, most)]
    parts += [outline(box, REJECTED, 2.4, _title("base", box, truth), dash="6 4") for box in base]
    parts += [outline(box, CHOSEN, 2.8, _title("tuned", box, truth)) for box in tuned]
    parts += [outline(box, TRUTH, 1.1, "ground truth") for box in truth]
    return "".join([*parts, "</svg>"])


def _title(side: str, box: Box, truth: Sequence[Box]) -> str:
    """What the pointer is told: whose box it is, and how well it fits."""
    overlaps = boxes.iou([box], truth)
    return f"{side} (IoU {overlaps.max():.2f})" if overlaps.size else side
