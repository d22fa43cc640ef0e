"""Every recipe of the repository is planned on a handful of annotated images: without weights, cache or network."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import tiny_random
from spr.errors import ModelError
from spr.models.own_shape import own_shape
from spr.models.shapes import PUBLISHED
from spr.pipeline import plan, run
from spr.pipeline.planning import Plan, PlanRow
from spr.recipe import Recipe, load_recipe
from spr.running.shards import Manifest, Origin
from spr.views import plan_table, show

ROOT = Path(__file__).parents[2]
RECIPES = sorted((ROOT / "recipes").glob("*.yaml"))
IMAGES = 3
K = 5
UNKNOWN = {"tiny": {"scores"}, "florence-2": {"train"}}
"""The bundled scorers are in no table of published models; an encoder-decoder is not trained."""


@pytest.fixture
def annotations(tmp_path: Path) -> Path:
    """Three images of 640 x 480 with five objects each; no image is there, and none is opened."""
    boxes = [[10 + 120 * i, 20, 100, 90] for i in range(5)]
    objects = [
        {"id": 10 * image + i, "image_id": image, "category_id": 1, "bbox": box, "area": 9000, "iscrowd": 0}
        for image in range(IMAGES)
        for i, box in enumerate(boxes)
    ]
    images = [{"id": i, "file_name": f"{i}.jpg", "width": 640, "height": 480} for i in range(IMAGES)]
    target = tmp_path / "annotations.json"
    target.write_text(json.dumps({"images": images, "annotations": objects, "categories": [{"id": 1, "name": "dog"}]}))
    return target


@pytest.fixture(autouse=True)
def nothing_to_load_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty hub cache, and no network."""

    def refused(*args: object) -> None:
        raise AssertionError(f"a plan opened a connection: {args}")

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "no-cache"))
    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.chdir(ROOT)


def loaded(file: Path, annotations: Path, *changes: str) -> Recipe:
    folder = annotations.parent
    texts = folder / "descriptions.jsonl"
    texts.write_text("".join(json.dumps({"query_id": "0-0", "text": text, "model": "m"}) + "\n" for text in ("a dog", "a cat")))
    here = [f"source.annotations={annotations}", f"source.image_root={folder}", *changes]
    return load_recipe(file, [*here, *([f"candidates.path={texts}"] if file.stem == "imported-candidates" else [])])


FAMILIES = {
    "cogvlm-17b": tiny_random.build_cogvlm,
    "ferret-7b": tiny_random.build_ferret,
    "ferret-13b": tiny_random.build_ferret,
    "florence-2": tiny_random.build_florence2,
    "internvl3-8b": tiny_random.build_internvl,
    "kosmos-2": tiny_random.build_kosmos2,
    "llava-onevision-7b": tiny_random.build_llava_onevision,
    "paligemma": tiny_random.build_paligemma,
    "qwen2.5-vl-7b": tiny_random.build_qwen2_5_vl,
    "qwen3-vl-8b": tiny_random.build_qwen3_vl,
}
SMALL = ["model.dtype=float32", "candidates.max_new_tokens=4", "score.weight=0", "score.semantic=null", "score.detector=null"]
BOXES_ALONE = ["score.localization.preset=annotations_only", "resources.devices=[cpu]", "shard_size=4"]


