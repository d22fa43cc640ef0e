"""Referring expression comprehension: does the model's box meet the one that the expression names?

The first box of the answer counts, by plain IoU. Accuracies are percent of ALL items: an answer without a readable box
is wrong, not left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spr.boxes import Box, FloatArray, area, as_boxes, paired_iou
from spr.evaluation import ferret_protocol
from spr.evaluation.task import Task, length_group, size_group
from spr.items import Answer, RecItem
from spr.models.base import Dialect
from spr.records import Prediction

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


class Rec(Task[RecItem]):
    """Expressions -> the first box of the answer and its IoU with the ground truth.

    `status` is that of the first box in the text: ok, unreadable, or none when there is no attempt at one; only ok has a
    box. The payload holds how many `boxes` the answer has, and `cut_off` (0 or 1). Results are broken down by the object's
    size, by its category where the file tells it, and by the expression's length.
    """

    name = "rec"
    unit = "expressions"
    keys = (*(f"acc/{threshold:g}" for threshold in THRESHOLDS), "mean_acc", "mean_iou")

    def prompt(self, item: RecItem, dialect: Dialect) -> str:
        """The dialect's question for the box of an expression."""
        return dialect.rec_prompt(item.expression)

    def read(self, text: str, item: RecItem, dialect: Dialect) -> tuple[Box | None, str, int]:
        """The box that counts, its status, and the number of boxes in the text."""
        mentions = dialect.parse(text, item.size)
        first = mentions[0] if mentions else None
        return (first.box, first.status, len(mentions)) if first else (None, "none", 0)

    def score(self, item: RecItem, answer: Answer, dialect: Dialect) -> list[Prediction]:
        """The first box of the answer, against the item's."""
        box, status, boxes = self.read(answer.text, item, dialect)
        return [self.judged(item, answer, box, status, boxes)]

    def judged(self, item: RecItem, answer: Answer, box: Box | None, status: str, boxes: int) -> Prediction:
        """A box, or none, against the item's."""
        groups = {"size": size_group(item.box), "length": length_group(item.expression)}
        return self.prediction(
            item,
            answer,
            status,
            {"boxes": float(boxes)},
            box=box,
            iou=float(paired_iou([box], [item.box])[0]) if box else 0.0,
            question=item.expression,
            truth=(item.box,),
            groups=groups | ({"category": item.category} if item.category else {}),
        )

    def columns(self, predictions: Sequence[Prediction]) -> FloatArray:
        """Hits at each threshold (0 or 100), their mean, and the IoU: (n, 7)."""
        ious = np.asarray([one.iou for one in predictions], dtype=np.float64)
        found = hits(ious)
        return np.column_stack([found, found.mean(axis=1), ious])

    def rights(self, predictions: Sequence[Prediction]) -> Mapping[str, NDArray[np.bool_]]:
        """At every threshold."""
        found = self.columns(predictions) > 0
        return {key: found[:, place] for place, key in enumerate(self.keys[: len(THRESHOLDS)])}


class FerretRec(Rec):
    """The same as Ferret's own script reads answers: see `spr.evaluation.ferret_protocol`. Only the IoU that decides is in
    single precision, as there."""

    def read(self, text: str, item: RecItem, dialect: Dialect) -> tuple[Box | None, str, int]:  # noqa: ARG002 (its brackets)
        """The first box, in whole pixels."""
        found = ferret_protocol.read_boxes(text, item.size)
        boxes = ferret_protocol.rec_boxes(text, item.size)
        if boxes == [ferret_protocol.ZERO_BOX]:
            return None, "none" if found == [] else "unreadable", 0
        return boxes[0], "ok", len(boxes)

    def judged(self, item: RecItem, answer: Answer, box: Box | None, status: str, boxes: int) -> Prediction:
        """A box, or none, against the item's."""
        plain = super().judged(item, answer, box, status, boxes)
        return replace(plain, iou=float(ferret_protocol.rec_ious([box], item.box)[0]) if box else 0.0)

    def columns(self, predictions: Sequence[Prediction]) -> FloatArray:
        """Hits as that script compares them: thresholds in single precision too."""
        ious = np.asarray([one.iou for one in predictions], dtype=np.float64)
        found = np.column_stack([ferret_protocol.reaches(ious, threshold) for threshold in THRESHOLDS]) * 100.0
        return np.column_stack([found, found.mean(axis=1), np.nan_to_num(ious)])
