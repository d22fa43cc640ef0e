"""One shard, computed and checked: whatever goes into a stage comes out of it or is dropped by name."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from spr.records import Dropped
from spr.running.stage import Stage

Tick = Callable[[int], None]
"""Told how many more input rows are done."""


class BalanceError(Exception):
    """A stage lost rows, made rows without a parent, or both kept and dropped a row: a fault of the stage."""


@dataclass(frozen=True, slots=True)
class ShardResult:
    """What a stage made of one shard's rows."""

    rows: list[Any]
    dropped: list[Dropped]
    parents: int
    seconds: float
    notes: dict[str, int]


def compute(stage: Stage[Any, Any], rows: Sequence[Any], tick: Tick, setup_seconds: float = 0.0) -> ShardResult:
    """Run a stage over one shard's rows and check the balance. Raises BalanceError and whatever the stage raises.

    `setup_seconds` is what loading took just before; it counts as time of this shard.
    """
    started = time.perf_counter()
    kept: list[Any] = []
    dropped: list[Dropped] = []
    parents: set[str] = set()
    for item in stage.process(rows) if rows else ():
        if isinstance(item, Dropped):
            dropped.append(item)
            tick(1)
        else:
            kept.append(item)
            parent = stage.parent_id(item)
            if parent not in parents:
                parents.add(parent)
                tick(1)
    check_balance(stage.name, [stage.row_id(row) for row in rows], parents, [row.row_id for row in dropped])
    return ShardResult(kept, dropped, len(parents), setup_seconds + time.perf_counter() - started, dict(stage.notes()))


def check_balance(stage: str, inputs: Sequence[str], parents: set[str], dropped: Sequence[str]) -> None:
    """Ids of the input = parents of the outputs + dropped, each once. Raises BalanceError that names the first strays."""
    repeated = sorted(row_id for row_id, n in Counter(inputs).items() if n > 1)
    dropped_twice = sorted(row_id for row_id, n in Counter(dropped).items() if n > 1)
    gone, known = set(dropped), set(inputs)
    faults = {
        "come twice in the input": repeated,
        "are dropped twice": dropped_twice,
        "are neither kept nor dropped": sorted(known - parents - gone),
        "are both kept and dropped": sorted(parents & gone),
        "are parents of output rows but not in the input": sorted(parents - known),
        "are dropped but not in the input": sorted(gone - known),
    }
    for fault, ids in faults.items():
        if ids:
            raise BalanceError(f"stage {stage}: {len(ids)} row ids {fault}, e.g. {', '.join(ids[:3])}")
