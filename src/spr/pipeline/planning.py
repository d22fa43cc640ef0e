"""What would run: for every step its rows, which shards are done, stale or to do, and what it would take. Changes nothing
on disk.

A changed recipe never overwrites silently: `refusal` says what would be lost, `clear` does it when the user insists.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spr.pipeline.assembly import BASE, JUDGED, TUNED, Evaluated, Say, data_steps, evaluation_task, pair_store
from spr.pipeline.refusals import check_recipe_runs
from spr.recipe import Recipe
from spr.records import Scene
from spr.running.files import canonical, read_json
from spr.running.progress import say as say_on_stderr
from spr.running.run_dir import RunDir, changed_keys
from spr.running.steps import DONE, STALE, TO_DO, Step, StepState, clear_stale, inspect
from spr.sources.coco import read_scenes
from spr.training.manifest import MANIFEST, differences, key_parts

if TYPE_CHECKING:
    from spr.pipeline.estimates.plan import Takes
    from spr.pipeline.estimates.steps import Estimate

TRAIN = "train"


@dataclass(frozen=True, slots=True)
class PlanRow:
    """A step's state, with its output rows: known, or an estimate from the steps before it (`at_most`); and what it takes."""

    state: StepState
    rows: int
    at_most: bool
    estimate: Estimate


@dataclass(frozen=True, slots=True)
class Plan:
    """Every step in the order of the flow, and what the run takes as a whole."""

    rows: tuple[PlanRow, ...]
    takes: Takes

    def __iter__(self) -> Iterator[PlanRow]:
        """The steps."""
        return iter(self.rows)


@dataclass(frozen=True, slots=True)
class Survey:
    """Every step of a run with its state, in the order of the flow; training is a step without a stage."""

    steps: dict[str, Step]
    states: dict[str, StepState]

    @property
    def stale(self) -> list[StepState]:
        """The states that hold stale shards."""
        return [state for state in self.states.values() if state.count(STALE)]


def plan(recipe: Recipe, out: Path, say: Say = say_on_stderr) -> Plan:
    """What `run(recipe, out)` would do, and take. Needs no weights and no network; measures the device.

    Raises SprError for a source or task file that cannot be read, and for a device that is not here; ResumeError for a
    directory of another layout; ModelError for a path that is no model's, and where shards lie whose model cannot be read.
    """
    from spr.pipeline.estimates.plan import takes
    from spr.pipeline.estimates.steps import Estimator

    run = RunDir(out)
    if run.exists:
        run.check()
    check_recipe_runs(recipe, ("candidates",))
    found = survey(recipe, run, read_scenes(recipe.source, recipe.queries, say).scenes, say, keys=False)
    expected = _estimates(recipe, found)
    rows = {name: state.rows if state.finished else expected.get(name, 0) for name, state in found.states.items()}
    say("estimating memory, disk and time; the device is measured for a moment")
    estimator = Estimator(recipe, found.steps, found.states, rows)
    estimates = {name: estimator.of(name) for name in found.states}
    steps = tuple(PlanRow(state, rows[name], not state.finished, estimates[name]) for name, state in found.states.items())
    return Plan(steps, takes(estimator, estimates))


def survey(
    recipe: Recipe, run: RunDir, scenes: Sequence[Scene], say: Say, until: str | None = None, *, keys: bool = True
) -> Survey:
    """All steps of a recipe and their states; without those that `data_steps` leaves out for `until`.

    `keys` asks every stage what it depends on, so that a model that cannot be read is refused before anything is computed;
    without it only the stages are asked that have shards to compare with, and a plan needs no model.
    """
    steps = {step.name: step for step in data_steps(recipe, run, scenes, until)}
    states: dict[str, StepState] = {}
    for step in steps.values():
        if keys:
            _ = step.stage.recipe_part
        states[step.name] = inspect(step, states)
    if "pairs" not in states:
        return Survey(steps, states)
    states[TRAIN] = _training(recipe, run, states["pairs"])
    trained = states[TRAIN].finished
    for one in recipe.evaluation.sets():
        task = evaluation_task(recipe, run, one, run.policy / "adapter" if trained else None, say)
        for step in task.steps:
            steps[step.name] = step
            states[step.name] = inspect(step, states)
        if not trained:
            states[f"eval/{one.id}/{TUNED}"] = _tuned_later(task, run, states)
    return Survey(steps, states)


