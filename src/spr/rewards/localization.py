"""The localization score: how much of the ground truth the predicted boxes recover, and which boxes are compared.

    S_loc = 1/n sum_i max_j p[i, j],   p = IoU where IoU >= threshold, else 0

i runs over the n ground-truth boxes, j over the predicted ones (Spatial Preference Rewarding, arXiv 2510.14374, sec. 3.3).
It is recall-like: more of the objects described, more accurately, scores higher; superfluous boxes cost nothing.
numpy only; no models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from spr.boxes import FloatArray, as_boxes, iou
from spr.records import Mention, RegionQuery


@dataclass(frozen=True, slots=True)
class LocalizationBoxes:
    """What one query's candidates are compared with, and what each of them predicts.

    `gt` (n, 4) is ONE set a query, so that candidates are comparable; `predicted` holds an (m_k, 4) array a candidate, k
    in the order of the texts. Float xyxy pixels. A preset of the recipe is a way to make this value.
    """

    gt: FloatArray
    predicted: tuple[FloatArray, ...]


def annotations_only(query: RegionQuery, mentions: Sequence[Sequence[Mention]]) -> LocalizationBoxes:
    """The preset without a detector: the annotations inside the region, against the boxes each text itself writes.

    All readable boxes of a text count as predicted, also those outside the region: the coverage test is for annotations
    and a detector's boxes, which nobody asked to keep to the region. A box far outside meets no ground truth anyway.
    """
    gt = as_boxes([item.box for item in query.objects])
    return LocalizationBoxes(gt, tuple(mentioned_boxes(found) for found in mentions))


def mentioned_boxes(mentions: Sequence[Mention]) -> FloatArray:
    """The boxes of the readable mentions, (m, 4) in reading order."""
    return as_boxes([mention.box for mention in mentions if mention.box is not None])


def best_overlaps(gt: ArrayLike, predicted: ArrayLike, threshold: float = 0.5) -> FloatArray:
    """The best p of each ground-truth box, shape (n,): its largest IoU with a predicted box, 0 where that is under the
    threshold or nothing is predicted."""
    gt, predicted = as_boxes(gt), as_boxes(predicted)
    best = iou(gt, predicted).max(axis=1, initial=0.0)
    return np.where(best >= threshold, best, 0.0)


def localization_score(gt: ArrayLike, predicted: ArrayLike, threshold: float = 0.5, binary: bool = False) -> float:
    """S_loc of predicted boxes (m, 4) against ground truth (n, 4), n >= 1, in 0..1; with no predicted box it is 0.

    `binary` counts each recovered box as 1 instead of its IoU. Raises ValueError when there is no ground truth: the mean
    over nothing is undefined, and such a query must be skipped.
    """
    gt = as_boxes(gt)
    if len(gt) == 0:
        raise ValueError("no ground-truth boxes; the localization score is undefined, skip this query")
    best = best_overlaps(gt, predicted, threshold)
    return float(((best > 0) if binary else best).mean())
