"""Which reading of a family's texts holds for one model: annotated references asked once, the same answers read in every way.

The readings are compared over all references, in pairs. A difference within the noise is called so, and nothing is chosen:
the verdict names what a person may write into the recipe.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spr.boxes import FloatArray, paired_iou
from spr.doctor.asking import Answer
from spr.evaluation.intervals import interval
from spr.evaluation.rec import hits
from spr.models.dialects.readings import Reading

_RESAMPLES = 2000
_THRESHOLD = 0.5
_FEWEST_IMAGES = 8
"""Fewer images say nothing of how much images differ, so that an interval over them is too narrow (ours)."""


@dataclass(frozen=True, slots=True)
class Score:
    """What one reading makes of the answers: mean IoU, Acc@0.5 and readable answers in percent, and by how much the best
    reading is ahead in mean IoU and in Acc@0.5, paired, with 95 % intervals; None for the best one itself."""

    reading: Reading
    mean_iou: float
    accuracy: float
    readable: float
    behind: tuple[float, tuple[float, float]] | None
    behind_accuracy: tuple[float, tuple[float, float]] | None


@dataclass(frozen=True, slots=True)
class Calibration:
    """The scores of all readings, best mean IoU first, over `references` of them from `images` images."""

    scores: tuple[Score, ...]
    references: int
    images: int

    @property
    def decided(self) -> bool:
        """Whether the best reading is ahead of every other one by more than the noise, in mean IoU."""
        return self.images >= _FEWEST_IMAGES and all(
            score.behind is not None and score.behind[1][0] > 0 for score in self.scores[1:]
        )

    @property
    def verdict(self) -> str:
        """One sentence: what to write into the recipe, or why that cannot be told."""
        best = self.scores[0]
        if best.readable == 0:
            return f"no answer holds a box that {best.reading.name} can read: is it this model's dialect?"
        if best.accuracy == 0:
            return f"no box meets its object (IoU 0.5) in any reading: is {best.reading.name} this model's dialect?"
        if len(self.scores) == 1:
            return f"{best.reading.name} has one reading; there is nothing to choose"
        if not self.decided:
            return (
                f"too close to tell: over {self.references} references about {self.images} images the readings differ by no "
                "more than noise; ask for more of them (--limit), and about images whose sides differ"
            )
        return f"{best.reading.label} reads this model better; in the recipe's model: {{{best.reading.recipe}}}"


def compare(answers: Sequence[Answer], readings: Sequence[Reading]) -> Calibration:
    """Score every reading on the same answers (n >= 1): the first box of each answer against its reference, as in the
    evaluation. The order of the readings counts only where they are equal."""
    overlaps = [_overlaps(answers, reading) for reading in readings]
    order = sorted(range(len(readings)), key=lambda place: -overlaps[place][0].mean())
    clusters = [answer.item.path for answer in answers]
    best = overlaps[order[0]][0]
    scores = []
    for place in order:
        ious, readable = overlaps[place]
        gains = np.stack([best - ious, hits(best, (_THRESHOLD,))[:, 0] - hits(ious, (_THRESHOLD,))[:, 0]], axis=1)
        bounds = interval(gains, clusters, _RESAMPLES, seed=0)
        behind = [(float(gains[:, i].mean()), (float(bounds[0, i]), float(bounds[1, i]))) for i in (0, 1)]
        scores.append(
            Score(
                readings[place],
                float(ious.mean()),
                float(hits(ious, (_THRESHOLD,)).mean()),
                100 * readable,
                *((None, None) if place == order[0] else behind),
            )
        )
    return Calibration(tuple(scores), len(answers), len(set(clusters)))


def _overlaps(answers: Sequence[Answer], reading: Reading) -> tuple[FloatArray, float]:
    """IoU (n,) of each answer's first box with its reference, 0 without a readable one; and the share that has one."""
    boxes = []
    for answer in answers:
        mentions = reading.dialect.parse(answer.text, answer.item.size)
        box = mentions[0].box if mentions else None
        boxes.append(box if box is not None else (np.nan,) * 4)
    readable = float(np.isfinite(np.asarray(boxes)).all(axis=1).mean())
    return paired_iou(boxes, [answer.item.box for answer in answers]), readable
