"""How the time that something takes grows with what it is given."""

from __future__ import annotations

import time
import timeit
from collections.abc import Callable


def grows_with_the_length(work: Callable[[str], object], opening: str, piece: str) -> bool:
    """Whether `work` on sixteen times the text takes at most four times sixteen times as long, half a second aside: were it
    quadratic, the factor would be 256. By the processor's clock and with no garbage collected, which in a process that holds
    torch takes longer than the work; what is too slow three times over is slow."""
    short, long = (opening + piece * (length // len(piece)) for length in (2_000, 32_000))
    return any(_seconds(work, long) < 16 * 4 * _seconds(work, short) + 0.5 for _ in range(3))


def _seconds(work: Callable[[str], object], text: str) -> float:
    return timeit.timeit(lambda: work(text), timer=time.process_time, number=1)
