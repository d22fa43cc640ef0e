"""Evaluations of one data set, of several, and of more than the recipe named; their answers, read again, are not asked for
again."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from small_world import data_set, described_recipe, recipe_values

from spr import cli
from spr.errors import DataError, ModelError, RecipeError, ResumeError
from spr.pipeline import evaluate, plan, run
from spr.recipe import Recipe
from spr.record_tables import from_table
from spr.records import Prediction
from spr.report import write_report
from spr.running.run_dir import RunDir
from spr.views import show_results, status_tables


def asked(world: Path, **evaluation: Any) -> Recipe:
    """The recipe with these data sets and no others."""
    return described_recipe(world, evaluation={"max_new_tokens": 4, "bootstrap": 100, **evaluation})


@pytest.fixture
def several(described: Path) -> Recipe:
    """Two data sets of one task, and one of another."""
    sets = [data_set(described, name="few", limit=4), data_set(described, name="more", limit=6)]
    return asked(described, rec=sets, pope=data_set(described, "pope.json", limit=5))


def spr(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["spr", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert isinstance(end.value.code, int)
    return end.value.code


def tasks_of(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "metrics.json").read_text())["tasks"]
    return found


def predictions(out: Path, name: str, side: str = "base") -> list[Prediction]:
    return from_table(pq.read_table(out / "eval" / name / side / "predictions.parquet"), Prediction)


def answered(out: Path) -> dict[Path, int]:
    """When each shard of answers was made."""
    return {path.relative_to(out): path.stat().st_mtime_ns for path in out.glob("eval/**/parts/part-*")}


def test_all_data_sets_of_a_recipe_are_evaluated_by_their_names(several: Recipe, tmp_path: Path) -> None:
    found = evaluate(several, tmp_path / "eval")
    assert {name: metrics["n"] for name, metrics in found.items()} == {"rec/few": 4, "rec/more": 6, "pope": 5}
    assert {name: metrics["subset_of"] for name, metrics in found.items()} == {"rec/few": 12, "rec/more": 12, "pope": 24}
    assert list(tasks_of(tmp_path / "eval")) == ["rec/few", "rec/more", "pope"]
    funnel = json.loads((tmp_path / "eval" / "metrics.json").read_text())["funnel"]
    assert {name: entry["out"] for name, entry in funnel.items()} == {
        "eval/rec/few/base": 4,
        "eval/rec/more/base": 6,
        "eval/pope/base": 5,
    }
    # The same first questions, in the same batches, have the same answers.
    few, more = (predictions(tmp_path / "eval", name) for name in ("rec/few", "rec/more"))
    assert [(row.item_id, row.answer) for row in few[:3]] == [(row.item_id, row.answer) for row in more[:3]]


def test_a_task_means_all_of_its_data_sets_and_a_name_one_of_them(several: Recipe, tmp_path: Path) -> None:
    assert list(evaluate(several, tmp_path / "eval", "rec/more")) == ["rec/more"]
    assert not (tmp_path / "eval" / "eval" / "rec" / "few").exists()
    before = answered(tmp_path / "eval")
    assert list(evaluate(several, tmp_path / "eval", "rec")) == ["rec/few", "rec/more"]
    assert before.items() <= answered(tmp_path / "eval").items()
    assert list(tasks_of(tmp_path / "eval")) == ["rec/few", "rec/more"]


def test_a_data_set_that_the_recipe_does_not_name_is_told_with_those_that_it_does(several: Recipe, tmp_path: Path) -> None:
    with pytest.raises(
        RecipeError, match=r"--task rec/most: there is no such data set; the recipe has rec/few, rec/more, pope$"
    ):
        evaluate(several, tmp_path / "eval", "rec/most")


def test_a_recipe_without_a_data_set_is_told_what_to_add(described: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="the recipe names no task; add a section to evaluation"):
        evaluate(asked(described), tmp_path / "eval")


def test_a_plan_counts_each_data_set(several: Recipe, copy: Path) -> None:
    planned = {row.state.name: row for row in plan(several, copy)}
    counts = {"eval/rec/few": (4, 2), "eval/rec/more": (6, 2), "eval/pope": (5, 2)}
    for name, (rows, shards) in counts.items():
        for side in ("base", "tuned"):
            row = planned[f"{name}/{side}"]
            assert (row.rows, row.at_most, row.state.count("to do")) == (rows, True, shards)
            assert row.estimate.disk is not None
            assert row.estimate.seconds is not None
            assert row.estimate.seconds > 0
    assert not {"eval/rec/base", "eval/regions/base"} & planned.keys()


def test_a_run_with_several_data_sets_shows_and_reports_each(
    several: Recipe, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(several, copy)
    assert {name: set(metrics) >= {"base", "tuned", "delta"} for name, metrics in tasks_of(copy).items()} == {
        "rec/few": True,
        "rec/more": True,
        "pope": True,  # rec and regions, which the recipe names no more, are on disk alone
    }
    capsys.readouterr()
    show_results(copy)
    shown = " ".join(capsys.readouterr().out.split())
    for title in (
        "Referring expressions, few (4 expressions",
        "Referring expressions, more (6 expressions",
        "POPE, pope (5 questions",
    ):
        assert title in shown
    status = next(table for table in status_tables(copy) if getattr(table, "title", None) == "Funnel")
    assert {"eval/rec/few/tuned", "eval/pope/base"} <= set(status.columns[0].cells)
    assert write_report(copy).is_file()


def test_set_evaluates_a_run_on_something_else_and_the_run_remembers_it(
    described: Path, copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before, kept = RunDir(copy).recipe(), answered(copy)
    pope = f"evaluation.pope={json.dumps(data_set(described, 'pope.json'))}"
    assert spr(monkeypatch, "eval", copy, "--task", "pope", "--set", pope, "--set", "evaluation.pope.limit=6") == 0
    assert "POPE, pope (6 questions, 3 images, subset of 24)" in " ".join(capsys.readouterr().out.split())
    after = RunDir(copy).recipe()
    assert [one.id for one in after.evaluation.sets()] == ["rec", "regions", "pope"]
    assert after.evaluation.pope[0].limit == 6
    assert after.model_copy(update={"evaluation": before.evaluation}) == before
    assert (after.evaluation.rec, after.evaluation.regions) == (before.evaluation.rec, before.evaluation.regions)
    assert set(tasks_of(copy)["pope"]) >= {"base", "tuned", "delta"}
    assert kept.items() <= answered(copy).items()


def test_a_section_that_is_not_evaluated_now_is_remembered_as_it_was(described: Path, copy: Path) -> None:
    changed = asked(described, rec=data_set(described, limit=5), regions=data_set(described, "instances.json", limit=2))
    metrics = evaluate(changed, copy, "rec")
    assert metrics["rec"]["n"] == 5
    now = RunDir(copy).recipe().evaluation
    assert (now.rec[0].limit, now.regions[0].limit) == (5, 4)
    assert len(predictions(copy, "rec")) == 5
    # Two shards of three hold five expressions; the third of eight is gone, the first is as it was.
    assert len(list((copy / "eval" / "rec" / "base" / "parts").glob("part-*.json"))) == 2


def test_what_is_right_can_change_and_no_answer_is_asked_for_again(described: Path, copy: Path, tmp_path: Path) -> None:
    rows = json.loads((described / "rec.json").read_text())
    for row in rows:
        row["bbox"] = [0, 0, row["width"], row["height"]]
    (tmp_path / "rec.json").write_text(json.dumps(rows))
    whole = asked(described, rec=data_set(described, limit=8) | {"annotations": str(tmp_path / "rec.json")})
    before, made = predictions(copy, "rec"), answered(copy)
    evaluate(whole, copy, "rec")
    assert answered(copy) == made
    after = predictions(copy, "rec")
    assert [row.answer for row in after] == [row.answer for row in before]
    assert {row.truth for row in after} == {((0.0, 0.0, 96.0, 80.0),)}
    assert {row.groups["size"] for row in before} != {row.groups["size"] for row in after} == {"medium"}


def test_a_changed_question_is_asked_again_and_the_others_are_not(described: Path, copy: Path, tmp_path: Path) -> None:
    rows = json.loads((described / "rec.json").read_text())
    rows[7]["sents"] = "the first one"
    (tmp_path / "rec.json").write_text(json.dumps(rows))
    made = answered(copy)
    evaluate(asked(described, rec=data_set(described, limit=8) | {"annotations": str(tmp_path / "rec.json")}), copy, "rec")
    changed = {str(path) for path, when in answered(copy).items() if made[path] != when}
    assert changed == {f"eval/rec/{side}/parts/part-00002.{kind}" for side in ("base", "tuned") for kind in ("json", "parquet")}


def test_answers_of_a_model_that_is_gone_are_not_taken_for_anothers(described: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(described / "model", tmp_path / "model"))
    values = recipe_values(described, model, "llava-onevision")["model"]
    once = asked(described, rec=data_set(described, limit=3)).model_dump(mode="json") | {"model": values}
    given = Recipe.model_validate(once)
    evaluate(given, tmp_path / "eval")
    made, counted = answered(tmp_path / "eval"), tasks_of(tmp_path / "eval")
    shutil.rmtree(model)
    with pytest.raises(ModelError, match=r"model\.name .*/model is no directory; name an existing one"):
        evaluate(given, tmp_path / "eval")
    assert answered(tmp_path / "eval") == made
    assert tasks_of(tmp_path / "eval") == counted


def test_protocols_are_never_mixed_in_a_directory(described: Path, copy: Path, tmp_path: Path) -> None:
    plain, ferret = (
        asked(described, pope=data_set(described, "pope.json", limit=3), protocol=one) for one in ("plain", "ferret")
    )
    evaluate(plain, tmp_path / "eval")
    before = tasks_of(tmp_path / "eval")
    said = r"holds pope by protocol plain, and evaluation\.protocol is ferret; .* name another --out"
    with pytest.raises(ResumeError, match=said):
        evaluate(ferret, tmp_path / "eval")
    assert tasks_of(tmp_path / "eval") == before
    with pytest.raises(ResumeError, match=r"holds rec by protocol plain, and evaluation\.protocol is ferret"):
        run(ferret, copy, force=True)
    assert evaluate(ferret, tmp_path / "other")["pope"]["protocol"] == "ferret"


def test_every_data_set_is_counted_before_an_empty_one_is_told(described: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for photo in (described / "images").iterdir():
        (tmp_path / "photos" / photo.name).write_bytes(photo.read_bytes()[:100])
    lost = {**data_set(described, name="lost", limit=3), "image_root": str(tmp_path / "photos")}
    with pytest.raises(DataError, match=r"evaluation\.rec/lost: every item was dropped"):
        evaluate(asked(described, rec=[lost, data_set(described, name="there", limit=3)]), tmp_path / "eval")
    assert list(tasks_of(tmp_path / "eval")) == ["rec/there"]
