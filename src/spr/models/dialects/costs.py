"""What a family's number grid costs: the IoU of a box with itself, written and read back. No model that writes perfectly
can do better than this, and where it lies under a threshold, an accuracy at it says more of the grid than of the model.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from spr.boxes import FloatArray, Size, as_box, as_boxes, paired_iou
from spr.models.base import Dialect

SIZE: Size = (640, 480)
SIDES = (16, 32, 64, 96, 192)
"""Pixels: COCO calls a box small below 32 x 32 and large from 96 x 96."""
SPREAD = 0.1
"""Sides vary by a tenth, so that no side happens to be a multiple of a cell."""
_SAMPLES = 400
_WORST = 16
_STEPS = np.sqrt([2.0, 3.0, 5.0, 7.0])
"""Irrational steps fill a box evenly: the samples are the same in every run, without a generator."""


@dataclass(frozen=True, slots=True)
class GridCost:
    """IoU of boxes with what is read back of them: the lowest that was found, and the mean."""

    worst: float
    mean: float


def grid_cost(dialect: Dialect, side: float, size: Size = SIZE) -> GridCost:
    """The cost for boxes of about `side` pixels in an image of `size` = (width, height), anywhere in it.

    The mean is over 400 boxes; the worst is searched for among them and among all pairings of the 16 worst extents of each
    axis, so it is a bound from above on the true worst.
    """
    drawn = _boxes(side, size)
    read = _read_back(dialect, drawn, size)
    x, y = (_worst_extents(read[:, axis::2], drawn[:, axis::2]) for axis in (0, 1))
    paired = np.stack([np.repeat(x, len(y), axis=0), np.tile(y, (len(x), 1))], axis=2).reshape(-1, 4)
    overlaps = paired_iou(read, drawn)
    crossed = paired_iou(_read_back(dialect, paired, size), paired)
    return GridCost(float(min(overlaps.min(), crossed.min())), float(overlaps.mean()))


def cost_row(dialect: Dialect, tick: Callable[[int], object] | None = None) -> list[str]:
    """One family's row of the table: `worst / mean` for each of `SIDES`, two decimals. `tick` is told of each."""
    cells = []
    for side in SIDES:
        cost = grid_cost(dialect, side)
        cells.append(f"{cost.worst:.2f} / {cost.mean:.2f}")
        if tick is not None:
            tick(1)
    return cells


def _boxes(side: float, size: Size) -> FloatArray:
    """(n, 4) boxes whose sides and places fill their ranges evenly."""
    shares = np.arange(1, _SAMPLES + 1)[:, None] * _STEPS % 1.0
    sides = side * (1 - SPREAD + 2 * SPREAD * shares[:, :2])
    low = shares[:, 2:] * (np.asarray(size) - sides)
    return np.concatenate([low, low + sides], axis=1)


def _read_back(dialect: Dialect, boxes: FloatArray, size: Size) -> FloatArray:
    read = [dialect.parse(dialect.format(as_box(box), size), size)[0].box for box in boxes]
    return as_boxes([box if box is not None else (np.nan,) * 4 for box in read])


def _worst_extents(read: FloatArray, drawn: FloatArray) -> FloatArray:
    """Extents along one axis (n, 2) as read and as drawn -> those of the drawn ones that fare worst (m, 2)."""
    inner = np.minimum(read[:, 1], drawn[:, 1]) - np.maximum(read[:, 0], drawn[:, 0])
    outer = np.maximum(read[:, 1], drawn[:, 1]) - np.minimum(read[:, 0], drawn[:, 0])
    return drawn[np.argsort(inner / outer, kind="stable")[:_WORST]]
