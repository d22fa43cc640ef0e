"""Several processes that are one training: how they share an update, take turns, and where each puts the model.

What they are is the launcher's (accelerate, torchrun, deepspeed), how weights are shared accelerate's. Not here: the order
of pairs, which is the same for any number of processes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from accelerate import PartialState
from transformers import PreTrainedModel, Trainer

from spr.errors import RecipeError
from spr.recipe_train import Train
from spr.running.ranks import world


@contextmanager
def in_turn(device: str) -> Iterator[None]:
    """The leading process first, the others once it is through."""
    if world() == 1:
        yield
        return
    with PartialState(cpu=device == "cpu").main_process_first():
        yield


def leave() -> None:
    """Let the processes part in order, once none of them has anything to say to another."""
    if world() > 1:
        PartialState().wait_for_everyone()
        PartialState().destroy_process_group()


def accumulation(train: Train) -> int:
    """Batches a process adds up for an update. Raises RecipeError where the processes cannot share them."""
    share, left = divmod(train.gradient_accumulation, world())
    if left:
        raise RecipeError(
            f"train.gradient_accumulation is {train.gradient_accumulation} batches an update, which {world()} processes cannot "
            "share; start a number of processes that divides it, or change it"
        )
    return share


def part_by_layers(trainer: Trainer, model: PreTrainedModel) -> None:
    """Let FSDP part the model layer by layer, unless the launcher names the layers: accelerate asks for each class that
    transformers names for a family, of which a model need not have all (a LLaVA names layers of CLIP's text model)."""
    if not trainer.is_fsdp_enabled:
        return
    plugin = trainer.accelerator.state.fsdp_plugin
    if plugin.transformer_cls_names_to_wrap is None:
        there = {type(module).__name__ for module in model.modules()}
        plugin.transformer_cls_names_to_wrap = sorted(there & set(model._no_split_modules or ()))


def parted() -> bool:
    """Whether the launcher has the weights parted over the processes (FSDP, ZeRO-3), which then puts them on devices itself."""
    return any(os.environ.get(f"ACCELERATE_USE_{name}", "").lower() == "true" for name in ("FSDP", "DEEPSPEED"))


def placed(device: str) -> str:
    """Where the weights are loaded to."""
    return "cpu" if parted() else device
