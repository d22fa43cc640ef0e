"""One stage of one run, and what of it is done, stale or still to do. Reads; changes nothing but in `clear_stale`.

A shard is stale when it was made from something else than it would be made from now; losing it is for the user to decide.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spr.running.files import canonical
from spr.running.inputs import ShardInput
from spr.running.run_dir import changed_keys
from spr.running.shards import Manifest, Origin, ShardStore
from spr.running.stage import Stage

DONE, STALE, TO_DO = "done", "stale", "to do"


@dataclass(frozen=True, slots=True)
class Step:
    """A stage with its place in a run: where its rows come from, where they go, and the steps it reads (`after`)."""

    name: str
    stage: Stage[Any, Any]
    source: ShardInput
    store: ShardStore
    after: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StepState:
    """Each shard's state by its number, why shards are stale (each reason once), and the rows of the finished ones."""

    name: str
    shards: dict[int, str]
    why: tuple[str, ...]
    rows: int

    def count(self, state: str) -> int:
        """The number of shards that are done, stale or to do."""
        return sum(value == state for value in self.shards.values())

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return all(value == DONE for value in self.shards.values())


def inspect(step: Step, earlier: Mapping[str, StepState]) -> StepState:
    """The state of a step's shards, given the states of the steps it reads.

    While a shard's input is missing but not stale, the shard counts as done: its key decides when the input is there again.
    The stage is asked what it depends on, which may read a model's files, only where a shard is there to compare with.
    """
    recipe: dict[str, Any] | None = None
    shards: dict[int, str] = {}
    why: dict[str, None] = {}
    rows = 0
    for index in sorted({*range(step.source.count()), *step.store.indices()}):
        manifest = step.store.manifest(index)
        if manifest is None or not step.store.is_whole(manifest):
            shards[index] = TO_DO
            continue
        if recipe is None:
            recipe = json.loads(canonical(step.stage.recipe_part))
        reasons = _why_stale(step, manifest, recipe, earlier)
        why.update(dict.fromkeys(reasons))
        shards[index] = STALE if reasons else DONE
        rows += 0 if reasons else manifest.rows_out
    return StepState(step.name, shards, tuple(why), rows)


def clear_stale(step: Step, state: StepState) -> None:
    """Take the stale shards of a step away."""
    for index, value in state.shards.items():
        if value == STALE:
            step.store.remove(index)


def _why_stale(step: Step, manifest: Manifest, recipe: dict[str, Any], earlier: Mapping[str, StepState]) -> Sequence[str]:
    index, made = manifest.shard, manifest.origin
    if index >= step.source.count():
        return ["the input has fewer shards now"]
    stale_inputs = [name for name in step.after if earlier[name].shards.get(index) == STALE]
    if stale_inputs:
        return [f"made from {' and '.join(stale_inputs)}"]
    now = Origin(step.stage.name, step.stage.version, recipe, step.source.shard_size, step.source.digest(index) or made.input)
    return [] if now.key == manifest.key else _differences(made, now)


def _differences(made: Origin, now: Origin) -> list[str]:
    changes = changed_keys(made.recipe, now.recipe)
    if made.version != now.version:
        changes.append(f"stage version: {made.version} -> {now.version}")
    if made.shard_size != now.shard_size:
        changes.append(f"shard_size: {made.shard_size} -> {now.shard_size}")
    if made.input != now.input:
        changes.append("its input changed")
    return changes or ["its key changed"]
