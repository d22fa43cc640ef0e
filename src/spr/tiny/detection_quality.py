"""What the bundled detector finds, and what it wrongly finds, on development scenes.

Every scene is asked for the kinds of things it holds and for as many that it does not, each of which shares its colour or its
shape with one that is there; then for the absent ones without the others, where no right name takes the boxes first. A
detection is right when its phrase names an object that it overlaps by IoU >= 0.5 and that no better-scored one took.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from spr.boxes import iou
from spr.recipe_score import Detector
from spr.records import Detection
from spr.rewards.detector import DetectionItem, PhraseDetector
from spr.tiny.scenes import CATEGORIES, TinyObject, layout, render
from spr.tiny.splits import DEVELOPMENT
from spr.tiny.train_detector import UNSEEN

_SHOWN = Detector(model="").threshold
_LOWEST = 0.02
_UNSEEN = frozenset(f"{color} {shape}" for color, shape in UNSEEN)


@dataclass
class _Tally:
    """Counts over scenes. `ranked` holds (score, right) of every detection."""

    objects: int = 0
    ranked: list[tuple[float, bool]] = field(default_factory=list)
    overlaps: list[float] = field(default_factory=list)
    placed: int = 0
    named: int = 0
    absent: int = 0
    absent_found: int = 0
    absent_found_alone: int = 0

    def add(
        self,
        objects: Sequence[TinyObject],
        detections: Sequence[Detection],
        absent: Sequence[str],
        alone: Sequence[Detection],
    ) -> None:
        """Count one scene's objects, the detections for their names and for absent ones, and those for the latter alone."""
        boxes = [item.box for item in objects]
        taken: set[int] = set()
        for detection in detections:
            overlaps = iou([detection.box], boxes)[0]
            right = [
                i
                for i, item in enumerate(objects)
                if item.category == detection.phrase and overlaps[i] >= 0.5 and i not in taken
            ]
            best = max(right, key=lambda i: overlaps[i], default=None)
            self.ranked.append((detection.score, best is not None))
            if best is not None:
                taken.add(best)
            if detection.score >= _SHOWN and len(boxes) and overlaps.max() >= 0.5:
                self.placed += 1
                self.named += best is not None
                self.overlaps.append(float(overlaps.max()))
        self.objects += len(objects)
        self.absent += len(absent)
        self.absent_found += len(_shown(detections) & set(absent))
        self.absent_found_alone += len(_shown(alone) & set(absent))

    def figures(self) -> dict[str, float]:
        """Percent, but for mean_iou and the counts."""
        ranked = sorted(self.ranked, key=lambda entry: -entry[0])
        hits = np.cumsum([right for _, right in ranked])
        precision = hits / np.arange(1, len(hits) + 1)
        envelope = np.maximum.accumulate(precision[::-1])[::-1]
        shown = sum(score >= _SHOWN for score, _ in ranked)
        right = int(hits[shown - 1]) if shown else 0
        return {
            "objects": self.objects,
            "ap50": _percent(float(envelope[[right for _, right in ranked]].sum()), self.objects),
            "recall": _percent(right, self.objects),
            "precision": _percent(right, shown),
            "mean_iou": round(float(np.mean(self.overlaps or [0.0])), 3),
            "right_phrase": _percent(self.named, self.placed),
            "absent_phrases": self.absent,
            "absent_found": _percent(self.absent_found, self.absent),
            "absent_found_alone": _percent(self.absent_found_alone, self.absent),
        }


def detector_quality(directory: Path, scenes: int) -> dict[str, dict[str, float]]:
    """Figures over all scenes, and over the pairs that the training neither showed nor named: only their objects, the
    detections under their names, and captions in which they are absent."""
    detector = PhraseDetector(Detector(model=str(directory), threshold=_LOWEST, batch_size=64), "cpu")
    drawn = [(seed, layout(seed)) for seed in DEVELOPMENT[:scenes]]
    asked = [_asked(objects, random.Random(seed)) for seed, objects in drawn]
    items = [
        DetectionItem(render(seed, objects), [[*there, *absent], absent])
        for (seed, objects), (there, absent) in zip(drawn, asked, strict=True)
    ]
    everything, unseen = _Tally(), _Tally()
    for (_, objects), (_, absent), (found, alone) in zip(drawn, asked, detector.detect(items), strict=True):
        everything.add(objects, found, absent, alone)
        unseen.add(
            [item for item in objects if item.category in _UNSEEN],
            [detection for detection in found if detection.phrase in _UNSEEN],
            [phrase for phrase in absent if phrase in _UNSEEN],
            alone,
        )
    return {"all": everything.figures(), "unseen pairs": unseen.figures()}


def _asked(objects: Sequence[TinyObject], rng: random.Random) -> tuple[list[str], list[str]]:
    """The kinds that are there, and as many near ones that are not."""
    there = sorted({item.category for item in objects})
    near = [name for name in CATEGORIES if name not in there and any(set(name.split()) & set(t.split()) for t in there)]
    return there, rng.sample(near, min(len(there), len(near)))


def _shown(detections: Sequence[Detection]) -> set[str]:
    """The phrases that were found."""
    return {detection.phrase for detection in detections if detection.score >= _SHOWN}


def _percent(part: float, whole: float) -> float:
    return round(100 * part / whole, 2) if whole else 0.0
