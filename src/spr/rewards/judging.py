"""From what is known of a query's texts to their scores: ground truth, box rewards, composite. Values only, no models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from spr.boxes import FloatArray, as_boxes
from spr.recipe_score import Preset, Score
from spr.records import Detection, Mention, RegionQuery, ScoredCandidate
from spr.rewards.box_rewards import box_rewards, combine
from spr.rewards.composite import composite_score, placed
from spr.rewards.localization import best_overlaps, detected_objects, mentioned_boxes, predictions


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known of one text before it is judged: its mentions, the detector's boxes for its phrases inside the region, and
    its cosines (NaN where the recipe names no semantic model). `written` are the mentions
    of the text as the model wrote it, before boxes were moved or stripped; `detail` holds what was counted on the way."""

    mentions: tuple[Mention, ...]
    written: tuple[Mention, ...]
    detections: tuple[Detection, ...] = ()
    crop: float = math.nan
    local: float = math.nan
    detail: dict[str, float] = field(default_factory=dict)

    @property
    def semantic(self) -> float:
        """S_sem, the mean of both cosines."""
        return (self.crop + self.local) / 2


@dataclass(frozen=True, slots=True)
class Scores:
    """What one text is worth. Semantic values are NaN where the recipe names no semantic model.

    `detail` holds the parts by name:
    n_gt, n_mentions (readable), n_unreadable, n_matched (ground-truth boxes recovered under the recipe's preset),
    mean_matched_iou (absent where none was);
    localization_<preset>, S_loc under every preset that the recipe's models allow; with a detector n_detections,
    n_gt_detected (ground-truth boxes that the detector added), n_phrases (different ones, n_phrases_cut of them too
    long for it and n_phrases_unread beyond its vocabulary);
    reward_<name> for every box reward of the recipe; semantic_normalized and localization_normalized unless `normalize` is
    none; text_chunks and truncated_tokens with a semantic model.
    """

    mentions: tuple[Mention, ...]
    detections: tuple[Detection, ...]
    semantic_crop: float
    semantic_local: float
    semantic: float
    localization: float
    composite: float
    detail: dict[str, float] = field(default_factory=dict)


def added_objects(recipe: Score, query: RegionQuery, detections: Sequence[Sequence[Detection]]) -> FloatArray:
    """The boxes (m, 4) that the detector adds to a query's ground truth; none under the preset annotations_only."""
    if recipe.detector is None or recipe.localization.preset == "annotations_only":
        return as_boxes([])
    return detected_objects([item.box for item in query.objects], detections, recipe.detector.nms)


def judge(recipe: Score, query: RegionQuery, texts: Sequence[Evidence]) -> list[Scores] | None:
    """The scores of all K texts of a query; None where there is no ground truth to compare with."""
    truth = _truths(recipe, query, [text.detections for text in texts])
    if len(truth[recipe.localization.preset]) == 0:
        return None
    raw = [_localization(recipe, query, text, truth) for text in texts]
    semantics, places = [text.semantic for text in texts], [place for place, _ in raw]
    return [_scores(recipe, text, place, detail, semantics, places) for text, (place, detail) in zip(texts, raw, strict=True)]


def judge_again(recipe: Score, query: RegionQuery, candidates: Sequence[ScoredCandidate], text: Evidence) -> Scores:
    """The scores of a changed text by the measure that the query's candidates were judged by, on their scale."""
    truth = _truths(recipe, query, [candidate.detections for candidate in candidates])
    place, detail = _localization(recipe, query, text, truth)
    return _scores(recipe, text, place, detail, [c.semantic for c in candidates], [c.localization for c in candidates])


def _truths(recipe: Score, query: RegionQuery, detections: Sequence[Sequence[Detection]]) -> dict[Preset, FloatArray]:
    """The ground truth under every preset that the recipe's models allow."""
    annotated = as_boxes([item.box for item in query.objects])
    if recipe.detector is None:
        return {"annotations_only": annotated}
    both = np.concatenate([annotated, detected_objects(annotated, detections, recipe.detector.nms)])
    return {"paper": both, "strict": both, "annotations_only": annotated}


def _localization(
    recipe: Score, query: RegionQuery, text: Evidence, truths: dict[Preset, FloatArray]
) -> tuple[float, dict[str, float]]:
    """S_loc of a text under the recipe's preset, and every part of it."""
    options = recipe.localization
    found = {preset: _combined(recipe, query, text, preset, gt) for preset, gt in truths.items() if len(gt)}
    place, parts = found[options.preset]
    gt, own = truths[options.preset], mentioned_boxes(text.mentions)
    against = predictions(options.preset, text.mentions, text.written, text.detections, options.ungrounded_credit)
    overlaps = best_overlaps(gt, against.boxes, options.threshold, credits=against.credits)
    matched = overlaps[overlaps > 0]
    detail = {
        "n_gt": float(len(gt)),
        "n_mentions": float(len(own)),
        "n_unreadable": float(len(text.mentions) - len(own)),
        "n_matched": float(len(matched)),
        **({"mean_matched_iou": float(matched.mean())} if len(matched) else {}),
        **{f"localization_{preset}": score for preset, (score, _) in found.items()},
        **{f"reward_{name}": value for name, value in parts.items()},
        **text.detail,
    }
    if recipe.detector is not None:
        detail["n_detections"] = float(len(text.detections))
        detail["n_gt_detected"] = float(len(truths["paper"]) - len(query.objects))
    return place, detail


def _combined(
    recipe: Score, query: RegionQuery, text: Evidence, preset: Preset, gt: FloatArray
) -> tuple[float, dict[str, float]]:
    """The weighted mean of the recipe's box rewards under one preset, and each of them."""
    options = recipe.localization
    credited = predictions(preset, text.mentions, text.written, text.detections, options.ungrounded_credit)
    parts = box_rewards(gt, credited, text.mentions, query.size, options.rewards, options.threshold, options.binary)
    return combine(parts, options.rewards), {str(name): value for name, value in parts.items()}


def _scores(
    recipe: Score, text: Evidence, place: float, detail: dict[str, float], semantics: Sequence[float], places: Sequence[float]
) -> Scores:
    """One text's scores; `semantics` and `places` are the terms of the query's K candidates."""
    how = recipe.normalize
    semantic, localization = placed(text.semantic, semantics, how), placed(place, places, how)
    if how != "none":
        detail = {**detail, "semantic_normalized": semantic, "localization_normalized": localization}
    return Scores(
        mentions=text.mentions,
        detections=text.detections,
        semantic_crop=text.crop,
        semantic_local=text.local,
        semantic=text.semantic,
        localization=place,
        composite=composite_score(semantic, localization, recipe.weight),
        detail=detail,
    )
