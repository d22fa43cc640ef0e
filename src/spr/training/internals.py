"""What shared training leans on inside TRL, looked at before it is leaned on.

Sharing hands TRL's fused head packed rows and reads its fields back, neither of which TRL promises to keep. Where a release
has changed them, nothing is shared, and every loss is still TRL's own.
"""

from __future__ import annotations

import dataclasses
import inspect

import trl
from trl.trainer import utils

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
