"""What an evaluation task is: how its items are asked about, what an answer is worth, and which numbers come of it.

A task is pure: items and answers in, predictions and columns out. Asking a model is `spr.evaluation.asking`'s, reading the
files `spr.sources`', counting `spr.evaluation.metrics`'.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from spr.boxes import Box, FloatArray
from spr.evaluation import intervals
from spr.items import Answer, Question
from spr.models.base import Dialect
from spr.records import Prediction


class Item(Protocol):
    """What every item says of itself; the path is relative to the task's image root, width and height are pixels."""

    @property
    def item_id(self) -> str:
        """Its id, and its answer's."""

    @property
    def path(self) -> str:
        """The photo's path."""

    @property
    def width(self) -> int:
        """The photo's width."""

    @property
    def height(self) -> int:
        """The photo's height."""


AnyItem = TypeVar("AnyItem", bound=Item)
SMALL, MEDIUM = 32.0**2, 96.0**2
"""COCO's limits of small and medium objects, in square pixels of the original image."""


class Task(ABC, Generic[AnyItem]):
    """One task by one protocol. `name` is the recipe's section, `unit` what its predictions are called in tables, and
    `items_are` what its files hold, where that is something else. `measured`: its files state no sizes of photos.

    `keys` name its quantities, from the outside in: `acc/0.5` stands in metrics.json as `{"acc": {"0.5": ...}}`.
    """

    name: str
    unit: str
    items_are: str = ""
    measured: bool = False
    keys: tuple[str, ...]

    def ask(self, item: AnyItem, dialect: Dialect) -> Question:
        """The question about one item, in the model's words; none about a photo that is not there, which nobody is asked."""
        prompt = self.prompt(item, dialect) if item.width and item.height else ""
        return Question(item.item_id, item.path, item.width, item.height, prompt, self.measured)

    @abstractmethod
    def prompt(self, item: AnyItem, dialect: Dialect) -> str:
        """What the model is asked."""

    @abstractmethod
    def score(self, item: AnyItem, answer: Answer, dialect: Dialect) -> list[Prediction]:
        """What an answer is worth: one prediction, or one for each part of the item that counts by itself."""

    def prediction(self, item: AnyItem, answer: Answer, status: str, payload: Mapping[str, float], **said: Any) -> Prediction:
        """A prediction with what an item and its answer say of themselves, and `cut_off` (0 or 1) in the payload; without a box
        and an IoU unless they are `said`."""
        common: dict[str, Any] = {
            "task": self.name,
            "item_id": item.item_id,
            "cluster": item.path,
            "answer": answer.text,
            "box": None,
            "status": status,
            "iou": float("nan"),
            "payload": {**payload, "cut_off": float(answer.finish_reason == "length")},
            "path": item.path,
            "width": item.width,
            "height": item.height,
        }
        return Prediction(**{**common, **said})

    def score_all(
        self, items: Sequence[AnyItem], answers: Mapping[str, Answer], dialect: Dialect, tick: Callable[[int], None]
    ) -> dict[str, list[Prediction]]:
        """The predictions by item, in the order of the items, of those that were answered; `tick` is told of each."""
        found: dict[str, list[Prediction]] = {}
        for item in items:
            if item.item_id in answers:
                found[item.item_id] = self.score(item, answers[item.item_id], dialect)
                tick(1)
        return found

    @abstractmethod
    def columns(self, predictions: Sequence[Prediction]) -> FloatArray:
        """(n, m): what is summed over the predictions."""

    def quantities(self, sums: FloatArray, counts: FloatArray) -> FloatArray:
        """Sums (r, m) over counts (r,) predictions -> the quantities (r, q) that `keys` name; here the columns' means."""
        return intervals.means(sums, counts)

    def facts(self, predictions: Sequence[Prediction]) -> Mapping[str, float]:  # noqa: ARG002 (for those that have some)
        """What is to be said of the items themselves, beside the quantities of a model."""
        return {}

    def rights(self, predictions: Sequence[Prediction]) -> Mapping[str, NDArray[np.bool_]]:  # noqa: ARG002 (for those that have some)
        """For keys that are shares of right answers: which are right, (n,) each. McNemar's test is made of them."""
        return {}


def size_group(box: Box) -> str:
    """small, medium or large, by COCO's limits: areas of 32 x 32 and 96 x 96 pixels of the original image."""
    square = (box[2] - box[0]) * (box[3] - box[1])
    return "small" if square < SMALL else "medium" if square < MEDIUM else "large"


def length_group(text: str) -> str:
    """How many words a text has: 1-3, 4-6, 7-9, or more."""
    words = len(text.split())
    return "1-3 words" if words <= 3 else "4-6 words" if words <= 6 else "7-9 words" if words <= 9 else "10 words and more"
