"""The tables in the terminal: which numbers, by which names, with which marks."""

from __future__ import annotations

import io
from typing import Any

import pytest
from made_predictions import BASE, HOW, TUNED, rec, rec_metrics, region_metrics, regions
from rich.console import Console
from rich.table import Table

from spr.evaluation.layouts import LAYOUTS
from spr.evaluation.metrics import Counting
from spr.evaluation.rec import Rec
from spr.evaluation.regions import Regions
from spr.evaluation.tables import task_tables
from spr.evaluation.task import Task
from spr.recipe_evaluation import KINDS


def shown(table: Table) -> tuple[list[list[str]], str]:
    """The rows of a table as a terminal shows them, cut at the columns, and everything that it shows on one line."""
    console = Console(width=120, file=io.StringIO())
    with console.capture() as captured:
        console.print(table)
    lines = captured.get().splitlines()
    rows = [[cell.strip() for cell in line.strip("│┃").split("│")] for line in lines if "│" in line]
    return rows, " ".join(" ".join(lines).split())


def tables(task_id: str, metrics: dict[str, Any]) -> list[tuple[list[list[str]], str]]:
    return [shown(table) for table in task_tables(task_id, metrics)]


def test_the_rec_table_shows_gains_with_their_intervals_and_p_values() -> None:
    # All four expressions are of one image, so that every resample is the same and a swap the same change backwards: p = 1.
    ((rows, text),) = tables("rec", rec_metrics(rec(BASE, 4), rec(TUNED, 4), subset_of=10834))
    assert rows[0] == ["Acc@0.5", "75.00", "100.00", "+25.00", "[+25.00, +25.00]", "1.000"]
    names = [*(f"Acc@0.{n}" for n in range(5, 10)), "mean of the five", "mean IoU", "readable, %", "cut off, %"]
    assert [row[0] for row in rows] == names
    assert rows[-2] == ["readable, %", "75.00", "100.00", "+25.00", "", ""]
    assert "Referring expressions (4 expressions, 1 images, subset of 10,834)" in text
    assert "95 % interval ┃ p" in text


def test_a_small_p_value_is_said_as_a_bound() -> None:
    metrics = rec_metrics(rec([0.0] * 24, 1), rec([0.95] * 24, 1), Counting(2000, 0, "plain"))
    # No swap of 24 images but all of them gives the gain again: 1 / 2,001.
    assert metrics["delta"]["p"]["0.5"] == pytest.approx(1 / 2001)
    ((rows, _),) = tables("rec", metrics)
    assert rows[0][-1] == "< 0.001"


def test_the_name_of_a_data_set_stands_in_the_title() -> None:
    ((_, text),) = tables("rec/refcoco_val", rec_metrics(rec(BASE), None))
    assert "Referring expressions, refcoco_val (4 expressions, 2 images)" in text


def test_a_table_says_what_was_dropped() -> None:
    metrics = rec_metrics(rec(BASE, 4), rec(TUNED, 4)) | {"dropped": {"image_missing": 1200, "refused": 1}}
    ((_, text),) = tables("rec", metrics)
    assert "(4 expressions, 1 images, 1,200 left out: image missing, 1 left out: refused)" in text


def test_a_table_says_when_answers_were_read_by_ferrets_protocol() -> None:
    ((_, text),) = tables("rec", rec_metrics(rec(BASE), None, Counting(HOW.draws, 0, "ferret")))
    assert "(4 expressions, 2 images, by Ferret's protocol)" in text
    ((_, plain),) = tables("rec", rec_metrics(rec(BASE), None))
    assert "protocol" not in plain


def test_the_table_of_base_alone_shows_its_own_intervals() -> None:
    ((rows, text),) = tables("rec", rec_metrics(rec(BASE, 4), None))
    assert rows[0] == ["Acc@0.5", "75.00", "[75.00, 75.00]"]
    assert "gain" not in text


def test_the_regions_table() -> None:
    before, after = regions([(0.5, 4, 1, 0)]), regions([(0.7, 3, 1, 1)])
    ((rows, _),) = tables("regions", region_metrics(before, after))
    assert rows[0] == ["localization score", "0.500", "0.700", "+0.200", "[+0.200, +0.200]", "1.000"]
    assert [row[0] for row in rows[1:]] == [
        "boxes a description",
        "right count, %",
        "all names right, %",
        "readable, %",
        "cut off, %",
    ]
    ((alone, _),) = tables("regions", region_metrics(before, None))
    assert alone[1] == ["boxes a description", "4.00", "[4.00, 4.00]"]


