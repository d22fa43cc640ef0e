"""The trained policy on disk: an adapter, or the whole model where all of it was trained; with the processor beside it.

Weights that several processes hold parts of are put together first. Not here: checkpoints to resume from.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import ProcessorMixin, Trainer

from spr.models.loading import load_config
from spr.models.saving import save_processor
from spr.recipe_model import Model
from spr.recipe_train import Train
from spr.running.ranks import leads

POLICIES = ("adapter", "model")
"""The names a policy's folder may have."""


def policy_name(train: Train) -> str:
    """The name of the folder that a training leaves its policy in."""
    return POLICIES[train.method == "full"]


def save_policy(trainer: Trainer, processor: ProcessorMixin, out: Path, model: Model) -> None:
    """Write the policy to `out`, whole or not at all; a whole model in the dtype of the checkpoint it came from (`model`)."""
    state = _whole_state(trainer)
    if not leads():
        return
    partial = out.with_name(f"{out.name}.partial")
    for old in (partial, out):
        shutil.rmtree(old, ignore_errors=True)
    policy: Any = trainer.accelerator.unwrap_model(trainer.model)
    if isinstance(policy, PeftModel):
        config = policy.peft_config["default"]
        if not isinstance(config.target_modules, str):
            config.target_modules = sorted(config.target_modules)  # PEFT's set is written in another order by every process
        policy.save_pretrained(partial, save_embedding_layers=False, selected_adapters=["default"], state_dict=state)
    else:
        dtype = load_config(model).dtype or torch.float32
        weights = policy.state_dict() if state is None else state
        policy.config.dtype = dtype
        policy.save_pretrained(partial, state_dict={k: v.to(dtype) if v.is_floating_point() else v for k, v in weights.items()})
    save_processor(processor, model, partial)
    partial.rename(out)


def _whole_state(trainer: Trainer) -> dict[str, Any] | None:
    """All weights where they are parted; None where this process has them all."""
    if not (trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled):
        return None
    state: dict[str, Any] = trainer.accelerator.get_state_dict(trainer.model_wrapped)
    return state
