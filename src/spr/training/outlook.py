"""What a training will take, in words: what is said between the preflight and the first update, and after the third.

Not here: what it does take (the log), or progress.
"""

from __future__ import annotations

import time
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from spr.recipe_train import Train
from spr.running.progress import say
from spr.running.ranks import world
from spr.training.lengths import bars
from spr.training.preflight import Preflight, reasons

_FIRST, _TIMED = 1, 3
"""Updates whose time is not counted, as they load what the others find there, and the one after which the pace is told."""


def outlook(ready: Preflight, train: Train, count: int, step: int) -> list[str]:
    """Lines on what can be trained on, how long its sequences are, and the `count` updates to come, `step` of them done."""
    pairs, batch = len(ready.pairs), train.batch_size * train.gradient_accumulation
    left_out = f"; left out are {reasons(ready.dropped)}" if ready.dropped else ""
    gone_on = f", {step:,} of them done" if step else ""
    shared = f", shared by {world()} processes" if world() > 1 else ""
    return [
        f"preflight: {pairs:,} of {pairs + len(ready.dropped):,} pairs can be trained on{left_out}",
        f"preflight: tokens of a prompt with its longer answer, of {train.max_tokens:,} allowed (train.max_tokens), and pairs:",
        *(f"  {line}" for line in bars(ready.histogram)),
        f"train: {count:,} updates of {batch:,} pairs, {count * batch / pairs:.3g} epochs{gone_on}{shared}",
    ]


class Pace(TrainerCallback):
    """Says once, after the first few updates of this process, how long the rest will take."""

    def __init__(self) -> None:
        self._begun: tuple[int, float] | None = None
        self._updates = 0

    def on_step_end(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        """Time the updates after the first one."""
        self._updates += 1
        if self._updates == _FIRST:
            self._begun = state.global_step, time.monotonic()
        if self._updates != _TIMED or self._begun is None or not state.is_world_process_zero:
            return
        step, then = self._begun
        seconds = (time.monotonic() - then) / (state.global_step - step)
        if (left := state.max_steps - state.global_step) > 1:
            say(f"train: {seconds:.2g} s an update, so about {_spelled(left * seconds)} for the {left:,} that are left")


def _spelled(seconds: float) -> str:
    if seconds < 1.5:
        return "a second"
    return f"{seconds:.0f} seconds" if seconds < 90 else f"{seconds / 60:,.0f} minutes"
