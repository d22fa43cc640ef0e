"""The policy to train or to merge: base weights on one device, and the processor. Not here: generation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor, PreTrainedModel, ProcessorMixin

from spr.errors import ModelError
from spr.recipe import Model


def load_policy(model: Model, dtype: str, device: str) -> tuple[PreTrainedModel, ProcessorMixin]:
    """Base model and processor of a recipe; `dtype` auto takes the checkpoint's own. Raises ModelError."""
    with _as_model_error(model):
        processor = AutoProcessor.from_pretrained(model.name, **_source(model), **model.processor)
        policy = AutoModelForImageTextToText.from_pretrained(
            model.name, dtype=dtype, attn_implementation=model.attention, **_source(model)
        )
    return policy.to(device), processor


def is_quantized(model: Model) -> bool:
    """Whether the checkpoint holds quantized weights, read from its configuration. Raises ModelError."""
    with _as_model_error(model):
        config = AutoConfig.from_pretrained(model.name, **_source(model))
    return getattr(config, "quantization_config", None) is not None


def _source(model: Model) -> dict[str, Any]:
    return {"revision": model.revision, "trust_remote_code": model.trust_remote_code}


@contextmanager
def _as_model_error(model: Model) -> Iterator[None]:
    try:
        yield
    except (ImportError, OSError, ValueError) as error:
        raise ModelError(f"model.name {model.name} cannot be loaded: {' '.join(str(error).split())[:300]}") from None
