"""Referring expression comprehension: does the model's box meet the one that the expression names?

The first box of the answer counts, by plain IoU. Accuracies are percent of ALL items: an answer without a readable box
is wrong, not left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from spr.boxes import FloatArray, area, as_boxes, paired_iou
from spr.evaluation.greedy import GreedyStage
from spr.models.base import Generation
from spr.records import Prediction, RecItem

THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)


def rec_accuracy(predicted: ArrayLike, gt: ArrayLike, thresholds: Sequence[float] = THRESHOLDS) -> dict[str, Any]:
    """Accuracy of predicted boxes (n, 4) against ground truth (n, 4), row by row, xyxy in one frame.

    A row counts at threshold t when its IoU is at least t; a row that is not finite (NaN) is an answer without a box, which is
    wrong.
    Returns `{"acc": {"0.5": percent, ...}, "mean_acc": percent, "mean_iou": 0..1}`; NaN throughout when n = 0.
    Raises ValueError when the lengths differ or a ground-truth box is not finite or has no area.
    """
    truth = as_boxes(gt)
    bad = np.flatnonzero(~(np.isfinite(truth).all(axis=1) & (area(truth) > 0)))
    if len(bad):
        raise ValueError(f"ground-truth box {bad[0]} is {truth[bad[0]].tolist()}; it must be finite with a positive area")
    boxes = as_boxes(predicted)
    boxes = np.where(np.isfinite(boxes).all(axis=1, keepdims=True), boxes, np.nan)
    return summary(paired_iou(boxes, truth), thresholds)


def summary(ious: ArrayLike, thresholds: Sequence[float] = THRESHOLDS) -> dict[str, Any]:
    """IoUs (n,) -> acc, mean_acc and mean_iou, as `rec_accuracy` returns them."""
    overlap = np.asarray(ious, dtype=np.float64)
    percent = hits(overlap, thresholds).mean(axis=0) if len(overlap) else np.full(len(thresholds), np.nan)
    return {
        "acc": {f"{threshold:g}": float(value) for threshold, value in zip(thresholds, percent, strict=True)},
        "mean_acc": float(percent.mean()),
        "mean_iou": float(overlap.mean()) if len(overlap) else float("nan"),
    }


def hits(ious: ArrayLike, thresholds: Sequence[float] = THRESHOLDS) -> FloatArray:
    """IoUs (n,) -> (n, t): 100 where the IoU reaches the threshold, else 0; column means are accuracies in percent."""
    return np.asarray(np.asarray(ious)[:, None] >= np.asarray(thresholds)[None], dtype=np.float64) * 100


@dataclass
class RecStage(GreedyStage[RecItem]):
    """Expressions -> predictions with the first box of the answer and its IoU with the ground truth.

    `status` is that of the first box in the text: ok, unreadable, or none when there is no attempt at one; only ok has a
    box. The payload holds the ground truth (gt_x0 ... gt_y1), how many `boxes` the answer has, and `cut_off` (0 or 1).
    """

    name: str = field(default="rec", init=False)

    def prompt(self, row: RecItem) -> str:
        """The dialect's question for the box of an expression."""
        return self.policy.dialect.rec_prompt(row.expression)

    def predict(self, row: RecItem, answer: Generation) -> Prediction:
        """The first box of the answer, against the item's."""
        mentions = self.policy.dialect.parse(answer.text, row.size)
        box = mentions[0].box if mentions else None
        payload = dict(zip(("gt_x0", "gt_y0", "gt_x1", "gt_y1"), row.box, strict=True))
        payload |= {"boxes": float(len(mentions)), "cut_off": float(answer.finish_reason == "length")}
        return Prediction(
            task="rec",
            item_id=row.item_id,
            cluster=row.path,
            answer=answer.text,
            box=box,
            status=mentions[0].status if mentions else "none",
            iou=float(paired_iou([box], [row.box])[0]) if box else 0.0,
            payload=payload,
        )

    def row_id(self, row: RecItem) -> str:
        """The item's id."""
        return row.item_id
