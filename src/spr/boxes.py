"""Boxes: float xyxy pixels of the original image, and what can be measured between them.

A box is `(x0, y0, x1, y1)` with `x0 < x1` and `y0 < y1`; its area is `(x1 - x0) * (y1 - y0)`, with no pixel added.
Arrays of boxes have shape (n, 4). Nothing here knows of images, models or files.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Box = tuple[float, float, float, float]
Size = tuple[int, int]
"""(width, height) of the original image in pixels."""
FloatArray = NDArray[np.float64]
FAR = 1e9
"""Pixels; what lies beyond is no place in a photo, and its area may be no number."""


def near(edges: Iterable[float]) -> bool:
    """Whether all numbers, of any size, are finite and within FAR of the image's corner."""
    return all(abs(edge) < FAR for edge in edges)  # False for NaN and infinity too.


def as_boxes(boxes: ArrayLike | Sequence[Box]) -> FloatArray:
    """Return boxes as a float64 array of shape (n, 4); an empty input gives shape (0, 4).

    Raises ValueError for any other shape.
    """
    array = np.asarray(boxes, dtype=np.float64)
    if array.size == 0:
        return np.zeros((0, 4))
    if array.ndim != 2 or array.shape[1] != 4:
        raise ValueError(f"boxes have shape {array.shape}; expected (n, 4)")
    return array


def as_box(values: ArrayLike) -> Box:
    """Return one box of four Python floats."""
    x0, y0, x1, y1 = np.asarray(values, dtype=np.float64).tolist()
    return (x0, y0, x1, y1)


def area(boxes: ArrayLike) -> FloatArray:
    """Areas in square pixels, shape (n,); a reversed or empty box has area 0."""
    b = as_boxes(boxes)
    return np.clip(b[:, 2] - b[:, 0], 0, None) * np.clip(b[:, 3] - b[:, 1], 0, None)


def intersection(a: ArrayLike, b: ArrayLike) -> FloatArray:
    """Areas of overlap in square pixels: a (n, 4), b (m, 4) -> (n, m)."""
    a, b = as_boxes(a)[:, None], as_boxes(b)[None]
    low, high = np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:])
    return np.asarray(np.clip(high - low, 0, None).prod(axis=-1), dtype=np.float64)


def iou(a: ArrayLike, b: ArrayLike) -> FloatArray:
    """Intersection over union: a (n, 4), b (m, 4) -> (n, m) in 0..1; two empty boxes give 0."""
    overlap = intersection(a, b)
    union = area(a)[:, None] + area(b)[None] - overlap
    return _ratio(overlap, union)


def giou(a: ArrayLike, b: ArrayLike) -> FloatArray:
    """Generalised IoU (Rezatofighi et al. 2019): a (n, 4), b (m, 4) -> (n, m) in -1..1."""
    a, b = as_boxes(a), as_boxes(b)
    overlap = intersection(a, b)
    union = area(a)[:, None] + area(b)[None] - overlap
    low, high = np.minimum(a[:, None, :2], b[None, :, :2]), np.maximum(a[:, None, 2:], b[None, :, 2:])
    hull = np.clip(high - low, 0, None).prod(axis=-1)
    ratio = _ratio(overlap, union)
    return ratio - _ratio(hull - union, hull)


def paired_iou(a: ArrayLike, b: ArrayLike) -> FloatArray:
    """IoU of row i with row i: a (n, 4), b (n, 4) -> (n,); a row with NaN gives 0.

    Raises ValueError when the two have different lengths.
    """
    a, b = as_boxes(a), as_boxes(b)
    if len(a) != len(b):
        raise ValueError(f"{len(a)} boxes against {len(b)}; rows must be aligned")
    low, high = np.maximum(a[:, :2], b[:, :2]), np.minimum(a[:, 2:], b[:, 2:])
    overlap = np.asarray(np.clip(high - low, 0, None).prod(axis=-1), dtype=np.float64)
    union = area(a) + area(b) - overlap
    ratio = _ratio(overlap, union)
    return np.nan_to_num(ratio, nan=0.0)


def coverage(boxes: ArrayLike, regions: ArrayLike) -> FloatArray:
    """Share of each box that each region covers: boxes (n, 4), regions (m, 4) -> (n, m) in 0..1."""
    own = area(boxes)[:, None]
    overlap = intersection(boxes, regions)
    return _ratio(overlap, np.broadcast_to(own, overlap.shape))


def nms(boxes: ArrayLike, scores: ArrayLike, threshold: float) -> NDArray[np.int64]:
    """Greedy non-maximum suppression: boxes (n, 4), scores (n,) -> indices of the kept boxes, best first.

    A box goes when it overlaps a better one that stays by an IoU above `threshold`; of equal scores the earlier is better.
    """
    boxes = as_boxes(boxes)
    overlaps = iou(boxes, boxes)
    kept: list[int] = []
    for i in np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable"):
        if not kept or overlaps[i, kept].max() <= threshold:
            kept.append(int(i))
    return np.array(kept, dtype=np.int64)


def gaps(a: ArrayLike, b: ArrayLike) -> FloatArray:
    """Euclidean gap in pixels between rectangles, 0 when they touch: a (n, 4), b (m, 4) -> (n, m)."""
    a, b = as_boxes(a)[:, None], as_boxes(b)[None]
    apart = np.maximum(np.maximum(a[..., :2] - b[..., 2:], b[..., :2] - a[..., 2:]), 0)
    return np.asarray(np.hypot(apart[..., 0], apart[..., 1]), dtype=np.float64)


def centers(boxes: ArrayLike) -> FloatArray:
    """Centres in pixels, shape (n, 2) as (x, y)."""
    b = as_boxes(boxes)
    return (b[:, :2] + b[:, 2:]) / 2


def enclosing(boxes: ArrayLike) -> Box:
    """The smallest box around all boxes (n, 4), n >= 1. Raises ValueError when there are none."""
    b = as_boxes(boxes)
    if len(b) == 0:
        raise ValueError("no boxes to enclose")
    return as_box(np.concatenate([b[:, :2].min(axis=0), b[:, 2:].max(axis=0)]))


def clip(boxes: ArrayLike, size: Size) -> FloatArray:
    """Boxes (n, 4) cut to an image of `size` = (width, height) pixels."""
    width, height = size
    return np.clip(as_boxes(boxes), 0, [width, height, width, height])


def xywh_to_xyxy(boxes: ArrayLike) -> FloatArray:
    """COCO's (x, y, width, height) -> (x0, y0, x1, y1), both (n, 4) in pixels."""
    b = as_boxes(boxes)
    return np.concatenate([b[:, :2], b[:, :2] + b[:, 2:]], axis=1)


def _ratio(part: FloatArray, whole: FloatArray) -> FloatArray:
    return np.asarray(np.divide(part, whole, out=np.zeros_like(part), where=whole > 0), dtype=np.float64)
