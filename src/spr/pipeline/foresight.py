"""What training takes on pairs whose tokens are known: `spr plan`'s arithmetic on what the preflight counted."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from spr.models.shapes import Known
from spr.pipeline.estimates import costs, work
from spr.pipeline.estimates.device import device_memory, measure
from spr.pipeline.estimates.steps import known_shape, uncounted
from spr.pipeline.estimates.units import bytes_text, time_text
from spr.recipe import Recipe
from spr.running.ranks import world
from spr.training.together import parted

if TYPE_CHECKING:
    from spr.training.preflight import Preflight

_UNKNOWN = "train: how much memory and time it takes is unknown: "


def foreseen(recipe: Recipe, device: str, ready: Preflight, updates: int) -> list[str]:
    """What a step of the longest pairs takes of `device` at its peak, and how long `updates` of pairs of median length take, as
    lines; a warning where memory is more than there is. Neither is known of weights that are parted over processes."""
    if parted():  # first of all: under ZeRO-3 no process may make a model, not even an empty one, alone
        return [_UNKNOWN + "FSDP and ZeRO-3 part the weights over the processes"]
    known = known_shape(recipe.model)
    why = known if isinstance(known, str) else uncounted(recipe, known.shape)
    if isinstance(known, str) or why:
        return [f"{_UNKNOWN}{why}"]
    return [_memory(recipe, device, known, ready), *([_time(recipe, device, known, ready, updates)] if updates else [])]


def _memory(recipe: Recipe, device: str, known: Known, ready: Preflight) -> str:
    train = recipe.train
    needed = costs.training_memory(known.shape, _step(recipe, known, ready, "max"), train.dtype, fused=device != "cpu")
    there = device_memory(device)
    if needed <= there:
        return f"train: about {bytes_text(needed)} at the peak, of {bytes_text(there)} that {device} has"
    return (
        f"WARNING: train needs about {bytes_text(needed)} at the peak, but {device} has {bytes_text(there)}; lower "
        "train.batch_size or the pixel limits in model.processor, or set train.gradient_checkpointing: true"
    )


def _time(recipe: Recipe, device: str, known: Known, ready: Preflight, updates: int) -> str:
    train, shape = recipe.train, known.shape
    step = _step(recipe, known, ready, "median")
    speed = measure(device, train.dtype, train.threads, (shape.hidden, shape.inner))
    batches = train.gradient_accumulation // world()
    seconds = costs.all_updates_seconds(shape, step, speed, device != "cpu", batches, updates)
    return f"train: about {time_text(seconds)} for {updates:,} updates, by the arithmetic of `spr plan`"


def _step(recipe: Recipe, known: Known, ready: Preflight, statistic: str) -> costs.Pairs:
    """A step of pairs that are as long as a statistic of all says."""
    prompt, chosen, rejected = (ready.lengths[name][statistic] for name in ("prompt", "chosen", "rejected"))
    answer = chosen if recipe.train.objective == "sft" else (chosen + rejected) / 2
    photos = work.photos((pair.size for pair in ready.pairs), known.image)
    seen = photos.largest if statistic == "max" else photos.mean
    return replace(work.training_step(recipe, seen, known.shape.family, answer), prompt=int(prompt))