def rows(found: Plan) -> dict[str, PlanRow]:
    return {row.state.name: row for row in found}


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_every_recipe_is_planned_with_rows_memory_disk_and_time(file: Path, annotations: Path, tmp_path: Path) -> None:
    recipe = loaded(file, annotations)
    planned = plan(recipe, tmp_path / "run", lambda _: None)
    found = rows(planned)
    assert planned.takes.total.disk == planned.takes.report + sum(row.estimate.disk or 0 for row in planned)
    assert {name: row.rows for name, row in found.items()} == {
        "queries": IMAGES,
        "candidates": IMAGES * K,
        "scores": IMAGES * K,
        "pairs": IMAGES,
        "train": IMAGES,
    }
    assert not (tmp_path / "run").exists()
    open_steps = UNKNOWN.get(file.stem, set())
    for name, row in found.items():
        estimate = row.estimate
        assert estimate.disk is not None or name in open_steps
        for figure in (estimate.memory, estimate.seconds):
            assert (figure is None) == (name in open_steps), (name, estimate)
            assert figure is None or figure > 0


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_every_recipe_names_a_model_whose_shape_is_known(file: Path, annotations: Path) -> None:
    model = loaded(file, annotations).model
    assert model.name in PUBLISHED or own_shape(model) is not None


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_every_recipe_runs_to_its_pairs_with_a_tiny_model_of_its_family(name: str, annotations: Path, tmp_path: Path) -> None:
    for image in range(IMAGES):
        Image.new("RGB", (640, 480), (40 * image, 100, 90)).save(annotations.parent / f"{image}.jpg")
    model = f"model.name={FAMILIES[name](tmp_path / 'model')}"
    recipe = loaded(ROOT / f"recipes/{name}.yaml", annotations, model, *SMALL, *BOXES_ALONE)
    planned = rows(plan(recipe, tmp_path / "run", lambda _: None))
    assert planned["candidates"].estimate.memory is not None
    run(recipe, tmp_path / "run", "pairs")
    made = rows(plan(recipe, tmp_path / "run", lambda _: None))
    # Random weights write no end, so no text is chosen; that all were made and compared is what the recipe answers for.
    assert {step: made[step].state.finished for step in ("queries", "candidates", "scores", "pairs")} == dict.fromkeys(
        ("queries", "candidates", "scores", "pairs"), True
    )
    assert (made["candidates"].rows, made["scores"].rows) == (IMAGES * K, IMAGES * K)
    assert made["candidates"].estimate.seconds == 0


def test_every_published_shape_has_its_recipe(annotations: Path) -> None:
    assert set(PUBLISHED) <= {loaded(file, annotations).model.name for file in RECIPES}


def test_weights_of_seven_billion_parameters_are_fifteen_gigabytes_and_more(annotations: Path, tmp_path: Path) -> None:
    found = rows(plan(loaded(ROOT / "recipes/qwen2.5-vl-7b.yaml", annotations), tmp_path / "run", lambda _: None))
    for name in ("candidates", "train"):
        memory = found[name].estimate.memory
        assert memory is not None
        assert 2 * 8.29e9 < memory < 2 * 2 * 8.29e9
    # The adapter: 128 * 2,523,136 parameters of 4 bytes, and one checkpoint of three times that.
    disk = found["train"].estimate.disk
    assert disk is not None
    assert disk == pytest.approx(4 * 128 * 2_523_136 * 4, rel=0.01)


def test_an_unknown_model_gets_no_number_but_a_reason(annotations: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    recipe = loaded(ROOT / "recipes/qwen2.5-vl-7b.yaml", annotations, "model.name=someone/else")
    found = plan(recipe, tmp_path / "run", lambda _: None)
    for name in ("candidates", "train"):
        estimate = rows(found)[name].estimate
        assert (estimate.memory, estimate.seconds) == (None, None)
        assert estimate.why == "the model's config.json is not here"
    show(plan_table(found, tmp_path / "run"))
    assert "no figures for candidates, train: the model's config.json is not here" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["./nope/dir", "/nope/dir", "../nope"])
def test_a_path_where_no_model_is_is_refused_as_a_run_refuses_it(name: str, annotations: Path, tmp_path: Path) -> None:
    recipe = loaded(ROOT / "recipes/kosmos-2.yaml", annotations, f"model.name={name}")
    for verb in (plan, run):
        with pytest.raises(ModelError, match=f"model.name {name} does not exist"):
            verb(recipe, tmp_path / "run")
    served = loaded(
        ROOT / "recipes/kosmos-2.yaml", annotations, f"model.name={name}", "model.endpoint.url=http://localhost:1/v1"
    )
    assert "does not exist" in rows(plan(served, tmp_path / "run", lambda _: None))["train"].estimate.why


