"""Negative controls on the bundled world: it is the order within the pairs that sharpens the model, not the training.

One run up to its pairs, then three trainings of equal length on them, judged on development scenes. They train by DPO
alone: the demo's SFT term would teach the refined texts whatever the order.
"""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from spr.demo import demo_recipe
from spr.pipeline import evaluate, run
from spr.pipeline.assembly import pair_store
from spr.recipe import Recipe
from spr.records import PreferencePair
from spr.running.devices import limit_threads
from spr.running.run_dir import RunDir
from spr.tiny.splits import DEVELOPMENT, PREFERENCE, write_split
from spr.tiny.tasks import write_tasks
from spr.training.job import train

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
UPDATES = 100


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, Path]:
    """The demo's recipe on 800 preference scenes, up to its pairs, with development scenes to be judged on."""
    folder = tmp_path_factory.mktemp("controls")
    write_split(PREFERENCE, 800, folder / "world" / "preference")
    write_split(DEVELOPMENT, 500, folder / "world" / "held_out")
    write_tasks(DEVELOPMENT, 500, folder / "world" / "held_out")
    recipe = demo_recipe(folder / "world", quick=False)
    changes = {"max_steps": UPDATES, "save_steps": UPDATES, "loss_type": ("sigmoid",)}
    recipe = recipe.model_copy(update={"train": recipe.train.model_copy(update=changes)})
    run(recipe, folder / "run", until="pairs")
    return recipe, folder / "run"


def pairs_of(out: Path) -> list[PreferencePair]:
    return pair_store(RunDir(out)).all_rows()


def swapped(pair: PreferencePair) -> PreferencePair:
    return replace(pair, chosen=pair.rejected, rejected=pair.chosen)


def gain(recipe: Recipe, pairs: list[PreferencePair], out: Path) -> dict[str, Any]:
    """The paired change of REC accuracy that training on these pairs brings."""
    limit_threads(recipe.train.threads)
    train(pairs, recipe, recipe.source.image_root, out / "policy", device="cpu")
    delta: dict[str, Any] = evaluate(recipe, out / "run", "rec", out / "policy" / "adapter")["rec"]["delta"]
    print(out.name, delta)
    return delta


def test_chosen_and_rejected_swapped_makes_the_model_less_precise(made: tuple[Recipe, Path], tmp_path: Path) -> None:
    recipe, out = made
    delta = gain(recipe, [swapped(pair) for pair in pairs_of(out)], tmp_path)
    assert delta["ci95"]["0.9"][1] < 0


def test_pairs_in_random_order_bring_no_gain(made: tuple[Recipe, Path], tmp_path: Path) -> None:
    recipe, out = made
    drawn = [swapped(pair) if random.Random(pair.pair_id).random() < 0.5 else pair for pair in pairs_of(out)]
    delta = gain(recipe, drawn, tmp_path)
    assert delta["ci95"]["0.9"][0] <= 0


def test_the_pairs_as_they_are_bring_a_gain_that_grows_with_the_threshold(made: tuple[Recipe, Path], tmp_path: Path) -> None:
    recipe, out = made
    delta = gain(recipe, pairs_of(out), tmp_path)
    assert delta["ci95"]["0.9"][0] > 0
    assert delta["acc"]["0.9"] > delta["acc"]["0.8"] > delta["acc"]["0.5"]
