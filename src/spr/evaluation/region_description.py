"""Region descriptions in words: a short phrase for a region, by CIDEr-D against the expressions that people wrote for it.

What is scored are the words alone: box mark-up that a model adds is taken away. The corpus of CIDEr-D's weights is the
data set that was read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from spr.boxes import FloatArray
from spr.evaluation.cider import cider_d
from spr.evaluation.task import Task, size_group
from spr.items import Answer, CaptionItem
from spr.models.base import Dialect
from spr.records import Prediction


class RegionDescription(Task[CaptionItem]):
    """Regions -> CIDEr-D of the description, 0..10 an item, in `payload["cider"]`; the figure is 100 times their mean, as
    papers print it. `status` is none for a description without words."""

    name = "region_description"
    unit = "regions"
    keys = ("cider",)

    def prompt(self, item: CaptionItem, dialect: Dialect) -> str:
        """The dialect's question for a short phrase."""
        return dialect.caption_prompt(item.region, item.size)

    def score(self, item: CaptionItem, answer: Answer, dialect: Dialect) -> list[Prediction]:
        """Without its CIDEr-D, which depends on the other items."""
        said = dialect.words(answer.text, item.size).strip()
        groups = {"size": size_group(item.region)} | ({"category": item.category} if item.category else {})
        words = {"question": "the region in a few words", "expected": " / ".join(item.references)}
        return [self.prediction(item, answer, "ok" if said else "none", {}, **words, truth=(item.region,), groups=groups)]

    def score_all(
        self, items: Sequence[CaptionItem], answers: Mapping[str, Answer], dialect: Dialect, tick: Callable[[int], None]
    ) -> dict[str, list[Prediction]]:
        """With it."""
        found = super().score_all(items, answers, dialect, tick)
        texts = [dialect.words(answers[item.item_id].text, item.size) if item.item_id in answers else "" for item in items]
        scores = dict(zip((item.item_id for item in items), cider_d(texts, [item.references for item in items]), strict=True))
        return {
            name: [replace(one, payload={**one.payload, "cider": float(scores[name])}) for one in rows]
            for name, rows in found.items()
        }

    def columns(self, predictions: Sequence[Prediction]) -> FloatArray:
        """(n, 1): a hundred times the item's score."""
        values = [100 * one.payload["cider"] for one in predictions]
        return np.asarray(values, dtype=np.float64).reshape(-1, 1)
