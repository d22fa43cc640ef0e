"""The evaluation job: base and tuned answer the same items, and are compared item by item.

Answers are made shard by shard by the engine like any stage's rows; here they are put together and counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spr.errors import DataError, RecipeError, ResumeError
from spr.evaluation.metrics import Counting, task_metrics
from spr.evaluation.paper_tables import write_paper_tables
from spr.evaluation.task import Task
from spr.models import dialects
from spr.pipeline.assembly import BASE, TUNED, Evaluated, Say, evaluation_task, task_sets
from spr.pipeline.funnel import of_source, write_source
from spr.pipeline.metrics import results_on_disk, task_results, write_metrics
from spr.pipeline.refusals import check_questions
from spr.recipe import Recipe, check_recipe
from spr.recipe_evaluation import KINDS, TaskSet
from spr.recipe_model import REACHED_BY
from spr.record_tables import PROTOCOL_KEY
from spr.records import Prediction
from spr.running.files import write_atomic, write_json
from spr.running.local import LocalEngine
from spr.running.progress import meter, say
from spr.running.run_dir import RunDir, changed_keys
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
    with directory.lock():
        sets = task_sets(recipe, task)
        if not sets:
            raise RecipeError("the recipe names no task; add a section to evaluation, e.g. rec with annotations and image_root")
        check_questions(recipe, sets)
        check_protocol(recipe, directory)
        own = adapter_of(directory)
        if adapter and (own or of_source(directory)) and adapter.resolve() != (directory.policy / "adapter").resolve():
            raise RecipeError(f"--adapter: {out} keeps the results of its own policy; name another directory with --out")
        # All files are read before the first question is asked, and before the directory takes the recipe for its own.
        ready = [(one, evaluation_task(recipe, directory, one, adapter or own, say)) for one in sets]
        own_recipe(recipe, directory, sets)
        engine = LocalEngine(recipe.resources.devices, recipe.resources.threads)
        found = {one.id: evaluate_set(recipe, directory, engine, one, evaluated) for one, evaluated in ready}
        write_metrics(directory)
        write_tables(directory)
    for name, metrics in found.items():
        if metrics["n"] == 0:
            raise DataError(f"evaluation.{name}: every item was dropped; {out / 'dropped'} holds the reasons")
    return found


def evaluate_set(recipe: Recipe, run: RunDir, engine: LocalEngine, one: TaskSet, evaluated: Evaluated) -> dict[str, Any]:
    """Ask about one data set, read the answers and count, in a directory whose lock is held.

    An item that either side dropped is counted on neither, but under its reason in `dropped`. `{"n": 0}` and no file when
    every item was dropped: there is no accuracy of nothing.
    """
    check_asked(run, one)
    if evaluated.reading:
        write_source(run, evaluated.reading, Path("eval", one.id))
    _tell_stale(evaluated.steps, say)
    for step in evaluated.steps:
        engine.run(step)
    found: dict[str, list[Prediction]] = {}
    answered = {side: asked for side in (BASE, TUNED) if (asked := evaluated.side(side))}
    dropped = {row.row_id: row for step in answered.values() for row in step.store.all_dropped()}
    for side, step in answered.items():
        judged = _judged(recipe, evaluated, step, side)
        write_predictions(recipe, run, one, side, judged)
        # What one side has no answer to is left out of both: a comparison is paired.
        found[side] = [row for item, predictions in judged.items() if item not in dropped for row in predictions]
    if not found[BASE]:
        (run.path / "eval" / one.id / "metrics.json").unlink(missing_ok=True)
        say(f"eval/{one.id}: every item was dropped, so there is nothing to count; {run.path / 'dropped'} holds the reasons")
        return {"n": 0}
    said = {"dropped": reasons(list(dropped.values()))} if dropped else {}
    return count_set(recipe, run, one, evaluated.task, found, evaluated.subset_of, said)


def write_predictions(recipe: Recipe, run: RunDir, one: TaskSet, side: str, judged: Mapping[str, list[Prediction]]) -> None:
    """Write predictions.parquet of one side, with the protocol that read the answers. Raises DiskError."""
    rows = [row for predictions in judged.values() for row in predictions]
    content = parquet_bytes(rows, Prediction, {PROTOCOL_KEY: recipe.evaluation.protocol})
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
    say(f"eval/{one.id}: counting {len(found[BASE]):,} {task.unit}, {recipe.evaluation.bootstrap:,} draws")
    how = Counting(recipe.evaluation.bootstrap, recipe.seed, recipe.evaluation.protocol)
    metrics = {**task_metrics(task, found[BASE], found.get(TUNED), how, subset_of), **said}
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


def adapter_of(run: RunDir) -> Path | None:
    """The adapter of a run's finished training; None where there is none."""
    return run.policy / "adapter" if (run.policy / "manifest.json").is_file() else None


def check_protocol(recipe: Recipe, run: RunDir) -> None:
    """Refuse to lay results by one protocol beside those by another. Raises ResumeError."""
    for name, metrics in task_results(run).items():
        made = metrics.get("protocol")
        if made is not None and made != recipe.evaluation.protocol:
            raise ResumeError(
                f"{run.path} holds {name} by protocol {made}, and evaluation.protocol is {recipe.evaluation.protocol}; one "
                "table never mixes protocols: name another --out"
            )


def check_asked(run: RunDir, one: TaskSet) -> None:
    """Refuse to lay a model's answers over what was scored from files. Raises ResumeError."""
    if (results_on_disk(run).get(one.id) or {}).get("from"):
        raise ResumeError(f"{run.path} holds {one.id} scored from given files; name another --out")


def own_recipe(recipe: Recipe, directory: RunDir, sets: Sequence[TaskSet]) -> None:
    """Put the recipe down in a new directory; refuse one that was made by another recipe. Of an old directory only the sections
    of what is evaluated now are written anew."""
    old, new = directory.recipe_values(), recipe.model_dump(mode="json")
    if old is None:
        directory.write_recipe(recipe)
        return
    changes = changed_keys(_computed(old), _computed(new))
    if changes:
        raise ResumeError(f"{directory.path} belongs to another recipe ({'; '.join(changes)}); name another --out")
    sections = {one.kind: new["evaluation"][one.kind] for one in sets}
    merged = {**old, "evaluation": {**old["evaluation"], **sections}}
    directory.write_recipe(check_recipe(merged, str(directory.recipe_file)))


def _computed(values: dict[str, Any]) -> dict[str, Any]:
    """A plain recipe without where it runs, how a server is reached, and which data sets there are."""
    model = dict(values["model"])
    if model.get("endpoint"):
        model["endpoint"] = {name: value for name, value in model["endpoint"].items() if name not in REACHED_BY}
    evaluation = {name: value for name, value in values["evaluation"].items() if name not in KINDS}
    return {**values, "model": model, "resources": None, "evaluation": evaluation}


def _tell_stale(steps: tuple[Step, ...], tell: Say) -> None:
    states: dict[str, StepState] = {}
    for step in steps:
        state = states[step.name] = inspect(step, states)
        if state.count(STALE):
            tell(f"{step.name}: {state.count(STALE)} shards are made again ({', '.join(state.why)})")
