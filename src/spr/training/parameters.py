"""What of a model is trained: an adapter, fresh or gone on with, or the weights themselves; with or without the vision tower.

Whatever makes features of pixels counts as the vision tower, the projector too: only while all of it is frozen are an
image's features the same for policy and reference. Not here: which layers of a language model LoRA goes to (`lora`).
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.integrations import is_deepspeed_zero3_enabled

from spr.errors import ModelError, RecipeError
from spr.recipe_train import Train
from spr.running.progress import say
from spr.training.lora import lora_config


def loaded_dtype(train: Train) -> str:
    """What weights are loaded in: float32 where they are trained themselves, as updates are too small for bfloat16; then
    `train.dtype` is what is computed in."""
    return "float32" if train.method == "full" else train.dtype


def trainable(
    model: PreTrainedModel, train: Train, start: Path | None, images: Mapping[str, Tensor]
) -> tuple[PreTrainedModel | PeftModel, LoraConfig | None]:
    """The model with what is trained requiring gradients, and the adapter that the trainer has yet to add.

    `start` is an adapter to go on with; `images` are the processor's fields of one image, by which it is found out what
    features depend on. Raises RecipeError where LoRA hits nothing or `start` is of another shape, ModelError where it does not
    fit.
    """
    if train.vision_tower == "tuned" and is_deepspeed_zero3_enabled():
        raise RecipeError("train.vision_tower: tuned does not run under ZeRO-3; launch with FSDP2, or set it to frozen")
    tower = vision_tower(model, images) if train.vision_tower == "tuned" else {}
    if train.method == "full":
        language = {id(parameter) for parameter in _language(model)}
        for parameter in model.parameters():
            parameter.requires_grad = id(parameter) in language or id(parameter) in tower
        return model, None
    fresh = lora_config(model, train.lora, [name for name in tower.values() if name])
    return (model, fresh) if start is None else (_gone_on(model, fresh, start), None)


def reused_features(train: Train) -> bool:
    """Whether an image is encoded once for all that show it. That a tuned vision tower has no features to reuse is said."""
    if train.vision_tower == "tuned" and train.reuse_image_features:
        say("train: reuse_image_features is off, as vision_tower is tuned: features change with every update")
        return False
    return train.reuse_image_features


def vision_tower(model: PreTrainedModel, images: Mapping[str, Tensor]) -> dict[int, str]:
    """What an image's features depend on: the ids of its parameters, each with the name of the linear layer that it is the
    weight of ("" where it is not one's)."""
    encoder, required = model.base_model.get_image_features, [parameter.requires_grad for parameter in model.parameters()]
    wanted = inspect.signature(encoder).parameters
    where = next(model.parameters()).device
    fields = {name: value.to(where) for name, value in images.items() if name in wanted}
    parameters = [parameter.requires_grad_(True) for parameter in model.parameters() if parameter.is_floating_point()]
    with torch.enable_grad():
        found = encoder(**fields, return_dict=True).pooler_output
        total = torch.stack([part.float().sum() for part in ([found] if isinstance(found, Tensor) else found)]).sum()
        gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    for parameter, was in zip(model.parameters(), required, strict=True):
        parameter.requires_grad_(was)
    read = {id(p) for p, gradient in zip(parameters, gradients, strict=True) if gradient is not None}
    linear = {id(m.weight): name for name, m in model.named_modules() if isinstance(m, nn.Linear)}
    return {key: linear.get(key, "") for key in read}


def _language(model: PreTrainedModel) -> list[Tensor]:
    head = model.get_output_embeddings()
    return [*model.get_decoder().parameters(), *(head.parameters() if head is not None else ())]


def _gone_on(model: PreTrainedModel, fresh: LoraConfig, start: Path) -> PeftModel:
    """The model with the adapter in `start`, which must have the shape of a `fresh` one."""
    try:
        policy = PeftModel.from_pretrained(model, start, is_trainable=True)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ModelError(f"adapter {start} does not fit the model: {' '.join(str(error).split())[:300]}") from error
    there: Any = policy.peft_config["default"]
    for name, key in (("r", "r"), ("lora_alpha", "alpha"), ("lora_dropout", "dropout")):
        old, new = getattr(there, name), getattr(fresh, name)
        if old != new:
            raise RecipeError(
                f"the adapter {start} has {key} {old}, and train.lora.{key} is {new}; an adapter that is gone on with keeps "
                "its shape, so set the same"
            )
    # Not the configuration's own list, which PEFT shortens to endings where it is long.
    layers = set(policy.base_model.targeted_module_names)
    if layers != set(fresh.target_modules):
        raise RecipeError(
            f"the adapter {start} sits on {len(layers)} layers, and by the recipe (train.lora.target_modules, "
            f"train.vision_tower) one would sit on {len(fresh.target_modules)} others; set what it was trained with"
        )
    return policy
