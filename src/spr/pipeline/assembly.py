"""The stages of a recipe, each with its input and its place in the run directory.

Building a step loads no model; `setup` does, in the process that computes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from spr.candidates import CandidateStage, ImportStage
from spr.errors import RecipeError
from spr.evaluation.asking import AskStage
from spr.evaluation.ferret_bench import FerretBench
from spr.evaluation.judging import JudgeStage, ToJudge
from spr.evaluation.regions import Regions
from spr.evaluation.registry import make_task, read_items
from spr.evaluation.task import Task
from spr.items import Answer, BenchItem, Question
from spr.models import dialects
from spr.models.base import Dialect
from spr.pairs import PairStage
from spr.pipeline.rounds import seed_of, start_of
from spr.queries import QueryStage
from spr.recipe import Recipe, Source
from spr.recipe_evaluation import BenchData, Judge, SplitData, TaskSet
from spr.records import QueryCandidates, QueryScores, RegionQuery, Scene
from spr.rewards.scorer import Scorer
from spr.rewards.stage import ScoreStage
from spr.running.files import digest
from spr.running.inputs import RowInput, ShardInput, StoreInput, as_they_are, gather
from spr.running.run_dir import RunDir
from spr.running.shards import ShardStore
from spr.running.stage import Stage
from spr.running.steps import Step
from spr.sources.coco import SceneReading, read_scenes
from spr.sources.reading import Reading

DATA = ("queries", "candidates", "scores", "pairs")
"""The steps from annotated images to preference pairs, in the order of the flow."""
BASE, TUNED = "base", "tuned"
JUDGED = {BASE: "base-judged", TUNED: "tuned-judged"}
"""The steps in which a judge reads the answers of either side."""
Say = Callable[[str], None]
_ADD_A_JUDGE = "add judge: {endpoint: {url, served_name, api_key_env}} to it and give the same command again"


def data_steps(recipe: Recipe, run: RunDir, scenes: Sequence[Scene], until: str | None = None) -> list[Step]:
    """queries, candidates, scores and pairs, in this order. Raises SprError for what the recipe names and is not there.

    Those of a later round describe with the policy of the round before it, which `setup` and the candidates' key ask for.
    With imported candidates and `until` queries there are the queries alone: the file is written by what they are given to.
    """
    root = recipe.source.image_root
    stages: list[Stage[Any, Any]] = [QueryStage(recipe.queries, root, seed_of(recipe))]
    if not (recipe.candidates.source == "file" and until == DATA[0]):
        stages += [
            _candidate_stage(recipe, run),
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


@dataclass(frozen=True, slots=True)
class Evaluated:
    """One data set of one task: its steps, the way to its items once they are there, the size of the full split when `limit`
    cuts it, what its data are called (`name`, `split`, and the `sha256` of the file), and what reading a COCO file for it
    gave."""

    id: str
    task: Task[Any]
    steps: tuple[Step, ...]
    items: Callable[[], Sequence[Any]]
    subset_of: int | None
    data: Mapping[str, str]
    reading: SceneReading | None = None

    def side(self, name: str) -> Step | None:
        """The step of base or tuned; None where there is none."""
        return next((step for step in self.steps if step.name.endswith(f"/{name}")), None)

    def reader(self, side: str) -> Task[Any]:
        """The task that reads the answers of one side, with what a judge said of all sides' where there is one."""
        judged = {name: step for name, folder in JUDGED.items() if (step := self.side(folder))}
        if not isinstance(self.task, FerretBench) or not judged:
            return self.task
        rows = {name: step.store.all_rows() for name, step in judged.items()}
        return self.task.reviewed(side, {name: {row.item_id: row.text for row in found} for name, found in rows.items()})


def task_sets(recipe: Recipe, name: str | None = None) -> list[TaskSet]:
    """The data sets that `name` means, a task (all of its sets) or one set; without a name all of the recipe's.

    Raises RecipeError for a name that the recipe has no section or no data set for.
    """
    sets = recipe.evaluation.sets()
    found = [one for one in sets if name in (None, one.kind, one.id)]
    if name is not None and not found:
        known = f"; the recipe has {', '.join(one.id for one in sets)}" if sets else ""
        if any(one.kind == name.split("/")[0] for one in sets):
            raise RecipeError(f"--task {name}: there is no such data set{known}")
        raise RecipeError(
            f"the recipe has no section evaluation.{name.split('/')[0]}; add one with its annotations and image_root{known}"
        )
    return found


def evaluation_task(recipe: Recipe, run: RunDir, one: TaskSet, adapter: Path | None, say: Say) -> Evaluated:
    """One data set: its items where they must be made, base, and tuned where there is an adapter. Raises DataError for its
    files."""
    return (_regions if one.kind == "regions" else _read)(recipe, run, one, adapter, say)


