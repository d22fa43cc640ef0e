"""A whole run, and the training of one: stage after stage into one directory, resumable anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spr.candidates import ImportStage
from spr.errors import DataError, RecipeError, ResumeError
from spr.models import dialects
from spr.models.writing import describe
from spr.pipeline import funnel, planning, refusals
from spr.pipeline.assembly import DATA, evaluation_task, pair_store
from spr.pipeline.evaluating import evaluate_set, write_tables
from spr.pipeline.metrics import write_metrics
from spr.pipeline.owning import adapter_of, check_asked, check_protocol
from spr.recipe import Recipe
from spr.records import PreferencePair
from spr.running.devices import device_names, free_memory, limit_threads
from spr.running.files import write_json
from spr.running.local import LocalEngine
from spr.running.progress import JobMeter, meter, say
from spr.running.run_dir import RunDir
from spr.running.steps import Step
from spr.sources.coco import SceneReading, read_scenes
from spr.training.manifest import TrainReport

STAGES = (*DATA, "train", "eval", "report")
"""What `until` may name."""


def run(recipe: Recipe, out: Path, until: str | None = None, force: bool = False) -> RunDir:
    """Run a recipe into `out`, or go on where the last command stopped; `until` names the last stage to run.

    What was made from another recipe, source or version is refused (ResumeError), or made again with `force`. A run whose
    funnel ends before training evaluates the base model only. Raises SprError; an interruption leaves whole shards only.
    """
    if until is not None and until not in STAGES:
        raise RecipeError(f"--until {until}: there is no such stage; name one of {', '.join(STAGES)}")
    last = STAGES.index(until or STAGES[-1])
    device_names(recipe.resources.devices)
    with opened(out) as directory:
        refusals.check_recipe_runs(recipe, STAGES[: last + 1])
        if last >= STAGES.index("eval"):
            check_protocol(recipe, directory)
            check_asked(directory)
        reading = read_scenes(recipe.source, recipe.queries, say)
        steps = _begin(recipe, directory, reading, until, force)
        refusals.check_reachable(recipe, steps)
        if last >= STAGES.index("eval"):
            refusals.check_questions_fit(recipe, steps)
        engine = LocalEngine(recipe.resources.devices, recipe.resources.threads)
        for name in DATA[: last + 1]:
            if name == "candidates":
                refusals.check_candidates_fit(recipe, steps[name])
            engine.run(steps[name])
            if name == "candidates":
                _describe_writing(recipe, directory, steps)
        if "candidates" in steps:
            _count_imported(directory, steps)
        if last >= STAGES.index("train"):
            _train_if_any(recipe, directory)
        if last >= STAGES.index("eval"):
            tuned = adapter_of(directory)
            for one in recipe.evaluation.sets():
                # What its file has to say was said before anything ran.
                task = evaluation_task(recipe, directory, one, tuned, lambda _: None)
                evaluate_set(recipe, directory, engine, one, task, tuned)
            write_tables(directory)
        write_metrics(directory)
        if last >= STAGES.index("report"):
            _report(directory)
    return directory


def train(out: Path, force: bool = False) -> TrainReport:
    """Train on the pairs of an existing run, or go on with it; `force` starts over. Raises DataError without pairs."""
    directory = existing(out)
    with directory.lock():
        recipe = directory.recipe()
        pairs = _all_pairs(directory)
        if not pairs:
            raise DataError(f"{directory.path} holds no pairs to train on; `spr status {directory.path}` shows where they went")
        report = _train(recipe, directory, pairs, force)
        write_metrics(directory)
    return report


def report(out: Path) -> Path:
    """Write the report of an existing run again; returns its page."""
    directory = existing(out)
    with directory.lock():
        write_metrics(directory)
        return _report(directory)


def _all_pairs(directory: RunDir) -> list[PreferencePair]:
    """Every pair of a run. Raises DataError while some shards of them are still to be made."""
    store = pair_store(directory)
    made, wanted = len(store.indices()), funnel.shards_in_all(directory)
    if wanted is not None and made < wanted:
        raise DataError(f"{directory.path} holds {made} of {wanted} shards of pairs; finish them with `spr run` first")
    return store.all_rows()


@contextmanager
def opened(out: Path) -> Iterator[RunDir]:
    """A run directory, made where there is none, and held alone."""
    directory = RunDir(out)
    directory.prepare()
    with directory.lock():
        yield directory


def existing(out: Path) -> RunDir:
    """The run directory at `out`. Raises ResumeError where there is none."""
    directory = RunDir(out)
    directory.check()
    return directory


def _begin(recipe: Recipe, directory: RunDir, reading: SceneReading, until: str | None, force: bool) -> dict[str, Step]:
    """Refuse or clear what is stale, then put the recipe and the source's counts down."""
    found = planning.survey(recipe, directory, reading.scenes, say, until)
    if found.stale and not force:
        raise ResumeError(planning.refusal(recipe, directory, found.stale))
    planning.clear(directory, found)
    directory.write_recipe(recipe)
    funnel.write_source(directory, reading)
    return found.steps


def _count_imported(directory: RunDir, steps: dict[str, Step]) -> None:
    """Texts that speak of no query of this run are dropped, counted and told."""
    stage = steps["candidates"].stage
    if isinstance(stage, ImportStage):
        unknown = funnel.add_imported(directory, stage.file, (row.query_id for row in steps["queries"].store.all_rows()))
        if unknown:
            say(f"candidates: {unknown} query ids of the imported file belong to no query; see dropped/imported")


def _describe_writing(recipe: Recipe, directory: RunDir, steps: dict[str, Step]) -> None:
    """Say how well the dialect reads the candidates, before they are scored by it."""
    queries = {query.query_id: query for query in steps["queries"].store.all_rows()}
    texts = [(row.text, queries[row.query_id]) for row in steps["candidates"].store.all_rows()]
    with meter("reading", len(texts), "texts") as tick:
        found = describe(texts, dialects.of(recipe.model), tick)
    write_json(directory.writing_file, found.values())
    if texts:
        say(f"candidates: {found.parse_rate:.1%} of {found.texts:,} texts hold a box that {found.dialect} can read")
    for doubt in found.doubts():
        say(f"WARNING: {doubt}")


def _train_if_any(recipe: Recipe, directory: RunDir) -> None:
    pairs = pair_store(directory).all_rows()
    if pairs:
        _train(recipe, directory, pairs, force=False)
    else:
        say("train: no pairs came out of the funnel, so there is no policy to train; base is evaluated alone")


def _train(recipe: Recipe, directory: RunDir, pairs: list[PreferencePair], force: bool) -> TrainReport:
    from spr.training.job import train as train_on

    limit_threads(recipe.train.threads)
    device = device_names(recipe.resources.devices)[0]
    with JobMeter() as progress:
        trained = train_on(
            pairs, recipe, recipe.source.image_root, directory.policy, device=device, progress=progress, force=force
        )
    funnel.write_dropped(directory, "train", trained.dropped)
    free_memory()
    return trained


def _report(directory: RunDir) -> Path:
    from spr.report import write_report

    return write_report(directory.path)


def export_pairs(directory: RunDir, out: Path) -> tuple[int, int]:
    """Write a run's pairs as a TRL dataset to the new folder `out`; returns how many were written and dropped."""
    from spr.export.trl import export_trl

    recipe = directory.recipe()
    pairs = _all_pairs(directory)
    dropped = export_trl(pairs, recipe.source.image_root, out)
    return len(pairs) - len(dropped), len(dropped)
