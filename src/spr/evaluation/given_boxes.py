"""Boxes that another tool gives in place of texts: what they are worth, and whether they lie in another frame.

A frame is only doubted in words: nothing is rescaled, for what looks like thousandths may be a poor model's pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from spr.boxes import Box, FloatArray, area, near
from spr.evaluation.rec import Rec
from spr.items import Answer, RecItem
from spr.records import Prediction

_PIXELS = "boxes are taken as xyxy pixels of the original image, and nothing was rescaled"
_PAST, _SOME = 0.01, 0.1
"""How far past the edge, as a share of the side, and how many of the boxes, give a doubt."""


def score_boxes(
    task: Rec, items: Sequence[RecItem], boxes: Mapping[str, Box], tick: Callable[[int], None]
) -> dict[str, list[Prediction]]:
    """Boxes by item, any four numbers -> predictions without a text, in the order of the items. One that is not finite, far
    from any photo, reversed or empty is no box: unreadable."""
    found: dict[str, list[Prediction]] = {}
    for item in items:
        if item.item_id in boxes:
            box, answer = boxes[item.item_id], Answer(item.item_id, "")
            good = spans(box)
            found[item.item_id] = [task.judged(item, answer, box if good else None, "ok" if good else "unreadable", int(good))]
            tick(1)
    return found


def spans(box: Box) -> bool:
    """Whether four numbers are finite pixels and make a box of some area."""
    x0, y0, x1, y1 = box
    return near(box) and x1 > x0 and y1 > y0


def unreadable_note(boxes: Mapping[str, Box]) -> str | None:
    """How many of the boxes that were given are none, and which is the first."""
    bad = {name: box for name, box in boxes.items() if not spans(box)}
    if not bad:
        return None
    loose = sum(not near(box) for box in bad.values())
    return (
        f"{len(bad)} of {len(boxes)} boxes are unreadable and count as wrong: {loose} not finite, {len(bad) - loose} reversed "
        f"or empty, e.g. {next(iter(bad))}; a box is [x0, y0, x1, y1], not [x, y, width, height]"
    )


def frame_doubt(predictions: Sequence[Prediction]) -> str | None:
    """What makes boxes look as if they lay in another frame than their images' pixels, in a sentence; None when nothing does.

    Doubted are boxes all within 0..1; boxes all within 0..1000 of which a tenth reach past their images, or stay below 1000
    where the truth lies beyond; and boxes that mostly lie outside their images, for most of the rows.
    """
    rows = [one for one in predictions if one.box is not None]
    if not rows:
        return None
    boxes = np.asarray([one.box for one in rows], dtype=np.float64)
    sides = np.asarray([one.size for one in rows], dtype=np.float64)
    truth = np.asarray([np.max(one.truth) for one in rows])
    if boxes.min() >= 0 and boxes.max() <= 1:
        return f"all {len(rows)} boxes lie within 0..1: they look like fractions of the image; {_PIXELS}"
    within = boxes.min() >= 0 and boxes.max() <= 1000
    odd = (boxes[:, 2:] > sides * (1 + _PAST)).any(axis=1) | (truth > 1000 * (1 + _PAST))
    if within and odd.mean() >= _SOME:
        return (
            f"all {len(rows)} boxes lie within 0..1000, and {odd.sum()} of them reach past their images or stay far within "
            f"them, {_example(rows, odd)}: they look like thousandths of the image, or pixels of a resized one; {_PIXELS}"
        )
    outside = _share_inside(boxes, sides) < 0.5
    if outside.mean() > 0.5:
        return (
            f"{outside.sum()} of {len(rows)} boxes lie mostly outside their images, {_example(rows, outside)}: they look like "
            f"another frame; {_PIXELS}"
        )
    return None


def _share_inside(boxes: FloatArray, sides: FloatArray) -> FloatArray:
    """How much of each box (n, 4) lies in its image of (n, 2) width and height: (n,)."""
    cut = np.clip(boxes, 0, np.tile(sides, 2))
    return np.asarray(area(cut) / area(boxes), dtype=np.float64)


def _example(rows: Sequence[Prediction], chosen: NDArray[np.bool_]) -> str:
    one = rows[int(np.flatnonzero(chosen)[0])]
    edges = ", ".join(f"{edge:g}" for edge in one.box or ())
    return f"e.g. ({edges}) on {one.width} x {one.height} pixels"
