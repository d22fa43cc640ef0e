"""The localization score: how much of the ground truth the predicted boxes recover, and which boxes are compared.

    S_loc = 1/n sum_i max_j p[i, j],   p = IoU where IoU >= threshold, else 0

i runs over the n ground-truth boxes, j over the predicted ones (Spatial Preference Rewarding, arXiv 2510.14374, sec. 3.3).
It is recall-like: more of the objects described, more accurately, scores higher; superfluous boxes cost nothing.

What stands on both sides is said by a preset. A are the annotations inside the region, M_k the boxes that text k writes,
D_k what a detector finds for its phrases inside the region:

    annotations_only   ground truth A                                    predicted M_k
    paper              ground truth A + boxes of all D that A lacks      predicted M_k + D_k
    strict             ground truth as for paper                         predicted M_k + D_k of phrases without a box,
                                                                         at `ungrounded_credit`

Under `paper` a detector rescues a text: who names eight things and places all of them wrongly still scores high, because
the detector finds them by their names. Under `strict` boxes must be the text's own. numpy only; no models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from spr.boxes import Box, FloatArray, as_boxes, coverage, iou, nms
from spr.recipe_score import Preset
from spr.records import Detection, Mention
from spr.rewards.captions import normal

SAME_OBJECT = 0.5
"""A detector's box that overlaps an annotation by at least this IoU is that object."""


@dataclass(frozen=True, slots=True)
class Predicted:
    """What one text is credited with: boxes (m, 4) in pixels, and what each counts for at most, `credits` (m,) in 0..1."""

    boxes: FloatArray
    credits: FloatArray


def predictions(
    preset: Preset,
    mentions: Sequence[Mention],
    written: Sequence[Mention],
    detections: Sequence[Detection],
    ungrounded_credit: float = 0.0,
) -> Predicted:
    """The predicted boxes of a text under a preset.

    `written` are the mentions of the text as the model wrote it: what it gave a box, right or wrong, stays its own affair under
    `strict` when refinement strips that box. Boxes without a phrase ground all of the text.

    All readable boxes of a text count, also those outside the region: the coverage test is for annotations and a detector's
    boxes, which nobody asked to keep to the region. A box far outside meets no ground truth anyway.
    """
    own = mentioned_boxes(mentions)
    kept: list[Detection] = []
    if preset == "paper":
        kept = list(detections)
    elif preset == "strict":
        grounded = {normal(mention.phrase or "") for mention in written if mention.box is not None}
        kept = [] if "" in grounded else [detection for detection in detections if detection.phrase not in grounded]
    credit = 1.0 if preset == "paper" else ungrounded_credit
    found = as_boxes([detection.box for detection in kept])
    return Predicted(np.concatenate([own, found]), np.concatenate([np.ones(len(own)), np.full(len(found), credit)]))


def detected_objects(annotated: ArrayLike, detections: Sequence[Sequence[Detection]], suppression: float) -> FloatArray:
    """The ground-truth boxes that a detector adds to a query's annotations (n, 4) -> (m, 4), best first.

    The detections of ALL the query's texts are pooled, so that every text meets one and the same ground truth; overlaps
    above `suppression` (IoU) go, and so does what is annotated already.
    """
    pooled = [detection for found in detections for detection in found]
    boxes = as_boxes([detection.box for detection in pooled])
    kept = boxes[nms(boxes, [detection.score for detection in pooled], suppression)]
    known = iou(kept, annotated).max(axis=1, initial=0.0) >= SAME_OBJECT
    return np.asarray(kept[~known], dtype=np.float64)


def inside(region: Box, detections: Sequence[Detection], share: float) -> tuple[Detection, ...]:
    """The detections of which the region (4,) covers at least `share`: the test that annotations pass to count as inside."""
    covered = coverage(as_boxes([detection.box for detection in detections]), [region])[:, 0] >= share
    return tuple(detection for detection, held in zip(detections, covered, strict=True) if held)


def mentioned_boxes(mentions: Sequence[Mention]) -> FloatArray:
    """The boxes of the readable mentions, (m, 4) in reading order."""
    return as_boxes([mention.box for mention in mentions if mention.box is not None])


def best_overlaps(
    gt: ArrayLike, predicted: ArrayLike, threshold: float = 0.5, binary: bool = False, credits: ArrayLike = 1.0
) -> FloatArray:
    """The best p of each ground-truth box, shape (n,): its largest IoU with a predicted box, 0 where that is under the
    threshold or nothing is predicted. `binary` makes p 1 instead of the IoU; `credits` (m,) scales each predicted box's."""
    overlaps = iou(gt, predicted)
    worth = np.where(overlaps >= threshold, 1.0 if binary else overlaps, 0.0) * np.asarray(credits, dtype=np.float64)
    return np.asarray(worth.max(axis=1, initial=0.0), dtype=np.float64)


def localization_score(
    gt: ArrayLike, predicted: ArrayLike, threshold: float = 0.5, binary: bool = False, credits: ArrayLike = 1.0
) -> float:
    """S_loc of predicted boxes (m, 4) against ground truth (n, 4), n >= 1, in 0..1; with no predicted box it is 0.

    `binary` counts each recovered box as 1 instead of its IoU; `credits` (m,) in 0..1 scales what a predicted box counts
    for. Raises ValueError when there is no ground truth: the mean over nothing is undefined, and such a query must be
    skipped.
    """
    if len(as_boxes(gt)) == 0:
        raise ValueError("no ground-truth boxes; the localization score is undefined, skip this query")
    return float(best_overlaps(gt, predicted, threshold, binary, credits).mean())
