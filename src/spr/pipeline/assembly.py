"""The stages of a recipe, each with its input and its place in the run directory.

Building a step loads no model; `setup` does, in the process that computes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from spr.candidates import CandidateStage, ImportStage
from spr.errors import RecipeError
from spr.evaluation.rec import RecStage
from spr.evaluation.regions import RegionsStage
from spr.models import dialects
from spr.pairs import PairStage
from spr.queries import QueryStage
from spr.recipe import Recipe, Source
from spr.records import QueryCandidates, QueryScores, Scene
from spr.rewards.scorer import Scorer
from spr.rewards.stage import ScoreStage
from spr.running.inputs import RowInput, ShardInput, StoreInput, as_they_are, gather
from spr.running.run_dir import RunDir
from spr.running.shards import ShardStore
from spr.running.stage import Stage
from spr.running.steps import Step
from spr.sources.coco import SceneReading, read_scenes
from spr.sources.refcoco import read_rec

DATA = ("queries", "candidates", "scores", "pairs")
"""The steps from annotated images to preference pairs, in the order of the flow."""
TASKS = ("rec", "regions")
BASE, TUNED = "base", "tuned"
Say = Callable[[str], None]


def data_steps(recipe: Recipe, run: RunDir, scenes: Sequence[Scene], until: str | None = None) -> list[Step]:
    """queries, candidates, scores and pairs, in this order. Raises SprError for what the recipe names and is not there.

    With imported candidates and `until` queries there are the queries alone: the file is written by what they are given to.
    """
    root = recipe.source.image_root
    stages: list[Stage[Any, Any]] = [QueryStage(recipe.queries, root, recipe.seed)]
    if not (recipe.candidates.source == "file" and until == DATA[0]):
        stages += [
            _candidate_stage(recipe, requests_log(run, DATA[1])),
            ScoreStage(recipe.score, dialects.of(recipe.model), root, recipe.queries.coverage),
            PairStage(
                recipe.pairs,
                dialects.of(recipe.model),
                Scorer(recipe.score, dialects.of(recipe.model), root, recipe.queries.coverage),
            ),
        ]
    stores = [ShardStore(run.path / stage.name, run.path / "dropped" / stage.name, stage.output) for stage in stages]
    first: ShardInput = RowInput(scenes, recipe.shard_size)

    def after(*earlier: int, join: Callable[..., Sequence[Any]] = as_they_are) -> ShardInput:
        return StoreInput(tuple(stores[i] for i in earlier), join, recipe.shard_size, first.count())

    sources = [first]
    if len(stages) > 1:
        scored = after(0, 1, join=partial(gather, unit=QueryCandidates))
        sources += [after(0), scored, after(0, 2, join=partial(gather, unit=QueryScores))]
    afters = [(), DATA[:1], DATA[:2], (DATA[0], DATA[2])]
    return [Step(*parts) for parts in zip(DATA, stages, sources, stores, afters, strict=False)]


def requests_log(run: RunDir, step: str) -> Path:
    """Where a step keeps what a server answered."""
    return run.path / "requests" / f"{step}.jsonl"


def pair_store(run: RunDir) -> ShardStore:
    """Where the pairs of a run lie."""
    return ShardStore(run.path / "pairs", run.path / "dropped" / "pairs", PairStage.output)


def task_names(recipe: Recipe) -> list[str]:
    """The evaluation tasks that the recipe has a section for."""
    return [task for task in TASKS if getattr(recipe.evaluation, task) is not None]


@dataclass(frozen=True, slots=True)
class Task:
    """One evaluation task: its steps, the size of the full split when `limit` cuts it (`subset of N`), and what reading a
    COCO file for it gave."""

    name: str
    steps: tuple[Step, ...]
    subset_of: int | None
    reading: SceneReading | None = None

    def side(self, name: str) -> Step | None:
        """The step of base or tuned; None where there is none."""
        return next((step for step in self.steps if step.name.endswith(f"/{name}")), None)


def evaluation_task(recipe: Recipe, run: RunDir, name: str, adapter: Path | None, say: Say) -> Task:
    """One task: its items where they must be made, base, and tuned where there is an adapter.

    Raises RecipeError for a task that the recipe has no section for, DataError for its files.
    """
    if name not in task_names(recipe):
        raise RecipeError(f"the recipe has no section evaluation.{name}; add one with its annotations and image_root")
    return (_rec if name == "rec" else _regions)(recipe, run, adapter, say)


def _rec(recipe: Recipe, run: RunDir, adapter: Path | None, say: Say) -> Task:
    options = recipe.evaluation.rec
    assert options is not None
    reading = read_rec(options.annotations, options.image_root, options.limit)
    for note in reading.notes:
        say(note)
    items = RowInput(reading.items, recipe.shard_size)
    steps = []
    for side, its_adapter in _sides(adapter):
        log = requests_log(run, f"eval/rec/{side}")
        stage = RecStage(recipe.model, recipe.evaluation, options.image_root, its_adapter, log=log)
        steps.append(_side(run, "rec", side, stage, items))
    return Task("rec", tuple(steps), reading.total if len(reading.items) < reading.total else None)


def _regions(recipe: Recipe, run: RunDir, adapter: Path | None, say: Say) -> Task:
    options = recipe.evaluation.regions
    assert options is not None
    source = Source(annotations=options.annotations, image_root=options.image_root, limit=options.limit)
    reading = read_scenes(source, recipe.queries, say)
    scenes = RowInput(reading.scenes, recipe.shard_size)
    queries = _side(run, "regions", "items", QueryStage(recipe.queries, options.image_root, recipe.seed), scenes)
    items = StoreInput((queries.store,), as_they_are, recipe.shard_size, scenes.count())
    steps = [queries]
    for side, its_adapter in _sides(adapter):
        log = requests_log(run, f"eval/regions/{side}")
        stage = RegionsStage(
            recipe.model, recipe.evaluation, options.image_root, its_adapter, recipe.score.localization, log=log
        )
        steps.append(_side(run, "regions", side, stage, items, queries.name))
    return Task("regions", tuple(steps), None, reading)


def _sides(adapter: Path | None) -> list[tuple[str, Path | None]]:
    return [(BASE, None)] if adapter is None else [(BASE, None), (TUNED, adapter)]


def _side(run: RunDir, task: str, side: str, stage: Stage[Any, Any], source: ShardInput, *after: str) -> Step:
    name = f"eval/{task}/{side}"
    store = ShardStore(run.evaluation(task, side) / "parts", run.path / "dropped" / name, stage.output)
    return Step(name, stage, source, store, after)


def _candidate_stage(recipe: Recipe, log: Path) -> Stage[Any, Any]:
    if recipe.candidates.source == "file":
        return ImportStage(recipe.candidates)
    return CandidateStage(recipe.candidates, recipe.model, recipe.source.image_root, recipe.seed, log)
