"""The evaluation job: base and tuned answer the same items, and are compared item by item.

Answers are made shard by shard by the engine like any stage's rows; here they are put together and counted.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from spr.errors import DataError, RecipeError, ResumeError
from spr.evaluation.metrics import rec_metrics, region_metrics
from spr.pipeline.assembly import BASE, TUNED, Say, evaluation_task
from spr.pipeline.funnel import of_source, write_source
from spr.pipeline.metrics import write_metrics
from spr.recipe import Recipe
from spr.recipe_model import REACHED_BY
from spr.records import Dropped, Prediction
from spr.running.files import write_atomic, write_json
from spr.running.local import LocalEngine
from spr.running.progress import say
from spr.running.run_dir import RunDir, changed_keys
from spr.running.shards import parquet_bytes, reasons
from spr.running.steps import STALE, Step, StepState, inspect

_METRICS = {"rec": rec_metrics, "regions": region_metrics}


def evaluate(recipe: Recipe, out: Path, task: str, adapter: Path | None = None) -> dict[str, Any]:
    """Evaluate one task into `out`: the base model, and the tuned one by `adapter` or else by the run's own policy.

    Returns the task's metrics, which also stand in metrics.json. Raises RecipeError for a task without a section, or
    another adapter in a run that has its own; DataError when no item could be used; ResumeError when `out` belongs to
    another recipe.
    """
    directory = RunDir(out)
    directory.prepare()
    with directory.lock():
        _own(recipe, directory)
        own = adapter_of(directory)
        if adapter and (own or of_source(directory)) and adapter.resolve() != (directory.policy / "adapter").resolve():
            raise RecipeError(f"--adapter: {out} keeps the results of its own policy; name another directory with --out")
        engine = LocalEngine(recipe.resources.devices, recipe.resources.threads)
        metrics = evaluate_task(recipe, directory, engine, task, adapter or own)
        write_metrics(directory)
    if metrics["n"] == 0:
        raise DataError(f"evaluation.{task}: every item was dropped; {out / 'dropped'} holds the reasons")
    return metrics


def evaluate_task(recipe: Recipe, run: RunDir, engine: LocalEngine, name: str, adapter: Path | None) -> dict[str, Any]:
    """Make, merge and count one task's predictions, in a directory whose lock is held.

    An item that either side dropped is counted on neither, but under its reason in `dropped`. `{"n": 0}` and no file when
    every item was dropped: there is no accuracy of nothing.
    """
    task = evaluation_task(recipe, run, name, adapter, say)
    if task.reading:
        write_source(run, task.reading, Path("eval", name))
    _tell_stale(task.steps, say)
    for step in task.steps:
        engine.run(step)
    found: dict[str, list[Prediction]] = {}
    dropped: dict[str, Dropped] = {}
    for side in (BASE, TUNED):
        answered = task.side(side)
        if answered is not None:
            found[side] = answered.store.all_rows()
            dropped |= {row.row_id: row for row in answered.store.all_dropped()}
            write_atomic(run.evaluation(name, side) / "predictions.parquet", parquet_bytes(found[side], Prediction))
    # What one side has no answer to is left out of both: a comparison is paired.
    found = {side: [row for row in rows if row.item_id not in dropped] for side, rows in found.items()}
    if not found[BASE]:
        (run.path / "eval" / name / "metrics.json").unlink(missing_ok=True)
        say(f"eval/{name}: every item was dropped, so there is nothing to count; {run.path / 'dropped'} holds the reasons")
        return {"n": 0}
    metrics = _METRICS[name](found[BASE], found.get(TUNED), recipe.evaluation.bootstrap, recipe.seed, task.subset_of)
    if dropped:
        metrics["dropped"] = reasons(list(dropped.values()))
    for side in found:
        write_json(run.evaluation(name, side) / "metrics.json", {"n": metrics["n"], **metrics[side]})
    write_json(run.path / "eval" / name / "metrics.json", metrics)
    return metrics


def adapter_of(run: RunDir) -> Path | None:
    """The adapter of a run's finished training; None where there is none."""
    return run.policy / "adapter" if (run.policy / "manifest.json").is_file() else None


def _own(recipe: Recipe, directory: RunDir) -> None:
    """Put the recipe down in a new directory; refuse one that was made by another recipe."""
    old = directory.recipe_values()
    if old is None:
        directory.write_recipe(recipe)
        return
    changes = changed_keys(_computed(old), _computed(recipe.model_dump(mode="json")))
    if changes:
        raise ResumeError(f"{directory.path} belongs to another recipe ({'; '.join(changes)}); name another --out")


def _computed(values: dict[str, Any]) -> dict[str, Any]:
    """A plain recipe without where it runs and how a server is reached."""
    model = dict(values["model"])
    if model.get("endpoint"):
        model["endpoint"] = {name: value for name, value in model["endpoint"].items() if name not in REACHED_BY}
    return {**values, "model": model, "resources": None}


def _tell_stale(steps: tuple[Step, ...], tell: Say) -> None:
    states: dict[str, StepState] = {}
    for step in steps:
        state = states[step.name] = inspect(step, states)
        if state.count(STALE):
            tell(f"{step.name}: {state.count(STALE)} shards are made again ({', '.join(state.why)})")
