"""One PNG with a card for every dialect: what it writes for a known box, that box, and the box that is read back.

A loupe on the corner where the two part shows what they differ by. Only draws.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont

from spr.boxes import Box, paired_iou
from spr.doctor import picture
from spr.models.dialects.readings import Reading

COLUMNS = 4
_WIDTH = 480
_SCALE = _WIDTH / picture.SIZE[0]
_PHOTO_HEIGHT = round(picture.SIZE[1] * _SCALE)
_CARD = (_WIDTH, _PHOTO_HEIGHT + 92)
_GAP = 24
_TOP = 92
_LOUPE = 150
_LOUPE_PIXELS = 30.0
"""Pixels of the picture that the loupe shows, each way."""
_LINE_CHARACTERS = 58
_PAPER, _INK, _FAINT = "#fbfaf7", "#22242a", "#6c7078"
_DRAWN, _READ = "#12305e", "#f0781e"


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """One dialect's text for the known box, and what it reads there: the box, and its IoU with the known one."""

    label: str
    text: str
    box: Box
    iou: float


def round_trip(reading: Reading) -> RoundTrip:
    """Write the known box of the picture with its phrase, and read it back."""
    text = reading.dialect.ground(picture.PHRASE, picture.BALLOON, picture.SIZE)
    (mention,) = reading.dialect.parse(text, picture.SIZE)
    if mention.box is None:
        raise AssertionError(f"{reading.label} does not read what it writes: {text!r}, {mention.reason}")
    return RoundTrip(reading.label, text, mention.box, float(paired_iou([mention.box], [picture.BALLOON])[0]))


def draw_sheet(trips: Sequence[RoundTrip]) -> Image.Image:
    """The sheet, RGB: a heading with the legend, then a card for each round trip, four a row."""
    rows = -(-len(trips) // COLUMNS)
    width = COLUMNS * (_CARD[0] + _GAP) + _GAP
    sheet = Image.new("RGB", (width, _TOP + rows * (_CARD[1] + _GAP)), _PAPER)
    _heading(sheet)
    photo = picture.draw()
    for place, trip in enumerate(trips):
        row, column = divmod(place, COLUMNS)
        sheet.paste(_card(photo, trip), (_GAP + column * (_CARD[0] + _GAP), _TOP + row * (_CARD[1] + _GAP)))
    return sheet


def _heading(sheet: Image.Image) -> None:
    pen = ImageDraw.Draw(sheet)
    pen.text((_GAP, 18), "Box round trips", font=_font("DejaVuSans-Bold", 28), fill=_INK)
    width, height = picture.SIZE
    known = ", ".join(f"{value:.0f}" for value in picture.BALLOON)
    said = f"one balloon at [{known}] in {width} x {height} pixels, as every dialect writes it and reads it back"
    pen.text((_GAP, 56), said, font=_font("DejaVuSans", 17), fill=_FAINT)
    left = sheet.width - 560
    for text, color, dashes, shift in (("the box", _DRAWN, False, 0), ("read back", _READ, True, 180)):
        _line(pen, (left + shift, 44, left + shift + 44, 44), color, dashes)
        pen.text((left + shift + 54, 33), text, font=_font("DejaVuSans", 17), fill=_INK)
    pen.text((left + 380, 33), "loupe: corner, x5", font=_font("DejaVuSans", 17), fill=_FAINT)


def _card(photo: Image.Image, trip: RoundTrip) -> Image.Image:
    card = Image.new("RGB", _CARD, "white")
    card.paste(photo.resize((_WIDTH, _PHOTO_HEIGHT), Image.Resampling.LANCZOS))
    pen = ImageDraw.Draw(card)
    for box, color, dashed in ((picture.BALLOON, _DRAWN, False), (trip.box, _READ, True)):
        _outline(pen, [value * _SCALE for value in box], color, dashed)
    card.paste(_loupe(photo, trip), (12, _PHOTO_HEIGHT - _LOUPE - 12))
    pen.text((14, _PHOTO_HEIGHT + 10), trip.label, font=_font("DejaVuSans-Bold", 17), fill=_INK)
    score = f"IoU {trip.iou:.3f}"
    face = _font("DejaVuSans-Bold", 17)
    pen.text((_WIDTH - 14 - pen.textlength(score, font=face), _PHOTO_HEIGHT + 10), score, font=face, fill=_READ)
    lines = textwrap.wrap(trip.text, _LINE_CHARACTERS, break_long_words=True)
    pen.multiline_text((14, _PHOTO_HEIGHT + 40), "\n".join(lines), font=_font("DejaVuSansMono", 13), fill=_INK, spacing=5)
    pen.rectangle((0, 0, _CARD[0] - 1, _CARD[1] - 1), outline="#d8d6cf")
    return card


def _loupe(photo: Image.Image, trip: RoundTrip) -> Image.Image:
    """The surroundings of the box's lower right corner, magnified, with both boxes."""
    left, top = picture.BALLOON[2] - _LOUPE_PIXELS / 2, picture.BALLOON[3] - _LOUPE_PIXELS / 2
    seen = (left, top, left + _LOUPE_PIXELS, top + _LOUPE_PIXELS)
    shown = photo.resize((_LOUPE, _LOUPE), Image.Resampling.BICUBIC, box=seen)
    pen = ImageDraw.Draw(shown)
    for box, color, dashed in ((picture.BALLOON, _DRAWN, False), (trip.box, _READ, True)):
        moved = [(value - (left, top)[place % 2]) * _LOUPE / _LOUPE_PIXELS for place, value in enumerate(box)]
        _outline(pen, moved, color, dashed)
    pen.rectangle((0, 0, _LOUPE - 1, _LOUPE - 1), outline="white", width=3)
    return shown


def _outline(pen: ImageDraw.ImageDraw, box: Sequence[float], color: str, dashed: bool) -> None:
    x0, y0, x1, y1 = box
    for side in ((x0, y0, x1, y0), (x1, y0, x1, y1), (x0, y1, x1, y1), (x0, y0, x0, y1)):
        _line(pen, side, color, dashed)


def _line(pen: ImageDraw.ImageDraw, line: Box, color: str, dashed: bool) -> None:
    for piece in _dashes(line) if dashed else [line]:
        pen.line(piece, fill=color, width=3)


def _dashes(line: Box, on: float = 9.0, off: float = 6.0) -> Iterator[Box]:
    x0, y0, x1, y1 = line
    length = max(abs(x1 - x0), abs(y1 - y0))
    along = ((x1 - x0) / length, (y1 - y0) / length)
    start = 0.0
    while start < length:
        end = min(start + on, length)
        yield (x0 + along[0] * start, y0 + along[1] * start, x0 + along[0] * end, y0 + along[1] * end)
        start += on + off


def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    """A typeface that comes with matplotlib: the same on every machine."""
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / f"{name}.ttf", size)
