"""One preference pair over its photo, as an SVG element: chosen boxes solid, rejected dashed, ground truth thin and white.

Coordinates are pixels of the original image; the photo is cut to what is shown and kept inside the SVG as a data URI.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from spr import boxes, images
from spr.boxes import Box
from spr.records import Mention, PreferencePair

CHOSEN, REJECTED, TRUTH = "#19c7b9", "#ff8b3d", "#ffffff"
"""Colours over photos: the same in light and dark, told apart by dashes and width as well."""
_LONGEST = 640
_SMALL = 40_000
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


def draw_pair(pair: PreferencePair, chosen: Sequence[Mention], rejected: Sequence[Mention], root: Path) -> str:
    """The SVG of one pair: `chosen` and `rejected` are the mentions of its two texts, `root` the photos' folder.

    Shown is the region with all boxes that were written, and a little more. Raises ImageFault when the photo cannot be used.
    """
    photo = images.load(root, pair.path, pair.size)
    first, second = numbered(chosen), numbered(rejected)
    view = _view(pair, [item.box for item in (*first, *second)])
    x0, y0, x1, y1 = view
    width, height = x1 - x0, y1 - y0
    unit = max(width, height) / _SHOWN
    head = (
        f'<svg class="photo" viewBox="{_n(x0)} {_n(y0)} {_n(width)} {_n(height)}" style="--w:{_n(width)};--h:{_n(height)}" '
        f'role="img" aria-label="Chosen, rejected and annotated boxes of pair {escape(pair.pair_id)}">'
    )
    parts = [head, _image(photo, view), _veil(view, pair.region)]
    truth = [(scene.box, scene.category) for scene in pair.objects]
    parts += [_rect(item.box, REJECTED, 2.4, _title(item, truth, "rejected"), dash="6 4") for item in second]
    parts += [_rect(item.box, CHOSEN, 3.2, _title(item, truth, "chosen")) for item in first]
    parts += [_rect(box, TRUTH, 1.1, f"ground truth: {category}") for box, category in truth]
    parts += [_tag(item, REJECTED, view, unit, corner=(2, 3)) for item in second]
    parts += [_tag(item, CHOSEN, view, unit, corner=(0, 1)) for item in first]
    return "".join([*parts, "</svg>"])


def _view(pair: PreferencePair, written: list[Box]) -> Box:
    """What is shown: the region and every box, with a margin, in whole pixels inside the image."""
    x0, y0, x1, y1 = boxes.enclosing([pair.region, *(scene.box for scene in pair.objects), *written])
    margin = 0.04 * max(x1 - x0, y1 - y0)
    wide = np.array([np.floor(x0 - margin), np.floor(y0 - margin), np.ceil(x1 + margin), np.ceil(y1 + margin)])
    return boxes.as_box(boxes.clip([wide], pair.size)[0])


def _image(photo: Image.Image, view: Box) -> str:
    """The photo's shown part as an `image` element: PNG where it is small, else JPEG of at most 640 px a side."""
    part = images.crop(photo, view)
    part.thumbnail((_LONGEST, _LONGEST), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small = part.width * part.height <= _SMALL
    part.save(buffer, "PNG" if small else "JPEG", **({"optimize": True} if small else {"quality": 82}))
    data = base64.b64encode(buffer.getvalue()).decode()
    x0, y0, x1, y1 = view
    return (
        f'<image x="{_n(x0)}" y="{_n(y0)}" width="{_n(x1 - x0)}" height="{_n(y1 - y0)}" preserveAspectRatio="none" '
        f'href="data:image/{"png" if small else "jpeg"};base64,{data}"/>'
    )


def _veil(view: Box, region: Box) -> str:
    """What lies outside the region, dimmed."""
    outer, inner = _path(view), _path(region)
    return f'<path d="{outer}{inner}" fill="#000" fill-opacity="0.4" fill-rule="evenodd"/>'


def _rect(box: Box, colour: str, width: float, title: str, dash: str = "") -> str:
    """One outline with a dark casing, so that it shows on any ground; widths are screen pixels."""
    x0, y0, x1, y1 = box
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    shape = f'<rect x="{_n(x0)}" y="{_n(y0)}" width="{_n(x1 - x0)}" height="{_n(y1 - y0)}" vector-effect="non-scaling-stroke"'
    casing = f'{shape} stroke="#000" stroke-opacity="0.55" stroke-width="{width + 1.6:g}"{dashes}/>'
    line = f'{shape} stroke="{colour}" stroke-width="{width:g}"{dashes}/>'
    return f'<g fill="none"><title>{escape(title)}</title>{casing}{line}</g>'


def _tag(item: Numbered, colour: str, view: Box, unit: float, corner: tuple[int, int]) -> str:
    """The box's number at one of its corners, kept inside the view; `unit` is one screen pixel in image pixels."""
    wide, high = (8 + 7 * len(str(item.number))) * unit, 15 * unit
    left = item.box[corner[0]] if corner[0] == 0 else item.box[2] - wide
    top = item.box[corner[1]] if corner[1] == 1 else item.box[3] - high
    x = min(max(left, view[0]), view[2] - wide)
    y = min(max(top, view[1]), view[3] - high)
    return (
        f'<rect x="{_n(x)}" y="{_n(y)}" width="{_n(wide)}" height="{_n(high)}" rx="{_n(2 * unit)}" fill="{colour}"/>'
        f'<text x="{_n(x + wide / 2)}" y="{_n(y + 11.3 * unit)}" font-size="{_n(11 * unit)}" text-anchor="middle" '
        f'fill="#0d1117" font-weight="600">{item.number}</text>'
    )


def _title(item: Numbered, truth: Sequence[tuple[Box, str]], side: str) -> str:
    """What the pointer is told: which box, of what, and how well it fits the nearest annotation."""
    name = f"{side} {item.number}" + (f": {item.mention.phrase}" if item.mention.phrase else "")
    overlaps = boxes.iou([item.box], [box for box, _ in truth])[0]
    if not overlaps.size or overlaps.max() == 0:
        return f"{name} (touches no annotated object)"
    best = int(overlaps.argmax())
    return f"{name} (IoU {overlaps[best]:.2f} with {truth[best][1]})"


def _path(box: Box) -> str:
    x0, y0, x1, y1 = map(_n, box)
    return f"M{x0} {y0}H{x1}V{y1}H{x0}Z"


def _n(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")
