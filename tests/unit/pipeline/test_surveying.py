"""What a survey says of a policy: by its manifest, and by the checkpoints of one that is not finished."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from spr.pipeline.surveying import TRAIN, _training
from spr.recipe import Recipe, check_recipe
from spr.running.files import write_json
from spr.running.run_dir import RunDir
from spr.running.steps import DONE, STALE, TO_DO, StepState
from spr.training.manifest import Mark, key_parts, write_mark

PAIRS = StepState("pairs", {0: DONE}, (), 0)


@pytest.fixture
def recipe() -> Recipe:
    return check_recipe(
        {
            "source": {"annotations": "none.json", "image_root": "none"},
            "model": {"name": "/nowhere/model", "dialect": "ferret"},
            "score": {"weight": 0, "localization": {"preset": "annotations_only"}},
        },
        "test",
    )


def marked(run: RunDir, update: int, parts: dict[str, Any]) -> None:
    write_mark(run.policy / "checkpoints" / f"checkpoint-{update}", Mark(parts, ("pair-3",)))


def finished(run: RunDir, parts: dict[str, Any]) -> None:
    write_json(run.policy / "manifest.json", {"key": "", "parts": parts, "report": {"pairs": 8}})


def test_a_training_that_was_stopped_is_to_do_and_one_that_is_finished_is_done(recipe: Recipe, tmp_path: Path) -> None:
    run, parts = RunDir(tmp_path), key_parts([], recipe)
    assert _training(recipe, run, PAIRS, waits=False) == StepState(TRAIN, {0: TO_DO}, (), 0)
    (run.policy / "checkpoints" / "checkpoint-1").mkdir(parents=True)  # not whole
    marked(run, 2, parts)
    assert _training(recipe, run, PAIRS, waits=False) == StepState(TRAIN, {0: TO_DO}, (), 0)
    finished(run, parts)
    assert _training(recipe, run, PAIRS, waits=False) == StepState(TRAIN, {0: DONE}, (), 8)


@pytest.mark.parametrize("write", [finished, lambda run, parts: marked(run, 2, parts)])
def test_what_was_made_from_something_else_is_stale(write: Any, recipe: Recipe, tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    write(run, key_parts([], recipe) | {"train.beta": 0.5})
    assert _training(recipe, run, PAIRS, waits=False) == StepState(TRAIN, {0: STALE}, ("train.beta was 0.5, is now 0.1",), 0)


def test_a_checkpoint_that_an_earlier_version_marked_is_stale_and_nothing_is_listed(recipe: Recipe, tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    write_json(run.policy / "checkpoints" / "checkpoint-2" / "complete.json", key_parts([], recipe))
    assert _training(recipe, run, PAIRS, waits=False).why == ("made by another version of spr",)
