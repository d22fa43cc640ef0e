"""GQA and TextVQA: open questions, answered in a word or two, against one answer or those of ten people."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from spr.boxes import FloatArray
from spr.evaluation.task import Task
from spr.evaluation.vqa_answers import gqa_correct, vqa_accuracy
from spr.items import Answer, VqaItem
from spr.models.base import Dialect
from spr.records import Prediction


class _Vqa(Task[VqaItem]):
    """Questions -> how right the answer is. The payload holds `accuracy` (0..1) and `cut_off`; `status` is none for an empty
    answer. Results are broken down by the question's type where the file tells it."""

    unit = "questions"
    measured = True
    keys = ("accuracy",)

    def prompt(self, item: VqaItem, dialect: Dialect) -> str:
        """The question, to be answered in a word or two."""
        return dialect.answer_prompt(item.question)

    @abstractmethod
    def accuracy(self, said: str, answers: Sequence[str]) -> float:
        """In 0..1."""

    def score(self, item: VqaItem, answer: Answer, dialect: Dialect) -> list[Prediction]:  # noqa: ARG002 (no boxes)
        """What was said, against what people said."""
        status = "ok" if answer.text.strip() else "none"
        payload = {"accuracy": self.accuracy(answer.text, item.answers)}
        words = {"question": item.question, "expected": " / ".join(dict.fromkeys(item.answers))}
        groups = {"type": item.kind} if item.kind else {}
        return [self.prediction(item, answer, status, payload, **words, groups=groups)]

    def columns(self, predictions: Sequence[Prediction]) -> FloatArray:
        """(n, 1): the accuracy in percent."""
        values = [100 * one.payload["accuracy"] for one in predictions]
        return np.asarray(values, dtype=np.float64).reshape(-1, 1)


class Gqa(_Vqa):
    """Exact match, case and the final period aside (Hudson and Manning 2019, arXiv 1902.09506)."""

    name = "gqa"

    def accuracy(self, said: str, answers: Sequence[str]) -> float:
        """1 or 0."""
        return float(gqa_correct(said, answers[0]))

    def rights(self, predictions: Sequence[Prediction]) -> Mapping[str, NDArray[np.bool_]]:
        """Accuracy's."""
        return {"accuracy": np.asarray([one.payload["accuracy"] == 1 for one in predictions])}


class TextVqa(_Vqa):
    """VQA accuracy over ten people's answers (Singh et al. 2019, arXiv 1904.08920). It takes steps of a third, so there is no
    McNemar's test of it."""

    name = "textvqa"

    def accuracy(self, said: str, answers: Sequence[str]) -> float:
        """Leaving one out; nothing said is never right."""
        return vqa_accuracy(said, answers) if said.strip() else 0.0
