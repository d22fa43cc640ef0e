"""EVA2-CLIP-E and the projector behind it: pixels to the language model's width.

Source: `utils/models/eva_clip_model.py` and `GLU` of `utils/models/cogvlm_model.py` of THUDM/CogVLM.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.clip.modeling_clip import CLIPMLP

from spr.models.cogvlm.config import CogVLMTextConfig, CogVLMVisionConfig


class PatchEmbedding(nn.Module):
    """Pixels (B, 3, side, side) -> (B, 1 + patches, width): a class token, then the patches row by row."""

    def __init__(self, config: CogVLMVisionConfig) -> None:
        super().__init__()
        side = config.patch_size
        self.proj = nn.Conv2d(config.num_channels, config.hidden_size, kernel_size=side, stride=side)
        self.cls_embedding = nn.Parameter(torch.zeros(1, config.hidden_size))
        self.position_embedding = nn.Embedding(config.num_patches + 1, config.hidden_size)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Embedded patches with their learnt places."""
        patches = self.proj(pixel_values).flatten(2).transpose(1, 2)
        first = self.cls_embedding.expand(len(patches), 1, -1)
        return torch.cat([first, patches], dim=1) + self.position_embedding.weight


class VisionAttention(nn.Module):
    """Every token of an image sees every other; queries, keys and values come from one fused projection."""

    def __init__(self, config: CogVLMVisionConfig) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.query_key_value = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(B, tokens, width) -> the same."""
        fused = self.query_key_value(hidden_states).unflatten(-1, (3, self.heads, -1))
        query, key, value = fused.permute(2, 0, 3, 1, 4)
        seen = nn.functional.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.dense(seen.transpose(1, 2).flatten(2))
        return out


class VisionLayer(GradientCheckpointingLayer):
    """A layer that normalises what attention and MLP give, not what they take."""

    def __init__(self, config: CogVLMVisionConfig) -> None:
        super().__init__()
        self.attention = VisionAttention(config)
        self.input_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = CLIPMLP(config)
        self.post_attention_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(B, tokens, width) -> the same."""
        hidden_states = hidden_states + self.input_layernorm(self.attention(hidden_states))
        out: Tensor = hidden_states + self.post_attention_layernorm(self.mlp(hidden_states))
        return out


class CogVLMVisionTower(PreTrainedModel):
    """Pixels (B, 3, side, side) -> last_hidden_state (B, patches, width), without the class token."""

    config_class = CogVLMVisionConfig
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    _no_split_modules: ClassVar[list[str]] = ["VisionLayer"]
    _supports_sdpa = True
    supports_gradient_checkpointing = True

    def __init__(self, config: CogVLMVisionConfig) -> None:
        super().__init__(config)
        self.patch_embedding = PatchEmbedding(config)
        self.layers = nn.ModuleList(VisionLayer(config) for _ in range(config.num_hidden_layers))
        self.post_init()

    def forward(self, pixel_values: Tensor, **_: Any) -> BaseModelOutput:
        """The patches after all layers; EVA's final norm is not used."""
        hidden_states = self.patch_embedding(pixel_values.to(self.dtype))
        for layer in self.layers:
            hidden_states = layer(hidden_states)
        return BaseModelOutput(last_hidden_state=hidden_states[:, 1:])


class CogVLMProjector(nn.Module):
    """Patches to the language model's width through a gated MLP, between two learnt tokens: beginning and end."""

    def __init__(self, vision: CogVLMVisionConfig, text: CogVLMTextConfig) -> None:
        super().__init__()
        wide, inner = text.hidden_size, text.intermediate_size
        self.linear_proj = nn.Linear(vision.hidden_size, wide, bias=False)
        self.norm1 = nn.LayerNorm(wide)
        self.gelu, self.silu = ACT2FN["gelu"], ACT2FN["silu"]
        self.gate_proj = nn.Linear(wide, inner, bias=False)
        self.dense_h_to_4h = nn.Linear(wide, inner, bias=False)
        self.dense_4h_to_h = nn.Linear(inner, wide, bias=False)
        self.boi = nn.Parameter(torch.zeros(1, 1, wide))
        self.eoi = nn.Parameter(torch.zeros(1, 1, wide))

    def forward(self, patches: Tensor) -> Tensor:
        """(B, patches, vision width) -> (B, 1 + patches + 1, text width)."""
        wide = self.gelu(self.norm1(self.linear_proj(patches)))
        wide = self.dense_4h_to_h(self.silu(self.gate_proj(wide)) * self.dense_h_to_4h(wide))
        rows = len(wide)
        return torch.cat([self.boi.expand(rows, -1, -1), wide, self.eoi.expand(rows, -1, -1)], dim=1)
