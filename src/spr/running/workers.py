"""Worker processes, one a device: they compute shards and touch no file of the run; the parent reads and writes.

So a worker can be killed at any time and leaves nothing behind, and a fault of the disk is met in one place.
"""

from __future__ import annotations

import multiprocessing
import signal
import time
import traceback
from collections.abc import Callable, Generator, Iterable, Sequence
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from typing import Any, cast

from spr.errors import SprError
from spr.running.balance import ShardResult, compute
from spr.running.devices import limit_threads
from spr.running.stage import Stage

SECONDS_BETWEEN_TICKS = 0.5
_SECONDS_TO_STOP = 5.0
_PRELOADED = ("torch", "transformers.modeling_utils", "transformers.processing_utils", "transformers.generation.utils")

Task = tuple[int, Sequence[Any]]
"""A shard's number and its input rows."""


class WorkerDied(SprError):
    """A worker process ended without a word, most often killed for memory."""


class WorkerFailed(Exception):
    """A stage raised something unexpected in a worker; the message holds the worker's own traceback."""


def compute_on(
    stage: Stage[Any, Any], tasks: Iterable[Task], devices: Sequence[str], threads: int, tick: Callable[[int], None]
) -> Generator[tuple[int, ShardResult]]:
    """Compute shards on one spawned worker a device and yield them as they are done, in any order.

    Raises WorkerDied when a worker is lost, WorkerFailed for a bug in a stage, and the stage's own SprError. Workers are
    stopped when the generator ends, however it ends.
    """
    workers = [_Worker(stage, device, threads) for device in devices]
    queue = iter(tasks)
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.give(next(queue, None))
        while busy := [worker for worker in workers if worker.task is not None]:
            ready = wait([worker.connection for worker in busy])
            for worker in (one for one in busy if one.connection in ready):
                index, message = worker.task, worker.receive()
                if isinstance(message, int):
                    tick(message)
                elif index is not None:
                    worker.give(next(queue, None))
                    yield index, message
    finally:
        for worker in workers:
            worker.stop()


class _Worker:
    """The parent's end of one worker process. `task` is the shard it works on."""

    def __init__(self, stage: Stage[Any, Any], device: str, threads: int) -> None:
        self.device, self.stage = device, stage.name
        self.task: int | None = None
        context = _context()
        self.connection, self._theirs = context.Pipe()
        self._process: BaseProcess = context.Process(
            target=_serve, args=(self._theirs, stage, device, threads), daemon=True, name=f"spr {stage.name} {device}"
        )

    def start(self) -> None:
        """Start the process, deaf to Ctrl-C: the parent hears it and stops its workers."""
        resource_tracker.ensure_running()  # Started with the first process, it would lift the block below.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._theirs.close()

    def give(self, task: Task | None) -> None:
        """Hand over the next shard, or nothing. Raises WorkerDied."""
        self.task = None if task is None else task[0]
        if task is not None:
            try:
                self.connection.send(task)
            except OSError:
                raise self._death() from None

    def receive(self) -> int | ShardResult:
        """The next message: so many more rows are done, or a whole shard is. Raises the worker's error, or WorkerDied."""
        try:
            message = self.connection.recv()
        except (EOFError, OSError):
            raise self._death() from None
        if isinstance(message, SprError):
            raise message
        if isinstance(message, str):
            raise WorkerFailed(f"stage {self.stage} failed on {self.device} in shard {self.task}:\n{message}")
        return cast("int | ShardResult", message)

    def stop(self) -> None:
        """End the process: an idle one by hanging up, so that it leaves in order, any other by force."""
        if self._process.pid is None:
            return
        self.connection.close()
        if self.task is not None:
            self._process.terminate()
        self._process.join(_SECONDS_TO_STOP)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def _death(self) -> WorkerDied:
        self._process.join(_SECONDS_TO_STOP)
        code = self._process.exitcode
        how = f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
        return WorkerDied(
            f"the worker on {self.device} died ({how}) in stage {self.stage}, shard {self.task}; signal 9 mostly means that "
            "the machine ran out of memory: lower the stage's batch_size or the number of resources.devices. Finished shards "
            "are kept, the same command goes on from them"
        )


def _context() -> ForkServerContext | SpawnContext:
    """How workers are started: forked from a clean server process that has imported the heavy libraries once, where the
    system can; it holds no threads and no CUDA. Elsewhere each is spawned and imports them itself."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(_PRELOADED))
    return context


def _serve(connection: Connection, stage: Stage[Any, Any], device: str, threads: int) -> None:
    """A worker's life: set up once, then shard after shard until the parent hangs up."""
    ticks = _Ticks(connection)
    try:
        limit_threads(threads)
        started = time.perf_counter()
        stage.setup(device)
        setup_seconds = time.perf_counter() - started
        while True:
            rows = connection.recv()[1]
            result = compute(stage, rows, ticks.add, setup_seconds)
            setup_seconds = 0.0
            ticks.flush()
            connection.send(result)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except SprError as error:
        connection.send(error)
    except Exception:
        connection.send(traceback.format_exc())


class _Ticks:
    """Progress of a worker, sent at most every `SECONDS_BETWEEN_TICKS`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._count = 0
        self._last = time.perf_counter()

    def add(self, more: int) -> None:
        self._count += more
        if time.perf_counter() - self._last >= SECONDS_BETWEEN_TICKS:
            self.flush()

    def flush(self) -> None:
        if self._count:
            self._connection.send(self._count)
        self._count, self._last = 0, time.perf_counter()
