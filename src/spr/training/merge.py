"""Adapter and base become one model directory that anything loads: the same weights, with the adapter's change added.

Each weight is added up in float32 and rounded once, to the precision that is written. A change smaller than half a step of
that precision is lost by then, so what survived is measured. Not here: training the adapter, or what its card says.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from transformers import PreTrainedModel

from spr.errors import ModelError, RecipeError
from spr.models.directories import free, new_directory
from spr.models.loading import load_config, load_model_and_processor
from spr.models.quiet import quiet
from spr.models.saving import save_processor
from spr.recipe_model import Model
from spr.running.progress import meter
from spr.training.merged import Merged

Precision = Literal["bfloat16", "float32", "stored"]
"""What is written; `stored` is the precision of the base's own files."""


def merge(
    model: Model,
    adapter: Path,
    out: Path,
    dtype: Precision = "bfloat16",
    card: Callable[[Merged], str] | None = None,
) -> Merged:
    """Write the merged model and its processor to `out`, with weights of precision `dtype`; `card` writes its README.md.

    `out` appears whole or not at all. Raises RecipeError for an unknown `dtype`, when `adapter` holds no adapter or `out` is
    not empty, and ModelError when the base cannot be loaded, is quantized (rounding would undo the adapter) or does not fit
    the adapter, and where the disk is full.
    """
    if dtype not in get_args(Precision):
        raise RecipeError(f"--dtype {dtype}: there is no such precision here; name one of {', '.join(get_args(Precision))}")
    if not (adapter / "adapter_config.json").is_file():
        whole = (adapter / "config.json").is_file()
        there = "is a whole model, which needs no merging" if whole else "holds no adapter; name the one of a finished run"
        raise RecipeError(f"{adapter} {there}")
    place = free(out)
    model = model.model_copy(update={"quantization": "none"})  # what was trained on 4-bit weights goes into the whole ones
    stored = _stored_dtype(model)
    written = stored if dtype == "stored" else dtype
    with quiet():
        base, processor = load_model_and_processor(model, "cpu", stored)
        try:
            whole, merged = _added(PeftModel.from_pretrained(base, adapter), getattr(torch, written))
        except (RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())[:300]
            raise ModelError(f"the adapter in {adapter} does not fit {model.name}: {reason}") from None
        with new_directory(place) as partial:
            whole.save_pretrained(partial)
            save_processor(processor, model, partial)
            if card is not None:
                (partial / "README.md").write_text(card(merged), encoding="utf-8")
    return merged


def _added(tuned: PeftModel, dtype: torch.dtype) -> tuple[PreTrainedModel, Merged]:
    """The base with the change in its weights, all of them in `dtype`, and what rounding left of it.

    Raises ValueError where a merged weight is not finite.
    """
    layers = [module for module in tuned.modules() if isinstance(module, LoraLayer)]
    change = along = scattered = 0.0
    with meter("merge", len(layers), "layers") as tick:
        for layer in layers:
            linear = layer.get_base_layer()
            before = linear.weight.data.float()
            linear.weight.data = before
            layer.merge(safe_merge=True)
            after = linear.weight.data
            linear.weight.data = after.to(dtype)
            if not torch.isfinite(linear.weight.data).all():
                raise ValueError(f"merged weights overflow {dtype}")
            wanted, left = (after - before).double(), (linear.weight.data.float() - before.to(dtype).float()).double()
            change += wanted.square().sum().item()
            along += (wanted * left).sum().item()
            scattered += (left - wanted).square().sum().item()
            tick(1)
    whole = tuned.unload().to(dtype)
    name = str(dtype).removeprefix("torch.")
    return whole, Merged(name, along / change if change else None, (scattered / change) ** 0.5 if change else None)


def _stored_dtype(model: Model) -> str:
    """The precision the checkpoint is stored in, by name. Raises ModelError for quantized weights."""
    config = load_config(model)
    if getattr(config, "quantization_config", None) is not None:
        raise ModelError(f"{model.name} is quantized; merge into the full-precision weights it was made from")
    return str(config.dtype or torch.float32).removeprefix("torch.")
