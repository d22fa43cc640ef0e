"""The loss of Grounding DINO for batches: focal, L1 and GIoU terms on Hungarian matches.

Equal to the stock loss (transformers/loss/loss_grounding_dino.py) on one image. In batches that one pairs boxes with the
tokens of other images' phrases: `_get_target_classes_one_hot` adds the length of one label map where the sum of all
earlier ones is meant. Its terms for the proposals score query embeddings, so that the proposal head learns nothing; here
the same terms are taken on `enc_outputs_class` and `enc_outputs_coord_logits`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch.nn import functional
from transformers.image_transforms import center_to_corners_format

ALPHA, GAMMA = 0.25, 2.0
CLASS_WEIGHT, BOX_WEIGHT, GIOU_WEIGHT = 2.0, 5.0, 2.0
CLASS_COST, BOX_COST, GIOU_COST = 1.0, 5.0, 2.0
_EPSILON = 1e-8


@dataclass
class Targets:
    """What B images hold, padded to M objects: `boxes` (B, M, 4) as centre and size in 0..1, `tokens` (B, M, T) float, 1 at the
    caption tokens that name the object, `counts` the objects of each image; `text` (B, T) bool, the caption's own tokens."""

    boxes: torch.Tensor
    tokens: torch.Tensor
    counts: list[int]
    text: torch.Tensor


def detection_loss(logits: torch.Tensor, boxes: torch.Tensor, targets: Targets, repeat: int = 1) -> torch.Tensor:
    """The weighted sum of the three terms for predictions logits (B, Q, >= T) and boxes (B, Q, 4) -> scalar.

    `repeat` lets each object be matched to so many predictions. Computed in float32, also under autocast.
    """
    with torch.autocast(logits.device.type, enabled=False):
        return _loss(logits, boxes, targets, repeat)


def _loss(logits: torch.Tensor, boxes: torch.Tensor, targets: Targets, repeat: int) -> torch.Tensor:
    logits = logits[..., : targets.tokens.shape[-1]].float().masked_fill(~targets.text[:, None], 0.0)
    boxes = boxes.float()
    rows, predictions, objects = _match(logits.detach(), boxes.detach(), targets, repeat)
    wanted = torch.zeros_like(logits)
    wanted[rows, predictions] = targets.tokens[rows, objects]
    number = max(1, len(rows))
    focal = (_focal(logits, wanted) * targets.text[:, None]).sum() / number
    found, right = boxes[rows, predictions], targets.boxes[rows, objects]
    l1 = (found - right).abs().sum() / number
    overlap = _giou(center_to_corners_format(found), center_to_corners_format(right))
    return CLASS_WEIGHT * focal + BOX_WEIGHT * l1 + GIOU_WEIGHT * (1 - overlap).sum() / number


def _focal(logits: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    plain = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    share = logits.sigmoid()
    right = share * wanted + (1 - share) * (1 - wanted)
    return (ALPHA * wanted + (1 - ALPHA) * (1 - wanted)) * (1 - right) ** GAMMA * plain


def _match(
    logits: torch.Tensor, boxes: torch.Tensor, targets: Targets, repeat: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The cheapest one-to-one (one-to-`repeat`) matching of each image: rows, predictions and objects, all (n,)."""
    shares = logits.sigmoid()
    against = (1 - ALPHA) * shares**GAMMA * -(1 - shares + _EPSILON).log()
    toward = ALPHA * (1 - shares) ** GAMMA * -(shares + _EPSILON).log()
    names = targets.tokens / targets.tokens.sum(-1, keepdim=True).clamp(min=1)
    cost = CLASS_COST * (toward - against) @ names.transpose(1, 2)
    cost += BOX_COST * torch.cdist(boxes, targets.boxes, p=1)
    corners, right = center_to_corners_format(boxes), center_to_corners_format(targets.boxes)
    cost -= GIOU_COST * _giou(corners[:, :, None], right[:, None])
    # A proposal may lie at infinity, where the stock model masks it.
    costs = torch.nan_to_num(cost, nan=1e6, posinf=1e6, neginf=1e6).cpu().numpy()
    found: list[tuple[int, int, int]] = []
    for row, count in enumerate(targets.counts):
        table = costs[row, :, :count].repeat(repeat, axis=1)
        found += [(row, int(i), int(j) // repeat) for i, j in zip(*linear_sum_assignment(table), strict=True)]
    rows, predictions, objects = torch.tensor(found, dtype=torch.long, device=logits.device).reshape(-1, 3).unbind(1)
    return rows, predictions, objects


def _giou(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Generalised IoU of corner boxes (..., 4) with (..., 4), elementwise with broadcasting."""
    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    union = _area(a) + _area(b) - shared
    low, high = torch.minimum(a[..., :2], b[..., :2]), torch.maximum(a[..., 2:], b[..., 2:])
    hull = (high - low).clamp(min=0).prod(-1)
    return shared / union - (hull - union) / hull


def _area(boxes: torch.Tensor) -> torch.Tensor:
    return (boxes[..., 2:] - boxes[..., :2]).prod(-1)
