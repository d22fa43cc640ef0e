"""The paper's own task on held-out images: describe a region, box by box.

A greedy description is worth its localization score; and since that score rewards boxes, whether the number of boxes and
the names stay right is reported beside it. The score is the numpy function the rewards use, so that evaluation and
reward cannot drift apart; nothing else of the rewards is needed here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from spr.evaluation.greedy import GreedyStage
from spr.models.base import Generation
from spr.recipe_score import Localization
from spr.records import Prediction, RegionQuery
from spr.rewards.localization import localization_score, mentioned_boxes

_ARTICLES = re.compile(r"^(?:(?:an?|the)\s+)+")


def names_right(phrases: Iterable[str | None], categories: Iterable[str]) -> bool:
    """Whether the phrases name exactly the categories, each as often; case, articles and outer punctuation do not count."""
    said = [phrase or "" for phrase in phrases]
    return Counter(map(_folded, said)) == Counter(map(_folded, categories))


def _folded(name: str) -> str:
    return _ARTICLES.sub("", " ".join(name.casefold().split()).strip(" .,;:!?\"'"))


@dataclass
class RegionsStage(GreedyStage[RegionQuery]):
    """Region queries -> predictions with the localization score of the greedy description.

    The payload holds `localization`, `boxes` (readable ones), `unreadable`, `objects`, `right_count` and `names_right`
    (0 or 1), and `cut_off`. `status` is ok, unreadable when a box is, or none when there is no attempt at one. There is
    no single box and no single IoU: `box` is None, `iou` NaN.
    """

    localization: Localization = field(default_factory=Localization)
    name: str = field(default="regions", init=False)

    @property
    def recipe_part(self) -> dict[str, Any]:
        """Model and answers, and how localization is scored."""
        localization = self.localization.model_dump(mode="json", include={"threshold", "binary"})
        return {**super().recipe_part, "localization": localization}

    def prompt(self, row: RegionQuery) -> str:
        """The plain question about the region."""
        return self.policy.dialect.region_prompt(row.region, row.size, row.names)

    def predict(self, row: RegionQuery, answer: Generation) -> Prediction:
        """The description against the objects inside the region."""
        mentions = self.policy.dialect.parse(answer.text, row.size)
        boxes = mentioned_boxes(mentions)
        unreadable = len(mentions) - len(boxes)
        truth = [one.box for one in row.objects]
        right_names = names_right((mention.phrase for mention in mentions), (one.category for one in row.objects))
        return Prediction(
            task="regions",
            item_id=row.query_id,
            cluster=row.image_id,
            answer=answer.text,
            box=None,
            status="none" if not mentions else "unreadable" if unreadable else "ok",
            iou=float("nan"),
            payload={
                "localization": localization_score(truth, boxes, self.localization.threshold, self.localization.binary),
                "boxes": float(len(boxes)),
                "unreadable": float(unreadable),
                "objects": float(len(truth)),
                "right_count": float(len(boxes) == len(truth)),
                "names_right": float(right_names),
                "cut_off": float(answer.finish_reason == "length"),
            },
        )

    def row_id(self, row: RegionQuery) -> str:
        """The query's id."""
        return row.query_id
