"""Adapter and base become one model directory that anything loads: the same weights, with the adapter's change added.

Not here: training the adapter, or serving the result.
"""

from __future__ import annotations

from pathlib import Path

import torch
from peft import PeftModel

from spr.errors import ModelError, RecipeError
from spr.models.directories import free, new_directory
from spr.models.loading import load_config, load_model_and_processor
from spr.models.quiet import quiet
from spr.recipe_model import Model


def merge(model: Model, adapter: Path, out: Path) -> None:
    """Write the merged model and its processor to `out`, in the base checkpoint's own dtype.

    `out` appears whole or not at all. Raises RecipeError when `adapter` holds no adapter or `out` is not empty, and
    ModelError when the base cannot be loaded, is quantized (rounding would undo the adapter) or does not fit the adapter, and
    where the disk is full.
    """
    if not (adapter / "adapter_config.json").is_file():
        raise RecipeError(f"{adapter} holds no adapter; name the policy/adapter folder of a finished run")
    place = free(out)
    with quiet():
        base, processor = load_model_and_processor(model, "cpu", _stored_dtype(model))
        try:
            merged = PeftModel.from_pretrained(base, adapter).merge_and_unload(safe_merge=True)
        except (RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())[:300]
            raise ModelError(f"the adapter in {adapter} does not fit {model.name}: {reason}") from None
        with new_directory(place) as partial:
            merged.save_pretrained(partial)
            processor.save_pretrained(partial)


def _stored_dtype(model: Model) -> str:
    """The precision the checkpoint is stored in, by name. Raises ModelError for quantized weights."""
    config = load_config(model)
    if getattr(config, "quantization_config", None) is not None:
        raise ModelError(f"{model.name} is quantized; merge into the full-precision weights it was made from")
    return str(config.dtype or torch.float32).removeprefix("torch.")
