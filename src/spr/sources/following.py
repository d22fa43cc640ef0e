"""How a reader shows what takes it long: whoever reads may give a meter, as `spr.running.progress` has one.

Sources know nothing of running, so that they only say what a meter is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Tick = Callable[[int], None]
"""Told how many more units are done."""


class Meter(Protocol):
    """Follows `total` units of the work `name`."""

    def __call__(self, name: str, total: int, unit: str) -> AbstractContextManager[Tick]:
        """Begin; leaving ends it."""


@contextmanager
def unseen(name: str, total: int, unit: str) -> Iterator[Tick]:  # noqa: ARG001 (a meter's)
    """Shows nothing, for whoever reads without looking on."""
    yield lambda more: None  # noqa: ARG005 (a tick's)


def megabytes(size: int) -> int:
    """Bytes -> whole megabytes, those begun too."""
    return -(-size // 1_000_000)
