"""Progress with rates on stderr: a live bar in a terminal, a plain line now and then anywhere else.

Only says what is going on; nothing is decided here.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Protocol, TextIO

from spr.running.ranks import leads

SECONDS_BETWEEN_LINES = 10.0


class Tick(Protocol):
    """Told how many more units are done, and in `note` what else is worth seeing now."""

    def __call__(self, more: int, note: str = "") -> None:
        """Count and show."""


@contextmanager
def meter(name: str, total: int, unit: str = "rows", stream: TextIO | None = None, begun: int = 0) -> Iterator[Tick]:
    """Follow `total` units of work, of which `begun` were done before; the value is told how many more are done. Ends with one
    line: count, time, rate."""
    if not leads():
        yield _unheard
        return
    out = stream or sys.stderr
    started = time.perf_counter()
    shown = _bar(name, total, unit, begun) if out.isatty() else _lines(name, total, unit, out, begun)
    done = begun
    with shown as show:

        def tick(more: int, note: str = "") -> None:
            nonlocal done
            done += more
            show(done, note)

        yield tick
    seconds = time.perf_counter() - started
    count = f"{done - begun} {unit}" if begun == 0 else f"{done - begun} of {done} {unit}"
    print(f"{name}: {count} in {seconds:.1f} s, {_rate(done - begun, seconds)} {unit}/s", file=out, flush=True)


def _unheard(more: int, note: str = "") -> None:
    """The tick of a process that does not speak."""


def say(text: str) -> None:
    """One plain line on stderr, of several processes that are one training the leading one's."""
    if leads():
        print(text, file=sys.stderr, flush=True)


@contextmanager
def _bar(name: str, total: int, unit: str, begun: int) -> Iterator[Callable[[int, str], None]]:
    from rich import progress
    from rich.console import Console

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[rate]}"),
        progress.TimeRemainingColumn(),
    )
    started = time.perf_counter()
    with progress.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=total, completed=begun, rate="")

        def show(done: int, note: str) -> None:
            rate = _rate(done - begun, time.perf_counter() - started)
            bar.update(task, completed=done, rate=" ".join(filter(None, (f"{rate} {unit}/s", note))))

        yield show


@contextmanager
def _lines(name: str, total: int, unit: str, out: TextIO, begun: int) -> Iterator[Callable[[int, str], None]]:
    now = time.perf_counter()
    yield _Lines(name, total, unit, out, begun, started=now, last=now)


@dataclass
class _Lines:
    """Prints at most one line every `SECONDS_BETWEEN_LINES`."""

    name: str
    total: int
    unit: str
    out: TextIO
    begun: int
    started: float
    last: float

    def __call__(self, done: int, note: str) -> None:
        now = time.perf_counter()
        if now - self.last < SECONDS_BETWEEN_LINES or done >= self.total:
            return
        self.last = now
        left = (self.total - done) * (now - self.started) / max(done - self.begun, 1)
        rate = _rate(done - self.begun, now - self.started)
        line = f"{self.name}: {done}/{self.total} {self.unit}, {rate} {self.unit}/s, about {left:.0f} s left"
        print(", ".join(filter(None, (line, note))), file=self.out, flush=True)


def _rate(done: int, seconds: float) -> str:
    return f"{done / max(seconds, 1e-9):.3g}" if done < 1000 * seconds else f"{done / max(seconds, 1e-9):,.0f}"


_WATCHED = {"loss": "loss", "rewards/margins": "margin", "rewards/chosen": "chosen"}
"""Of an update's metrics: a chosen reward that falls is the first sign that the policy unlearns what it should prefer."""


_UNITS = {"train": "updates", "convert": "tensors"}


class JobMeter:
    """Progress of a job with phases: told the phase, how much of how many is done, and the last update's metrics. A phase is
    first told what of it was done before."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self._phase = ""
        self._done = 0
        self._tick: Tick | None = None

    def __enter__(self) -> JobMeter:
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def __call__(self, phase: str, done: int, total: int, metrics: Mapping[str, float]) -> None:
        """Show `done` of `total` and the metrics worth watching; a phase is closed by its end or by a new one."""
        if self._tick is None or phase != self._phase:
            self._open.close()
            self._phase, self._done = phase, done
            self._tick = self._open.enter_context(meter(phase, total, _UNITS.get(phase, "pairs"), begun=done))
        self._tick(done - self._done, ", ".join(f"{_WATCHED[k]} {metrics[k]:.3g}" for k in _WATCHED if k in metrics))
        self._done = done
        if done == total:
            self._open.close()
            self._tick = None
