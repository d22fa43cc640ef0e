"""Refinement of one text: its boxes moved to the ground truth they nearly hit, the others taken away, its words kept.

Only the chosen text of a pair is refined (arXiv 2510.14374, sec. 3.4). Boxes are read and written by the dialect, so that
the model's own digit style survives and preferences are about places, not about formats.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment

from spr.boxes import Box, FloatArray, Size, as_box, as_boxes, iou
from spr.models.base import Dialect
from spr.records import Mention

Unmatched = Literal["strip_box", "keep", "drop_phrase"]


@dataclass(frozen=True, slots=True)
class Refined:
    """A refined text.

    `matches` maps the mentions that were moved to their ground-truth box: indices, mentions as `Dialect.parse` numbers them,
    boxes of `added` counting on from the others. `unmatched` are the other mentions, unreadable ones among them. `refined`
    counts the moved boxes, `stripped` the mentions that lost their box.
    """

    text: str
    refined: int
    stripped: int
    matches: dict[int, int]
    unmatched: tuple[int, ...]


def refine(
    text: str,
    dialect: Dialect,
    size: Size,
    gt_boxes: ArrayLike | Sequence[Box],
    min_iou: float = 0.5,
    unmatched: Unmatched = "strip_box",
    added: ArrayLike | Sequence[Box] = (),
) -> Refined:
    """Refine a text about an image of `size` = (width, height) against ground truth (n, 4), xyxy pixels, n >= 0.

    A mention whose box is matched gets the ground-truth box in the dialect's format. Any other, and any that cannot be
    read, loses its mark-up and keeps its words (`strip_box`), stays as it is (`keep`), or goes with its words
    (`drop_phrase`). `added` (m, 4) is ground truth of second rank, e.g. a detector's: it is matched to the mentions that meet
    none of the first.
    """
    gt = np.concatenate([as_boxes(gt_boxes), as_boxes(added)])
    mentions = dialect.parse(text, size)
    matches = match(mentions, as_boxes(gt_boxes), min_iou)
    matches |= _match_rest(mentions, matches, as_boxes(added), min_iou, len(as_boxes(gt_boxes)))
    left = tuple(index for index in range(len(mentions)) if index not in matches)
    boxes: dict[int, Box | None] = {index: as_box(gt[target]) for index, target in matches.items()}
    if unmatched == "strip_box":
        boxes |= dict.fromkeys(left)
    # A moved box keeps its place among the mentions, so the numbers still hold when phrases are dropped afterwards.
    result = dialect.rewrite(text, size, boxes)
    if unmatched == "drop_phrase":
        result = dialect.drop(result, size, left)
    return Refined(result, len(matches), 0 if unmatched == "keep" else len(left), matches, left)


def match(mentions: Sequence[Mention], gt_boxes: ArrayLike, min_iou: float) -> dict[int, int]:
    """Match readable mentions one-to-one to ground-truth boxes (n, 4): mention index -> ground-truth index, ascending.

    The assignment with the largest sum of IoU over pairs above `min_iou`. Pairs at or below it are worth nothing in the
    sum, so a bad pair can never cost a good one its place.
    """
    readable = [(index, mention.box) for index, mention in enumerate(mentions) if mention.box is not None]
    overlaps = iou(as_boxes([box for _, box in readable]), gt_boxes)
    worth = np.where(overlaps > min_iou, overlaps, 0.0)
    rows, columns = linear_sum_assignment(worth, maximize=True)
    return {readable[row][0]: int(column) for row, column in zip(rows, columns, strict=True) if worth[row, column] > 0}


def _match_rest(
    mentions: Sequence[Mention], taken: Mapping[int, int], added: FloatArray, min_iou: float, offset: int
) -> dict[int, int]:
    """Match the mentions that are not taken to `added` (m, 4), whose boxes count from `offset`."""
    left = [index for index in range(len(mentions)) if index not in taken]
    found = match([mentions[index] for index in left], added, min_iou)
    return {left[row]: offset + column for row, column in found.items()}
