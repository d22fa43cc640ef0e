"""Adapter and base become one model directory that anything loads: the same weights, with the adapter's change added.

Not here: training the adapter, or serving the result.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from peft import PeftModel

from spr.errors import ModelError, RecipeError
from spr.recipe import Model
from spr.training.policy import is_quantized, load_policy
from spr.training.quiet import quiet


def merge(model: Model, adapter: Path, out: Path) -> None:
    """Write the merged model and its processor to `out`, in the base checkpoint's own dtype.

    `out` appears whole or not at all. Raises RecipeError when `adapter` holds no adapter or `out` is not empty, and
    ModelError when the base cannot be loaded, is quantized (rounding would undo the adapter) or does not fit the adapter.
    """
    if not (adapter / "adapter_config.json").is_file():
        raise RecipeError(f"{adapter} holds no adapter; name the policy/adapter folder of a finished run")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RecipeError(f"{out} is not empty; merge into a new directory")
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    with quiet():
        if is_quantized(model):
            raise ModelError(f"{model.name} is quantized; merge into the full-precision weights it was made from")
        base, processor = load_policy(model, "auto", "cpu")
        try:
            merged = PeftModel.from_pretrained(base, adapter).merge_and_unload(safe_merge=True)
        except (RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())[:300]
            raise ModelError(f"the adapter in {adapter} does not fit {model.name}: {reason}") from None
        out.parent.mkdir(parents=True, exist_ok=True)
        merged.save_pretrained(partial)
        processor.save_pretrained(partial)
    partial.rename(out)
