"""Predictions that are there already, through the command line: what is known beforehand of each comes out to the digit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from given_world import FERRET, SIZE, Eval, answer, boxes, metrics, perfect, write_lines

TASKS = ("rec", "phrase_grounding", "pope", "gqa", "textvqa", "region_description")
THRESHOLDS = ("0.5", "0.6", "0.7", "0.8", "0.9")


def figures(task: str, side: dict[str, Any]) -> list[float]:
    """Everything that a perfect predictor has at its best, and an empty one at zero; CIDEr-D's best is 10, printed as 1,000."""
    if task == "rec":
        return [*side["acc"].values(), side["mean_acc"], 100 * side["mean_iou"]]
    if task == "phrase_grounding":
        return [value for kind in ("any", "merged") for recall in side[kind].values() for value in recall.values()]
    return [side["cider"] / 10 if task == "region_description" else side["accuracy"]]


@pytest.mark.parametrize("task", TASKS)
def test_a_perfect_predictor_has_a_hundred_everywhere(task: str, spr_eval: Eval, tmp_path: Path) -> None:
    file = write_lines(tmp_path / "perfect.jsonl", perfect(task))
    assert spr_eval("--task", task, "--base", file, "--out", tmp_path / "run") == 0
    found = metrics(tmp_path / "run", task)
    assert figures(task, found["base"]) == pytest.approx([100.0] * len(figures(task, found["base"])))
    assert found["base"]["parse_rate"] == 100
    assert "subset_of" not in found
    assert found["from"]["base"]["file"] == "perfect.jsonl"


@pytest.mark.parametrize("task", TASKS)
def test_an_empty_predictor_has_nothing_anywhere(task: str, spr_eval: Eval, tmp_path: Path) -> None:
    file = write_lines(tmp_path / "empty.jsonl", [answer(row["item_id"], "") for row in perfect(task)])
    assert spr_eval("--task", task, "--base", file, "--out", tmp_path / "run") == 0
    found = metrics(tmp_path / "run", task)
    assert set(figures(task, found["base"])) == {0.0}
    assert found["base"]["parse_rate"] == 0


def test_ferrets_authors_take_nothing_said_for_a_yes(spr_eval: Eval, tmp_path: Path) -> None:
    file = write_lines(tmp_path / "empty.jsonl", [answer(str(n), "") for n in range(4)])
    ferret = ("--set", "evaluation.protocol=ferret")
    assert spr_eval("--task", "pope", "--base", file, "--out", tmp_path / "run", *ferret) == 0
    base = metrics(tmp_path / "run", "pope")["base"]
    assert (base["accuracy"], base["yes_rate"], base["recall"], base["parse_rate"]) == (50.0, 100.0, 100.0, 0.0)


@pytest.mark.parametrize("written", ["boxes", "texts"])
def test_boxes_shifted_by_four_pixels_lose_one_of_six_at_each_threshold(written: str, spr_eval: Eval, tmp_path: Path) -> None:
    rows = boxes(4)
    if written == "texts":
        rows = [answer(row["item_id"], FERRET.ground("it", tuple(row["box"]), SIZE)) for row in rows]
    base, tuned = write_lines(tmp_path / "shifted.jsonl", rows), write_lines(tmp_path / "perfect.jsonl", boxes())
    assert spr_eval("--task", "rec", "--base", base, "--tuned", tuned, "--out", tmp_path / "run") == 0
    found = metrics(tmp_path / "run", "rec")
    sixths = [100 * hits / 6 for hits in (5, 4, 3, 2, 1)]
    assert [found["base"]["acc"][threshold] for threshold in THRESHOLDS] == pytest.approx(sixths)
    assert found["base"]["mean_iou"] == pytest.approx((96 / 104 + 56 / 64 + 24 / 32 + 16 / 24 + 10 / 18 + 4 / 12) / 6)
    assert [found["delta"]["acc"][threshold] for threshold in THRESHOLDS] == pytest.approx([100 - value for value in sixths])
    assert found["delta"]["mcnemar"]["0.9"]["gained"] == 5


