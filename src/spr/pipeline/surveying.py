"""What of a run is done, stale or still to do: every step of every round, in the order of the flow.

A changed recipe never overwrites silently: `refusal` says what would be lost, `clear` does it when the user insists.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from spr.errors import RecipeError
from spr.pipeline.assembly import BASE, DATA, TUNED, Evaluated, Say, data_steps, evaluation_task, pair_store
from spr.pipeline.rounds import Round, adapter_of, start_of, trained
from spr.recipe import Recipe
from spr.recipe_evaluation import TaskSet
from spr.records import Scene
from spr.running.files import canonical, read_json
from spr.running.progress import say
from spr.running.run_dir import RunDir, changed_keys
from spr.running.steps import DONE, STALE, TO_DO, Step, StepState, clear_stale, inspect
from spr.training.manifest import MANIFEST, differences, key_parts, read_mark

TRAIN = "train"


@dataclass(frozen=True, slots=True)
class Survey:
    """Every step of one round with its state, in the order of the flow; training is a step without a stage. `sets` are the data
    sets whose steps are among them; `waits` says that the policy which describes is still to be trained."""

    round: Round
    steps: dict[str, Step]
    states: dict[str, StepState]
    sets: tuple[TaskSet, ...]
    waits: bool

    @property
    def stale(self) -> list[StepState]:
        """The states that hold stale shards."""
        return [state for state in self.states.values() if state.count(STALE)]

    @property
    def made(self) -> bool:
        """Whether its policy is there, and all that it came from."""
        return all(self.states[name].finished for name in (*DATA, TRAIN))

    @property
    def trained(self) -> StepState:
        """The state of training, under its full name; to do where there are no pairs yet."""
        return self._full(self.states.get(TRAIN) or StepState(TRAIN, {0: TO_DO}, (), 0))

    @property
    def ends(self) -> str:
        """Why no round comes after this one; empty while there is no reason."""
        pairs = self.states.get("pairs")
        if pairs is None or not pairs.finished or pairs.rows:
            return ""
        return pairs.why[0] if pairs.why else f"{self.round.prefix}pairs is empty"

    def named(self) -> Iterator[StepState]:
        """All states, under the names that tell rounds apart."""
        return map(self._full, self.states.values())

    def _full(self, state: StepState) -> StepState:
        return replace(state, name=f"{self.round.prefix}{state.name}")


def survey_all(
    rounds: Sequence[Round], scenes: Sequence[Scene], say: Say, until: str | None = None, *, keys: bool = True
) -> list[Survey]:
    """All rounds in their order, with their evaluation: the last one with the recipe's, others with what they were asked for
    on their own. See `survey`."""
    found: list[Survey] = []
    for one in rounds:
        now = survey(one, scenes, found[-1] if found else None, until, keys=keys)
        sets = one.recipe.evaluation.sets() if TRAIN in now.states else ()
        asked = tuple(which for which in sets if not one.prefix or one.run.evaluation(which.id, BASE).is_dir())
        found.append(replace(now, sets=asked))
        if asked:
            _survey_evaluation(found[-1], say)
    return found


def survey(
    one: Round, scenes: Sequence[Scene], before: Survey | None = None, until: str | None = None, *, keys: bool = True
) -> Survey:
    """The steps of a round up to its policy, and their states; without those that `data_steps` leaves out for `until`. `before`
    is the round before it; without it the policy to begin from is taken to be there.

    `keys` asks every stage what it depends on, so that a model that cannot be read is refused before anything is computed;
    without it only the stages are asked that have shards to compare with, and a plan needs no model.
    """
    steps = {step.name: step for step in data_steps(one.recipe, one.run, scenes, until)}
    waits = before is not None and not before.trained.finished
    states: dict[str, StepState] = {}
    if before and before.ends:
        states = {name: StepState(name, {}, (before.ends,), 0) for name in (*steps, TRAIN)}
        return Survey(one, steps, states, (), waits)
    for step in steps.values():
        if before and waits and step.name == "candidates":
            states[step.name] = _described_later(step, states, before.trained)
            continue
        if keys:
            _ = step.stage.recipe_part
        states[step.name] = inspect(step, states)
    if "pairs" in states:
        states[TRAIN] = _training(one.recipe, one.run, states["pairs"], waits)
    return Survey(one, steps, states, (), waits)


def refusal(recipe: Recipe, run: RunDir, found: Sequence[Survey]) -> str:
    """The sentence for a directory that holds something made from another recipe, source or version."""
    old, new = _made_by(run), recipe.model_dump(mode="json")
    changes = changed_keys({**old, "resources": None}, {**new, "resources": None}) if old else []
    what = f"another recipe ({'; '.join(changes)})" if changes else "other input, models or versions"
    stale = [state for one in found for state in one.named() if state.count(STALE)]
    lost = "; ".join(f"{state.name}: {state.count(STALE)} shards ({', '.join(state.why)})" for state in stale)
    made = int(old.get("rounds", 1))
    further = f" (docs/run-directory.md: how to go on from what is its round {made})" if made < recipe.rounds else ""
    return f"{run.path} was made from {what}. Stale are {lost}. Give --force to make them again, or name another --out{further}"


def clear(found: Survey) -> None:
    """Take away whatever is stale in a round, and the results that were drawn from it, and say what."""
    run = found.round.run
    for state in found.stale:
        say(f"--force: {found.round.prefix}{state.name} is removed: {', '.join(state.why)}")
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


def _made_by(run: RunDir) -> dict[str, Any]:
    """The recipe of a directory with every key; as it stands where this version would refuse it; empty without one."""
    values = run.recipe_values() or {}
    try:
        return run.recipe().model_dump(mode="json") if values else {}
    except RecipeError:
        return values


def _described_later(step: Step, states: dict[str, StepState], policy: StepState) -> StepState:
    """Candidates while the policy that describes is to be trained: stale with it, else as done as they are there. Their key
    decides when it is."""
    made = {index: manifest for index in step.store.indices() if (manifest := step.store.manifest(index))}
    whole = {index for index, manifest in made.items() if step.store.is_whole(manifest)}
    regions, lost = states["queries"], policy.count(STALE) > 0
    shards = dict.fromkeys(sorted({*range(step.source.count()), *made}), TO_DO)
    shards |= {i: STALE if lost or regions.shards.get(i) == STALE else DONE for i in sorted(whole)}
    why = [name for name, is_stale in ((policy.name, lost), (regions.name, regions.count(STALE))) if is_stale and whole]
    rows = sum(made[index].rows_out for index, state in shards.items() if state == DONE)
    return StepState(step.name, shards, (f"made from {' and '.join(why)}",) if why else (), rows)


def _training(recipe: Recipe, run: RunDir, pairs: StepState, waits: bool) -> StepState:
    """The policy as a step of one shard: stale when it, or a checkpoint of it, was made from something else."""
    finished: Any = read_json(run.policy / MANIFEST)
    begun = [mark.parts for path in sorted(run.policy.glob("checkpoints/checkpoint-*")) if (mark := read_mark(path))]
    made = [*([finished.get("parts")] if isinstance(finished, dict) else []), *begun]
    if not any(isinstance(parts, dict) for parts in made):
        return StepState(TRAIN, {0: TO_DO}, (), 0)
    if pairs.count(STALE):
        return StepState(TRAIN, {0: STALE}, ("made from pairs",), 0)
    # Pairs, or a policy to go on from, that are still to be made cannot be compared yet; training itself looks once more.
    start, rows = None if waits else start_of(recipe, run), pair_store(run).all_rows() if pairs.finished else []
    unknown = [name for name, known in (("pairs", pairs.finished), ("start", not waits)) if not known]
    now: dict[str, Any] = json.loads(canonical(key_parts(rows, recipe, start)))
    why = []
    for parts in (parts for parts in made if isinstance(parts, dict)):
        change = differences(parts, {**now, **{name: parts.get(name) for name in unknown}})
        why += [change] if change and change not in why else []
    state = STALE if why else DONE if isinstance(finished, dict) else TO_DO
    count = int(finished["report"]["pairs"]) if state == DONE and isinstance(finished, dict) else 0
    return StepState(TRAIN, {0: state}, tuple(why), count)


def _survey_evaluation(found: Survey, say: Say) -> None:
    """The evaluation's steps and states of a round, which has its others already."""
    one, steps, states = found.round, found.steps, found.states
    tuned = _tuned(found)
    for which in found.sets:
        task = evaluation_task(one.recipe, one.run, which, tuned, say)
        for step in task.steps:
            steps[step.name] = step
            states[step.name] = inspect(step, states)
        if not tuned:
            states[f"eval/{task.id}/{TUNED}"] = _tuned_later(task, one.run, states)


def _tuned(found: Survey) -> Path | None:
    """The adapter that answers as tuned, where it is there and stays."""
    run, training = found.round.run, found.states[TRAIN]
    if training.count(DONE):
        return trained(run)
    return adapter_of(run) if found.ends and not training.count(STALE) else None


def _tuned_later(task: Evaluated, run: RunDir, states: dict[str, StepState]) -> StepState:
    """The tuned side while there is no adapter: to do, or stale with the policy that it was made by."""
    name = f"eval/{task.id}/{TUNED}"
    base = states[f"eval/{task.id}/{BASE}"]
    stale = states[TRAIN].count(STALE) > 0 and (run.path / name / "parts").is_dir()
    return StepState(name, dict.fromkeys(base.shards, STALE if stale else TO_DO), ("made from train",) if stale else (), 0)
