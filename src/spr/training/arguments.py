"""A recipe's training in the words of TRL: the one place that knows both names of a setting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import trl
from accelerate.utils import DistributedType

from spr.recipe import Recipe
from spr.seeds import derive_seed
from spr.training import order
from spr.training.together import accumulation


def arguments(recipe: Recipe, count: int, out: Path, device: str) -> trl.DPOConfig | trl.SFTConfig:
    """The arguments of a training of `count` updates on `device` whose checkpoints go to `out`. Raises RecipeError where
    several processes cannot share an update."""
    train = recipe.train
    common: dict[str, Any] = {
        "output_dir": str(out),
        "max_steps": count,
        "per_device_train_batch_size": train.batch_size,
        "gradient_accumulation_steps": accumulation(train),
        "learning_rate": train.learning_rate,
        "lr_scheduler_type": train.scheduler,
        "warmup_steps": order.warmup(count, train),
        "weight_decay": train.weight_decay,
        "bf16": train.dtype == "bfloat16",
        "gradient_checkpointing": train.gradient_checkpointing,
        "use_cpu": device == "cpu",
        "seed": derive_seed(recipe.seed, "training") % 2**31,
        "train_sampling_strategy": "sequential",
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": device != "cpu",
        "remove_unused_columns": False,
        "max_length": None,
        "save_steps": train.save_steps,
        "save_total_limit": 2,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "report_to": list(train.report_to) or "none",
        "run_name": out.resolve().parents[1].name,
        "ddp_find_unused_parameters": train.method == "full" or train.vision_tower == "tuned",
        "disable_tqdm": True,
        **train.trl.given(),
    }
    if train.objective == "sft":
        return _one_device(trl.SFTConfig(**common), device)
    weights = list(train.loss_weights) if train.loss_weights else None
    return _one_device(
        trl.DPOConfig(
            **common,
            beta=train.beta,
            loss_type=list(train.loss_type),
            loss_weights=weights,
            disable_dropout=train.lora.dropout == 0,  # TRL would switch off the adapter's own dropout as well
            precompute_ref_log_probs=train.method == "full",  # so that no second copy of the model is kept
        ),
        device,
    )


def _one_device(arguments: trl.DPOConfig | trl.SFTConfig, device: str) -> trl.DPOConfig | trl.SFTConfig:
    """Keep to the one device that was asked for; with several in sight transformers would split batches over them, or take
    the first whichever was asked for."""
    arguments._n_gpu = min(arguments.n_gpu, 1)
    if arguments.distributed_state.distributed_type is DistributedType.NO and device != "cpu":
        arguments.__dict__["_setup_devices"] = torch.device(device)
        torch.cuda.set_device(device)
    return arguments