def recalls(first: float) -> dict[str, Any]:
    """R@k of one protocol; R@5 and R@10 lie 5 and 10 points above."""
    thresholds = ("0.5", "0.6", "0.7", "0.8", "0.9")
    return {f"r@{k}": {t: first + (0 if k == 1 else k) - 10 * n for n, t in enumerate(thresholds)} for k in (1, 5, 10)}


def test_the_two_protocols_of_phrase_grounding_are_never_one_table() -> None:
    def side(any_box: float, merged: float) -> dict[str, Any]:
        return {"any": recalls(any_box), "merged": recalls(merged), "parse_rate": 98.5, "truncation_rate": 0.0}

    bounds = {kind: {"r@1": {"0.5": low_high}} for kind, low_high in (("any", [0.5, 3.5]), ("merged", [-1.0, 2.0]))}
    p = {"any": {"r@1": {"0.5": 0.012}}, "merged": {"r@1": {"0.5": 0.4}}}
    metrics = {
        "n": 14481,
        "protocol": "plain",
        "base": side(80.0, 70.0),
        "tuned": side(82.0, 70.5),
        "delta": {"ci95": bounds, "p": p},
    }
    (any_rows, any_text), (merged_rows, merged_text) = tables("phrase_grounding/val", metrics)
    assert "Phrase grounding, ANY-BOX, val (14,481 phrases)" in any_text
    assert "Phrase grounding, MERGED-BOXES, val (14,481 phrases)" in merged_text
    assert any_rows[0] == ["R@1 at 0.5", "80.00", "82.00", "+2.00", "[+0.50, +3.50]", "0.012"]
    assert merged_rows[0] == ["R@1 at 0.5", "70.00", "70.50", "+0.50", "[-1.00, +2.00]", "0.400"]
    assert [row[0] for row in any_rows] == [
        *(f"R@1 at 0.{n}" for n in range(5, 10)),
        "R@5 at 0.5",
        "R@10 at 0.5",
        "readable, %",
        "cut off, %",
    ]
    assert [row[1] for row in any_rows[4:7]] == ["40.00", "85.00", "90.00"]


def test_what_a_task_does_not_report_has_no_line() -> None:
    metrics = {"n": 3000, "base": {"accuracy": 84.5, "ci95": {"accuracy": [83.25, 85.75]}}}
    ((rows, _),) = tables("pope", metrics)
    assert rows == [["accuracy, %", "84.50", "[83.25, 85.75]"]]


@pytest.mark.parametrize("nothing", [None, float("nan")])  # What files hold, and what was just counted.
def test_what_is_not_defined_is_a_dash_and_never_zero(nothing: float | None) -> None:
    # The base never says yes, so that its precision is 0 / 0, and so is the gain; in no draw is it defined.
    metrics = {
        "n": 4,
        "base": {"accuracy": 50.0, "precision": nothing, "ci95": {"accuracy": [25.0, 75.0], "precision": [nothing, nothing]}},
        "tuned": {"accuracy": 75.0, "precision": 100.0},
        "delta": {
            "ci95": {"accuracy": [0.0, 50.0], "precision": [nothing, nothing]},
            "p": {"accuracy": 0.5, "precision": nothing},
        },
    }
    ((rows, _),) = tables("pope", metrics)
    assert rows == [
        ["accuracy, %", "50.00", "75.00", "+25.00", "[+0.00, +50.00]", "0.500"],
        ["precision, %", "–", "100.00", "–", "–", ""],
    ]
    ((alone, _),) = tables("pope", {"n": 4, "base": metrics["base"]})
    assert alone[1] == ["precision, %", "–", "–"]


def test_every_task_of_the_recipe_has_a_table() -> None:
    assert set(LAYOUTS) == set(KINDS)


@pytest.mark.parametrize("task", [Rec(), Regions()], ids=lambda task: task.name)
def test_a_tables_lines_are_the_tasks_quantities(task: Task[Any]) -> None:
    (layout,) = LAYOUTS[task.name]
    assert [line.key for line in layout.lines] == [*task.keys, "parse_rate", "truncation_rate"]
    assert layout.unit == task.unit