def test_what_a_server_takes_is_not_guessed(annotations: Path, tmp_path: Path) -> None:
    recipe = loaded(ROOT / "recipes/qwen2.5-vl-7b.yaml", annotations, "model.endpoint.url=http://localhost:8000/v1")
    found = rows(plan(recipe, tmp_path / "run", lambda _: None))
    assert (found["candidates"].estimate.memory, found["candidates"].estimate.seconds) == (None, None)
    assert "server" in found["candidates"].estimate.why
    assert found["train"].estimate.seconds is not None


def test_what_exceeds_the_device_is_one_line_with_both_numbers(
    annotations: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spr.pipeline.estimates.plan.device_memory", lambda device: 16 * 2**30)
    found = plan(loaded(ROOT / "recipes/paligemma.yaml", annotations), tmp_path / "run", lambda _: None)
    assert found.takes.warnings == ()
    found = plan(loaded(ROOT / "recipes/qwen3-vl-8b.yaml", annotations), tmp_path / "run", lambda _: None)
    (warning,) = found.takes.warnings
    assert "but cpu has 16 GB" in warning
    assert "needs about" in warning


def test_images_that_alone_fill_the_budget_of_a_sequence_are_told(annotations: Path, tmp_path: Path) -> None:
    recipe = loaded(ROOT / "recipes/llava-onevision-7b.yaml", annotations, "train.max_tokens=3000")
    warnings = plan(recipe, tmp_path / "run", lambda _: None).takes.warnings
    assert any("prompts have up to 2,989 tokens" in warning and "train.max_tokens 3,000" in warning for warning in warnings)


def test_finished_candidates_give_the_length_of_an_answer_and_the_speed(annotations: Path, tmp_path: Path) -> None:
    recipe = loaded(ROOT / "recipes/tiny.yaml", annotations, "shard_size=1")
    from spr.pipeline.assembly import data_steps
    from spr.pipeline.estimates.steps import Estimator
    from spr.running.run_dir import RunDir
    from spr.running.steps import DONE, TO_DO, StepState
    from spr.sources.coco import read_scenes

    scenes = read_scenes(recipe.source, recipe.queries, lambda _: None).scenes
    steps = {step.name: step for step in data_steps(recipe, RunDir(tmp_path / "run"), scenes)}
    notes = {"completion_tokens": 5 * 40}
    made = Manifest(0, "", Origin("candidates", 1, {}, 1, ""), "", "", 1, 5, 1, {}, 12.0, notes, {})
    steps["candidates"].store.write(0, [], [], made)
    states = {name: StepState(name, dict.fromkeys(range(3), TO_DO), (), 0) for name in steps}
    states["candidates"] = StepState("candidates", {0: DONE, 1: TO_DO, 2: TO_DO}, (), 5)
    estimator = Estimator(recipe, steps, states, {"queries": 3, "candidates": 15, "scores": 15, "pairs": 3})
    assert estimator.answer == 40
    assert estimator.of("candidates").seconds == 2 * 12.0


@pytest.mark.slow
def test_the_command_plans_offline_and_writes_nothing(annotations: Path, tmp_path: Path) -> None:
    target = tmp_path / "run"
    command = [sys.executable, "-m", "spr.cli", "plan", "recipes/qwen3-vl-8b.yaml", "--out", str(target)]
    source = ["--set", f"source.annotations={annotations}", "--set", f"source.image_root={tmp_path}"]
    empty = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "no-home"), "COLUMNS": "160"}
    done = subprocess.run([*command, *source], capture_output=True, text=True, env=empty, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    (line,) = (line for line in done.stdout.splitlines() if "candidates" in line and "│" in line)
    assert "≤ 15" in line
    assert "GB" in line
    assert "unknown" not in line
    assert not target.exists()
