"""The language model: a Llama whose every layer holds a second set of weights, for image tokens.

Source: `utils/models/mixin.py` of THUDM/CogVLM. Tokens of both kinds attend to each other; only what is projected differs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from transformers import Cache, DynamicCache, PreTrainedModel
from transformers.masking_utils import create_causal_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama.modeling_llama import (
    LlamaMLP,
    LlamaRMSNorm,
    LlamaRotaryEmbedding,
    apply_rotary_pos_emb,
    eager_attention_forward,
)

from spr.models.cogvlm.config import CogVLMTextConfig
from spr.models.cogvlm.tokens import Split


def by_expert(hidden_states: Tensor, split: Split | None, vision: nn.Module, language: nn.Module) -> Tensor:
    """(rows, length, width) through the expert of each token; an expert computes its own tokens only."""
    if split is None:
        alone: Tensor = language(hidden_states)
        return alone
    flat = hidden_states.flatten(0, 1)
    both = torch.cat([vision(flat[split.vision]), language(flat[split.language])])
    return both[split.back].view(*hidden_states.shape[:2], -1)


class CogVLMRotaryEmbedding(LlamaRotaryEmbedding):
    """Llama's, but with angles computed in the model's own precision.

    In bfloat16 positions beyond 256 fall together in twos and fours. The published weights were trained with that (the
    authors set `pos_idx_in_fp32=False`), so it is kept.
    """

    @torch.no_grad()
    def forward(self, x: Tensor, position_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines (rows, length, head width) in the type of `x`, for positions (rows, length)."""
        angles = position_ids[..., None].to(x.dtype) * self.inv_freq.to(x)
        both = torch.cat([angles, angles], dim=-1)
        return both.cos(), both.sin()


class CogVLMAttention(nn.Module):
    """Causal attention over all tokens; queries, keys, values and output are projected by each token's expert."""

    def __init__(self, config: CogVLMTextConfig, layer_idx: int) -> None:
        super().__init__()
        self.config = config
        self.layer_idx = layer_idx
        self.heads, self.head_dim = config.num_attention_heads, config.head_dim
        self.num_key_value_groups = 1
        self.scaling = self.head_dim**-0.5
        self.is_causal = True
        wide = config.hidden_size
        self.vision_expert_query_key_value = nn.Linear(wide, 3 * wide, bias=False)
        self.vision_expert_dense = nn.Linear(wide, wide, bias=False)
        self.language_expert_query_key_value = nn.Linear(wide, 3 * wide, bias=False)
        self.language_expert_dense = nn.Linear(wide, wide, bias=False)

    def forward(
        self,
        hidden_states: Tensor,
        split: Split | None,
        position_embeddings: tuple[Tensor, Tensor],
        attention_mask: Tensor | None,
        past_key_values: Cache | None,
        **kwargs: Any,
    ) -> Tensor:
        """(rows, length, width) -> the same."""
        qkv = self.vision_expert_query_key_value, self.language_expert_query_key_value
        fused = by_expert(hidden_states, split, *qkv).view(*hidden_states.shape[:2], 3, self.heads, self.head_dim)
        query, key, value = fused.permute(2, 0, 3, 1, 4)
        query, key = apply_rotary_pos_emb(query, key, *position_embeddings)
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.layer_idx)
        attend: Callable[..., Any] = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        seen, _ = attend(self, query, key, value, attention_mask, scaling=self.scaling, **kwargs)
        return by_expert(seen.flatten(2), split, self.vision_expert_dense, self.language_expert_dense)


class CogVLMMLP(nn.Module):
    """Two of Llama's MLPs, one for each kind of token."""

    def __init__(self, config: CogVLMTextConfig) -> None:
        super().__init__()
        self.vision_mlp = LlamaMLP(config)
        self.language_mlp = LlamaMLP(config)

    def forward(self, hidden_states: Tensor, split: Split | None) -> Tensor:
        """(rows, length, width) -> the same."""
        return by_expert(hidden_states, split, self.vision_mlp, self.language_mlp)


class CogVLMDecoderLayer(GradientCheckpointingLayer):
    """Attention and MLP by expert; both kinds share the norms."""

    def __init__(self, config: CogVLMTextConfig, layer_idx: int) -> None:
        super().__init__()
        self.self_attn = CogVLMAttention(config, layer_idx)
        self.mlp = CogVLMMLP(config)
        self.input_layernorm = LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.post_attention_layernorm = LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)

    def forward(self, hidden_states: Tensor, split: Split | None, **kwargs: Any) -> Tensor:
        """(rows, length, width) -> the same."""
        hidden_states = hidden_states + self.self_attn(self.input_layernorm(hidden_states), split, **kwargs)
        out: Tensor = hidden_states + self.mlp(self.post_attention_layernorm(hidden_states), split)
        return out


class CogVLMTextModel(PreTrainedModel):
    """Embedded tokens to hidden states. It has to be told which tokens are an image's, and every position."""

    config_class = CogVLMTextConfig
    input_modalities = ("text",)
    _no_split_modules: ClassVar[list[str]] = ["CogVLMDecoderLayer"]
    _skip_keys_device_placement: ClassVar[list[str]] = ["past_key_values"]
    _supports_sdpa = True
    _supports_attention_backend = True
    supports_gradient_checkpointing = True
    experts = 2

    def __init__(self, config: CogVLMTextConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(CogVLMDecoderLayer(config, place) for place in range(config.num_hidden_layers))
        self.norm = LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        self.rotary_emb = CogVLMRotaryEmbedding(config)
        self.post_init()

    @property
    def unread(self) -> tuple[nn.Module, ...]:
        """Linear layers without any effect on an answer: what the last layer adds to image tokens is read by no other."""
        last: Any = self.layers[-1]
        image = last.mlp.vision_mlp
        return last.self_attn.vision_expert_dense, image.gate_proj, image.up_proj, image.down_proj

    def forward(
        self,
        inputs_embeds: Tensor,
        is_image: Tensor,
        position_ids: Tensor,
        attention_mask: Tensor | None = None,
        past_key_values: Cache | None = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """Embeddings (rows, length, width), image tokens bool (rows, length) and positions (rows, length) -> hidden states
        (rows, length, width) with the keys and values of all layers where `use_cache` says so."""
        if past_key_values is None and (self.config.use_cache if use_cache is None else use_cache):
            past_key_values = DynamicCache(config=self.config)
        # Positions stay out of the mask: patches share one, which transformers would take for rows packed into one.
        mask = create_causal_mask(
            config=self.config, inputs_embeds=inputs_embeds, attention_mask=attention_mask, past_key_values=past_key_values
        )
        split = Split.of(is_image)
        hidden_states = inputs_embeds
        angles = self.rotary_emb(hidden_states, position_ids)
        for layer in self.layers:
            hidden_states = layer(
                hidden_states,
                split,
                position_embeddings=angles,
                attention_mask=mask,
                past_key_values=past_key_values,
                **kwargs,
            )
        return BaseModelOutputWithPast(last_hidden_state=self.norm(hidden_states), past_key_values=past_key_values)
