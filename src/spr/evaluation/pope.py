"""POPE: is there a ...? Accuracy, precision, recall, F1 and how often the model says yes; yes is the positive class.

The plain protocol asks for a single word and takes nothing but yes or no for an answer: anything else is wrong, and counts
as not said. Source: Li et al. 2023 (arXiv 2305.10355).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from spr.boxes import FloatArray
from spr.evaluation import ferret_protocol
from spr.evaluation.task import Task
from spr.evaluation.vqa_answers import strict_yes_no
from spr.items import Answer, YesNoItem
from spr.models.base import Dialect
from spr.records import Prediction


class Pope(Task[YesNoItem]):
    """Yes/no questions. The payload holds `label` and `said` (1 yes, 0 no, -1 neither) and `cut_off`; results are broken down
    by the label."""

    name = "pope"
    unit = "questions"
    measured = True
    keys = ("accuracy", "precision", "recall", "f1", "yes_rate")

    def prompt(self, item: YesNoItem, dialect: Dialect) -> str:
        """The question, to be answered in a word."""
        return dialect.answer_prompt(item.question)

    def read(self, text: str) -> str | None:
        """yes, no, or None for neither."""
        return strict_yes_no(text)

    def score(self, item: YesNoItem, answer: Answer, dialect: Dialect) -> list[Prediction]:  # noqa: ARG002 (no boxes)
        """What was said, against the label."""
        said = self.read(answer.text)
        given = bool(answer.text.strip())
        status = "none" if not given else "unreadable" if said is None else "ok"
        payload = {"label": float(item.label == "yes"), "said": -1.0 if said is None else float(said == "yes")}
        words = {"question": item.question, "expected": item.label}
        return [self.prediction(item, answer, status, payload, **words, groups={"label": item.label})]

    def columns(self, predictions: Sequence[Prediction]) -> FloatArray:
        """(n, 4), 0 or 1: right yes, right no, said yes, label yes."""
        rows = np.asarray([(one.payload["said"], one.payload["label"]) for one in predictions]).reshape(-1, 2)
        said, label = rows[:, 0], rows[:, 1]
        found = [(said == 1) & (label == 1), (said == 0) & (label == 0), said == 1, label == 1]
        return np.stack(found, axis=1).astype(np.float64)

    def quantities(self, sums: FloatArray, counts: FloatArray) -> FloatArray:
        """In percent. Precision is NaN where nothing was said to be there, recall and F1 where nothing is."""
        right_yes, right_no, yes, positive = sums.T
        with np.errstate(divide="ignore", invalid="ignore"):
            figures = [
                (right_yes + right_no) / counts,
                right_yes / yes,
                right_yes / positive,
                2 * right_yes / (yes + positive),
                yes / counts,
            ]
        return 100 * np.stack(figures, axis=1)

    def rights(self, predictions: Sequence[Prediction]) -> Mapping[str, NDArray[np.bool_]]:
        """Accuracy's."""
        return {"accuracy": np.asarray([one.payload["said"] == one.payload["label"] for one in predictions])}


class FerretPope(Pope):
    """The same by Ferret's own scripts: the question alone is asked, and whatever does not say no in its first sentence says
    yes, nothing at all included. F1 is NaN without a right yes."""

    def prompt(self, item: YesNoItem, dialect: Dialect) -> str:  # noqa: ARG002 (as it stands)
        """The question as it stands."""
        return item.question

    def read(self, text: str) -> str | None:
        """yes or no."""
        return ferret_protocol.yes_no(text)

    def quantities(self, sums: FloatArray, counts: FloatArray) -> FloatArray:
        """The same, but for F1."""
        figures = super().quantities(sums, counts)
        figures[sums[:, 0] == 0, self.keys.index("f1")] = np.nan
        return figures
