"""The pipeline on drawn photos, imported descriptions and a tiny random LLaVA-OneVision: real stages, seconds of work."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from small_world import data_set, recipe_values
from small_world import described_recipe as recipe

from spr.errors import DataError, ModelError, RecipeError, ResumeError
from spr.items import Answer
from spr.pipeline import evaluate, plan, run, train
from spr.pipeline.assembly import data_steps
from spr.recipe import check_recipe
from spr.record_tables import PROTOCOL_KEY, from_table
from spr.records import Prediction
from spr.running.files import file_digest
from spr.running.run_dir import RunDir
from spr.running.shards import ShardStore
from spr.views import show_results
from tiny_random import build_florence2

DATA = ("queries", "candidates", "scores", "pairs")


@pytest.fixture(scope="module")
def world(described: Path) -> Path:
    return described


def shards(out: Path) -> dict[str, str | None]:
    return {str(path.relative_to(out)): file_digest(path) for name in DATA for path in sorted((out / name).glob("*.parquet"))}


def test_a_dialect_of_another_family_is_said_before_anything_is_scored(
    world: Path, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = recipe(world).model_copy(
        update={"model": recipe(world).model.model_copy(update={"dialect": "tiny", "dialect_options": {}})}
    )
    run(wrong, tmp_path / "run", until="candidates")
    said = capsys.readouterr().err
    assert "WARNING: only 0% of" in said
    assert "llava-onevision 100%" in said
    writing = json.loads((tmp_path / "run" / "metrics.json").read_text())["writing"]
    assert (writing["dialect"], writing["parse_rate"], writing["boxes"]) == ("tiny", 0.0, 0)
    show_results(tmp_path / "run")
    assert "Is model.dialect right?" in " ".join(capsys.readouterr().out.split())
    right = json.loads((finished / "metrics.json").read_text())["writing"]
    assert (right["parse_rate"], right["doubts"]) == (1.0, [])


def test_a_model_that_cannot_be_trained_is_refused_before_it_generates(world: Path, tmp_path: Path) -> None:
    encoder_decoder = build_florence2(tmp_path / "model")
    values = recipe_values(world, encoder_decoder, "florence-2", candidates={"k": 2, "prompts": ["plain"], "max_new_tokens": 4})
    with pytest.raises(ModelError, match=r"encoder-decoder .* --until pairs"):
        run(check_recipe(values, "test"), tmp_path / "run")
    assert not (tmp_path / "run" / "queries").exists()
    run(check_recipe(values, "test"), tmp_path / "run", until="pairs")


def test_what_counts_as_inside_for_annotations_does_so_for_the_detector(world: Path, tmp_path: Path) -> None:
    (tmp_path / "detector").mkdir()
    (tmp_path / "detector" / "config.json").write_text("{}")
    score = {"weight": 0, "detector": {"model": str(tmp_path / "detector")}}
    asked = recipe(world, score=score, queries={"coverage": 0.3}, candidates={})
    steps = data_steps(asked, RunDir(tmp_path / "run"), [])
    assert [step.stage.recipe_part["score"]["coverage"] for step in steps[2:]] == [0.3, 0.3]


def metrics_of(out: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((out / "metrics.json").read_text())
    return values


def test_every_funnel_balances(finished: Path) -> None:
    funnel = metrics_of(finished)["funnel"]
    for name, counts in funnel.items():
        assert counts["in"] == counts["parents"] + sum(counts["dropped"].values()), name
    assert funnel["images"]["out"] == funnel["queries"]["in"] == 12
    assert funnel["queries"]["dropped"] == {"too_few_objects": 1}
    assert funnel["imported"]["dropped"] == {"unknown_query": 1}
    assert funnel["candidates"] == {"in": 11, "out": 22, "parents": 11, "dropped": {}}
    assert funnel["scores"]["parents"] == funnel["pairs"]["in"] == 11
    assert funnel["train"]["in"] == funnel["pairs"]["out"]


def test_metrics_hold_tasks_seconds_and_versions(finished: Path) -> None:
    metrics = metrics_of(finished)
    assert list(metrics) == ["tasks", "funnel", "writing", "training", "seconds", "versions"]
    assert sum(metrics["training"]["histogram"]["pairs"]) == metrics["funnel"]["train"]["out"]
    rec = metrics["tasks"]["rec"]
    assert rec["n"] == 8
    assert rec["subset_of"] == 12
    for side in ("base", "tuned"):
        assert set(rec[side]) == {"acc", "mean_acc", "mean_iou", "parse_rate", "truncation_rate", "ci95"}
        assert set(rec[side]["acc"]) == {"0.5", "0.6", "0.7", "0.8", "0.9"}
    assert set(rec["delta"]) == {"acc", "mean_acc", "mean_iou", "ci95", "p", "mcnemar"}
    assert (rec["images"], rec["protocol"], set(rec["by"])) == (8, "plain", {"size", "length"})
    assert metrics["tasks"]["regions"]["n"] == 4
    assert {*DATA, "train", "eval/rec/base", "eval/rec/tuned"} <= metrics["seconds"].keys()
    assert {"spatial-preference-rewarding", "torch"} <= metrics["versions"].keys()


def test_answers_of_both_sides_are_kept_and_what_they_are_worth_lies_beside_them(finished: Path) -> None:
    for side in ("base", "tuned"):
        folder = finished / "eval" / "rec" / side
        answers = ShardStore(folder / "parts", folder, Answer).all_rows()
        table = pq.read_table(folder / "predictions.parquet")
        predictions = from_table(table, Prediction)
        assert [row.item_id for row in predictions] == [row.item_id for row in answers]
        assert [row.answer for row in predictions] == [row.text for row in answers]
        assert table.schema.metadata[PROTOCOL_KEY.encode()] == b"plain"
        assert json.loads((folder / "metrics.json").read_text())["n"] == len(answers) == 8


def test_a_finished_run_is_all_done_and_is_left_as_it_is(world: Path, copy: Path) -> None:
    assert {row.state.name for row in plan(recipe(world), copy) if not row.state.finished} == set()
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("part-*.json")}
    run(recipe(world), copy)
    assert {path: path.stat().st_mtime_ns for path in copy.rglob("part-*.json")} == before


def test_a_changed_recipe_names_keys_and_stale_stages_and_changes_nothing(world: Path, copy: Path) -> None:
    before = shards(copy)
    changed = recipe(world, pairs={"min_margin": 0.5})
    with pytest.raises(ResumeError) as refused:
        run(changed, copy)
    message = str(refused.value)
    assert "another recipe (pairs.min_margin: 0.02 -> 0.5)" in message
    assert "pairs: 4 shards (pairs.min_margin: 0.02 -> 0.5)" in message
    assert "train: 1 shards (made from pairs)" in message
    assert "eval/rec/tuned: 3 shards" in message
    assert "eval/rec/base" not in message
    assert "scores:" not in message
    assert message.endswith("Give --force to make them again, or name another --out")
    assert shards(copy) == before
    stale = {row.state.name for row in plan(changed, copy) if row.state.count("stale")}
    assert stale == {"pairs", "train", "eval/rec/tuned", "eval/regions/tuned"}


def test_force_makes_only_what_is_stale_again(world: Path, copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = shards(copy)
    changed = recipe(world, pairs={"min_margin": 0.5, "unmatched": "keep"})
    run(changed, copy, until="pairs", force=True)
    after = shards(copy)
    assert {name for name in after if after[name] != before[name]} <= {name for name in before if name.startswith("pairs")}
    assert not (copy / "policy").exists()
    assert "--force: train is removed: made from pairs" in capsys.readouterr().err
    assert not (copy / "eval" / "rec" / "tuned" / "predictions.parquet").exists()
    assert metrics_of(copy)["tasks"] == {}
    assert (copy / "eval" / "rec" / "base" / "predictions.parquet").is_file()
    assert RunDir(copy).recipe() == changed
    assert {row.state.name for row in plan(changed, copy) if row.state.count("stale")} == set()


def test_half_made_pairs_are_not_trained_on(copy: Path) -> None:
    for part in (copy / "pairs").glob("part-00001.*"):
        part.unlink()
    with pytest.raises(DataError, match=r"holds 3 of 4 shards of pairs; finish them with `spr run` first"):
        train(copy)


def test_a_run_keeps_the_results_of_its_own_policy(world: Path, copy: Path, tmp_path: Path) -> None:
    other = shutil.copytree(copy / "policy" / "adapter", tmp_path / "adapter")
    with pytest.raises(RecipeError, match="keeps the results of its own policy"):
        evaluate(recipe(world), copy, "rec", Path(other))


def test_devices_are_no_part_of_what_is_computed(world: Path, copy: Path) -> None:
    run(recipe(world, resources={"devices": ["cpu", "cpu"]}), copy)
    assert RunDir(copy).recipe().resources.devices == ("cpu", "cpu")


def test_annotations_that_changed_make_their_shards_stale(world: Path, copy: Path, tmp_path: Path) -> None:
    content = json.loads((world / "instances.json").read_text())
    content["annotations"][0]["bbox"][2] += 1
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(content))
    source = {"annotations": str(changed), "image_root": str(world / "images")}
    with pytest.raises(ResumeError, match=r"queries: 1 shards \(its input changed\)"):
        run(recipe(world, source=source), copy)


def test_a_run_without_pairs_ends_well(world: Path, finished: Path, tmp_path: Path) -> None:
    rec = {"max_new_tokens": 2, "rec": data_set(world, limit=2)}
    out = run(recipe(world, pairs={"min_margin": 9.0}, evaluation=rec), tmp_path / "run").path
    metrics = metrics_of(out)
    assert metrics["funnel"]["pairs"] == {"in": 11, "out": 0, "parents": 0, "dropped": {"small_margin": 11}}
    assert set(metrics["tasks"]["rec"]) == {"n", "images", "protocol", "draws", "data", "subset_of", "base", "by"}
    assert (out / "report" / "index.html").is_file()


def test_another_adapter_is_evaluated_into_a_directory_of_its_own(world: Path, finished: Path, tmp_path: Path) -> None:
    metrics = evaluate(recipe(world), tmp_path / "eval", "rec", finished / "policy" / "adapter")
    assert list(metrics) == ["rec"]
    assert metrics_of(tmp_path / "eval")["tasks"]["rec"] == metrics_of(finished)["tasks"]["rec"]
    with pytest.raises(ResumeError, match=r"belongs to another recipe \(seed: 0 -> 1\); name another --out"):
        evaluate(recipe(world, seed=1), tmp_path / "eval", "rec")


def test_a_task_without_a_section_is_refused(world: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"no section evaluation\.rec; add one"):
        evaluate(recipe(world, evaluation={}), tmp_path / "eval", "rec")


def test_a_held_out_image_that_cannot_be_used_is_counted(world: Path, tmp_path: Path) -> None:
    content = json.loads((world / "instances.json").read_text())
    content["images"][0]["width"] = None
    (tmp_path / "held_out.json").write_text(json.dumps(content))
    task = {"annotations": str(tmp_path / "held_out.json"), "image_root": str(world / "images")}
    evaluate(recipe(world, evaluation={"regions": task, "max_new_tokens": 4}), tmp_path / "eval", "regions")
    counts = metrics_of(tmp_path / "eval")["funnel"]["eval/regions/images"]
    assert (counts["in"], counts["out"], counts["dropped"]) == (12, 11, {"no_image_size": 1})


def test_a_task_whose_items_were_all_dropped_has_no_numbers(world: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    for photo in (world / "images").iterdir():
        (tmp_path / "photos" / photo.name).write_bytes(photo.read_bytes()[:100])
    task = {"annotations": str(world / "rec.json"), "image_root": str(tmp_path / "photos")}
    with pytest.raises(DataError, match=r"evaluation\.rec: every item was dropped; .*dropped holds the reasons"):
        evaluate(recipe(world, evaluation={"rec": task}), tmp_path / "eval", "rec")
    assert metrics_of(tmp_path / "eval")["tasks"] == {}


def test_a_file_of_candidates_that_is_missing_is_told(world: Path, tmp_path: Path) -> None:
    imported = {"source": "file", "path": str(tmp_path / "none.jsonl")}
    with pytest.raises(DataError, match=r"none\.jsonl"):
        run(recipe(world, candidates=imported), tmp_path / "run")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_same_recipe_gives_the_same_bytes_with_one_worker_and_two(world: Path, tmp_path: Path) -> None:
    sampled = {"k": 2, "prompts": ["plain", "crop_names"], "max_new_tokens": 3, "batch_size": 4}
    for name, devices in (("one", ["cpu"]), ("two", ["cpu", "cpu"])):
        chosen = recipe(world, candidates=sampled, resources={"devices": devices})
        run(chosen, tmp_path / name, until="pairs")
    assert shards(tmp_path / "one") == shards(tmp_path / "two")
    assert len(shards(tmp_path / "one")) == 16
    for path in [*(tmp_path / "one").glob("*/part-00001.json"), *(tmp_path / "one").glob("*/part-00003.parquet")]:
        path.unlink()
    run(recipe(world, candidates=sampled), tmp_path / "one", until="pairs")
    assert shards(tmp_path / "one") == shards(tmp_path / "two")
