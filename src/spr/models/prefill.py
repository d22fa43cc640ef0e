"""What rows of a batch have in common is computed once: prompts, or their beginnings, become keys and values for all.

Which way a model allows is tried on a small prompt, by its logits. Not here: how a prompt is written.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

_TOLERANCE = 0.1
"""Largest difference of logits, as a share of their spread, that counts as rounding."""
_STEPS = 3

Inputs = dict[str, Any]


def continue_from(model: PreTrainedModel, prefixes: Inputs, order: Tensor, ids: Tensor, mask: Tensor) -> Inputs:
    """Inputs of `generate` that go on from processed prefixes, left-padded, each encoded once.

    Row i begins with prefix `order[i]` (rows,) and ends with `ids[i]` (rows, length), masked by `mask`. Without endings
    (length 0) the prefixes are whole prompts: then their last token is read once more, by every row, which is the same in
    any model, since the last token sees all others.
    """
    cache = model.generate(**prefixes, max_new_tokens=1, return_dict_in_generate=True).past_key_values
    if ids.shape[1] == 0:
        cache.crop(-1)
    cache.batch_select_indices(order)
    for module in model.modules():  # what multimodal rotary positions keep beside the cache
        if isinstance(getattr(module, "rope_deltas", None), Tensor):
            module.rope_deltas = module.rope_deltas[order]
    inputs = {
        "input_ids": torch.cat([prefixes["input_ids"][order], ids], dim=1),
        "attention_mask": torch.cat([prefixes["attention_mask"][order], mask], dim=1),
        "past_key_values": cache,
    }
    if "image_embeds" in inspect.signature(type(model).generate).parameters:
        # Kosmos-2 encodes an image at every call that brings none encoded, and leaves it alone where the cache has it.
        inputs["image_embeds"] = prefixes["pixel_values"].new_zeros(0)
    return inputs


def decode_from(model: PreTrainedModel, prompts: Inputs, order: Tensor) -> Inputs:
    """Inputs of `generate` for an encoder-decoder whose prompts are encoded once; row i is about prompt `order[i]`."""
    with torch.inference_mode():
        encoded = model(**prompts, use_cache=False).encoder_last_hidden_state
    return {
        "input_ids": prompts["input_ids"][order],
        "attention_mask": prompts["attention_mask"][order],
        "encoder_outputs": BaseModelOutput(last_hidden_state=encoded[order]),
    }


def first_logits(model: PreTrainedModel, inputs: Inputs) -> Tensor:
    """The logits of a greedy answer's first tokens, (steps, rows, vocabulary), float32."""
    options = {"min_new_tokens": _STEPS, "max_new_tokens": _STEPS, "output_logits": True, "return_dict_in_generate": True}
    return torch.stack(model.generate(**inputs, **options).logits).float()


@contextmanager
def told_positions(model: PreTrainedModel) -> Iterator[list[bool]]:
    """Collects for each call of the decoder whether it is told its positions. One that is not counts them from its
    cache, pads included: a small change of every logit, too small to tell it from rounding."""
    told: list[bool] = []

    def note(_module: Any, _args: Any, kwargs: dict[str, Any]) -> None:
        told.append(kwargs.get("position_ids") is not None)

    hook = model.get_decoder().register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield told
    finally:
        hook.remove()


def agree(some: Tensor, others: Tensor) -> bool:
    """Whether two ways to the same answers give the same logits (steps, rows, vocabulary), up to rounding.

    A row is compared as long as both ways have chosen the same tokens: after a tie that rounding breaks, they differ.
    """
    comparable = torch.ones(some.shape[1], dtype=torch.bool, device=some.device)
    for one, other in zip(some, others, strict=True):
        spread = one.amax(dim=1) - one.amin(dim=1)
        apart = (one - other).abs().amax(dim=1) > _TOLERANCE * spread
        if (apart & comparable).any():
            return False
        comparable &= one.argmax(dim=1) == other.argmax(dim=1)
    return True
