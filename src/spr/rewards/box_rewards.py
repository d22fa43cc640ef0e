"""Rewards for boxes beside the localization score: they see what its recall does not, superfluous, doubled and bad boxes.

Each lies in 0..1 and is 1 where nothing is to be wished for. IoU is continuous: no pixel is added to a side. Boxes are
float xyxy pixels of the original image. `box_rewards` computes those that a recipe names, `combine` mixes them. numpy only.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import linear_sum_assignment

from spr.boxes import FloatArray, Size, as_boxes, giou, iou
from spr.recipe_score import BoxReward
from spr.records import Mention
from spr.rewards.localization import Predicted, localization_score, mentioned_boxes

DUPLICATE_IOU = 0.7
"""Two boxes of one text that overlap by more than this mark the same thing; also the default of the detector's NMS."""
_ROUNDING = 1e-3
"""Pixels by which a box may leave the image: it was read from a grid of its dialect and scaled back in floats."""


def box_rewards(
    gt: ArrayLike,
    credited: Predicted,
    mentions: Sequence[Mention],
    size: Size,
    names: Collection[BoxReward],
    threshold: float = 0.5,
    binary: bool = False,
) -> dict[BoxReward, float]:
    """The rewards asked for by `names`, in their order, of one text against ground truth (n, 4).

    recall_iou counts what the text is credited with, a detector's boxes among them where the preset says so. The others
    judge the boxes of its `mentions` alone: a detector that finds once more what the text marked would look like a
    superfluous box. `size` is (width, height) of the image; `threshold` and `binary` are those of `localization_score`;
    mean_giou has neither. Raises ValueError when there is no ground truth and a reward is asked for that is a mean over it.
    """
    own = mentioned_boxes(mentions)
    rewards = {
        "recall_iou": lambda: localization_score(gt, credited.boxes, threshold, binary, credited.credits),
        "f1_hungarian": lambda: f1_hungarian(gt, own, threshold, binary),
        "mean_giou": lambda: mean_giou(gt, own),
        "count_penalty": lambda: count_penalty(gt, own),
        "format_valid": lambda: format_valid(mentions, size),
        "no_duplicate": lambda: no_duplicate(own),
    }
    return {name: rewards[name]() for name in names}


def combine(rewards: Mapping[BoxReward, float], weights: Mapping[BoxReward, float]) -> float:
    """The mean of the rewards that have a weight, by weight: sum_r w_r r / sum_r w_r, in 0..1 as they are.

    Raises ValueError when a reward with a weight is missing, a weight is negative or none is above 0.
    """
    if missing := sorted(set(weights) - set(rewards)):
        raise ValueError(f"no reward {', '.join(missing)}; there are {', '.join(rewards) or 'none'}")
    if min(weights.values(), default=0.0) < 0 or (total := sum(weights.values())) <= 0:
        raise ValueError(f"weights are {dict(weights)}; they must be at least 0, and one of them above")
    return sum(weight * rewards[name] for name, weight in weights.items()) / total


def f1_hungarian(gt: ArrayLike, predicted: ArrayLike, threshold: float = 0.5, binary: bool = False) -> float:
    """Precision and recall of a one-to-one matching, as one: F1 = 2 P R / (P + R) = 2 M / (n + m).

    p[i, j] = IoU where IoU >= threshold, else 0 (as in S_loc; `binary` makes it 1), M the largest sum of p over one-to-one
    pairs of n ground-truth and m predicted boxes (Hungarian algorithm), P = M / m, R = M / n. Pairs under the threshold
    count nothing and are not sought: two poor pairs must not outdo a good one. A superfluous box costs precision, a missed
    one recall. Kin of the matched rewards of Rex-Thinker (an F1) and VisionReasoner (M over the larger of n and m). No
    predicted box: 0. Raises ValueError when there is no ground truth.
    """
    gt, predicted = _some(gt), as_boxes(predicted)
    overlaps = iou(gt, predicted)
    counted = np.where(overlaps >= threshold, 1.0 if binary else overlaps, 0.0)
    matched = counted[linear_sum_assignment(counted, maximize=True)].sum()
    return float(2 * matched / (len(gt) + len(predicted)))


def mean_giou(gt: ArrayLike, predicted: ArrayLike) -> float:
    """How near the predicted boxes come, also without touching: 1/n sum_i max_j (1 + GIoU[i, j]) / 2.

    GIoU (Rezatofighi et al. 2019) lies in -1..1 and keeps falling where IoU is 0 already, so a wild box is worse than a
    near one; the affine map brings it to 0..1 like the others and changes no order. No predicted box: 0, as if infinitely
    far. Raises ValueError when there is no ground truth.
    """
    best = giou(_some(gt), predicted).max(axis=1, initial=-1.0)
    return float(((1 + best) / 2).mean())


def count_penalty(gt: ArrayLike, predicted: ArrayLike) -> float:
    """min(1, n / m) for n ground-truth and m predicted boxes: a text that marks everything pays for it.

    One-sided on purpose: too few boxes cost recall. No predicted box: 1, for none is too many. No ground truth: 0 with a
    predicted box.
    """
    n, m = len(as_boxes(gt)), len(as_boxes(predicted))
    return min(1.0, n / m) if m else 1.0


def format_valid(mentions: Sequence[Mention], size: Size) -> float:
    """The share of mentions that parse, lie within the image of `size` = (width, height) and have x0 < x1 and y0 < y1.

    After the format rewards of DeepSeek-R1 and its visual kin, a share instead of all or nothing. No mention at all: 0; the
    task is to give boxes, and a text that gives none must not be the safest one.
    """
    if not mentions:
        return 0.0
    boxes = mentioned_boxes(mentions)
    ordered = (boxes[:, :2] < boxes[:, 2:]).all(axis=1)
    inside = (boxes[:, :2] >= -_ROUNDING).all(axis=1) & (boxes[:, 2:] <= np.array(size) + _ROUNDING).all(axis=1)
    return float((ordered & inside).sum() / len(mentions))


def no_duplicate(predicted: ArrayLike, threshold: float = DUPLICATE_IOU) -> float:
    """The share of predicted boxes (m, 4) that overlap no earlier one by more than `threshold` IoU. No box: 1.

    Earlier ones count whether or not they are duplicates themselves, so of k equal boxes one is good whatever the order; in
    a chain of boxes that overlap only their neighbours, the order can matter.
    """
    boxes = as_boxes(predicted)
    repeated = np.triu(iou(boxes, boxes) > threshold, k=1).any(axis=0)
    return float(1 - repeated.mean()) if len(boxes) else 1.0


def _some(gt: ArrayLike) -> FloatArray:
    boxes = as_boxes(gt)
    if len(boxes) == 0:
        raise ValueError("no ground-truth boxes; a mean over them is undefined, skip this query")
    return boxes
