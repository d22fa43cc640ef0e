"""Ferret's configuration: a CLIP tower, a Llama, and the two tokens that stand for what is no word."""

from __future__ import annotations

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import LlavaConfig


@strict
class FerretConfig(LlavaConfig):
    """LLaVA's configuration with `region_token_id`, the token whose embedding is a region's features.

    The text model's vocabulary ends with the region token. The image token comes after it: it is a mark of the
    processor's without an embedding, as in the authors' code, so that the model cannot write it.
    """

    model_type = "ferret"

    region_token_id: int = 32000
    image_token_index: int = 32001

    def __post_init__(self, **kwargs: Any) -> None:
        if "mm_hidden_size" in kwargs:
            raise ValueError("this is Ferret as its authors published it, which has to be converted: spr models convert ferret")
        super().__post_init__(**kwargs)
