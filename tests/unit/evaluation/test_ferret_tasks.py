"""The tasks by Ferret's protocol, from an answer to the figures of metrics.json, against the authors' own scripts."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
from test_ferret_protocol import DATASETS, THRESHOLDS, figures, golden, phrases_of, truth_of

from spr.evaluation.phrase_grounding import FerretPhraseGrounding
from spr.evaluation.pope import FerretPope, Pope
from spr.evaluation.rec import FerretRec, Rec
from spr.evaluation.task import Task
from spr.items import Answer, RecItem, SentenceItem, YesNoItem
from spr.models import dialects
from spr.records import Prediction

FERRET = dialects.get("ferret")


def rec(task: Rec) -> list[Prediction]:
    found = []
    for place, row in enumerate(golden("rec")):
        item = RecItem(str(place), "1.jpg", *row["size"], row["expression"], truth_of(row), row["dataset"])
        found += task.score(item, Answer(item.item_id, row["text"]), FERRET)
    return found


def sums_of(task: Task, predictions: list[Prediction]) -> dict[str, float]:
    columns = task.columns(predictions)
    values = task.quantities(columns.sum(axis=0)[None], np.array([float(len(predictions))]))[0]
    return dict(zip(task.keys, values.tolist(), strict=True))


def test_rec_hits_and_misses_as_their_script_does_on_every_answer() -> None:
    task = FerretRec()
    hits = task.columns(rec(task))[:, : len(THRESHOLDS)] > 0
    rows = golden("rec")
    assert sum(not row["fault"] for row in rows) > 900
    for row, ours in zip(rows, hits.tolist(), strict=True):
        theirs = [False] * 5 if row["fault"] else [hit == 1.0 for hit in row["hits"]["1"]]
        assert ours == theirs, row["text"]


def test_rec_accuracy_is_theirs_data_set_by_data_set() -> None:
    task, rows = FerretRec(), golden("rec")
    whole = rec(task)
    for dataset in DATASETS:
        part = [one for one, row in zip(whole, rows, strict=True) if row["dataset"] == dataset and not row["fault"]]
        ours = sums_of(task, part)
        for place, threshold in enumerate(THRESHOLDS):
            assert any(ours[f"acc/{threshold:g}"] == pytest.approx(100 * value) for value in figures("rec")[place][dataset])


def test_a_reversed_box_whose_negative_area_cancels_the_truths_misses_and_spoils_no_mean() -> None:
    """(10, 0, 0, 10) has area -100, and the truth 100: their IoU is 0 / 0. The other answer is right."""
    task = FerretRec()
    items = [RecItem(name, "1.jpg", 1000, 1000, "it", (0, 0, 10, 10)) for name in ("reversed", "right")]
    texts = ("it [10, 0, 0, 10]", "it [0, 0, 10, 10]")
    found = [one for item, text in zip(items, texts, strict=True) for one in task.score(item, Answer("", text), FERRET)]
    assert np.isnan([one.iou for one in found]).tolist() == [True, False]
    ours = sums_of(task, found)
    assert (ours["acc/0.5"], ours["acc/0.9"], ours["mean_acc"], ours["mean_iou"]) == (50, 50, 50, 0.5)


def test_the_plain_reading_differs_on_these_answers() -> None:
    plain, theirs = (sums_of(task, rec(task))["acc/0.5"] for task in (Rec(), FerretRec()))
    assert abs(plain - theirs) > 1


def sentences() -> list[list[Prediction]]:
    task, found = FerretPhraseGrounding(), []
    for place, row in enumerate(golden("flickr")):
        item = SentenceItem(str(place), "1.jpg", *row["size"], "", tuple(phrases_of(row)))
        found.append(task.score(item, Answer(item.item_id, row["text"]), FERRET))
    return found


def test_every_recall_of_every_phrase_is_theirs() -> None:
    task = FerretPhraseGrounding()
    for row, predictions in zip(golden("flickr"), sentences(), strict=True):
        hits = dict(zip(task.keys, (task.columns(predictions) > 0).T.tolist(), strict=True))
        for k in (1, 5, 10):
            for place, threshold in enumerate(THRESHOLDS):
                zeros = [False] * len(predictions)
                theirs = zeros if row["fault"] else [phrase[str(k)][place] == 1.0 for phrase in row["hits"]]
                assert hits[f"merged/r@{k}/{threshold:g}"] == theirs, row["text"]


def test_their_recalls_over_all_phrases() -> None:
    task = FerretPhraseGrounding()
    clean = [one for row, several in zip(golden("flickr"), sentences(), strict=True) if not row["fault"] for one in several]
    ours = sums_of(task, clean)
    for place, threshold in enumerate(THRESHOLDS):
        for k in (1, 5, 10):
            theirs = figures("flickr")[place][str(k)]["all"]
            assert ours[f"merged/r@{k}/{threshold:g}"] == pytest.approx(100 * theirs)


def test_pope_figures_are_theirs_and_missing_where_theirs_divides_by_zero() -> None:
    task, rows, stopped = FerretPope(), golden("pope"), 0
    names = {"accuracy": "Accuracy", "precision": "Precision", "recall": "Recall", "f1": "F1 score", "yes_rate": "Yes ratio"}
    for case in figures("pope"):
        items = [
            (YesNoItem(str(n), "1.jpg", 1, 1, "?", rows[place]["label"]), rows[place]["text"])
            for n, place in enumerate(case["rows"])
        ]
        predictions = [one for item, text in items for one in task.score(item, Answer(item.item_id, text), FERRET)]
        ours = sums_of(task, predictions) if predictions else {}
        if case["fault"]:
            assert np.isnan(ours.get("f1", np.nan)), "theirs divided by zero"
            stopped += 1
        else:
            assert {names[key]: value / 100 for key, value in ours.items()} == pytest.approx(case["figures"], rel=1e-12)
    assert 4 <= stopped < len(figures("pope")) - 20


def test_the_strict_reading_of_the_same_answers_is_another() -> None:
    said: dict[str, list[bool]] = defaultdict(list)
    for row in golden("pope"):
        item = YesNoItem("0", "1.jpg", 1, 1, "?", row["label"])
        for task in (Pope(), FerretPope()):
            said[type(task).__name__].append(task.score(item, Answer("0", row["text"]), FERRET)[0].status == "ok")
    assert sum(said["Pope"]) < sum(said["FerretPope"]) / 2
