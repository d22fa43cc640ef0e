"""What the page says of evaluated data sets: tables by their layouts, breakdowns, several data sets, what is not defined."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from synthetic_evaluation import add_evaluation, phrase_sides, pope_sides, rec_prediction, rec_sides, scenes
from synthetic_run import write_run
from test_report_page import Page

from spr.evaluation.layouts import LAYOUTS, inner, lookup
from spr.evaluation.metrics import Counting, task_metrics
from spr.evaluation.rec import Rec
from spr.pipeline.evaluating import write_tables
from spr.report import write_report
from spr.report.results import Result, overviews, results
from spr.report.tables import layout_rows
from spr.running.run_dir import RunDir

HOW = Counting(200, 0, "plain")


def rec_result(groups: list[dict[str, str]], before: list[float], after: list[float] | None) -> Result:
    """The result of so many items, one a photo."""

    def side(ious: list[float]) -> list[Any]:
        return [
            rec_prediction(str(n), iou, f"{n}.jpg", groups=group)
            for n, (iou, group) in enumerate(zip(ious, groups, strict=True))
        ]

    metrics = task_metrics(Rec(), side(before), None if after is None else side(after), HOW)
    return results({"rec": json.loads(json.dumps(metrics).replace("NaN", "null"))})[0]


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("results")
    run = write_run(root, photos=12, parts=("queries",))
    queries = scenes(run)
    for name, rows in {
        "rec/refcoco_val": rec_sides(queries),
        "rec/refcoco_testA": rec_sides(queries[:6], 5),
        "phrase_grounding": phrase_sides(queries),
        "pope": pope_sides(queries),
    }.items():
        add_evaluation(run, name, rows, root / "photos")
    write_report(run)
    return run


def test_every_line_of_every_layout_stands_on_the_page_with_its_interval_and_p(evaluated: Path) -> None:
    page = Page(evaluated / "report" / "index.html")
    values = {value for value, _ in page.values}
    tasks = json.loads((evaluated / "metrics.json").read_text())["tasks"]
    checked = 0
    for name in ("rec/refcoco_val", "rec/refcoco_testA", "phrase_grounding", "pope"):
        metrics = tasks[name]
        for layout in LAYOUTS[name.split("/")[0]]:
            for line in layout.lines:
                told = [lookup(metrics[side], line.key) for side in ("base", "tuned")]
                p = inner(metrics["delta"], "p", line.key)
                told += [*(inner(metrics["delta"], "ci95", line.key) or ()), *([p] if p is not None and p >= 0.001 else [])]
                assert set(told) <= values, (name, line.key)
                assert line.label in page.words
                checked += len(told)
    assert checked > 150


def test_the_tables_for_papers_hold_all_data_sets_that_were_evaluated(
    evaluated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_tables(RunDir(evaluated))
    text = (evaluated / "eval" / "tables.md").read_text()
    assert [line for line in text.splitlines() if line.startswith("### ")] == [
        "### Referring expressions",
        "### Phrase grounding, ANY-BOX",
        "### Phrase grounding, MERGED-BOXES",
        "### POPE",
    ]
    assert text.count("**refcoco\\_") == 2
    assert f"tables for papers: {evaluated / 'eval' / 'tables.md'} and " in capsys.readouterr().err


def test_several_data_sets_stand_beside_each_other_and_by_themselves(evaluated: Path) -> None:
    words = Page(evaluated / "report" / "index.html").words
    assert "Referring expressions, every data set" in words
    assert "POPE, every data set" not in words
    for title in ("Referring expressions, refcoco_val", "Referring expressions, refcoco_testA"):
        assert title in words


def test_any_box_and_merged_boxes_have_a_table_and_curves_each(evaluated: Path) -> None:
    text = (evaluated / "report" / "index.html").read_text()
    assert text.count("<h3>Phrase grounding, ANY-BOX</h3>") == text.count("<h3>Phrase grounding, MERGED-BOXES</h3>") == 1
    assert text.count('aria-label="R@1 against IoU threshold: base and tuned"') == 2
    assert text.count('aria-label="Accuracy against IoU threshold: base and tuned"') == 2


def test_data_sets_that_the_recipe_names_and_nobody_asked_are_told(evaluated: Path) -> None:
    recipe = json.loads((evaluated / "recipe.json").read_text())
    recipe["evaluation"]["gqa"] = {"annotations": "gqa.json", "image_root": "."}
    (evaluated / "recipe.json").write_text(json.dumps(recipe))
    write_report(evaluated)
    assert "Not evaluated yet: gqa." in Page(evaluated / "report" / "index.html").words


def test_an_empty_size_is_said_and_never_zero() -> None:
    found = rec_result([{"size": "small"}, {"size": "small"}], [0.9, 0.0], [0.9, 0.9])
    (group,) = found.tables[0].groups
    small, medium, large = group.values_shown
    assert (small.n, medium.n, large.n) == (2, 0, 0)
    assert (medium.measures, large.measures) == ((), ())
    assert group.measures == ("Acc@0.5", "Acc@0.9")
    # One of two before, both after, at either threshold.
    rows = [measure.row for measure in small.measures]
    assert [(row.base, row.tuned, row.gain) for row in rows] == [(50.0, 100.0, 50.0)] * 2
    assert rows[0].interval == (0.0, 100.0)
    assert [measure.reach for measure in small.measures] == [100.0, 100.0]


def test_the_page_says_that_a_size_is_empty(tmp_path: Path) -> None:
    run = write_run(tmp_path, photos=1, parts=())
    rows = [rec_prediction("a", 0.6, groups={"size": "large"})]
    add_evaluation(run, "rec", (rows, rows))
    write_report(run)
    assert "small, under 32×32 pixels 0 no item of this kind" in Page(run / "report" / "index.html").words


def test_the_twelve_most_frequent_categories_are_shown_and_the_others_counted() -> None:
    # Categories 0..14 with 15 - n items each: 12, 13 and 14 have 3, 2 and 1.
    groups = [{"category": f"kind {n:02d}"} for n in range(15) for _ in range(15 - n)]
    found = rec_result(groups, [0.6] * len(groups), None)
    (group,) = found.tables[0].groups
    assert [one.name for one in group.values_shown] == [f"kind {n:02d}" for n in range(12)]
    assert group.omitted == (3, 6)


def test_lengths_stand_in_their_own_order() -> None:
    named = ["10 words and more", "1-3 words", "1-3 words", "7-9 words", "4-6 words"]
    found = rec_result([{"length": name} for name in named], [0.6] * 5, None)
    shown = [one.name for one in found.tables[0].groups[0].values_shown]
    assert shown == ["1-3 words", "4-6 words", "7-9 words", "10 words and more"]


def test_without_tuned_there_is_no_gain_to_draw() -> None:
    found = rec_result([{"size": "small"}] * 2, [0.9, 0.1], None)
    table = found.tables[0]
    assert len(table.pictures) == 1
    assert table.headline.gain is None
    assert {measure.reach for value in table.groups[0].values_shown for measure in value.measures} == {0.0}


def test_a_number_that_one_side_lacks_is_a_dash_and_keeps_its_row() -> None:
    layout = LAYOUTS["pope"][0]
    metrics = {"base": {"accuracy": 50.0, "precision": None}, "tuned": {"accuracy": 60.0, "precision": 70.0}, "delta": {}}
    rows = {row.label: row for row in layout_rows(metrics, layout)}
    assert set(rows) == {"accuracy, %", "precision, %"}
    assert (rows["precision, %"].base, rows["precision, %"].tuned, rows["precision, %"].gain) == (None, 70.0, None)
    assert rows["accuracy, %"].gain == 10.0


def test_answers_that_nobody_judged_are_told_by_how_they_read() -> None:
    side = {"score": None, "parse_rate": 90.0, "truncation_rate": 10.0}
    found = results({"ferret_bench": {"n": 10, "base": side, "tuned": side, "delta": {}}})
    (table,) = found[0].tables
    assert [(row.label, row.base, row.gain) for row in table.rows] == [("readable, %", 90.0, 0.0), ("cut off, %", 10.0, 0.0)]


def test_an_interval_without_ends_is_none() -> None:
    layout = LAYOUTS["pope"][0]
    metrics = {"base": {"accuracy": 50.0}, "tuned": {"accuracy": 60.0}, "delta": {"ci95": {"accuracy": [None, None]}}}
    assert layout_rows(metrics, layout)[0].interval is None


def test_the_overview_compares_data_sets_by_the_same_measures() -> None:
    one = rec_result([{}], [0.95], [0.6]).metrics
    (group,) = overviews(results({"rec/a": one, "rec/b": one}))
    assert [value.name for value in group.values_shown] == ["a", "b"]
    assert [measure.row.gain for measure in group.values_shown[0].measures] == [0.0, -100.0]
    assert overviews(results({"rec/a": one})) == []


def test_the_protocol_is_named_where_it_is_not_the_plain_one(tmp_path: Path) -> None:
    run = write_run(tmp_path, photos=1, parts=())
    rows = [rec_prediction("a", 0.6)]
    add_evaluation(run, "rec", (rows, rows), protocol="ferret")
    write_report(run)
    words = Page(run / "report" / "index.html").words
    assert "Both models answered the same 1 expressions about 1 photos, by the protocol ferret." in words
