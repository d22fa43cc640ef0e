"""Predictions that are there already, by the command line: where results and questions go, which options go together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from given_world import FERRET, Eval, answer, boxes, metrics, perfect, write_lines


def printed(capsys: pytest.CaptureFixture[str]) -> str:
    """What was printed, with every run of spaces and line breaks as one space."""
    return " ".join(capsys.readouterr().out.split())


def test_the_results_stand_where_those_of_a_model_stand(
    spr_eval: Eval, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_lines(tmp_path / "some.jsonl", boxes(4)[:3])
    assert spr_eval("--task", "rec", "--base", file, "--tuned", file, "--out", tmp_path / "run") == 0
    assert "Referring expressions, rec (3 expressions, 3 images, subset of 6, answers from some.jsonl)" in printed(capsys)
    run = tmp_path / "run"
    for side in ("base", "tuned"):
        assert (run / "eval" / "rec" / side / "predictions.parquet").is_file()
        assert json.loads((run / "eval" / "rec" / side / "metrics.json").read_text())["n"] == 3
    whole = json.loads((run / "metrics.json").read_text())["tasks"]["rec"]
    assert whole == metrics(run, "rec")
    assert whole["subset_of"] == 6
    assert whole["from"]["base"] == whole["from"]["tuned"]
    assert spr_eval("--task", "rec", "--base", file, "--out", run) == 0
    assert "tuned" not in metrics(run, "rec")
    assert not (run / "eval" / "rec" / "tuned" / "predictions.parquet").exists()


@pytest.mark.parametrize(
    ("task", "about"),
    [
        ("rec", {"expression": "the number 0 object of 100 pixels"}),
        ("phrase_grounding", {"sentence": "a dog by a cup", "phrases": ["a dog", "a cup"]}),
        ("pope", {}),
        ("gqa", {}),
        ("textvqa", {}),
        ("region_description", {"region": [40.0, 20.0, 140.0, 70.0]}),
    ],
)
def test_the_questions_of_a_data_set_are_written_for_other_tools(
    task: str, about: dict[str, Any], spr_eval: Eval, tmp_path: Path
) -> None:
    asked = tmp_path / "asked.jsonl"
    assert spr_eval("--task", task, "--questions", asked) == 0
    rows = [json.loads(line) for line in asked.read_text(encoding="utf-8").splitlines()]
    assert [row["item_id"] for row in rows] == [row["item_id"] for row in perfect(task)]
    shown = ("item_id", "image", "width", "height", "question")
    first = {key: rows[0].pop(key) for key in shown}
    assert (first["image"], first["width"], first["height"]) == ("0.jpg", 200, 100)
    assert rows[0] == about
    if task == "rec":
        assert first["question"] == FERRET.rec_prompt("the number 0 object of 100 pixels")
    assert spr_eval("--task", task, "--questions", asked) == 2
    file = write_lines(tmp_path / "answered.jsonl", [row | answer(row["item_id"], "") for row in rows[1:]])
    assert spr_eval("--task", task, "--base", file, "--out", tmp_path / "run") == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("--tuned", "a"),
        ("--base", "a", "--adapter", "b"),
        ("--questions", "a", "--base", "b"),
        ("--questions", "a", "--out", "b"),
    ],
)
def test_options_that_do_not_go_together_are_bad_usage(
    arguments: tuple[str, ...], spr_eval: Eval, capsys: pytest.CaptureFixture[str]
) -> None:
    assert spr_eval("--task", "rec", *arguments) == 2
    assert "--tuned goes with --base" in capsys.readouterr().err


def test_a_run_is_scored_by_its_own_recipe(spr_eval: Eval, tmp_path: Path) -> None:
    file = write_lines(tmp_path / "a.jsonl", boxes())
    assert spr_eval("--task", "rec", "--base", file, "--out", tmp_path / "run") == 0
    texts = write_lines(tmp_path / "b.jsonl", perfect("gqa"))
    assert spr_eval("--task", "gqa", "--base", texts, source=tmp_path / "run") == 0
    assert list(json.loads((tmp_path / "run" / "metrics.json").read_text())["tasks"]) == ["rec", "gqa"]
