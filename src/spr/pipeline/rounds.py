"""The rounds of a run: which there are, where each lies, and what it begins from.

The last round is the run directory itself, so that whatever is asked of RUN is answered by what came out; every round r
before it is a run directory of its own, RUN/rounds/r, whose recipe states r as its `rounds`: the first r rounds of a longer
run are a run of r rounds. Not here: how a round is made.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from spr.errors import ResumeError
from spr.pipeline.funnel import shards_in_all
from spr.recipe import Recipe
from spr.running.run_dir import RunDir
from spr.running.shards import read_manifests
from spr.seeds import derive_seed
from spr.training.manifest import read_manifest

FOLDER = "rounds"


@dataclass(frozen=True, slots=True)
class Round:
    """One round `of` so many: its recipe, with its own number as `rounds`; its directory; and what stands before the names of
    its steps, `rounds/r/`, or nothing of the last one."""

    recipe: Recipe
    run: RunDir
    prefix: str
    of: int

    @property
    def number(self) -> int:
        """Which round it is; the first is 1."""
        return self.recipe.rounds


def rounds_of(recipe: Recipe, run: RunDir) -> list[Round]:
    """All rounds of a recipe that is run into `run`, in their order. Raises ResumeError for the directory of another round."""
    whole = outer(run)
    if whole and run.path.resolve().name != str(recipe.rounds):
        raise ResumeError(
            f"{run.path} is round {run.path.resolve().name} of {whole.path}, and the recipe has rounds: {recipe.rounds}; "
            "name another --out"
        )
    earlier = [
        Round(recipe.model_copy(update={"rounds": number}), _earlier(run, number), f"{FOLDER}/{number}/", recipe.rounds)
        for number in range(1, recipe.rounds)
    ]
    return [*earlier, Round(recipe, run, "", recipe.rounds)]


def outer(run: RunDir) -> RunDir | None:
    """The run that `run` is an earlier round of; None of a run that stands alone."""
    path = run.path.resolve()
    whole = RunDir(path.parent.parent)
    return whole if path.parent.name == FOLDER and path.name.isdigit() and whole.exists else None


@contextmanager
def held(run: RunDir) -> Iterator[None]:
    """Hold a directory alone; that of an earlier round together with its whole run, whose lock it is. Raises ResumeError."""
    with (outer(run) or run).lock():
        yield


def start_of(recipe: Recipe, run: RunDir) -> Path | None:
    """The adapter that a round describes with and trains on from, whether it is there yet or not; None of the first round."""
    return _earlier(run, recipe.rounds - 1).policy / "adapter" if recipe.rounds > 1 else None


def seed_of(recipe: Recipe) -> int:
    """From which a round's regions and descriptions are drawn: the run's seed, and of later rounds their number as well."""
    return recipe.seed if recipe.rounds == 1 else derive_seed("round", recipe.seed, recipe.rounds)


def trained(run: RunDir) -> Path | None:
    """The adapter of a directory's own finished training, or the model that was trained whole; None where there is none."""
    manifest = read_manifest(run.policy)
    return run.policy / str(manifest["report"]["adapter"]) if manifest else None


def adapter_of(run: RunDir) -> Path | None:
    """The adapter that answers as tuned: the directory's own, or, where a round gave no pairs, that of the round before it."""
    if own := trained(run):
        return own
    end = ended_by(run)
    return trained(_earlier(run, end - 1)) if end else None


def ended_by(run: RunDir) -> int | None:
    """The round that gave no pairs, after which there are no others; None while there is none."""
    return next((number for number, one in enumerate(directories(run).values(), 1) if _without_pairs(one)), None)


def directories(run: RunDir) -> dict[str, RunDir]:
    """The directories of all rounds of a run that was begun, by what stands before the names of their steps."""
    count = int((run.recipe_values() or {}).get("rounds", 1))
    return {f"{FOLDER}/{number}/": _earlier(run, number) for number in range(1, count)} | {"": run}


def _without_pairs(run: RunDir) -> bool:
    """Whether all shards of a round's pairs are made, and hold none."""
    wanted, made = shards_in_all(run), read_manifests(run.path / "pairs")
    return wanted is not None and len(made) >= wanted and not any(manifest.rows_out for manifest in made)


def _earlier(run: RunDir, number: int) -> RunDir:
    """Where an earlier round lies: in the run's own folder, or in that of the run that `run` is an earlier round of, by
    whatever path `run` is named."""
    return RunDir((outer(run) or run).path / FOLDER / str(number))
