"""`spr demo`: the whole method on the bundled world, with the bundled models; no recipe of one's own, no network.

It draws the preference and the held-out scenes into the run directory and runs the recipe that lies beside the models.
Held-out scenes are looked at here and nowhere else: settings were chosen on the development scenes.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from spr.errors import ResumeError
from spr.recipe import Recipe, check_recipe

_FULL = {"preference": 1150, "held_out": 1050}
_QUICK = {"preference": 48, "held_out": 40}
_QUICK_CHANGES: dict[str, dict[str, Any]] = {
    "train": {"max_steps": 20, "save_steps": 10},
}
_TASKS = {"rec": "rec.json", "regions": "annotations.json", "phrase_grounding": "sentences.json", "pope": "probe.json"}


def run(out: Path, quick: bool = False) -> None:
    """Run or resume the demo in `out` and show its tables. Raises SprError."""
    from spr.pipeline import opened
    from spr.pipeline import run as run_recipe
    from spr.views import show_results

    recipe = demo_recipe(out / "world", quick)
    with opened(out):
        draw_worlds(out / "world", _QUICK if quick else _FULL)
    show_results(run_recipe(recipe, out).path)


def demo_recipe(world: Path, quick: bool) -> Recipe:
    """The bundled recipe on the scenes that `draw_worlds` writes to `world`; `quick` cuts it to under a minute."""
    bundled = resources.files("spr.tiny")
    data = yaml.safe_load(bundled.joinpath("recipe.yaml").read_text(encoding="utf-8"))
    models = Path(str(bundled)) / "models"
    data["model"]["name"] = str(models / "mllm")
    data["score"]["semantic"]["model"] = str(models / "clip")
    data["score"]["detector"]["model"] = str(models / "detector")
    preference, held_out = world / "preference", world / "held_out"
    data["source"] = {"annotations": str(preference / "annotations.json"), "image_root": str(preference)}
    for task, name in _TASKS.items():
        data["evaluation"][task] = {"annotations": str(held_out / name), "image_root": str(held_out)}
    if quick:
        data["shard_size"] = 10
        for section, changes in _QUICK_CHANGES.items():
            data[section] |= changes
    return check_recipe(data, "the bundled recipe")


def draw_worlds(world: Path, counts: dict[str, int]) -> None:
    """Write the preference and the held-out scenes, unless they are there already. Raises ResumeError where other ones are."""
    from spr.running.files import read_json, write_json, writing
    from spr.running.progress import meter
    from spr.tiny.splits import HELD_OUT, PREFERENCE, write_split
    from spr.tiny.tasks import write_tasks

    marker = world / "scenes.json"
    there = read_json(marker)
    if there == counts:
        return
    if there is not None:
        raise ResumeError(f"{world.parent} holds a demo of another size ({there}); name another --out")
    with writing(world), meter("scenes", sum(counts.values()), "images") as tick:
        write_split(PREFERENCE, counts["preference"], world / "preference", tick=tick)
        write_split(HELD_OUT, counts["held_out"], world / "held_out", tick=tick)
        write_tasks(HELD_OUT, counts["held_out"], world / "held_out")
    write_json(marker, counts)
