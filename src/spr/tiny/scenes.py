"""Scenes of the tiny world: coloured shapes on textured ground, 96 x 96 pixels, with exact boxes.

A scene is a function of its seed alone. Boxes are whole pixels and tight: each shape touches all four sides of its
box. Edges are soft (drawn at four times the size, then averaged), tips are thin and objects may hide a little of each
other, so finding a shape is easy and its exact box is not. What is said about scenes is in `language`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from spr.boxes import area, as_boxes, intersection

SIDE = 96
_SCALE = 4
COLORS: dict[str, tuple[int, int, int]] = {
    "red": (208, 44, 44),
    "orange": (236, 138, 36),
    "yellow": (228, 208, 52),
    "green": (58, 158, 70),
    "blue": (50, 92, 208),
    "purple": (140, 66, 178),
    "pink": (238, 132, 182),
    "brown": (124, 82, 48),
}
_COLOR_NAMES = tuple(COLORS)
SHAPES = ("circle", "square", "triangle", "diamond", "star", "cross")
CATEGORIES = tuple(f"{color} {shape}" for color in COLORS for shape in SHAPES)
MIN_OBJECTS, MAX_OBJECTS = 4, 9
_SIDES = (12, 34)
_MAX_HIDDEN = 0.12
_REPEAT = 0.3


@dataclass(frozen=True, slots=True)
class TinyObject:
    """One shape. `box` is xyxy in whole pixels; later objects lie over earlier ones."""

    color: str
    shape: str
    box: tuple[int, int, int, int]

    @property
    def category(self) -> str:
        """Its name, e.g. "red circle"."""
        return f"{self.color} {self.shape}"

    @property
    def area(self) -> int:
        """Area of the box in square pixels."""
        x0, y0, x1, y1 = self.box
        return (x1 - x0) * (y1 - y0)


def layout(seed: int) -> tuple[TinyObject, ...]:
    """The objects of one scene, back to front: 4 to 9 of them."""
    rng = np.random.default_rng([0, seed])
    wanted = int(rng.integers(MIN_OBJECTS, MAX_OBJECTS + 1))
    objects: list[TinyObject] = []
    for _ in range(400):
        if len(objects) == wanted:
            break
        box = _draw_box(rng)
        color, shape = _draw_kind(rng, objects)
        if _fits(box, objects):
            objects.append(TinyObject(color, shape, box))
    return tuple(objects)


def render(seed: int, objects: tuple[TinyObject, ...]) -> Image.Image:
    """The picture of a scene: RGB, 96 x 96."""
    rng = np.random.default_rng([1, seed])
    canvas = _ground(rng).resize((SIDE * _SCALE, SIDE * _SCALE), Image.Resampling.BILINEAR)
    pen = ImageDraw.Draw(canvas)
    for item in objects:
        shade = rng.integers(-22, 23, size=3)
        red, green, blue = (int(v) for v in np.clip(np.array(COLORS[item.color]) + shade, 0, 255))
        _draw_shape(pen, item, (red, green, blue))
    soft = canvas.reduce(_SCALE).filter(ImageFilter.BoxBlur(0.4))
    noisy = np.asarray(soft, dtype=np.float32) + 5 * rng.standard_normal((SIDE, SIDE, 3), dtype=np.float32)
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def _draw_box(rng: np.random.Generator) -> tuple[int, int, int, int]:
    low, high = _SIDES
    side = math.exp(rng.uniform(math.log(low), math.log(high)))
    aspect = math.exp(rng.uniform(-0.3, 0.3))
    width = int(np.clip(round(side * aspect), low, high))
    height = int(np.clip(round(side / aspect), low, high))
    x0, y0 = int(rng.integers(0, SIDE - width + 1)), int(rng.integers(0, SIDE - height + 1))
    return (x0, y0, x0 + width, y0 + height)


def _draw_kind(rng: np.random.Generator, objects: list[TinyObject]) -> tuple[str, str]:
    color, shape = _COLOR_NAMES[int(rng.integers(len(COLORS)))], SHAPES[int(rng.integers(len(SHAPES)))]
    if objects and rng.random() < _REPEAT:
        twin = objects[int(rng.integers(len(objects)))]
        color, shape = (twin.color, shape) if rng.random() < 0.5 else (color, twin.shape)
        if rng.random() < 0.3:
            color, shape = twin.color, twin.shape
    return color, shape


def _fits(box: tuple[int, int, int, int], objects: list[TinyObject]) -> bool:
    others = as_boxes([o.box for o in objects])
    smaller = np.minimum(area([box]), area(others))
    return bool((intersection([box], others)[0] <= _MAX_HIDDEN * smaller).all())


def _ground(rng: np.random.Generator) -> Image.Image:
    base = rng.uniform(175, 235, size=3)
    texture = base + rng.normal(0, 12, size=(12, 12, 3))
    return Image.fromarray(np.clip(texture, 0, 255).astype(np.uint8))


def _draw_shape(pen: ImageDraw.ImageDraw, item: TinyObject, fill: tuple[int, int, int]) -> None:
    x0, y0, x1, y1 = (float(v * _SCALE) for v in item.box)
    if item.shape == "circle":
        pen.ellipse((x0, y0, x1 - 1, y1 - 1), fill=fill)
        return
    points = [(x0 + u * (x1 - x0 - 1), y0 + v * (y1 - y0 - 1)) for u, v in _OUTLINES[item.shape]]
    pen.polygon(points, fill=fill)


def _star() -> list[tuple[float, float]]:
    angles = [math.pi / 5 * i - math.pi / 2 for i in range(10)]
    raw = [
        ((1.0 if i % 2 == 0 else 0.45) * math.cos(a), (1.0 if i % 2 == 0 else 0.45) * math.sin(a)) for i, a in enumerate(angles)
    ]
    xs, ys = [p[0] for p in raw], [p[1] for p in raw]
    return [((x - min(xs)) / (max(xs) - min(xs)), (y - min(ys)) / (max(ys) - min(ys))) for x, y in raw]


_ARM = (0.34, 0.66)
_OUTLINES: dict[str, list[tuple[float, float]]] = {
    "square": [(0, 0), (1, 0), (1, 1), (0, 1)],
    "triangle": [(0.5, 0), (1, 1), (0, 1)],
    "diamond": [(0.5, 0), (1, 0.5), (0.5, 1), (0, 0.5)],
    "star": _star(),
    "cross": [
        (_ARM[0], 0), (_ARM[1], 0), (_ARM[1], _ARM[0]), (1, _ARM[0]), (1, _ARM[1]), (_ARM[1], _ARM[1]),
        (_ARM[1], 1), (_ARM[0], 1), (_ARM[0], _ARM[1]), (0, _ARM[1]), (0, _ARM[0]), (_ARM[0], _ARM[0]),
    ],
}  # fmt: skip
"""Corners in units of the box."""
