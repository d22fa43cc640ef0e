"""Threads that wait for a server, so many at a time. They know nothing of what they ask."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Crew(Generic[Item, Result]):
    """At most `size` threads that do `work(item, stop)`, each started when there is something to do.

    They are daemons: nobody waits for a server that hangs, neither at a fault nor at Ctrl-C. The first fault sets `stop`, and
    nothing more is begun.
    """

    def __init__(self, work: Callable[[Item, threading.Event], Result], size: int) -> None:
        self._work, self._size = work, size
        self._threads = 0
        self._under_way = 0
        self._waiting: queue.SimpleQueue[Item | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[tuple[Item, Result] | Exception] = queue.SimpleQueue()
        self._stop = threading.Event()

    @property
    def idle(self) -> bool:
        """Whether everything that was given was also taken."""
        return self._under_way == 0

    @property
    def ready(self) -> bool:
        """Whether `take` has something without waiting."""
        return not self._done.empty()

    def give(self, item: Item) -> None:
        """Have an item done; those given first are begun first."""
        self._under_way += 1
        self._waiting.put(item)
        if self._threads < self._size:
            self._threads += 1
            threading.Thread(target=self._serve, daemon=True, name="spr endpoint").start()

    def take(self) -> tuple[Item, Result]:
        """The next item that is done, with its result; waits for it. Raises what the work raised."""
        done = self._done.get()
        self._under_way -= 1
        if isinstance(done, Exception):
            raise done
        return done

    def stop(self) -> None:
        """Begin nothing more; what is under way may end, and nobody hears of it."""
        self._stop.set()
        for _ in range(self._threads):
            self._waiting.put(None)

    def _serve(self) -> None:
        while (item := self._waiting.get()) is not None and not self._stop.is_set():
            try:
                self._done.put((item, self._work(item, self._stop)))
            except Exception as error:
                self._done.put(error)
                self._stop.set()
