"""The tables for papers: every number traced to metrics.json, nothing mixed, nothing that markup could take for its own."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import pytest
from made_predictions import BASE, HOW, TUNED, rec, rec_metrics, region_metrics, regions

from spr.errors import DataError
from spr.evaluation import paper_latex, paper_markdown
from spr.evaluation.metrics import Counting, task_metrics
from spr.evaluation.paper_tables import paper_tables, write_paper_tables
from spr.evaluation.phrase_grounding import PhraseGrounding
from spr.evaluation.pope import Pope
from spr.records import Prediction
from spr.running.files import read_json, write_json

NASTY = r"a|b <script>alert(1)</script> \input{secret} 50% & x_y $z$ #1 ~ ^ *bold* [link](x)"


def phrase(item_id: str, iou: float) -> Prediction:
    ious = {f"{kind}@{k}": iou for kind in ("any", "merged") for k in (1, 5, 10)}
    return Prediction("phrase_grounding", item_id, item_id, "", None, "ok", iou, {**ious, "cut_off": 0.0})


def said(item_id: str, value: float) -> Prediction:
    return Prediction("pope", item_id, item_id, "", None, "ok", float("nan"), {"label": 1.0, "said": value, "cut_off": 0.0})


def markdown(tasks: dict[str, Any]) -> list[list[str]]:
    """The cells of the tables' rows, as they are read."""
    lines = paper_markdown.text(paper_tables(tasks)).splitlines()
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines if line.startswith("|")]


def test_base_tuned_gain_and_interval_stand_below_each_other_and_are_those_of_the_metrics() -> None:
    metrics = rec_metrics(rec(BASE), rec(TUNED), subset_of=10834)
    head, _, base, tuned, gain, interval = markdown({"rec": metrics})
    assert head[2:] == [*(f"Acc@0.{n}" for n in range(5, 10)), "mean of the five", "mean IoU", "readable, %", "cut off, %"]
    assert base[0] == "n = 4 expressions, 2 images, subset of 10,834"
    # By hand: IoU 0.95, 0.55, 0, 0.85 before, and 0.95, 0.95, 0.65, 0.85 after.
    assert base[1:] == ["base", "75.00", "50.00", "50.00", "50.00", "25.00", "50.00", "0.5875", "75.00", "0.00"]
    assert tuned[1:] == ["tuned", "100.00", "100.00", "75.00", "75.00", "50.00", "80.00", "0.8500", "100.00", "0.00"]
    assert gain[1:] == ["gain", "+25.00", "+50.00", "+25.00", "+25.00", "+25.00", "+30.00", "+0.2625", "+25.00", "+0.00"]
    bounds = metrics["delta"]["ci95"]
    keys = ("0.5", "0.6", "0.7", "0.8", "0.9", "mean_acc")
    assert interval[2:8] == [f"[{bounds[key][0]:+.2f}, {bounds[key][1]:+.2f}]" for key in keys]
    assert interval[9:] == ["", ""]


def test_a_gain_is_marked_when_the_paired_test_says_so_and_not_by_its_size() -> None:
    sure = rec_metrics(rec([0.0] * 24, 1), rec([0.95] * 24, 1), Counting(2000, 0, "plain"))
    unsure = rec_metrics(rec([0.0, 0.95], 1), rec([0.95, 0.95], 1))
    rows = markdown({"rec/sure": sure, "rec/unsure": unsure})
    gains = [row for row in rows if row[1] == "gain"]
    assert gains[0][2] == r"+100.00\*"
    assert gains[1][2] == "+50.00"
    assert "$+100.00^{*}$" in paper_latex.text(paper_tables({"rec": sure}))
    caption = paper_tables({"rec": sure})[0].caption
    assert "* marks p < 0.05 of the paired randomisation test" in caption


@pytest.mark.parametrize(("p", "shown"), [(0.2, "+25.00"), (0.05, "+25.00"), (0.049, r"+25.00\*")])
def test_only_a_p_value_below_the_level_marks_a_gain(p: float, shown: str) -> None:
    metrics = rec_metrics(rec(BASE), rec(TUNED))
    metrics["delta"]["p"]["0.5"] = p
    (gain,) = (row for row in markdown({"rec": metrics}) if row[1] == "gain")
    assert gain[2] == shown


def test_a_gain_that_rounds_to_zero_bears_no_minus() -> None:
    metrics = rec_metrics(rec(BASE), rec(BASE))
    metrics["tuned"]["acc"]["0.5"] -= 0.001
    (gain,) = (row for row in markdown({"rec": metrics}) if row[1] == "gain")
    assert gain[2] == "+0.00"
    assert "-0.00" not in paper_latex.text(paper_tables({"rec": metrics}))


def test_the_data_sets_of_a_task_share_a_table_and_other_tasks_have_their_own() -> None:
    tasks = {
        "rec/refcoco_val": rec_metrics(rec(BASE), rec(TUNED)),
        "rec/refcoco_testA": rec_metrics(rec(TUNED), rec(BASE)),
        "regions": region_metrics(regions([(0.5, 2, 1, 1)]), None),
    }
    first, second = paper_tables(tasks)
    assert [block.name for block in first.blocks] == ["refcoco_val", "refcoco_testA"]
    assert (second.title, [block.name for block in second.blocks]) == ("Region descriptions", [""])
    assert "**refcoco\\_testA**<br>n = 4 expressions" in paper_markdown.text([first])


