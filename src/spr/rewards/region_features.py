"""Embeddings of regions of a full image, by local attention where a CLIP or SigLIP model pools its patches.

The trunk runs once an image; only the last step is limited to the patches that a region covers, so that the embedding
knows the region's surroundings. Any number of regions costs next to nothing more. Works on the stock transformers classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch.nn.functional import scaled_dot_product_attention

from spr.boxes import Size, as_boxes

_TOLERANCE = 1e-6


def region_masks(regions: ArrayLike, size: Size, grid: int) -> NDArray[np.bool_]:
    """Which patches each region touches: regions (R, 4) in pixels of an image of `size` -> (R, grid * grid), row by row.

    The image is squashed to the model's square input, so both axes map linearly to `grid` patches a side. Edges are
    rounded outwards, and at least one patch is always in: an empty mask would give finite nonsense.
    """
    scaled = as_boxes(regions) * (grid / np.array([*size, *size]))
    low = np.clip(np.floor(scaled[:, :2] + _TOLERANCE), 0, grid - 1)
    high = np.clip(np.ceil(scaled[:, 2:] - _TOLERANCE), low + 1, grid)
    cells = np.arange(grid)
    columns = (cells >= low[:, :1]) & (cells < high[:, :1])
    rows = (cells >= low[:, 1:]) & (cells < high[:, 1:])
    return (rows[:, :, None] & columns[:, None, :]).reshape(len(scaled), grid * grid)


def clip_region_features(model: Any, pixel_values: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Region embeddings of a CLIPModel: pixel_values (B, 3, S, S), bool masks (B, R, N patches) -> (B, R, d), unnormalised.

    In the last layer the class token's attention is limited to itself and the region's patches. With full masks each row
    equals `get_image_features(pixel_values)`.
    """
    vision = model.vision_model
    hidden = vision.pre_layrnorm(vision.embeddings(pixel_values))
    for layer in vision.encoder.layers[:-1]:
        hidden = layer(hidden, None)
    last = vision.encoder.layers[-1]
    pooled = hidden[:, :1].expand(-1, masks.shape[1], -1)
    seen = torch.nn.functional.pad(masks, (1, 0), value=True)
    pooled = pooled + _attend(last.self_attn, last.layer_norm1(hidden), seen)
    pooled = pooled + last.mlp(last.layer_norm2(pooled))
    features: torch.Tensor = model.visual_projection(vision.post_layernorm(pooled))
    return features


def _attend(attention: Any, tokens: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """One CLIPAttention with the class token as R queries: tokens (B, 1 + N, d), seen (B, R, 1 + N) -> (B, R, d)."""
    batch, regions = seen.shape[:2]
    heads = (attention.num_heads, attention.head_dim)
    query = attention.q_proj(tokens[:, :1]).view(batch, 1, *heads).expand(-1, regions, -1, -1).transpose(1, 2)
    key = attention.k_proj(tokens).view(batch, -1, *heads).transpose(1, 2)
    value = attention.v_proj(tokens).view(batch, -1, *heads).transpose(1, 2)
    mixed = scaled_dot_product_attention(query, key, value, attn_mask=seen[:, None], scale=attention.scale)
    result: torch.Tensor = attention.out_proj(mixed.transpose(1, 2).reshape(batch, regions, -1))
    return result


def siglip_region_features(model: Any, pixel_values: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Region embeddings of a SiglipModel, shapes as in `clip_region_features`.

    The probe of the attention-pooling head reads only the region's patches, which equals the stock head on those patches
    alone. With full masks each row equals `get_image_features(pixel_values)`.
    """
    tokens = model.vision_model(pixel_values=pixel_values).last_hidden_state
    head = model.vision_model.head
    batch, regions, _ = masks.shape
    probes = head.probe.expand(batch, regions, -1)
    hidden = torch.repeat_interleave(~masks, head.attention.num_heads, dim=0)
    pooled = head.attention(probes, tokens, tokens, attn_mask=hidden, need_weights=False)[0]
    features: torch.Tensor = pooled + head.mlp(head.layernorm(pooled))
    return features
