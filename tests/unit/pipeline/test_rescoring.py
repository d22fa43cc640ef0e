"""Answers from files against the data set, the recipe and each other: what fits, and what each misfit is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from spr.errors import DataError, RecipeError, ResumeError
from spr.items import Answer
from spr.pipeline import evaluate, evaluate_files, write_questions
from spr.recipe import Recipe, check_recipe
from spr.running.files import write_json
from spr.running.run_dir import RunDir
from spr.running.shards import parquet_bytes


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """Four expressions on four photos of 200 x 100 pixels, of which one is there and has another size; four questions."""
    (tmp_path / "images").mkdir()
    Image.new("RGB", (10, 10)).save(tmp_path / "images" / "0.jpg")
    expressions = [
        {"img_id": str(n), "sents": "it", "bbox": [10, 10, 50, 50], "width": 200, "height": 100, "file_name": f"{n}.jpg"}
        for n in range(4)
    ]
    (tmp_path / "rec.json").write_text(json.dumps(expressions))
    questions = [{"question_id": n, "image": f"{n}.jpg", "text": "Is it?", "label": ("no", "yes")[n % 2]} for n in range(4)]
    lines(tmp_path / "pope.json", questions)
    return tmp_path


def lines(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def recipe(world: Path, protocol: str = "plain", dialect: str = "ferret", **sections: Any) -> Recipe:
    data = {"image_root": str(world / "images")}
    values = {
        "source": {"annotations": "none.json", "image_root": "none"},
        "model": {"name": "/nowhere/model", "dialect": dialect},
        "score": {"weight": 0, "localization": {"preset": "annotations_only"}},
        "evaluation": {
            "bootstrap": 100,
            "protocol": protocol,
            "rec": data | {"annotations": str(world / "rec.json")},
            "pope": data | {"annotations": str(world / "pope.json")},
        }
        | sections,
    }
    return check_recipe(values, "test")


def boxes(world: Path, name: str, *items: str) -> Path:
    return lines(world / name, [{"item_id": f"{item}-0", "box": [10, 10, 60, 60]} for item in items])


def said(world: Path, name: str, text: str, count: int = 4) -> Path:
    return lines(world / name, [{"item_id": str(n), "answer": text} for n in range(count)])


def test_no_photo_is_opened_so_that_one_of_another_size_counts_too(world: Path) -> None:
    found = evaluate_files(recipe(world), world / "run", "rec", boxes(world, "a.jsonl", "0", "1", "2", "3"))["rec"]
    assert (found["n"], found["base"]["acc"]["0.9"]) == (4, 100.0)
    assert "dropped" not in found


def test_texts_and_boxes_in_one_file_are_kept_in_the_order_of_the_items(world: Path) -> None:
    box, text = {"box": [10, 10, 60, 60]}, {"answer": "it [0, 0, 250, 500]"}
    given = [(3, box), (2, text), (1, box), (0, text)]
    file = lines(world / "a.jsonl", [{"item_id": f"{n}-0"} | answer for n, answer in given])
    found = evaluate_files(recipe(world), world / "run", "rec", file)["rec"]
    kept = pq.read_table(world / "run" / "eval" / "rec" / "base" / "predictions.parquet").to_pylist()
    assert [row["item_id"] for row in kept] == ["0-0", "1-0", "2-0", "3-0"]
    # The texts' box is (0, 0, 50, 50): it shares 40 x 40 of 2500 + 2500 - 1600.
    assert [row["iou"] for row in kept] == pytest.approx([1600 / 3400, 1, 1600 / 3400, 1])
    assert found["base"]["acc"]["0.5"] == 50


def test_answers_to_a_part_are_marked_as_a_subset(world: Path) -> None:
    found = evaluate_files(recipe(world), world / "run", "rec", boxes(world, "a.jsonl", "1", "3"))["rec"]
    assert (found["n"], found["subset_of"]) == (2, 4)


def test_a_limit_and_answers_to_a_part_of_it_are_a_subset_of_the_whole(world: Path) -> None:
    section = {"annotations": str(world / "rec.json"), "image_root": str(world / "images"), "limit": 3}
    asked = recipe(world, rec=section)
    found = evaluate_files(asked, world / "run", "rec", boxes(world, "a.jsonl", "0", "1"))["rec"]
    assert (found["n"], found["subset_of"]) == (2, 4)
    with pytest.raises(DataError, match=r"1 of its 2 answers are to items .* have, e\.g\. 3-0.*limit, which is 3"):
        evaluate_files(asked, world / "run", "rec", boxes(world, "b.jsonl", "0", "3"))


def test_answers_to_unknown_items_are_refused(world: Path) -> None:
    with pytest.raises(DataError, match=r"--base .*: 2 of its 3 answers are to items .* e\.g\. x-0; its 4 items are like 0-0"):
        evaluate_files(recipe(world), world / "run", "rec", boxes(world, "a.jsonl", "0", "x", "y"))


def test_both_sides_answer_the_same_items(world: Path) -> None:
    base, tuned = boxes(world, "a.jsonl", "0", "1", "2"), boxes(world, "b.jsonl", "0", "2", "3")
    with pytest.raises(DataError, match=r"--base answers 1-0, and --tuned does not \(3 of base and 3 of tuned\)"):
        evaluate_files(recipe(world), world / "run", "rec", base, tuned)
    with pytest.raises(DataError, match="--tuned answers 1-0, and --base does not"):
        evaluate_files(recipe(world), world / "run", "rec", tuned, base)


def test_boxes_answer_expressions_alone_and_not_by_ferrets_protocol(world: Path) -> None:
    file = lines(world / "a.jsonl", [{"item_id": "0", "box": [1, 2, 3, 4]}])
    with pytest.raises(DataError, match=r"a\.jsonl:1 gives a box, and answers of pope are texts"):
        evaluate_files(recipe(world), world / "run", "pope", file)
    with pytest.raises(DataError, match=r"a\.jsonl:1 gives a box, and protocol ferret reads texts"):
        evaluate_files(recipe(world, "ferret"), world / "run", "rec", boxes(world, "a.jsonl", "0"))


def test_unreadable_boxes_and_doubted_frames_are_said_and_kept(world: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [[float("nan"), 0, 1, 1], [60, 10, 10, 60], [0.1, 0.1, 0.4, 0.6], [0, 0, 1, 1]]
    file = lines(world / "a.jsonl", [{"item_id": f"{n}-0", "box": box} for n, box in enumerate(rows)])
    found = evaluate_files(recipe(world), world / "run", "rec", file)["rec"]
    errors = capsys.readouterr().err
    assert "a.jsonl: 2 of 4 boxes are unreadable and count as wrong: 1 not finite, 1 reversed or empty, e.g. 0-0" in errors
    assert "a.jsonl: all 2 boxes lie within 0..1: they look like fractions of the image" in errors
    assert len(found["from"]["base"]["notes"]) == 2
    assert found["base"]["parse_rate"] == 50.0
    assert found["base"]["acc"]["0.5"] == 0.0


def test_a_name_of_no_one_data_set_is_refused(world: Path) -> None:
    file = boxes(world, "a.jsonl", "0")
    with pytest.raises(RecipeError, match="name it with --task"):
        evaluate_files(recipe(world), world / "run", None, file)
    section = {"annotations": str(world / "rec.json"), "image_root": str(world / "images")}
    two = recipe(world, rec=[section | {"name": "a"}, section | {"name": "b"}])
    with pytest.raises(RecipeError, match="--task rec has 2 data sets; name one of rec/a, rec/b"):
        evaluate_files(two, world / "run", "rec", file)
    assert list(evaluate_files(two, world / "run", "rec/b", file)) == ["rec/b"]
    assert (world / "run" / "eval" / "rec" / "b" / "base" / "predictions.parquet").is_file()


def test_predictions_by_another_protocol_are_refused(world: Path) -> None:
    answers = said(world, "a.jsonl", "no")
    evaluate_files(recipe(world, "ferret"), world / "ferret", "pope", answers)
    evaluate_files(recipe(world), world / "plain", "pope", answers)
    ferret, plain = (world / name / "eval/pope/base/predictions.parquet" for name in ("ferret", "plain"))
    with pytest.raises(DataError, match=r"--base .* was scored by protocol ferret, and .* is plain"):
        evaluate_files(recipe(world), world / "run", "pope", ferret, plain)
    with pytest.raises(DataError, match=r"--tuned .* was scored by protocol plain, and .* is ferret"):
        evaluate_files(recipe(world, "ferret"), world / "run", "pope", ferret, plain)
    with pytest.raises(ResumeError, match="holds pope by protocol plain"):
        evaluate_files(recipe(world, "ferret"), world / "plain", "pope", answers)


def test_a_runs_bare_answers_are_read_anew_where_the_questions_are_the_same(
    world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ferret's protocol asks for expressions in the same words, and about POPE in others."""

    def parts(run: Path, task: str, ids: list[str], text: str) -> Path:
        folder = run / "eval" / task / "base" / "parts"
        folder.mkdir(parents=True)
        (folder / "part-00000.parquet").write_bytes(parquet_bytes([Answer(name, text) for name in ids], Answer))
        return folder

    old = RunDir(world / "old")
    old.prepare()
    old.write_recipe(recipe(world, "ferret"))
    rec = parts(old.path, "rec", ["0-0"], "it [50, 100, 300, 600]")
    pope = parts(old.path, "pope", ["0"], "no")
    assert evaluate_files(recipe(world), world / "run", "rec", rec)["rec"]["base"]["acc"]["0.9"] == 100.0
    with pytest.raises(DataError, match=r"answers to the questions of protocol ferret, and .* is plain"):
        evaluate_files(recipe(world), world / "run", "pope", pope)
    assert "lies in no run" not in capsys.readouterr().err
    loose = parts(world / "loose", "pope", ["0"], "no")
    assert evaluate_files(recipe(world), world / "run", "pope", loose)["pope"]["n"] == 1
    assert (
        "lies in no run, so nothing says by which protocol its questions were asked; taken as plain" in capsys.readouterr().err
    )


def test_a_models_own_results_are_never_written_over(world: Path) -> None:
    file = boxes(world, "a.jsonl", "0")
    asked = RunDir(world / "asked")
    asked.prepare()
    write_json(asked.evaluation("rec", "base") / "metrics.json", {})
    write_json(asked.path / "eval" / "rec" / "metrics.json", {"n": 4, "protocol": "plain"})
    begun = RunDir(world / "begun")
    begun.prepare()
    (begun.evaluation("pope", "base") / "parts").mkdir(parents=True)
    trained = RunDir(world / "trained")
    trained.prepare()
    write_json(trained.policy / "manifest.json", {"key": "k", "parts": {}, "report": {"adapter": "adapter"}})
    for run in (asked, begun, trained):
        with pytest.raises(RecipeError, match=f"--base: {run.path} keeps the results of its own model; name another .* --out"):
            evaluate_files(recipe(world), run.path, "rec", file)


def test_a_model_is_not_asked_into_the_results_of_a_file(world: Path) -> None:
    evaluate_files(recipe(world), world / "run", "rec", boxes(world, "a.jsonl", "0"))
    with pytest.raises(ResumeError, match="holds rec scored from given files; name another --out"):
        evaluate(recipe(world), world / "run", "rec")


def test_what_a_judge_decides_is_not_scored_from_files(world: Path) -> None:
    bench = recipe(world, ferret_bench={"annotations": str(world), "image_root": str(world / "images")})
    with pytest.raises(RecipeError, match="--task ferret_bench: a judge says what its answers are worth"):
        evaluate_files(bench, world / "run", "ferret_bench", boxes(world, "a.jsonl", "0"))


def test_the_size_of_a_photo_that_is_not_there_is_stated_as_zero(world: Path) -> None:
    """POPE's file states no sizes."""
    assert write_questions(recipe(world), "pope", world / "asked.jsonl") == 4
    asked = [json.loads(line) for line in (world / "asked.jsonl").read_text().splitlines()]
    assert [(row["width"], row["height"]) for row in asked] == [(10, 10), (0, 0), (0, 0), (0, 0)]
    assert evaluate_files(recipe(world), world / "run", "pope", said(world, "a.jsonl", "no"))["pope"]["n"] == 4