def refusal(recipe: Recipe, run: RunDir, stale: Sequence[StepState]) -> str:
    """The sentence for a directory that holds something made from another recipe, source or version."""
    old = run.recipe_values() or {}
    new = recipe.model_dump(mode="json")
    changes = changed_keys({**old, "resources": None}, {**new, "resources": None}) if old else []
    what = f"another recipe ({'; '.join(changes)})" if changes else "other input, models or versions"
    lost = "; ".join(f"{state.name}: {state.count(STALE)} shards ({', '.join(state.why)})" for state in stale)
    return f"{run.path} was made from {what}. Stale are {lost}. Give --force to make them again, or name another --out"


def clear(run: RunDir, found: Survey) -> None:
    """Take away whatever is stale, and the results that were drawn from it."""
    for state in found.stale:
        step = found.steps.get(state.name)
        if step is not None:
            clear_stale(step, state)
        elif state.name == TRAIN:
            shutil.rmtree(run.policy, ignore_errors=True)
        else:
            shutil.rmtree(run.path / state.name, ignore_errors=True)
        if state.name.startswith("eval/"):
            for result in ("predictions.parquet", "metrics.json"):
                (run.path / state.name / result).unlink(missing_ok=True)
            (run.path / state.name).parent.joinpath("metrics.json").unlink(missing_ok=True)
    if found.stale:
        run.metrics_file.unlink(missing_ok=True)
        shutil.rmtree(run.path / "report", ignore_errors=True)


def _training(recipe: Recipe, run: RunDir, pairs: StepState) -> StepState:
    """The policy as a step of one shard: stale when it, or a checkpoint of it, was made from something else."""
    finished: Any = read_json(run.policy / MANIFEST)
    begun = [read_json(path) for path in sorted(run.policy.glob("checkpoints/*/complete.json"))]
    made = [*([finished.get("parts")] if isinstance(finished, dict) else []), *begun]
    if not any(isinstance(parts, dict) for parts in made):
        return StepState(TRAIN, {0: TO_DO}, (), 0)
    if pairs.count(STALE):
        return StepState(TRAIN, {0: STALE}, ("made from pairs",), 0)
    now: dict[str, Any] = json.loads(canonical(key_parts(pair_store(run).all_rows() if pairs.finished else [], recipe)))
    why = []
    for parts in (parts for parts in made if isinstance(parts, dict)):
        # Pairs that are still to be made again cannot be compared yet; training itself looks once more.
        change = differences(parts, now if pairs.finished else {**now, "pairs": parts.get("pairs")})
        why += [change] if change and change not in why else []
    state = STALE if why else DONE if isinstance(finished, dict) else TO_DO
    rows = int(finished["report"]["pairs"]) if state == DONE and isinstance(finished, dict) else 0
    return StepState(TRAIN, {0: state}, tuple(why), rows)


def _tuned_later(task: Evaluated, run: RunDir, states: dict[str, StepState]) -> StepState:
    """The tuned side while there is no adapter: to do, or stale with the policy that it was made by."""
    name = f"eval/{task.id}/{TUNED}"
    base = states[f"eval/{task.id}/{BASE}"]
    stale = states[TRAIN].count(STALE) > 0 and (run.path / name / "parts").is_dir()
    return StepState(name, dict.fromkeys(base.shards, STALE if stale else TO_DO), ("made from train",) if stale else (), 0)


def _estimates(recipe: Recipe, found: Survey) -> dict[str, int]:
    """At most so many rows, from the step before."""
    source = found.steps["queries"].source
    scenes = sum(source.size(index) for index in range(source.count()))
    queries = _rows(found, "queries", scenes * recipe.queries.per_image)
    candidates = _rows(found, "candidates", queries * recipe.candidates.k)
    pairs = _rows(found, "pairs", queries)
    estimates = {"queries": queries, "candidates": candidates, "scores": candidates, "pairs": pairs, TRAIN: pairs}
    for one in recipe.evaluation.sets():
        base = found.steps[f"eval/{one.id}/{BASE}"].source
        items = sum(base.size(index) for index in range(base.count()))
        if (made := f"eval/{one.id}/items") in found.steps:
            made_from = found.steps[made].source
            images = sum(made_from.size(index) for index in range(made_from.count()))
            items = _rows(found, made, images * recipe.queries.per_image)
            estimates[made] = items
        estimates |= {f"eval/{one.id}/{side}": items for side in (BASE, TUNED, *JUDGED.values())}
    return estimates


def _rows(found: Survey, name: str, otherwise: int) -> int:
    return found.states[name].rows if found.states[name].finished else otherwise
