"""What a run refuses, and how early: before the annotations are read, or before the first description is asked for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from small_world import HEIGHT, WIDTH, draw_world, recipe_values

from spr.errors import ModelError, RecipeError
from spr.pipeline import evaluate, run
from spr.recipe import check_recipe
from tiny_random import build_florence2, build_qwen2_5_vl

LIMITS = {"min_pixels": 56 * 56, "max_pixels": 28 * 28 * 2000}
SIZES = {"size": {"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 2000}}
LARGE = 10
"""The photo that is drawn ten times larger, in the last shard of four."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    draw_world(folder)
    photo = folder / "images" / f"{LARGE:03d}.png"
    Image.open(photo).resize((WIDTH * 10, HEIGHT * 10)).save(photo)
    annotated = json.loads((folder / "instances.json").read_text())
    annotated["images"][LARGE] |= {"width": WIDTH * 10, "height": HEIGHT * 10}
    for annotation in annotated["annotations"]:
        if annotation["image_id"] == LARGE:
            annotation["bbox"] = [value * 10 for value in annotation["bbox"]]
    (folder / "instances.json").write_text(json.dumps(annotated))
    model = build_qwen2_5_vl(folder / "model")
    config = json.loads((model / "config.json").read_text())
    config["text_config"]["max_position_embeddings"] = 400
    (model / "config.json").write_text(json.dumps(config))
    return folder


def values(world: Path, **model: Any) -> dict[str, Any]:
    changed = recipe_values(world, world / "model", "qwen2.5-vl")
    changed["model"] |= {"dialect_options": LIMITS, "processor": SIZES} | model
    return changed


def shards(out: Path) -> int:
    return len(list(out.glob("*/part-*.parquet")))


def test_one_photo_that_exceeds_the_context_is_named_before_anything_is_generated(world: Path, tmp_path: Path) -> None:
    run(check_recipe(values(world), "test"), tmp_path / "run", until="queries")
    made = shards(tmp_path / "run")
    said = (
        r"2 of \d+ prompts do not fit into the model's 400 positions .* about 010\.png \(960 x 800 pixels\), has 1,\d+ tokens"
    )
    with pytest.raises(ModelError, match=said):
        run(check_recipe(values(world), "test"), tmp_path / "run", until="candidates")
    assert shards(tmp_path / "run") == made


def test_an_expression_that_exceeds_the_context_is_named_before_the_run_begins(world: Path, tmp_path: Path) -> None:
    one = json.loads((world / "rec.json").read_text())[LARGE]
    one |= {"width": WIDTH * 10, "height": HEIGHT * 10, "bbox": [value * 10 for value in one["bbox"]]}
    (tmp_path / "rec.json").write_text(json.dumps([one]))
    asked = values(world)
    asked["evaluation"]["rec"]["annotations"] = str(tmp_path / "rec.json")
    with pytest.raises(ModelError, match=r"1 of 1 prompts do not fit .* 010\.png"):
        run(check_recipe(asked, "test"), tmp_path / "run")
    assert shards(tmp_path / "run") == 0


def test_other_pixel_limits_than_the_processors_are_refused_before_anything_is_generated(world: Path, tmp_path: Path) -> None:
    asked = values(world, processor={"size": {"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 100}})
    with pytest.raises(ModelError, match=r"960 x 800 pixels is shown to the model as .* but the dialect counts pixels of"):
        run(check_recipe(asked, "test"), tmp_path / "run", until="candidates")
    assert not list((tmp_path / "run" / "candidates").glob("*.parquet"))


@pytest.mark.parametrize(
    ("changes", "fault", "said"),
    [
        ({"model": {"dialect": "nope"}}, RecipeError, "dialect is 'nope'"),
        ({"model": {"name": "/nowhere/model"}}, ModelError, "/nowhere/model does not exist"),
        (
            {"model": {"quantization": "4bit"}, "train": {"method": "full", "lora": {}}},
            RecipeError,
            "train.method: full trains the weights themselves",
        ),
        ({"train": {"trl": {"optim": "adamv"}}}, RecipeError, "adamv is not a valid OptimizerNames"),
        (
            {"candidates": {"prompts": ["plain", "crop"]}, "model": {"dialect": "shikra"}},
            RecipeError,
            "which show a second image",
        ),
        (
            {"model": {"endpoint": {"url": "http://localhost:1/v1"}}, "evaluation": {"backend": "endpoint"}},
            RecipeError,
            "model.endpoint.tuned_name is null",
        ),
    ],
)
def test_what_cannot_be_asked_is_refused_before_the_annotations_are_read(
    world: Path, tmp_path: Path, changes: dict[str, Any], fault: type[Exception], said: str
) -> None:
    asked = values(world)
    asked["source"]["annotations"] = str(tmp_path / "not there.json")
    for section, keys in changes.items():
        asked[section] |= keys
        if "dialect" in keys:
            asked["model"]["dialect_options"] = {}
    with pytest.raises(fault, match=said):
        run(check_recipe(asked, "test"), tmp_path / "run")


TASKS = {"pope": "no question can be asked", "region_description": "a region cannot be described"}


@pytest.mark.parametrize(("dialect", "task"), [("florence-2", "pope"), ("paligemma", "region_description")])
def test_a_task_that_the_family_has_no_question_for_is_refused_before_anything_is_read(
    world: Path, tmp_path: Path, dialect: str, task: str
) -> None:
    asked = values(world, dialect=dialect, dialect_options={})
    missing = str(tmp_path / "not there.json")
    asked["evaluation"] = {task: {"annotations": missing, "image_root": str(tmp_path)}}
    asked["candidates"] |= {"prompts": ["plain"]}
    recipe = check_recipe(asked, "test")
    said = f"^evaluation.{task}: dialect {dialect}: {TASKS[task]}"
    with pytest.raises(ModelError, match=said):
        evaluate(recipe, tmp_path / "evaluated")
    asked["source"]["annotations"] = missing
    with pytest.raises(ModelError, match=said):
        run(check_recipe(asked, "test"), tmp_path / "run")


def test_a_server_without_its_key_is_refused_before_the_queries_are_drawn(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    endpoint = {"url": "http://localhost:1/v1", "api_key_env": "NO_SUCH_KEY"}
    with pytest.raises(ModelError, match="NO_SUCH_KEY, but this environment variable is not set"):
        run(check_recipe(values(world, endpoint=endpoint), "test"), tmp_path / "run", until="candidates")
    assert shards(tmp_path / "run") == 0


def test_fixed_task_prompts_are_told_by_the_family(world: Path, tmp_path: Path) -> None:
    asked = recipe_values(world, build_florence2(tmp_path / "model"), "florence-2")
    with pytest.raises(RecipeError, match=r"candidates\.prompts is \[plain, names\], but florence-2 models know their own"):
        run(check_recipe(asked, "test"), tmp_path / "run", until="candidates")
