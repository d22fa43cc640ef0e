"""log.jsonl: one json object an update, and what can be read from it afterwards.

The log always ends at the last update that counts: what a killed run wrote past its checkpoint is cut off on resuming.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from spr.errors import ModelError
from spr.running.files import write_atomic

Progress = Callable[[str, int, int, Mapping[str, float]], None]
"""Told the phase (preflight | train), how much of how many is done, and the metrics of the last update."""
_SKIPPED = frozenset({"epoch", "num_tokens"})


class UpdateLog(TrainerCallback):
    """Appends each update's metrics to the log and tells `progress`. `batch` pairs go into an update, an epoch
    is `pairs` of them."""

    def __init__(self, path: Path, pairs: int, batch: int, progress: Progress | None) -> None:
        self._path = path
        self._epochs_per_update = batch / pairs
        self._progress = progress

    def on_log(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        logs: dict[str, float],
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        """Write one line; transformers' closing summary, which has no loss of its own, is left out."""
        if "loss" not in logs:
            return
        if not math.isfinite(logs["loss"]):
            raise ModelError(
                f"the loss of update {state.global_step} is {logs['loss']}; lower train.learning_rate, or train in float32"
            )
        metrics = {name: float(value) for name, value in logs.items() if name not in _SKIPPED}
        line = {"step": state.global_step, "epoch": round(state.global_step * self._epochs_per_update, 4), **metrics}
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
        if self._progress:
            self._progress("train", state.global_step, state.max_steps, metrics)


def read_log(path: Path) -> list[dict[str, float]]:
    """The whole lines of a log, one dict an update; a line cut off by a kill is left out. No file: no lines."""
    if not path.exists():
        return []
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return lines


def cut_log(path: Path, step: int) -> None:
    """Keep the lines up to and with update `step`."""
    lines = [line for line in read_log(path) if line["step"] <= step]
    write_atomic(path, "".join(json.dumps(line) + "\n" for line in lines).encode())


def quarters(lines: Sequence[Mapping[str, float]], value: Callable[[Mapping[str, float]], float]) -> tuple[float, float]:
    """Means of `value` over the first and over the last quarter of the updates (at least one update each)."""
    size = max(1, len(lines) // 4)
    first, last = [value(line) for line in lines[:size]], [value(line) for line in lines[-size:]]
    return sum(first) / size, sum(last) / size