def test_any_box_and_merged_boxes_are_two_tables() -> None:
    found = task_metrics(PhraseGrounding(), [phrase("1", 0.6)], [phrase("1", 0.9)], HOW)
    tables = paper_tables({"phrase_grounding": found})
    assert [table.title for table in tables] == ["Phrase grounding, ANY-BOX", "Phrase grounding, MERGED-BOXES"]
    assert all("ANY" not in table.caption or "MERGED" not in table.caption for table in tables)


def test_the_base_alone_has_its_own_intervals_and_no_gain() -> None:
    metrics = rec_metrics(rec(BASE), None)
    rows = markdown({"rec": metrics})[2:]
    assert [row[1] for row in rows] == ["base", "95 % interval"]
    low, high = metrics["base"]["ci95"]["0.5"]
    assert rows[1][2] == f"[{low:.2f}, {high:.2f}]"
    assert "p < 0.05" not in paper_tables({"rec": metrics})[0].caption


def test_a_number_that_is_not_defined_is_a_dash_with_a_note(tmp_path: Path) -> None:
    # Base never says yes, so that it has no precision; a file holds null for it.
    found = task_metrics(Pope(), [said("1", 0.0), said("2", 0.0)], [said("1", 1.0), said("2", 0.0)], HOW)
    write_json(tmp_path / "metrics.json", found)
    for metrics in (found, read_json(tmp_path / "metrics.json")):
        table = paper_tables({"pope": metrics})[0]
        place = table.columns.index("precision, %") + 2
        assert [row[place] for row in markdown({"pope": metrics})[2:]] == ["–", "100.00", "–", "–"]
        assert "A dash stands for a number that is not defined, such as a share of no items." in table.caption
        assert "base & $0.00$ & -- & " in paper_latex.text([table])
    assert "dash" not in paper_tables({"rec": rec_metrics(rec(BASE), None)})[0].caption


def test_results_by_different_protocols_are_refused_by_name() -> None:
    plain, ferret = (rec_metrics(rec(BASE), None, Counting(100, 0, name)) for name in ("plain", "ferret"))
    with pytest.raises(DataError, match=r"plain: rec/a, rec/c; ferret: rec/b"):
        paper_tables({"rec/a": plain, "rec/b": ferret, "rec/c": plain})
    assert "Protocol: ferret" in paper_tables({"rec": ferret})[0].caption


def test_what_was_left_out_is_told() -> None:
    metrics = {**rec_metrics(rec(BASE), None), "dropped": {"image_missing": 2}}
    assert "2 left out: image missing" in markdown({"rec": metrics})[2][0]


def test_no_result_leaves_no_files(tmp_path: Path) -> None:
    written = write_paper_tables(tmp_path, {"rec": rec_metrics(rec(BASE), None)})
    assert [path.name for path in written] == ["tables.md", "tables.tex"]
    assert write_paper_tables(tmp_path, {"rec": {"n": 0}}) == []
    assert list(tmp_path.iterdir()) == []


def test_markdown_shows_hostile_words_as_they_stand() -> None:
    shown = paper_markdown.escaped(NASTY)
    assert "<" not in shown
    assert not re.search(r"(?<!\\)[|*_`\[\]$#~]", shown)
    assert html.unescape(re.sub(r"\\(.)", r"\1", shown)) == NASTY
    rows = markdown({f"rec/{NASTY}": rec_metrics(rec(BASE), None)})
    assert {len(row) for row in rows} == {11}


def test_latex_sets_hostile_words_as_they_stand() -> None:
    shown = paper_latex.escaped(NASTY)
    assert "\\input" not in shown
    assert "\\textbackslash{}input\\{secret\\}" in shown
    assert not re.search(r"(?<!\\)[%&$#_]", shown)


def test_the_latex_is_whole() -> None:
    tasks = {
        f"rec/{NASTY}": {**rec_metrics(rec(BASE), rec(TUNED)), "dropped": {NASTY: 1}},
        "pope": task_metrics(Pope(), [said("1", 0.0)], [said("1", 1.0)], HOW),
    }
    text = paper_latex.text(paper_tables(tasks))
    plain = re.sub(r"\\[\\{}%&$#_]|(?m:^%.*$)", "", text.replace("\\\\", ""))
    assert plain.count("{") == plain.count("}")
    assert plain.count("$") % 2 == 0
    opened = re.findall(r"\\begin\{(\w+\*?)\}", text)
    assert opened == [*("table*", "tabular") * 2]
    assert sorted(re.findall(r"\\end\{(\w+\*?)\}", text)) == sorted(opened)
    assert len(set(re.findall(r"\\label\{(.+)\}", text))) == 2
    for columns, body in re.findall(r"\\begin\{tabular\}\{(\w+)\}(.*?)\\end\{tabular\}", text, re.DOTALL):
        rows = [line for line in body.splitlines() if line.endswith("\\\\") and "multicolumn" not in line]
        assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {len(columns)}
    commands = set(re.findall(r"\\([a-zA-Z]+)", text))
    assert commands <= {
        *("usepackage", "begin", "end", "centering", "caption", "label", "resizebox", "ifdim", "width", "textwidth", "else"),
        *("fi", "toprule", "midrule", "bottomrule", "multicolumn", "textit", "textbackslash", "textless", "textgreater"),
        *("textbar", "textasciitilde", "textasciicircum"),
    }
