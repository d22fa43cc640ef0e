"""Families that transformers does not have, brought along here, made known to its Auto classes.

After that a directory of such a model loads like any other. Not here: the models, which lie in packages of their own.
"""

from __future__ import annotations

from functools import cache

from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    AutoProcessor,
    PreTrainedConfig,
    PreTrainedModel,
    ProcessorMixin,
)


@cache
def register() -> None:
    """Make all families known; once is enough."""
    from spr.models.cogvlm.config import CogVLMConfig
    from spr.models.cogvlm.model import CogVLMForConditionalGeneration
    from spr.models.cogvlm.processor import CogVLMProcessor
    from spr.models.ferret.config import FerretConfig
    from spr.models.ferret.model import FerretForConditionalGeneration
    from spr.models.ferret.processor import FerretProcessor

    _register(CogVLMConfig, CogVLMForConditionalGeneration, CogVLMProcessor)
    _register(FerretConfig, FerretForConditionalGeneration, FerretProcessor)


def _register(config: type[PreTrainedConfig], model: type[PreTrainedModel], processor: type[ProcessorMixin]) -> None:
    AutoConfig.register(config.model_type, config)
    AutoModelForImageTextToText.register(config, model)
    AutoProcessor.register(config, processor)
