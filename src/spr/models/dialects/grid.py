"""The number grid a family writes its boxes on, and the two ways across: pixels to cells and numbers to pixels.

Every family's frame is affine per axis: `value = (pixel + offset) * scale`, with values from 0 to `top`. Which offset
and scale is the family's own module's business; how a value becomes text is `numerals`'.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from spr.boxes import Box, Size

Rounding = Literal["floor", "nearest"]
_SLACK = 1e-6
"""So that a number that was decoded and is encoded again lands in its own cell, whatever the last bit of the division."""


@dataclass(frozen=True, slots=True)
class Grid:
    """One image's frame: `offset` in pixels, `scale` in units a pixel, `top` the largest value, each as (x, y). `centre`
    is where in its cell a number is read: 0 at its beginning, 0.5 in its middle."""

    size: Size
    offset: tuple[float, float]
    scale: tuple[float, float]
    top: tuple[float, float]
    centre: float = 0.0

    @staticmethod
    def stretched(size: Size, top: tuple[float, float]) -> Grid:
        """The whole image stretched to `top`: no padding, each axis alone."""
        return Grid(size, (0.0, 0.0), (top[0] / size[0], top[1] / size[1]), top)

    def covered(self, box: Box) -> tuple[int, int, int, int]:
        """A box in pixels -> the first and the last cell that it covers (x0, y0, x1, y1), where cells count from 0 to
        `top` - 1. Raises ValueError for what is no box, as `cells` does."""
        _check(box)
        (x0, x1), (y0, y1) = (self._cover(axis, box[axis], box[axis + 2]) for axis in (0, 1))
        return (x0, y0, x1, y1)

    def _cover(self, axis: int, low: float, high: float) -> tuple[int, int]:
        last = round(self.top[axis]) - 1
        near, far = ((min(max(pixel, 0.0), self.size[axis]) + self.offset[axis]) * self.scale[axis] for pixel in (low, high))
        first = min(max(math.floor(near + _SLACK), 0), last)
        return first, min(max(math.ceil(far - _SLACK) - 1, first), last)

    def cells(self, box: Box, rounding: Rounding, step: float = 1.0) -> tuple[int, int, int, int]:
        """A box in pixels -> whole steps (x0, y0, x1, y1), clipped to the image and never empty; each corner moves by
        less than one step, or by up to one and a half where a box within one step touches the edge of an image whose cells
        are read in their middle. Raises ValueError for a box that is not finite or not `x0 < x1 and y0 < y1`."""
        _check(box)
        (x0, x1), (y0, y1) = (self._axis(axis, box[axis], box[axis + 2], rounding, step) for axis in (0, 1))
        return (x0, y0, x1, y1)

    def point(self, point: tuple[float, float], rounding: Rounding, step: float = 1.0) -> tuple[int, int]:
        """A point (x, y) in pixels -> whole steps. Raises ValueError for a point that does not lie in the image."""
        if not all(0 <= value <= side for value, side in zip(point, self.size, strict=True)):
            raise ValueError(f"{point} is no point of the image; it must lie in 0..{self.size[0]} x 0..{self.size[1]}")
        x, y = (self._cell(self._exact(axis, point[axis], step), axis, rounding, step) for axis in (0, 1))
        return x, y

    def _exact(self, axis: int, pixel: float, step: float) -> float:
        return (min(max(pixel, 0.0), self.size[axis]) + self.offset[axis]) * self.scale[axis] / step

    def _cell(self, exact: float, axis: int, rounding: Rounding, step: float) -> int:
        shift = 0.5 if rounding == "nearest" else _SLACK
        return min(max(math.floor(exact + shift), 0), round(self.top[axis] / step))

    def _axis(self, axis: int, low: float, high: float, rounding: Rounding, step: float) -> tuple[int, int]:
        last = round(self.top[axis] / step)
        exact = [self._exact(axis, pixel, step) for pixel in (low, high)]
        first, second = (self._cell(value, axis, rounding, step) for value in exact)
        if first < second:
            return first, second
        up, down = second + 1 + self.centre - exact[1], exact[0] - (first - 1 + self.centre)
        grow_high = second < last and (first == 0 or up <= down)
        return (first, second + 1) if grow_high else (first - 1, second)

    def box(self, values: Sequence[float]) -> tuple[Box | None, str]:
        """Four values (x0, y0, x1, y1) -> the box in pixels, cut to the image, or None and the reason why not:
        out_of_range, reversed or empty."""
        if any(not 0 <= value <= self.top[i % 2] for i, value in enumerate(values)):
            return None, "out_of_range"
        if values[0] > values[2] or values[1] > values[3]:
            return None, "reversed"
        x0, y0, x1, y1 = (
            min(max((value + self.centre) / self.scale[i % 2] - self.offset[i % 2], 0.0), float(self.size[i % 2]))
            for i, value in enumerate(values)
        )
        return ((x0, y0, x1, y1), "") if x0 < x1 and y0 < y1 else (None, "empty")


def _check(box: Box) -> None:
    if not all(math.isfinite(value) for value in box) or box[0] >= box[2] or box[1] >= box[3]:
        raise ValueError(f"{box} is no box; it must be finite with x0 < x1 and y0 < y1")