def test_phrases_shifted_by_ten_pixels_are_found_at_the_lower_thresholds_alone(spr_eval: Eval, tmp_path: Path) -> None:
    """60 pixels wide, they meet with IoU 50 / 70 = 0.714."""
    dog, cup = FERRET.ground("a dog", (30, 10, 90, 60), SIZE), FERRET.ground("a cup", (110, 10, 170, 60), SIZE)
    rows = [answer("700-3", f"{dog}. {cup}."), answer("701-3", f"{dog}. {cup}.")]
    file = write_lines(tmp_path / "shifted.jsonl", rows)
    assert spr_eval("--task", "phrase_grounding", "--base", file, "--out", tmp_path / "run") == 0
    base = metrics(tmp_path / "run", "phrase_grounding")["base"]
    for kind in ("any", "merged"):
        assert base[kind]["r@1"] == {"0.5": 100.0, "0.6": 100.0, "0.7": 100.0, "0.8": 0.0, "0.9": 0.0}


def test_held_out_descriptions_are_scored_too(spr_eval: Eval, tmp_path: Path) -> None:
    """The regions are drawn as they are for a model; the questions say which they are."""
    assert spr_eval("--task", "regions", "--questions", tmp_path / "asked.jsonl") == 0
    asked = [json.loads(line) for line in (tmp_path / "asked.jsonl").read_text().splitlines()]
    assert len(asked[0]["region"]) == 4
    names = ("cup", "dog", "kite", "boat")
    drawn = [(10 + 40 * k, 10 * (k + 1), 40 + 40 * k, 10 * (k + 1) + 40) for k in range(4)]
    said = " ".join(f"{FERRET.ground(name, box, SIZE)}." for name, box in zip(names, drawn, strict=True))
    file = write_lines(tmp_path / "perfect.jsonl", [answer(row["item_id"], said) for row in asked])
    assert spr_eval("--task", "regions", "--base", file, "--out", tmp_path / "run") == 0
    base = metrics(tmp_path / "run", "regions")["base"]
    assert (base["localization"], base["boxes"], base["right_count"], base["names_right"]) == (1.0, 4.0, 100.0, 100.0)


def test_what_was_scored_from_a_file_is_scored_again_to_the_same_numbers(spr_eval: Eval, tmp_path: Path) -> None:
    rows = [*boxes(4)[:4], {"item_id": "4-0", "box": [float("nan"), 0, 1, 1]}, {"item_id": "5-0", "box": None}]
    file = write_lines(tmp_path / "first.jsonl", rows)
    assert spr_eval("--task", "rec", "--base", file, "--out", tmp_path / "first") == 0
    again = tmp_path / "first" / "eval" / "rec" / "base" / "predictions.parquet"
    assert spr_eval("--task", "rec", "--base", again, "--out", tmp_path / "again") == 0
    assert metrics(tmp_path / "again", "rec")["base"] == metrics(tmp_path / "first", "rec")["base"]
    assert metrics(tmp_path / "first", "rec")["base"]["parse_rate"] == pytest.approx(400 / 6)
    copy = tmp_path / "again" / "eval" / "rec" / "base" / "predictions.parquet"
    assert copy.read_bytes() == again.read_bytes()


def test_predictions_of_phrases_are_read_as_their_sentences_answers(spr_eval: Eval, tmp_path: Path) -> None:
    file = write_lines(tmp_path / "first.jsonl", perfect("phrase_grounding"))
    assert spr_eval("--task", "phrase_grounding", "--base", file, "--out", tmp_path / "first") == 0
    again = tmp_path / "first" / "eval" / "phrase_grounding" / "base" / "predictions.parquet"
    assert spr_eval("--task", "phrase_grounding", "--base", again, "--out", tmp_path / "again") == 0
    assert metrics(tmp_path / "again", "phrase_grounding")["n"] == 4
    assert metrics(tmp_path / "again", "phrase_grounding")["base"] == metrics(tmp_path / "first", "phrase_grounding")["base"]
