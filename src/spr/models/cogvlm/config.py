"""The sizes of a CogVLM; the defaults are those of the published 17B."""

from __future__ import annotations

from typing import Any, ClassVar

from huggingface_hub.dataclasses import strict
from transformers import CLIPVisionConfig, LlamaConfig, PreTrainedConfig


@strict
class CogVLMVisionConfig(CLIPVisionConfig):
    """EVA2-CLIP-E without its last layer. `projection_dim` and the initializers of CLIP play no part."""

    model_type = "cogvlm_vision"

    hidden_size: int = 1792
    intermediate_size: int = 15360
    num_hidden_layers: int = 63
    num_attention_heads: int = 16
    image_size: int = 490
    patch_size: int = 14
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-6

    @property
    def num_patches(self) -> int:
        """Patches of an image; the class token is not among them."""
        return int((self.image_size // self.patch_size) ** 2)


@strict
class CogVLMTextConfig(LlamaConfig):
    """Vicuna 7B v1.5; the vision experts have the same sizes."""

    model_type = "cogvlm_text"
    base_config_key = "text_config"
    base_model_tp_plan: ClassVar[dict[str, str]] = {}  # Llama's names are not these layers'

    rms_norm_eps: float = 1e-5
    pad_token_id: int | None = 0


@strict
class CogVLMConfig(PreTrainedConfig):
    """Tower, language model, and the id that marks image tokens: none of the vocabulary, since they have no words."""

    model_type = "cogvlm"
    sub_configs_defaults: ClassVar[dict[str, Any]] = {"vision_config": CogVLMVisionConfig, "text_config": CogVLMTextConfig}

    vision_config: Any = None
    text_config: Any = None
    image_token_id: int = 32000
    tie_word_embeddings: bool = False

    @property
    def image_seq_length(self) -> int:
        """Tokens of an image: its patches between a beginning and an end."""
        return int(self.vision_config.num_patches) + 2
