"""What would run: for every step of every round its rows, which shards are done, stale or to do, and what it would take.
Changes nothing on disk.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from spr.pipeline.assembly import BASE, JUDGED, TUNED, Say
from spr.pipeline.refusals import check_recipe_runs
from spr.pipeline.rounds import rounds_of
from spr.pipeline.surveying import TRAIN, Survey, survey_all
from spr.recipe import Recipe
from spr.running.progress import say as say_on_stderr
from spr.running.run_dir import RunDir
from spr.running.steps import StepState
from spr.sources.coco import read_scenes

if TYPE_CHECKING:
    from spr.pipeline.estimates.plan import Takes
    from spr.pipeline.estimates.steps import Estimate


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


def plan(recipe: Recipe, out: Path, say: Say = say_on_stderr) -> Plan:
    """What `run(recipe, out)` would do, and take, round by round. Needs no weights and no network; measures the device.

    Raises SprError for a source or task file that cannot be read, and for a device that is not here; ResumeError for a
    directory of another layout; ModelError for a path that is no model's, and where shards lie whose model cannot be read.
    """
    from spr.pipeline.estimates.plan import takes
    from spr.pipeline.estimates.steps import Estimator

    run = RunDir(out)
    if run.exists:
        run.check()
    check_recipe_runs(recipe, ("candidates",))
    rounds = rounds_of(recipe, run)
    surveys = survey_all(rounds, read_scenes(recipe.source, recipe.queries, say).scenes, say, keys=False)
    say("estimating memory, disk and time; the device is measured for a moment")
    planned: list[PlanRow] = []
    estimates: dict[str, Estimate] = {}
    written = 0.0
    for found in surveys:
        expected = _estimates(recipe, found)
        rows = {name: state.rows if state.finished else expected.get(name, 0) for name, state in found.states.items()}
        estimator = Estimator(recipe, found.steps, found.states, rows, written)
        written = estimator.written or written
        for name, state in zip(found.states, found.named(), strict=True):
            estimates[state.name] = estimator.of(name)
            planned.append(PlanRow(state, rows[name], not state.finished, estimates[state.name]))
    return Plan(tuple(planned), takes(estimator, estimates, {row.state.name: row.state for row in planned}))


def _estimates(recipe: Recipe, found: Survey) -> dict[str, int]:
    """At most so many rows, from the step before."""
    source = found.steps["queries"].source
    scenes = sum(source.size(index) for index in range(source.count()))
    queries = _rows(found, "queries", scenes * recipe.queries.per_image)
    candidates = _rows(found, "candidates", queries * recipe.candidates.k)
    pairs = _rows(found, "pairs", queries * _pairs_a_query(recipe))
    estimates = {"queries": queries, "candidates": candidates, "scores": candidates, "pairs": pairs, TRAIN: pairs}
    for one in found.sets:
        base = found.steps[f"eval/{one.id}/{BASE}"].source
        items = sum(base.size(index) for index in range(base.count()))
        if (made := f"eval/{one.id}/items") in found.steps:
            made_from = found.steps[made].source
            images = sum(made_from.size(index) for index in range(made_from.count()))
            items = _rows(found, made, images * recipe.queries.per_image)
            estimates[made] = items
        estimates |= {f"eval/{one.id}/{side}": items for side in (BASE, TUNED, *JUDGED.values())}
    return estimates


def _pairs_a_query(recipe: Recipe) -> int:
    """At most so many."""
    two = math.comb(recipe.candidates.k, 2)
    return {"best_worst": 1, "all": two, "top_n": min(recipe.pairs.n or 1, two)}[recipe.pairs.per_query]


def _rows(found: Survey, name: str, otherwise: int) -> int:
    return found.states[name].rows if found.states[name].finished else otherwise
