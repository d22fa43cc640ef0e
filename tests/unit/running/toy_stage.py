"""A stage small enough to follow by eye: one region a scene, from a seed; scenes whose number ends in 7 are dropped.

`fault` names what it does wrong when it meets scene `at`. The main part runs it over a folder, for tests that kill it.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from spr.errors import DataError
from spr.records import Dropped, RegionQuery, Scene
from spr.running.inputs import RowInput
from spr.running.local import LocalEngine
from spr.running.run_dir import RunDir
from spr.running.shards import ShardStore
from spr.running.steps import Step
from spr.seeds import derive_seed


@dataclass
class ToyStage:
    scale: float = 1.0
    fault: str = ""
    at: str = ""
    seconds_a_row: float = 0.0
    device: str = ""
    name: str = "toy"
    version: int = 1
    output: type[Any] = RegionQuery
    seen: dict[str, int] = field(default_factory=dict)

    @property
    def recipe_part(self) -> dict[str, Any]:
        return {"scale": self.scale}

    def setup(self, device: str) -> None:
        self.device = device

    def process(self, rows: Sequence[Scene]) -> Iterator[RegionQuery | Dropped]:
        for row in rows:
            time.sleep(self.seconds_a_row)
            self.seen["rows"] = self.seen.get("rows", 0) + 1
            if row.image_id == self.at:
                if self.fault == "lose":
                    continue
                if self.fault == "die":
                    os.kill(os.getpid(), signal.SIGKILL)
                if self.fault == "user error":
                    raise DataError("scene 5 is upside down; turn it")
                if self.fault == "bug":
                    raise ZeroDivisionError("a bug")
                if self.fault == "both":
                    yield Dropped(row.image_id, self.name, "seven")
            if row.image_id.endswith("7"):
                yield Dropped(row.image_id, self.name, "seven")
                continue
            generator = torch.Generator().manual_seed(derive_seed(0, row.image_id))
            noise = torch.randn(301, 301, generator=generator)
            side = float((noise @ noise).sum()) * self.scale
            yield RegionQuery(
                f"{row.image_id}-0", row.image_id, row.path, row.width, row.height, (0, 0, side, side), row.objects
            )

    def row_id(self, row: Scene) -> str:
        return row.image_id

    def parent_id(self, row: RegionQuery) -> str:
        return row.image_id

    def notes(self) -> dict[str, int]:
        seen, self.seen = self.seen, {}
        return seen


def scenes(count: int) -> list[Scene]:
    return [Scene(str(number), f"{number}.png", 64, 48, ()) for number in range(count)]


def store(folder: Path) -> ShardStore:
    return ShardStore(folder / "toy", folder / "dropped" / "toy", RegionQuery)


@contextmanager
def quiet_meter(name: str, total: int) -> Iterator[Any]:
    yield lambda more: None


def engine(workers: int = 1) -> LocalEngine:
    return LocalEngine(("cpu",) * workers, 1, quiet_meter)


def step(folder: Path, stage: ToyStage | None = None, count: int = 20) -> Step:
    return Step("toy", stage or ToyStage(), RowInput(scenes(count), 4), store(folder))


def run_toy(folder: Path, stage: ToyStage | None = None, workers: int = 1, count: int = 20) -> list[int]:
    return engine(workers).run(step(folder, stage, count))


def parts(folder: Path) -> dict[str, bytes]:
    """Every parquet file below a folder, by its relative path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.parquet"))}


if __name__ == "__main__":
    target, workers_wanted, slowness = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    directory = RunDir(target)
    directory.prepare()
    with directory.lock():
        run_toy(target, ToyStage(seconds_a_row=slowness), workers_wanted)
