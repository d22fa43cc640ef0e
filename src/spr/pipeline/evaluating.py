"""The evaluation job: base and tuned answer the same items, and are compared item by item.

Answers are made shard by shard by the engine like any stage's rows; here they are put together and counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spr.errors import DataError, RecipeError
from spr.evaluation.metrics import Counting, group_count, task_metrics
from spr.evaluation.paper_tables import write_paper_tables
from spr.evaluation.registry import protocol_of
from spr.evaluation.task import Task
from spr.models import dialects
from spr.pipeline.assembly import BASE, TUNED, Evaluated, Say, evaluation_task, task_sets
from spr.pipeline.funnel import write_source
from spr.pipeline.metrics import task_results
from spr.pipeline.owning import adapter_said, check_owner, own_recipe
from spr.pipeline.publishing import write_results
from spr.pipeline.refusals import check_questions
from spr.pipeline.rounds import held
from spr.recipe import Recipe
from spr.recipe_evaluation import TaskSet
from spr.record_tables import PROTOCOL_KEY
from spr.records import Prediction
from spr.running.files import write_atomic, write_json
from spr.running.local import LocalEngine
from spr.running.progress import meter, say
from spr.running.run_dir import RunDir
from spr.running.shards import parquet_bytes, reasons
from spr.running.steps import STALE, Step, StepState, inspect


def evaluate(recipe: Recipe, out: Path, task: str | None = None, adapter: Path | None = None) -> dict[str, Any]:
    """Evaluate one task, one data set of it or all that the recipe names into `out`: the base model, and the tuned one by
    `adapter` or else by the run's own policy.

    Returns the metrics by data set, which also stand in metrics.json. Raises RecipeError for a task without a section, or
    another adapter in a run that has its own; ModelError for a task that the model's family has no question for; DataError when
    no item could be used; ResumeError when `out` belongs to another recipe, or holds results by another protocol.
    """
    directory = RunDir(out)
    directory.prepare()
    with held(directory):
        sets = task_sets(recipe, task)
        if not sets:
            raise RecipeError("the recipe names no task; add a section to evaluation, e.g. rec with annotations and image_root")
        check_questions(recipe, sets)
        tuned = check_owner(recipe, directory, sets, adapter)
        # All files are read before the first question is asked, and before the directory takes the recipe for its own.
        ready = [(one, evaluation_task(recipe, directory, one, tuned, say)) for one in sets]
        own_recipe(recipe, directory, sets)
        engine = LocalEngine(recipe.resources.devices, recipe.resources.threads)
        found = {one.id: evaluate_set(recipe, directory, engine, one, evaluated, tuned) for one, evaluated in ready}
        write_results(directory)
        write_tables(directory)
    for name, metrics in found.items():
        if metrics["n"] == 0:
            raise DataError(f"evaluation.{name}: every item was dropped; {out / 'dropped'} holds the reasons")
    return found


def evaluate_set(
    recipe: Recipe, run: RunDir, engine: LocalEngine, one: TaskSet, evaluated: Evaluated, adapter: Path | None
) -> dict[str, Any]:
    """Ask about one data set, read the answers and count, in a directory whose lock is held. `adapter` answers as tuned.

    An item that either side dropped is counted on neither, but under its reason in `dropped`. `{"n": 0}` and no file when
    every item was dropped: there is no accuracy of nothing.
    """
    if evaluated.reading:
        write_source(run, evaluated.reading, Path("eval", one.id))
    _tell_stale(evaluated.steps, say)
    for step in evaluated.steps:
        engine.run(step)
    found: dict[str, list[Prediction]] = {}
    forget(run, one)
    answered = {side: asked for side in (BASE, TUNED) if (asked := evaluated.side(side))}
    dropped = {row.row_id: row for step in answered.values() for row in step.store.all_dropped()}
    for side, step in answered.items():
        judged = _judged(recipe, evaluated, step, side)
        write_predictions(recipe, run, one, side, judged)
        # What one side has no answer to is left out of both: a comparison is paired.
        found[side] = [row for item, predictions in judged.items() if item not in dropped for row in predictions]
    if not found[BASE]:
        say(f"eval/{one.id}: every item was dropped, so there is nothing to count; {run.path / 'dropped'} holds the reasons")
        return {"n": 0}
    said: dict[str, Any] = {"data": evaluated.data, **adapter_said(adapter)}
    if dropped:
        said["dropped"] = reasons(list(dropped.values()))
    if evaluated.subset_of and evaluated.task.items_are:
        said["subset_unit"] = evaluated.task.items_are
    return count_set(recipe, run, one, evaluated.task, found, evaluated.subset_of, said)


def forget(run: RunDir, one: TaskSet) -> None:
    """Take away what a data set's answers were worth, metrics first: what is read and counted now takes its place."""
    folder = run.path / "eval" / one.id
    for side in (".", BASE, TUNED):
        for name in ("metrics.json", "predictions.parquet"):
            (folder / side / name).unlink(missing_ok=True)


def write_predictions(recipe: Recipe, run: RunDir, one: TaskSet, side: str, judged: Mapping[str, list[Prediction]]) -> None:
    """Write predictions.parquet of one side, with the protocol that read the answers. Raises DiskError."""
    rows = [row for predictions in judged.values() for row in predictions]
    protocol = protocol_of(one.kind, recipe.evaluation.protocol)
    content = parquet_bytes(rows, Prediction, {PROTOCOL_KEY: protocol})
    write_atomic(run.evaluation(one.id, side) / "predictions.parquet", content)


def count_set(
    recipe: Recipe,
    run: RunDir,
    one: TaskSet,
    task: Task[Any],
    found: Mapping[str, Sequence[Prediction]],
    subset_of: int | None,
    said: Mapping[str, Any],
) -> dict[str, Any]:
    """Count the predictions of base and, where they are there, tuned; write and return their metrics, with what else is to be
    said of them. Raises DataError for sides that answered different items, DiskError."""
    how = Counting(recipe.evaluation.bootstrap, recipe.seed, protocol_of(one.kind, recipe.evaluation.protocol))
    with meter(f"counting {one.id}", group_count(found[BASE]) + 1, "groups") as tick:
        metrics = {**task_metrics(task, found[BASE], found.get(TUNED), how, subset_of, tick), **said}
    for side in found:
        write_json(run.evaluation(one.id, side) / "metrics.json", {"n": metrics["n"], **metrics[side]})
    write_json(run.path / "eval" / one.id / "metrics.json", metrics)
    return metrics


def write_tables(run: RunDir) -> None:
    """Write eval/tables.md and eval/tables.tex of all data sets that were evaluated so far, and say so."""
    if written := write_paper_tables(run.path / "eval", task_results(run)):
        say(f"tables for papers: {' and '.join(str(path) for path in written)}")


def _judged(recipe: Recipe, evaluated: Evaluated, step: Step, side: str) -> dict[str, list[Prediction]]:
    """What the answers of one side are worth, by item and in the order of the items."""
    dialect = dialects.of(recipe.model)
    answers = {answer.item_id: answer for answer in step.store.all_rows()}
    with meter(f"reading {evaluated.id}/{side}", len(answers), "answers") as tick:
        return evaluated.reader(side).score_all(evaluated.items(), answers, dialect, tick)


def _tell_stale(steps: tuple[Step, ...], tell: Say) -> None:
    states: dict[str, StepState] = {}
    for step in steps:
        state = states[step.name] = inspect(step, states)
        if state.count(STALE):
            tell(f"{step.name}: {state.count(STALE)} shards are made again ({', '.join(state.why)})")
