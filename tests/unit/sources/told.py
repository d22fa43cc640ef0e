"""A meter that only remembers what it was told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from spr.sources.following import Tick


class Told:
    """Every work with its total, its unit and its ticks, in their order."""

    def __init__(self) -> None:
        self.works: list[tuple[str, int, str, list[int]]] = []

    @contextmanager
    def __call__(self, name: str, total: int, unit: str) -> Iterator[Tick]:
        ticks: list[int] = []
        self.works.append((name, total, unit, ticks))
        yield ticks.append
