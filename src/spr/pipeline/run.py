"""A whole run, and the training of one: round after round and stage after stage into one directory, resumable anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from spr.errors import DataError, RecipeError, ResumeError
from spr.pipeline import funnel, refusals
from spr.pipeline.assembly import DATA, evaluation_task, pair_store
from spr.pipeline.evaluating import evaluate_set, write_tables
from spr.pipeline.making import make_rounds, train_policy
from spr.pipeline.owning import check_asked, check_protocol
from spr.pipeline.publishing import write_results
from spr.pipeline.rounds import FOLDER, Round, adapter_of, ended_by, held, rounds_of
from spr.pipeline.surveying import Survey, clear, refusal, survey_all
from spr.recipe import Recipe
from spr.records import PreferencePair
from spr.running.devices import device_names
from spr.running.local import LocalEngine
from spr.running.progress import say
from spr.running.ranks import leads, world
from spr.running.run_dir import RunDir
from spr.sources.coco import SceneReading, read_scenes
from spr.training.manifest import TrainReport

STAGES = (*DATA, "train", "eval", "report")
"""What `until` may name, of the last round."""


def run(recipe: Recipe, out: Path, until: str | None = None, force: bool = False) -> RunDir:
    """Run a recipe into `out`, or go on where the last command stopped; `until` names the last step to run: a stage of the last
    round, or `rounds/R/STAGE` of an earlier one.

    What was made from another recipe, source or version is refused (ResumeError), or made again with `force`. A round whose
    funnel ends before training is the last one that is made; without any policy the base model is evaluated alone. Raises
    SprError; an interruption leaves whole shards only.
    """
    stop, last = _stop(recipe, until)
    device_names(recipe.resources.devices)
    if world() > 1:
        raise RecipeError(
            f"`spr run` was started in {world()} processes, and of its stages only training can share a launcher; make the "
            "pairs with --until pairs in one process, then launch `spr train` on the run"
        )
    with opened(out) as directory:
        rounds = rounds_of(recipe, directory)
        evaluates = last >= STAGES.index("eval")
        refusals.check_recipe_runs(recipe, {*STAGES[: last + 1], *((*DATA, "train") if stop > 1 else ())})
        if evaluates:
            check_protocol(recipe, directory)
            check_asked(directory)
        reading = read_scenes(recipe.source, recipe.queries, say)
        found = _begin(rounds, reading, until, force)
        refusals.check_reachable(recipe, found[0].steps)
        if evaluates:
            refusals.check_questions_fit(recipe, found[-1].steps)
        make_rounds(found[:stop], reading, STAGES[: last + 1], force)
        if evaluates:
            _evaluate(recipe, directory)
        write_results(directory)
        if last >= STAGES.index("report"):
            _report(directory)
    return directory


def _stop(recipe: Recipe, until: str | None) -> tuple[int, int]:
    """The last round to make, and the number of the last stage in it. Raises RecipeError for what is no step."""
    round_number, _, stage = (until or STAGES[-1]).rpartition("/")
    earlier = [f"{FOLDER}/{number}" for number in range(1, recipe.rounds)]
    if not round_number and stage in STAGES:
        return recipe.rounds, STAGES.index(stage)
    if round_number in earlier and stage in (*DATA, "train"):
        return 1 + earlier.index(round_number), STAGES.index(stage)
    others = f", or of an earlier round, e.g. {earlier[0]}/train" if earlier else ""
    raise RecipeError(f"--until {until}: there is no such stage; name one of {', '.join(STAGES)}{others}")


def train(out: Path, force: bool = False) -> TrainReport:
    """Train on the pairs of an existing run, or go on with it; `force` starts over. Raises DataError without pairs."""
    from spr.training.together import leave

    directory = existing(out)
    with held(directory):
        recipe = directory.recipe()
        pairs = _all_pairs(directory)
        if not pairs:
            raise DataError(f"{directory.path} holds no pairs to train on; `spr status {directory.path}` shows where they went")
        report = train_policy(recipe, directory, pairs, force)
        if leads():
            write_results(directory)
        leave()
    return report


def report(out: Path) -> Path:
    """Write the report of an existing run again; returns its page."""
    directory = existing(out)
    with held(directory):
        write_results(directory)
        return _report(directory)


def _all_pairs(directory: RunDir) -> list[PreferencePair]:
    """Every pair of a run. Raises DataError while some shards of them are still to be made."""
    store = pair_store(directory)
    made, wanted = len(store.indices()), funnel.shards_in_all(directory)
    if wanted is not None and made < wanted:
        if end := ended_by(directory):
            raise DataError(f"{directory.path} holds no pairs: its round {end} gave none, so no other came after it")
        raise DataError(f"{directory.path} holds {made} of {wanted} shards of pairs; finish them with `spr run` first")
    return store.all_rows()


@contextmanager
def opened(out: Path) -> Iterator[RunDir]:
    """A run directory, made where there is none, and held alone."""
    directory = RunDir(out)
    directory.prepare()
    with held(directory):
        yield directory


def existing(out: Path) -> RunDir:
    """The run directory at `out`. Raises ResumeError where there is none."""
    directory = RunDir(out)
    directory.check()
    return directory


def _begin(rounds: Sequence[Round], reading: SceneReading, until: str | None, force: bool) -> list[Survey]:
    """Refuse or clear what is stale, then put the recipes and the source's counts down."""
    recipe, directory = rounds[-1].recipe, rounds[-1].run
    found = survey_all(rounds, reading.scenes, say, until)
    if any(one.stale for one in found) and not force:
        raise ResumeError(refusal(recipe, directory, found))
    for one in found:
        clear(one)
        one.round.run.prepare()
        one.round.run.write_recipe(one.round.recipe)
        funnel.write_source(one.round.run, reading)
    return found


def _evaluate(recipe: Recipe, directory: RunDir) -> None:
    tuned = adapter_of(directory)
    engine = LocalEngine(recipe.resources.devices, recipe.resources.threads)
    for one in recipe.evaluation.sets():
        # What its file has to say was said before anything ran.
        task = evaluation_task(recipe, directory, one, tuned, lambda _: None)
        evaluate_set(recipe, directory, engine, one, task, tuned)
    write_tables(directory)


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
