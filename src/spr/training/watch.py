"""The watch for likelihood displacement while a policy is trained, which says in words what it sees and what helps."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from spr.recipe_train import Train
from spr.running.progress import say
from spr.training.displacement import Lines, Standing, Tally


class DisplacementWatch(TrainerCallback):
    """Warns once when the chosen answers fall below the reference while the margin grows. `lines` are the log's so far."""

    def __init__(self, train: Train, lines: Lines) -> None:
        self._train = train
        self._tally = Tally(train.beta, lines)
        self._warned = False

    def on_log(
        self,
        args: TrainingArguments,  # noqa: ARG002
        state: TrainerState,
        control: TrainerControl,  # noqa: ARG002
        logs: dict[str, float],
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        """Look at the updates so far."""
        self._tally.add(logs)
        if self._warned or not state.is_world_process_zero:
            return
        found = self._tally.standing()
        if found is not None and found.displaced:
            self._warned = True
            say(f"WARNING: {warning(found, state.global_step, self._train)}")


def warning(found: Standing, step: int, train: Train) -> str:
    """What it means, and what to do about it."""
    sft = "give sft more of train.loss_weights" if "sft" in train.loss_type else "add sft to train.loss_type"
    return (
        f"likelihood displacement at update {step}: in the last {found.updates} updates the chosen answers were "
        f"{-found.chosen:.2g} nats less likely than under the reference, while the margin over the rejected grew to "
        f"{found.margin:.2g}. The policy tells the two apart by unlearning both; {sft}, lower train.learning_rate, or raise "
        "train.beta"
    )
