"""log.jsonl: one json object an update, and what can be read from it afterwards.

The log always ends at the last update that counts: what a killed run wrote past its checkpoint is cut off on resuming.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from spr.errors import ModelError, ResumeError
from spr.running.files import write_atomic
from spr.running.progress import say
from spr.running.ranks import leads
from spr.training.checkpoints import forget, last_marked
from spr.training.reporting import places

Progress = Callable[[str, int, int, Mapping[str, float]], None]
"""Told the phase (preflight | train), how much of how many is done, and the metrics of the last update."""
_SKIPPED = frozenset({"epoch", "num_tokens"})
_WORDS = {"loss": "loss", "grad_norm": "gradient norm"}
"""Metrics that have to be finite, and what they are called."""
_NAMED = 16
"""Pairs of a batch that are named at most."""


class UpdateLog(TrainerCallback):
    """Appends each update's metrics to the log and tells `progress`, and stops a training that came to numbers that are none.

    `batch` pairs go into an update, an epoch is `pairs` of them; `seen` are the pairs' ids in the order of the training.
    """

    def __init__(self, path: Path, pairs: int, batch: int, progress: Progress | None, seen: Sequence[str]) -> None:
        self._path = path
        self._batch = batch
        self._epochs_per_update = batch / pairs
        self._progress = progress
        self._seen = seen

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:  # noqa: ARG002
        """Say where metrics go besides."""
        for line in places(args.report_to, Path(args.output_dir)):
            say(line)

    def on_epoch_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:  # noqa: ARG002
        """Tell how far the training is, once: what is drawn for it is one epoch to transformers."""
        if self._progress:
            self._progress("train", state.global_step, state.max_steps, {})

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        logs: dict[str, float],
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        """Write one line; transformers' closing summary, which has no loss of its own, is left out. Raises ModelError for a
        loss or a gradient norm that is not finite, before a checkpoint of that update is written."""
        if "loss" not in logs:
            return
        for name in _WORDS:
            if not math.isfinite(logs.get(name, 0.0)):
                raise ModelError(self._not_finite(name, logs[name], args, state))
        metrics = {name: float(value) for name, value in logs.items() if name not in _SKIPPED}
        line = {"step": state.global_step, "epoch": round(state.global_step * self._epochs_per_update, 4), **metrics}
        if leads():
            with self._path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(line) + "\n")
                stream.flush()
                os.fsync(stream.fileno())  # before a checkpoint is marked, which is worth nothing without its log
        if self._progress:
            self._progress("train", state.global_step, state.max_steps, metrics)

    def _not_finite(self, name: str, value: float, args: TrainingArguments, state: TrainerState) -> str:
        step, folder = state.global_step, Path(args.output_dir)
        if name == "loss" and leads():
            forget(folder, step - 1)  # its weights gave this loss, so no training should go on from them
        ids = self._seen[(step - 1) * self._batch : step * self._batch]
        more = f" and {len(ids) - _NAMED} more" if len(ids) > _NAMED else ""
        path, good = last_marked(folder)
        kept = f"the last good checkpoint, of update {good}, is {path}" if path else "there is no checkpoint from before"
        return (
            f"the {_WORDS[name]} of update {step} is {value}; in its batch were {', '.join(ids[:_NAMED])}{more}; {kept}. "
            f"{_advice(bool(args.bf16), path is not None)}"
        )


def _advice(half: bool, kept: bool) -> str:
    """What helps against numbers that are none, in bfloat16 (`half`) or not; a checkpoint that is `kept` is of this recipe."""
    change = f"Lower train.learning_rate{', or set train.dtype to float32' if half else ''}"
    if not kept:
        return change
    return f"{change}; a changed recipe starts over, with --force, which removes that checkpoint: copy it first if it is wanted"


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


def check_log(path: Path, step: int) -> None:
    """Raises ResumeError where the log lacks updates of a checkpoint of update `step`: what is said of all would be of some."""
    logged = [int(line["step"]) for line in read_log(path) if line["step"] <= step]
    if logged != list(range(1, step + 1)):
        raise ResumeError(
            f"{path} holds {len(logged):,} of the {step:,} updates that the last checkpoint has; put the file back, or give "
            "--force to start over"
        )


def cut_log(path: Path, step: int) -> None:
    """Keep the lines up to and with update `step`."""
    lines = [line for line in read_log(path) if line["step"] <= step]
    write_atomic(path, "".join(json.dumps(line) + "\n" for line in lines).encode())


def quarters(lines: Sequence[Mapping[str, float]], value: Callable[[Mapping[str, float]], float]) -> tuple[float, float]:
    """Means of `value` over the first and over the last quarter of the updates (at least one update each)."""
    size = max(1, len(lines) // 4)
    first, last = [value(line) for line in lines[:size]], [value(line) for line in lines[-size:]]
    return sum(first) / size, sum(last) / size
