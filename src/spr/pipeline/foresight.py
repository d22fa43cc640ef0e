"""The memory that training takes on pairs whose tokens are known: `spr plan`'s arithmetic on what the preflight counted."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from spr.pipeline.estimates import costs, work
from spr.pipeline.estimates.device import device_memory
from spr.pipeline.estimates.steps import known_shape, uncounted
from spr.pipeline.estimates.units import bytes_text
from spr.recipe import Recipe

if TYPE_CHECKING:
    from spr.training.preflight import Preflight


def memory_line(recipe: Recipe, device: str, ready: Preflight) -> str:
    """What a step of the longest pairs takes of `device` at its peak, as a line; a warning where that is more than there is."""
    train = recipe.train
    known = known_shape(recipe.model)
    why = known if isinstance(known, str) else uncounted(recipe, known.shape)
    if isinstance(known, str) or why:
        return f"train: how much memory it takes is unknown: {why}"
    longest = {name: ready.lengths[name]["max"] for name in ("prompt", "chosen", "rejected")}
    answer = longest["chosen"] if train.objective == "sft" else (longest["chosen"] + longest["rejected"]) / 2
    seen = work.photos((pair.size for pair in ready.pairs), known.image)
    step = replace(work.training_step(recipe, seen.largest, known.shape.family, answer), prompt=int(longest["prompt"]))
    needed = costs.training_memory(known.shape, step, train.dtype, fused=device != "cpu")
    there = device_memory(device)
    if needed <= there:
        return f"train: about {bytes_text(needed)} at the peak, of {bytes_text(there)} that {device} has"
    return (
        f"WARNING: train needs about {bytes_text(needed)} at the peak, but {device} has {bytes_text(there)}; lower "
        "train.batch_size or the pixel limits in model.processor, or set train.gradient_checkpointing: true"
    )
