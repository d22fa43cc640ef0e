"""A drawn picture with one known box: a balloon over hills, in a frame that is clearly wider than high.

Padded and squashed frames differ in it, so that a dialect that takes the one for the other misses the balloon.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from spr.boxes import Box, Size

SIZE: Size = (640, 363)
BALLOON: Box = (391.0, 37.0, 507.0, 229.0)
"""Tight around envelope and basket."""
PHRASE = "a balloon"
_SMOOTH = 3
_SKY = ((126, 182, 222), (236, 240, 226))
_HILLS = (
    ((-260, 236, 420, 560), (134, 168, 118)),
    ((180, 262, 900, 640), (104, 146, 98)),
    ((-120, 306, 480, 700), (78, 122, 84)),
)
_STRIPES = ((206, 62, 54), (240, 196, 84), (206, 62, 54), (240, 196, 84), (206, 62, 54))


def draw() -> Image.Image:
    """The picture, RGB of `SIZE`."""
    canvas = _sky()
    pen = ImageDraw.Draw(canvas)
    _ellipse(pen, (66, 42, 126, 102), (250, 228, 150))
    for hill, color in _HILLS:
        _ellipse(pen, hill, color)
    _balloon(pen)
    return canvas.reduce(_SMOOTH)


def _sky() -> Image.Image:
    top, bottom = (np.array(color, dtype=np.float64) for color in _SKY)
    share = np.linspace(0, 1, SIZE[1] * _SMOOTH)[:, None]
    rows = (top * (1 - share) + bottom * share).round().astype(np.uint8)
    return Image.fromarray(np.repeat(rows[:, None], SIZE[0] * _SMOOTH, axis=1))


def _balloon(pen: ImageDraw.ImageDraw) -> None:
    """Striped: ever narrower ellipses over each other; then ropes and the basket, down to the lower edge of the box."""
    x0, y0, x1, y1 = BALLOON
    middle, envelope = (x0 + x1) / 2, y1 - 48
    for place, color in enumerate(_STRIPES):
        half = (x1 - x0) / 2 * (1 - place / len(_STRIPES))
        _ellipse(pen, (middle - half, y0, middle + half, envelope), color)
    for side in (-1, 1):
        rope = [(middle + side * 30, envelope - 14), (middle + side * 12, y1 - 20)]
        pen.line([(x * _SMOOTH, y * _SMOOTH) for x, y in rope], fill=(96, 72, 56), width=4)
    basket = (middle - 14, y1 - 20, middle + 14, y1)
    pen.rectangle([value * _SMOOTH - (place > 1) for place, value in enumerate(basket)], fill=(134, 92, 58))


def _ellipse(pen: ImageDraw.ImageDraw, box: Box, fill: tuple[int, int, int]) -> None:
    pen.ellipse([value * _SMOOTH - (place > 1) for place, value in enumerate(box)], fill=fill)
