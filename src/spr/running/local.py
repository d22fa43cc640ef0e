"""The local engine: which shards of a stage are to be made, on this machine, and making them.

With one device everything happens in this process, so that a debugger works; with several, one spawned worker each. The
shards and their bytes are the same. A stage that asks a server (`served`) always runs here: the server's requests are
counted over the run, and its answers are what takes long. An engine decides where a shard runs, never what is in it.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from typing import Any, Protocol

from spr.running.balance import ShardResult, Tick, compute
from spr.running.devices import device_names, free_memory, limit_threads
from spr.running.inputs import ShardInput
from spr.running.progress import meter
from spr.running.shards import Manifest, Origin, reasons, versions
from spr.running.stage import Stage
from spr.running.steps import Step
from spr.running.workers import Task, compute_on


class Meter(Protocol):
    """Makes a progress display for one stage: `with meter(name, total) as tick`."""

    def __call__(self, name: str, total: int, /) -> AbstractContextManager[Tick]:
        """Begin to follow `total` rows."""


@dataclass(frozen=True, slots=True)
class LocalEngine:
    """Runs stages on this machine: `devices` as the recipe names them, `threads` CPU threads a worker."""

    devices: Sequence[str | int]
    threads: int
    meter: Meter = meter

    def run(self, step: Step) -> list[int]:
        """Make every shard that is not finished under its key; take away shards beyond the input. Returns those made.

        Each shard is written before the next is waited for, so an interruption costs only what was in work. Raises
        BalanceError, DiskError, WorkerDied and what the stage raises.
        """
        source, store = step.source, step.store
        for index in store.indices():
            if index >= source.count():
                store.remove(index)
        origins = origins_of(step.stage, source)
        if len(origins) < source.count():
            raise ValueError(f"{step.name}: {source.count() - len(origins)} shards of its input are not there")
        pending = [index for index, origin in origins.items() if not store.finished(index, origin.key)]
        if not pending:
            return []
        with (
            self.meter(step.name, sum(source.size(index) for index in pending)) as tick,
            closing(self._compute(step, pending, tick)) as results,
        ):
            for index, result in results:
                store.write(index, result.rows, result.dropped, manifest_of(index, origins[index], result))
        return pending

    def _compute(self, step: Step, pending: Sequence[int], tick: Tick) -> Generator[tuple[int, ShardResult]]:
        tasks: Iterable[Task] = ((index, step.source.rows(index)) for index in pending)
        devices = device_names(self.devices)[: len(pending)]
        if len(self.devices) > 1 and not getattr(step.stage, "served", False):
            return compute_on(step.stage, tasks, devices, self.threads, tick)
        return self._compute_here(step.stage, tasks, devices[0], tick)

    def _compute_here(
        self, stage: Stage[Any, Any], tasks: Iterable[Task], device: str, tick: Tick
    ) -> Generator[tuple[int, ShardResult]]:
        limit_threads(self.threads)
        own = copy.deepcopy(stage)  # As a worker has its own: its models go when the stage ends.
        started = time.perf_counter()
        own.setup(device)
        setup_seconds = time.perf_counter() - started
        for index, rows in tasks:
            yield index, compute(own, rows, tick, setup_seconds)
            setup_seconds = 0.0
        del own
        free_memory()


def origins_of(stage: Stage[Any, Any], source: ShardInput) -> dict[int, Origin]:
    """What each shard of a stage depends on, for the shards whose input is there."""
    recipe = stage.recipe_part
    contents = {index: source.digest(index) for index in range(source.count())}
    return {
        index: Origin(stage.name, stage.version, recipe, source.shard_size, content)
        for index, content in contents.items()
        if content is not None
    }


def manifest_of(index: int, origin: Origin, result: ShardResult) -> Manifest:
    """The manifest of a computed shard, before its files have digests."""
    return Manifest(
        shard=index,
        key=origin.key,
        origin=origin,
        digest="",
        dropped_digest="",
        rows_in=result.parents + len(result.dropped),
        rows_out=len(result.rows),
        parents=result.parents,
        dropped=reasons(result.dropped),
        seconds=round(result.seconds, 3),
        notes=result.notes,
        versions=versions(),
    )
