"""The paper's own task on held-out images: describe a region, box by box.

A greedy description is worth its localization score; and since that score rewards boxes, whether the number of boxes and
the names stay right is reported beside it. The score is the numpy function the rewards use, so that evaluation and
reward cannot drift apart; nothing else of the rewards is needed here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from spr.boxes import FloatArray
from spr.evaluation.task import Task
from spr.items import Answer
from spr.models.base import Dialect
from spr.recipe_score import Localization
from spr.records import Prediction, RegionQuery
from spr.rewards.localization import localization_score, mentioned_boxes

_SHARES = ("right_count", "names_right")
_ARTICLES = re.compile(r"^(?:(?:an?|the)\s+)+")


def names_right(phrases: Iterable[str | None], categories: Iterable[str]) -> bool:
    """Whether the phrases name exactly the categories, each as often; case, articles and outer punctuation do not count."""
    said = [phrase or "" for phrase in phrases]
    return Counter(map(_folded, said)) == Counter(map(_folded, categories))


def _folded(name: str) -> str:
    return _ARTICLES.sub("", " ".join(name.casefold().split()).strip(" .,;:!?\"'"))


class Regions(Task[RegionQuery]):
    """Region queries -> the localization score of the greedy description.

    The payload holds `localization`, `boxes` (readable ones), `unreadable`, `objects`, `right_count` and `names_right`
    (0 or 1), and `cut_off`. `status` is ok, unreadable when a box is, or none when there is no attempt at one. There is
    no single box and no single IoU: `box` is None, `iou` NaN.
    """

    name = "regions"
    unit = "regions"
    items_are = "images"
    keys = ("localization", "boxes", "right_count", "names_right")

    def __init__(self, localization: Localization | None = None) -> None:
        self._localization = localization or Localization()

    def prompt(self, item: RegionQuery, dialect: Dialect) -> str:
        """The plain question about the region."""
        return dialect.region_prompt(item.region, item.size, item.names)

    def score(self, item: RegionQuery, answer: Answer, dialect: Dialect) -> list[Prediction]:
        """The description against the objects inside the region."""
        mentions = dialect.parse(answer.text, item.size)
        boxes = mentioned_boxes(mentions)
        unreadable = len(mentions) - len(boxes)
        truth = tuple(one.box for one in item.objects)
        right_names = names_right((mention.phrase for mention in mentions), (one.category for one in item.objects))
        payload = {
            "localization": localization_score(truth, boxes, self._localization.threshold, self._localization.binary),
            "boxes": float(len(boxes)),
            "unreadable": float(unreadable),
            "objects": float(len(truth)),
            "right_count": float(len(boxes) == len(truth)),
            "names_right": float(right_names),
        }
        status = "none" if not mentions else "unreadable" if unreadable else "ok"
        said = {"cluster": item.image_id, "question": "what is in the region?", "truth": truth}
        return [self.prediction(item, answer, status, payload, **said, groups={"objects": str(len(truth))})]

    def columns(self, predictions: Sequence[Prediction]) -> FloatArray:
        """(n, 4); shares as 0 or 100."""
        factors = np.asarray([100.0 if key in _SHARES else 1.0 for key in self.keys])
        rows = [[one.payload[key] for key in self.keys] for one in predictions]
        values: FloatArray = np.asarray(rows, dtype=np.float64).reshape(-1, len(self.keys)) * factors
        return values

    def facts(self, predictions: Sequence[Prediction]) -> Mapping[str, float]:
        """The mean number of objects in a region."""
        counts = [one.payload["objects"] for one in predictions]
        return {"objects": sum(counts) / len(counts) if counts else float("nan")}

    def rights(self, predictions: Sequence[Prediction]) -> Mapping[str, NDArray[np.bool_]]:
        """Counts and names."""
        return {key: np.asarray([one.payload[key] > 0 for one in predictions]) for key in _SHARES}
