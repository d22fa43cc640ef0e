"""Making rounds: from regions to pairs, and from pairs to a policy, which describes in the round after it.

Not here: what is stale (`surveying`), or what a policy is worth (`evaluating`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial

from spr.candidates import ImportStage
from spr.errors import ResumeError
from spr.models import dialects
from spr.models.writing import describe
from spr.pipeline import funnel, refusals
from spr.pipeline.assembly import DATA, pair_store
from spr.pipeline.publishing import write_results
from spr.pipeline.rounds import start_of
from spr.pipeline.surveying import TRAIN, Survey, clear, refusal, survey
from spr.recipe import Recipe
from spr.records import PreferencePair
from spr.running.devices import device_names, free_memory, limit_threads
from spr.running.files import write_json
from spr.running.local import LocalEngine
from spr.running.progress import JobMeter, meter, say
from spr.running.ranks import launched, leads, local_rank
from spr.running.run_dir import RunDir
from spr.running.steps import Step
from spr.sources.coco import SceneReading
from spr.training.manifest import TrainReport


def make_rounds(found: Sequence[Survey], reading: SceneReading, stages: Collection[str], force: bool) -> None:
    """Make the surveyed rounds one after the other, the last of them as far as `stages` go. A round without pairs is the last.

    Raises SprError; ResumeError where the policy that a round began from has become another one, unless `force`.
    """
    for number, one in enumerate(found, 1):
        is_last, ends = number == len(found), False
        if is_last or not one.made:
            if one.round.of > 1:
                say(f"round {one.round.number} of {one.round.of}")
            now = _survey_again(one, reading, force) if one.waits else one
            ends = _make(now, stages if is_last else (*DATA, TRAIN))
        if one.round.prefix:  # of a round that is made too: the command that made it may have been killed before this
            write_results(one.round.run)
        if ends:
            return


def train_policy(recipe: Recipe, directory: RunDir, pairs: Sequence[PreferencePair], force: bool) -> TrainReport:
    """Train on the pairs of a round, from where the round before it ended. Raises what training raises."""
    from spr.pipeline.foresight import foreseen
    from spr.training.job import train

    start = start_of(recipe, directory)
    if start is not None and not start.is_dir():
        raise ResumeError(f"{directory.path} goes on from {start}, which is not there; put it back, or make it with `spr run`")
    limit_threads(recipe.train.threads)
    device = _own_device(recipe)
    with JobMeter() as progress:
        trained = train(
            pairs,
            recipe,
            recipe.source.image_root,
            directory.policy,
            device=device,
            progress=progress,
            force=force,
            foresee=partial(foreseen, recipe, device),
            start=start,
        )
    if leads():
        funnel.write_dropped(directory, "train", trained.dropped)
    free_memory()
    return trained


def _own_device(recipe: Recipe) -> str:
    """The device that this process trains on: the recipe's first one, or under a launcher the GPU of its number."""
    first = device_names(recipe.resources.devices)[0]
    return f"cuda:{local_rank()}" if launched() and first.startswith("cuda") else first


def _survey_again(one: Survey, reading: SceneReading, force: bool) -> Survey:
    """A round whose policy to begin from was still to be trained, now that it is."""
    now = survey(one.round, reading.scenes)
    if now.stale and not force:
        raise ResumeError(refusal(one.round.recipe, one.round.run, [now]))
    clear(now)
    return now


def _make(one: Survey, stages: Collection[str]) -> bool:
    """Make one round as far as `stages` go; returns whether the rounds end with it, as training is among the stages and has no
    pairs."""
    recipe, run, steps = one.round.recipe, one.round.run, one.steps
    engine = LocalEngine(recipe.resources.devices, recipe.resources.threads)
    for name in (name for name in DATA if name in stages):
        if name == "candidates":
            refusals.check_candidates_fit(recipe, steps[name])
        engine.run(steps[name])
        if name == "candidates":
            _describe_writing(recipe, run, steps)
    if "candidates" in steps:
        _count_imported(run, steps)
    if TRAIN not in stages:
        return False
    pairs = pair_store(run).all_rows()
    if pairs:
        train_policy(recipe, run, pairs, force=False)
    elif one.round.of == 1:
        say("train: no pairs came out of the funnel, so there is no policy to train; base is evaluated alone")
    else:
        say(f"{one.round.prefix}train: no pairs came out, so the rounds end here; what was trained before stays the policy")
    return not pairs


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
