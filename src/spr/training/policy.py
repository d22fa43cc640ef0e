"""The policy to train: base weights in the training precision, on one device, and its processor."""

from __future__ import annotations

from typing import Any

import torch
from transformers import AutoModelForImageTextToText, AutoProcessor, PreTrainedModel, ProcessorMixin

from spr.errors import ModelError
from spr.recipe import Model


def load_policy(model: Model, dtype: str, device: str) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Base model and processor of a recipe. Raises ModelError when they cannot be loaded."""
    common: dict[str, Any] = {"revision": model.revision, "trust_remote_code": model.trust_remote_code}
    try:
        processor = AutoProcessor.from_pretrained(model.name, **common, **model.processor)
        policy = AutoModelForImageTextToText.from_pretrained(
            model.name, dtype=getattr(torch, dtype), attn_implementation=model.attention, **common
        )
    except (OSError, ValueError) as error:
        raise ModelError(f"model.name {model.name} cannot be loaded: {' '.join(str(error).split())[:300]}") from None
    return policy.to(device), processor
