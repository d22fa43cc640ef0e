"""How many positions a model has for a sequence."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig

_STRETCHED = ("linear", "dynamic", "yarn", "llama3")
"""Kinds of rotary embeddings that reach further than they were trained for, by a factor."""


def positions(config: PreTrainedConfig) -> int | None:
    """Tokens that the language model of `config` can tell apart; None where it does not say.

    `max_position_embeddings`, or what scaled rotary embeddings reach where that is more: their factor times the length they
    start from (transformers, modeling_rope_utils.py). Whether a config's `max_position_embeddings` counts the scaling
    already differs between checkpoints.
    """
    text = config.get_text_config()
    limit: int | None = getattr(text, "max_position_embeddings", None)
    rope: Any = getattr(text, "rope_parameters", None) or {}
    if limit is None or rope.get("rope_type") not in _STRETCHED:
        return limit
    start: int = rope.get("original_max_position_embeddings", limit)
    return max(limit, round(float(rope["factor"]) * start))
