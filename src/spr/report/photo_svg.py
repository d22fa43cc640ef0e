"""Pieces of a picture with boxes: the photo's shown part, the veil over what is not the region, outlines, numbers.

Coordinates are pixels of the original image; the photo is cut to what is shown and kept inside the SVG as a data URI.
What a picture is made of, and in which order, is the business of those that draw one.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import numpy as np
from PIL import Image

from spr import boxes, images
from spr.boxes import Box, Size

CHOSEN, REJECTED, OTHER, FOUND, TRUTH = "#19c7b9", "#ff8b3d", "#7fb4ff", "#ff7ad9", "#ffffff"
"""Colours over photos: the same in light and dark, told apart by dashes and width as well. FOUND is a detector's."""
_SMALL = 40_000
_QUALITIES = (82, 65, 45, 25)


def shown_view(region: Box, written: Iterable[Box], size: Size) -> Box:
    """What is shown of an image of `size`: the region and every box, with a margin, in whole pixels inside the image."""
    x0, y0, x1, y1 = boxes.enclosing([region, *written])
    margin = 0.04 * max(x1 - x0, y1 - y0)
    wide = np.array([np.floor(x0 - margin), np.floor(y0 - margin), np.ceil(x1 + margin), np.ceil(y1 + margin)])
    return boxes.as_box(boxes.clip([wide], size)[0])


def opening(view: Box, label: str, role: str) -> str:
    """The opening tag of a picture that shows `view`, with a label for those who cannot see it."""
    x0, y0, x1, y1 = view
    width, height = n(x1 - x0), n(y1 - y0)
    return (
        f'<svg class="photo" viewBox="{n(x0)} {n(y0)} {width} {height}" style="--w:{width};--h:{height}" '
        f'role="{role}" aria-label="{escape(label)}">'
    )


def photo_part(photo: Image.Image, view: Box, longest: int) -> str:
    """The photo's shown part as an `image` element: PNG where it is small, else JPEG of at most `longest` pixels a side."""
    part = images.crop(photo, view)
    part.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    small = part.width * part.height <= _SMALL
    return _image(_written(part, "PNG", optimize=True) if small else _written(part, "JPEG", quality=82), view)


def photo_within(photo: Image.Image, longest: int, most: int) -> str:
    """The whole photo as an `image` element of at most `longest` pixels a side, JPEG, in at most `most` bytes wherever any of
    its qualities gets it there."""
    small = photo.copy()
    small.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    for quality in _QUALITIES:
        data = _written(small, "JPEG", quality=quality)
        if len(data) <= most:
            break
    return _image(data, (0.0, 0.0, float(photo.width), float(photo.height)))


def veil(view: Box, region: Box) -> str:
    """What lies outside the region, dimmed."""
    return f'<path d="{_path(view)}{_path(region)}" fill="#000" fill-opacity="0.4" fill-rule="evenodd"/>'


def outline(box: Box, colour: str, width: float, title: str, dash: str = "", attributes: str = "", inside: str = "") -> str:
    """One outline with a dark casing, so that it shows on any ground; widths are screen pixels. `attributes` go on its
    group and `inside` into it, both as they are; a dash of length 0 is a round dot."""
    x0, y0, x1, y1 = box
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    dotted = dash.startswith("0 ")
    if dotted:
        dashes += ' stroke-linecap="round"'
    # A wide dark ring around every dot would hide its colour.
    ring, strength = (1.0, 0.4) if dotted else (1.6, 0.55)
    shape = f'<rect x="{n(x0)}" y="{n(y0)}" width="{n(x1 - x0)}" height="{n(y1 - y0)}" vector-effect="non-scaling-stroke"'
    casing = f'{shape} stroke="#000" stroke-opacity="{strength}" stroke-width="{width + ring:g}"{dashes}/>'
    line = f'{shape} stroke="{colour}" stroke-width="{width:g}"{dashes}/>'
    return f'<g fill="none"{attributes}><title>{escape(title)}</title>{casing}{line}{inside}</g>'


def tag(text: str, box: Box, colour: str, view: Box, unit: float, corner: tuple[int, int]) -> str:
    """A box's number or letter at one of its corners, kept inside the view; `unit` is one screen pixel in image pixels."""
    wide, high = (8 + 7 * len(text)) * unit, 15 * unit
    left = box[corner[0]] if corner[0] == 0 else box[2] - wide
    top = box[corner[1]] if corner[1] == 1 else box[3] - high
    x = min(max(left, view[0]), view[2] - wide)
    y = min(max(top, view[1]), view[3] - high)
    return (
        f'<rect x="{n(x)}" y="{n(y)}" width="{n(wide)}" height="{n(high)}" rx="{n(2 * unit)}" fill="{colour}"/>'
        f'<text x="{n(x + wide / 2)}" y="{n(y + 11.3 * unit)}" font-size="{n(11 * unit)}" text-anchor="middle" '
        f'fill="#0d1117" font-weight="600">{escape(text)}</text>'
    )


def nearest(box: Box, truth: Sequence[tuple[Box, str]]) -> tuple[float, str]:
    """The largest IoU of a box with the named boxes, and the name it is with; 0 and "" where it touches none."""
    overlaps = boxes.iou([box], [other for other, _ in truth])[0]
    if not overlaps.size or overlaps.max() == 0:
        return 0.0, ""
    best = int(overlaps.argmax())
    return float(overlaps[best]), truth[best][1]


def n(value: float) -> str:
    """A number as SVG writes it: at most two decimals."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _written(photo: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    photo.save(buffer, form, **options)
    return buffer.getvalue()


def _image(data: bytes, view: Box) -> str:
    x0, y0, x1, y1 = view
    kind = "png" if data.startswith(b"\x89PNG") else "jpeg"
    return (
        f'<image x="{n(x0)}" y="{n(y0)}" width="{n(x1 - x0)}" height="{n(y1 - y0)}" preserveAspectRatio="none" '
        f'href="data:image/{kind};base64,{base64.b64encode(data).decode()}"/>'
    )


def _path(box: Box) -> str:
    x0, y0, x1, y1 = map(n, box)
    return f"M{x0} {y0}H{x1}V{y1}H{x0}Z"
