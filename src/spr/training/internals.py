"""What training leans on inside TRL, looked at before it is leaned on.

Sharing hands TRL's fused head packed rows and reads its fields back, neither of which TRL promises to keep. Where a release
has changed them, nothing is shared, and every loss is still TRL's own.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator
from contextlib import contextmanager

import trl
from trl.trainer import dpo_trainer, utils

HEAD = frozenset({"model", "outputs"})
FIELDS = frozenset({"log_probs", "entropy", "mean_logits", "is_top1", "log_sum_sq_probs"})
"""Per-token fields of the fused head's output."""
LOSS = ("self", "model", "inputs", "return_outputs")


def changed() -> str:
    """What of it this TRL has otherwise, in words; empty where all is as it must be."""
    head = getattr(utils, "add_fused_lm_head", None)
    output = getattr(utils, "FusedCausalLMOutput", None)
    loss = getattr(trl.DPOTrainer, "_compute_loss", None)
    if head is None or not inspect.signature(head).parameters.keys() >= HEAD:
        what = "no fused head that is added as it was"
    elif output is None or not {field.name for field in dataclasses.fields(output)} >= FIELDS:
        what = "a fused head that returns other fields"
    elif loss is None or tuple(inspect.signature(loss).parameters) != LOSS:
        what = "a DPO loss that is called otherwise"
    else:
        return ""
    return f"trl {trl.__version__} has {what}"


@contextmanager
def no_second_model() -> Iterator[None]:
    """TRL makes its trainer without two things that nobody reads here, while this is open: a second model as the reference,
    which under FSDP it loads from the model's name, and a hash of all weights, which names a cache of its own."""
    kept = {name: getattr(dpo_trainer, name) for name in ("create_model_from_path", "hash_module")}
    for name in kept:
        setattr(dpo_trainer, name, lambda *args, **kwargs: None)  # noqa: ARG005
    try:
        yield
    finally:
        for name, function in kept.items():
            setattr(dpo_trainer, name, function)
