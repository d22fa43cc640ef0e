"""How fast the device is that would be used, measured in a moment, and how much memory it has."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

_SIDE = {"cpu": 1024, "cuda": 8192}
"""Tokens of the measured product, and its largest width."""
_COPY = {"cpu": 2**26, "cuda": 2**30}
"""Bytes of the copied array: far beyond any cache."""
_SECONDS = 0.15
_SLOW = 1.0
_SMALL = (8, 512)


@dataclass(frozen=True, slots=True)
class Speed:
    """One device as it answers now: `flops` a second in a large product, `bandwidth` in bytes a second read and written
    `call` the seconds that one small operation takes however little it computes."""

    name: str
    flops: float
    bandwidth: float
    call: float


def measure(device: str, dtype: str, threads: int, widths: tuple[int, int]) -> Speed:
    """Measure `device` with `threads` CPU threads in `dtype`, a name that torch knows; about half a second, or
    one product where that takes longer: some seconds in float16 on a CPU without it.

    The product is one of a model's own: many tokens of one width into another, up to a size that a device is done with in
    an instant. Narrow models are slow for what they compute.
    """
    kind = torch.device(device).type
    tokens, exact = _SIDE[kind], getattr(torch, dtype)
    wide, wider = (min(width, tokens) for width in widths)
    with _threads(threads):
        left = torch.ones(tokens, wide, dtype=exact, device=device)
        right = torch.ones(wide, wider, dtype=exact, device=device)
        product = _seconds(lambda: left @ right, device)
        array = torch.ones(_COPY[kind], dtype=torch.uint8, device=device)
        target = torch.empty_like(array)
        copy = _seconds(lambda: target.copy_(array), device)
        small = torch.ones(_SMALL, dtype=exact, device=device)
        call = _seconds(lambda: small + small, device)
    return Speed(device, 2 * tokens * wide * wider / product, 2 * array.nbytes / copy, call)


def _seconds(operation: Callable[[], Tensor], device: str) -> float:
    """Mean seconds of one call, over as many calls as fit into `_SECONDS`; the first one counts only where it was a
    slow one of a CPU: on a GPU it loads libraries."""
    begun = time.perf_counter()
    operation()
    _wait(device)
    if (first := time.perf_counter() - begun) > _SLOW and torch.device(device).type == "cpu":
        return first
    calls, started = 0, time.perf_counter()
    while time.perf_counter() - started < _SECONDS:
        operation()
        calls += 1
        if calls & (calls - 1) == 0:  # waiting after every call would measure the wait
            _wait(device)
    _wait(device)
    return (time.perf_counter() - started) / calls


def _wait(device: str) -> None:
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def device_memory(device: str) -> int:
    """Bytes of the device in all."""
    if torch.device(device).type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
