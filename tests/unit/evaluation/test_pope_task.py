"""POPE: what counts as a yes, and figures from a table of four that a pencil can check."""

from __future__ import annotations

import numpy as np
import pytest

from spr.evaluation.metrics import Counting, task_metrics
from spr.evaluation.pope import FerretPope, Pope
from spr.items import Answer, YesNoItem
from spr.models import dialects
from spr.records import Prediction

FERRET = dialects.get("ferret")


def item(number: int, label: str) -> YesNoItem:
    return YesNoItem(str(number), f"{number // 2}.jpg", 640, 480, "Is there a dog in the image?", label)


def scored(task: Pope, *rows: tuple[str, str]) -> list[Prediction]:
    found = [task.score(item(n, label), Answer(str(n), text), FERRET) for n, (label, text) in enumerate(rows)]
    return [one for several in found for one in several]


def figures(task: Pope, *rows: tuple[str, str]) -> dict[str, float]:
    columns = task.columns(scored(task, *rows))
    values = task.quantities(columns.sum(axis=0)[None], np.array([float(len(rows))]))[0]
    return dict(zip(task.keys, values.tolist(), strict=True))


def test_plain_asks_for_a_word_and_ferret_as_it_stands() -> None:
    suffix = "\nAnswer the question using a single word or phrase."
    assert Pope().prompt(item(0, "yes"), FERRET) == f"Is there a dog in the image?{suffix}"
    assert FerretPope().prompt(item(0, "yes"), FERRET) == "Is there a dog in the image?"


def test_figures_by_hand() -> None:
    # 2 true yes, 1 false yes, 1 true no, 1 false no.
    rows = [("yes", "Yes"), ("yes", "yes."), ("no", "yes"), ("no", "No"), ("yes", "no")]
    found = figures(Pope(), *rows)
    assert found == pytest.approx({"accuracy": 60, "precision": 200 / 3, "recall": 200 / 3, "f1": 200 / 3, "yes_rate": 60})
    assert figures(FerretPope(), *rows) == pytest.approx(found)


def test_plain_takes_nothing_else_for_an_answer() -> None:
    rows = scored(Pope(), ("yes", "Yes, there is."), ("no", "I see no dog"), ("no", ""))
    assert [row.status for row in rows] == ["unreadable", "unreadable", "none"]
    assert figures(Pope(), ("yes", "Yes, there is."), ("no", "I see no dog"))["accuracy"] == 0


def test_ferret_reads_the_first_sentence_and_takes_the_rest_for_yes() -> None:
    rows = [("yes", "Yes, there is. Not a cat."), ("no", "I see no dog"), ("no", "")]
    assert [row.payload["said"] for row in scored(FerretPope(), *rows)] == [1, 0, 1]
    assert scored(FerretPope(), *rows)[2].status == "none"


def test_no_yes_at_all_has_no_precision() -> None:
    found = figures(Pope(), ("yes", "no"), ("no", "no"))
    assert np.isnan(found["precision"])
    assert (found["accuracy"], found["recall"], found["f1"], found["yes_rate"]) == (50, 0, 0, 0)
    assert np.isnan(figures(FerretPope(), ("yes", "no"), ("no", "no"))["f1"])


def test_metrics_hold_intervals_mcnemar_and_the_labels_apart() -> None:
    base = scored(Pope(), ("yes", "no"), ("no", "no"), ("yes", "no"), ("no", "yes"))
    tuned = scored(Pope(), ("yes", "yes"), ("no", "no"), ("yes", "yes"), ("no", "yes"))
    found = task_metrics(Pope(), base, tuned, Counting(200, 0, "plain"))
    assert (found["base"]["accuracy"], found["tuned"]["accuracy"], found["delta"]["accuracy"]) == (25, 75, 50)
    assert found["delta"]["mcnemar"]["accuracy"] == {"gained": 2, "lost": 0, "p": 0.5}
    assert found["by"]["label"]["yes"]["tuned"]["accuracy"] == 100
    assert found["by"]["label"]["no"]["delta"]["accuracy"] == 0
    assert len(found["delta"]["ci95"]["f1"]) == 2