def _read(recipe: Recipe, run: RunDir, one: TaskSet, adapter: Path | None, say: Say) -> Evaluated:
    task, dialect = make_task(one.kind, recipe.evaluation.protocol), dialects.of(recipe.model)
    say(f"eval/{one.id}: reading {one.data.annotations}")
    found = read_items(one)
    for note in found.notes:
        say(note)
    questions = RowInput([task.ask(item, dialect) for item in found.items], recipe.shard_size)
    steps = [_asking(recipe, run, one, side, its, questions) for side, its in _sides(adapter)]
    if isinstance(one.data, BenchData) and isinstance(task, FerretBench):
        if one.data.judge is None:
            say(f"evaluation.{one.id} has no judge, so the answers are saved and not judged; {_ADD_A_JUDGE}")
        else:
            steps += [_judging(recipe, run, one, task, found, one.data.judge, step) for step in steps]
    total = found.total if len(found.items) < found.total else None
    return Evaluated(one.id, task, tuple(steps), lambda: found.items, total, data_of(one, found.digest))


def _regions(recipe: Recipe, run: RunDir, one: TaskSet, adapter: Path | None, say: Say) -> Evaluated:
    data = one.data
    source = Source(annotations=data.annotations, image_root=data.image_root, limit=data.limit)
    reading = read_scenes(source, recipe.queries, say)
    scenes = RowInput(reading.scenes, recipe.shard_size)
    stage = QueryStage(recipe.queries, data.image_root, recipe.seed)
    task, name = Regions(recipe.score.localization), f"eval/{one.id}/items"
    store = ShardStore(run.evaluation(one.id, "items") / "parts", run.path / "dropped" / name, stage.output)
    queries = Step(name, stage, scenes, store, ())
    ask = partial(_questions, task=task, dialect=dialects.of(recipe.model))
    questions = StoreInput((store,), ask, recipe.shard_size, scenes.count())
    steps = (_asking(recipe, run, one, side, its, questions, name) for side, its in _sides(adapter))
    subset_of = reading.images if data.limit is not None and data.limit < reading.images else None
    named = data_of(one, reading.digest)
    return Evaluated(one.id, task, (queries, *steps), store.all_rows, subset_of, named, reading)


def data_of(one: TaskSet, digest: str) -> dict[str, str]:
    """What a result says of its data."""
    split = one.data.split if isinstance(one.data, SplitData) else None
    return {"name": one.data.called, **({"split": split} if split else {}), "sha256": digest}


def _questions(rows: Sequence[RegionQuery], task: Regions, dialect: Dialect) -> list[Question]:
    return [task.ask(row, dialect) for row in rows]


def _sides(adapter: Path | None) -> list[tuple[str, Path | None]]:
    return [(BASE, None)] if adapter is None else [(BASE, None), (TUNED, adapter)]


def _asking(
    recipe: Recipe, run: RunDir, one: TaskSet, side: str, adapter: Path | None, questions: ShardInput, *after: str
) -> Step:
    name = f"eval/{one.id}/{side}"
    log = requests_log(run, name)
    stage = AskStage(one.id, recipe.model, recipe.evaluation, one.data.image_root, adapter, log=log)
    store = ShardStore(run.evaluation(one.id, side) / "parts", run.path / "dropped" / name, stage.output)
    return Step(name, stage, questions, store, after)


def _judging(
    recipe: Recipe, run: RunDir, one: TaskSet, task: FerretBench, found: Reading[BenchItem], judge: Judge, asking: Step
) -> Step:
    """The step after one side's answers. Both sides share a log: a judge that is asked the same gives the same."""
    side = JUDGED[asking.name.rpartition("/")[2]]
    dialect, name = dialects.of(recipe.model), f"eval/{one.id}/{side}"
    read_by = (found.digest, dialect.name, sorted(dialect.options.items()), recipe.evaluation.protocol)
    section = f"evaluation.{one.kind}.judge.endpoint"
    log = requests_log(run, f"eval/{one.id}/judged")
    stage = JudgeStage(f"{one.id}/judged", judge, section, digest(repr(read_by).encode()), log=log)
    ask = partial(_to_judge, task=task, items={item.item_id: item for item in found.items}, dialect=dialect)
    answers = StoreInput((asking.store,), ask, recipe.shard_size, asking.source.count())
    store = ShardStore(run.evaluation(one.id, side) / "parts", run.path / "dropped" / name, stage.output)
    return Step(name, stage, answers, store, (asking.name,))


def _to_judge(rows: Sequence[Answer], task: FerretBench, items: Mapping[str, BenchItem], dialect: Dialect) -> list[ToJudge]:
    return [ToJudge(row.item_id, task.judge_prompt(items[row.item_id], row, dialect)) for row in rows]


def _candidate_stage(recipe: Recipe, run: RunDir) -> Stage[Any, Any]:
    if recipe.candidates.source == "file":
        return ImportStage(recipe.candidates)
    root, log = recipe.source.image_root, requests_log(run, DATA[1])
    return CandidateStage(recipe.candidates, recipe.model, root, seed_of(recipe), log, start_of(recipe, run))
