"""A recipe's training in the words of TRL: the one place that knows both names of a setting."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import trl
from transformers import Trainer, get_scheduler
from transformers.training_args import OptimizerNames

from spr.errors import RecipeError
from spr.recipe import Recipe
from spr.recipe_train import PREFERENCES
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
        return _one_device(trl.SFTConfig(**common))
    weights = list(train.loss_weights) if train.loss_weights else None
    return _one_device(
        trl.DPOConfig(
            **common,
            beta=train.beta,
            loss_type=list(train.loss_type),
            loss_weights=weights,
            disable_dropout=train.lora.dropout == 0,  # TRL would switch off the adapter's own dropout as well
            precompute_ref_log_probs=train.method == "full",  # so that no second copy of the model is kept
        )
    )


def check_optimizer(recipe: Recipe) -> None:
    """Make the recipe's optimizer and schedule once, for a single number, before anything that takes long. Raises RecipeError
    for what transformers has none of: a name, an argument, a package that is not installed."""
    named = ", ".join(f"{name} {value!r}" for name, value in recipe.train.trl.given().items() if name not in PREFERENCES)
    # Not TRL's configuration itself: that would settle for all what processes and devices there are.
    defaults = {field.name: field.default for field in dataclasses.fields(trl.DPOConfig)}
    made = SimpleNamespace(**{**defaults, **recipe.train.trl.given(), "learning_rate": recipe.train.learning_rate})
    try:
        made.optim = OptimizerNames(made.optim)
        kind, options = Trainer.get_optimizer_cls_and_kwargs(made)
        optimizer = kind([torch.nn.Parameter(torch.zeros(1))], **options)
        schedule = get_scheduler(recipe.train.scheduler, optimizer, 1, 3, made.lr_scheduler_kwargs)
        for _ in range(2):  # past the warm-up, where its arguments are read
            optimizer.step()
            schedule.step()
    except (ValueError, TypeError, ImportError, AttributeError, KeyError) as fault:
        reason = " ".join(str(fault).split())[:1000]
        raise RecipeError(
            f"train.trl: no optimizer can be made with scheduler {recipe.train.scheduler}, {named}: {reason}"
        ) from None


def _one_device(arguments: trl.DPOConfig | trl.SFTConfig) -> trl.DPOConfig | trl.SFTConfig:
    """Keep to the one device that was asked for; with several in sight transformers would split batches over them."""
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments
