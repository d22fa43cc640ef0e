"""Embeddings of regions of a full image, by limiting what a dual encoder's vision tower attends to.

Two families of towers: one whose class token collects the image (CLIP and its kin), and one whose probe pools the patches
after the last layer (SigLIP). Either can be limited in its `last` step only, so that the embedding knows the region's
surroundings, or in `all` layers from `start_layer` on (after MaskCLIP, arXiv 2208.08984; here the patches are limited too).
Whatever the mode, with a mask over all patches a region's embedding is the stock image embedding. Works on the stock
transformers classes; knows nothing of texts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch.nn.functional import pad, scaled_dot_product_attention

from spr.boxes import Size, as_boxes

_TOLERANCE = 1e-6
_REGIONS_AT_A_TIME = 64


def region_masks(regions: ArrayLike, size: Size, patches: float | tuple[float, float]) -> NDArray[np.bool_]:
    """Which patches each region touches: regions (R, 4) in pixels of an image of `size` -> (R, rows * columns), row by row.

    `patches` is how many lie across and down, one number where they agree: the image is squashed to the model's input, so
    both axes map linearly to them. A fraction of a patch at the right or lower edge is not read by the model and has no
    column or row. Regions' edges are rounded outwards, and at least one patch is always in: an empty mask would give
    finite nonsense.
    """
    counts = np.broadcast_to(patches, 2)
    columns, rows = counts.astype(int).tolist()
    scaled, last = as_boxes(regions) * np.tile(counts / size, 2), np.array([columns, rows])
    low = np.clip(np.floor(scaled[:, :2] + _TOLERANCE), 0, last - 1)
    high = np.clip(np.ceil(scaled[:, 2:] - _TOLERANCE), low + 1, last)
    across = (np.arange(columns) >= low[:, :1]) & (np.arange(columns) < high[:, :1])
    down = (np.arange(rows) >= low[:, 1:]) & (np.arange(rows) < high[:, 1:])
    masks: NDArray[np.bool_] = (down[:, :, None] & across[:, None, :]).reshape(len(scaled), rows * columns)
    return masks


def clip_region_features(
    model: Any, pixel_values: torch.Tensor, masks: torch.Tensor, start_layer: int | None = None
) -> torch.Tensor:
    """Region embeddings by a CLIP tower's class token: pixel_values (B, 3, S, S), bool masks (B, R, N patches), each with a
    patch in -> (B, R, d), unnormalised.

    `last` (start_layer None): the trunk runs once an image; in the last layer the class token attends to itself and the
    region's patches. `all`: the layers below start_layer (0 is the first) run once an image on all tokens; from it on a
    region's class token and patches attend to themselves and each other and to nothing else, which equals the stock
    layers on those tokens alone. So from layer 0 on what lies outside a region has no say, and from the last layer on
    `all` is `last`. Models: CLIPModel, MetaClip2Model, AltCLIPModel, ChineseCLIPModel.
    """
    vision = model.vision_model
    hidden = vision.pre_layrnorm(vision.embeddings(pixel_values))
    layers, seen = vision.encoder.layers, pad(masks, (1, 0), value=True)
    if start_layer is None:
        pooled = _last_layer(layers[-1], _through(layers[:-1], hidden), seen)
    else:
        hidden = _through(layers[:start_layer], hidden)
        pooled = _limited(layers[start_layer:], hidden, seen, lambda tokens, _: tokens[:, 0])
    features: torch.Tensor = model.visual_projection(vision.post_layernorm(pooled))
    return features


def siglip_region_features(
    model: Any,
    pixel_values: torch.Tensor,
    masks: torch.Tensor,
    start_layer: int | None = None,
    pixel_attention_mask: torch.Tensor | None = None,
    spatial_shapes: torch.Tensor | None = None,
) -> torch.Tensor:
    """Region embeddings by the attention-pooling head of a SigLIP tower; shapes as in `clip_region_features`.

    `last` (start_layer None): the trunk runs once an image; the head's probe reads only the region's patches, which equals
    the stock head on those patches alone. `all`: also the layers are limited, from start_layer on (0 is the first): a
    region's patches attend to each other only, then the probe reads them. There is no class token whose attention could be
    limited, but none is needed: patches and probe are all that the tower has, so from layer 0 on what lies outside a region
    has no say. Models: SiglipModel; Siglip2Model, whose images keep their aspect, with pixel_values (B, P, values a
    patch), pixel_attention_mask (B, P) and spatial_shapes (B, 2), as its image processor gives them.
    """
    vision, filled = model.vision_model, None
    native = {}
    if spatial_shapes is not None and pixel_attention_mask is not None:
        native, filled = {"spatial_shapes": spatial_shapes}, pixel_attention_mask.bool()
    layers, hidden = vision.encoder.layers, vision.embeddings(pixel_values, **native)
    if start_layer is None:
        return _probe(vision.head, vision.post_layernorm(_through(layers, hidden, filled)), masks)
    hidden = _through(layers[:start_layer], hidden, filled)

    def pool(tokens: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        return _probe(vision.head, vision.post_layernorm(tokens), kept[:, None])[:, 0]

    return _limited(layers[start_layer:], hidden, masks, pool)


def _through(layers: Sequence[Any], hidden: torch.Tensor, kept: torch.Tensor | None = None) -> torch.Tensor:
    """Tokens (B, T, d) through encoder layers; those not `kept` (B, T) are attended to by nobody."""
    # Additive: eager attention adds what it is given, and only sdpa reads booleans.
    mask = None
    if kept is not None:
        mask = torch.zeros(kept.shape, dtype=hidden.dtype, device=hidden.device)
        mask = mask.masked_fill(~kept, torch.finfo(hidden.dtype).min)[:, None, None, :]
    for layer in layers:
        hidden = layer(hidden, mask)
    return hidden


def _limited(
    layers: Sequence[Any],
    hidden: torch.Tensor,
    seen: torch.Tensor,
    pool: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
) -> torch.Tensor:
    """Every region's tokens through the layers by themselves: hidden (B, T, d), seen (B, R, T) -> pooled (B, R, d).

    Regions are gathered before they are computed, so that one costs what its own tokens cost. `pool` takes the tokens of
    n regions (n, M, d) and which of them are theirs (n, M), those first, and gives (n, d).
    """
    batch, regions = seen.shape[:2]
    pooled: list[torch.Tensor] = []
    for rows in torch.split(torch.arange(batch * regions, device=hidden.device), _REGIONS_AT_A_TIME):
        kept = seen.flatten(0, 1)[rows]
        order = (~kept).int().argsort(dim=1, stable=True)[:, : int(kept.sum(dim=1).max())]
        kept = kept.gather(1, order)
        pooled.append(pool(_through(layers, hidden[(rows // regions)[:, None], order], kept), kept))
    return torch.cat(pooled).view(batch, regions, -1)


def _last_layer(layer: Any, hidden: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """The class token's row of an encoder layer, once a region: tokens (B, 1 + N, d), seen (B, R, 1 + N) -> (B, R, d)."""
    pooled = hidden[:, :1].expand(-1, seen.shape[1], -1)
    pooled = pooled + _attend(layer.self_attn, layer.layer_norm1(hidden), seen)
    result: torch.Tensor = pooled + layer.mlp(layer.layer_norm2(pooled))
    return result


def _attend(attention: Any, tokens: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """One attention with the class token as R queries: tokens (B, 1 + N, d), seen (B, R, 1 + N) -> (B, R, d)."""
    batch, regions = seen.shape[:2]
    heads = (attention.num_heads, attention.head_dim)
    query = attention.q_proj(tokens[:, :1]).view(batch, 1, *heads).expand(-1, regions, -1, -1).transpose(1, 2)
    key = attention.k_proj(tokens).view(batch, -1, *heads).transpose(1, 2)
    value = attention.v_proj(tokens).view(batch, -1, *heads).transpose(1, 2)
    mixed = scaled_dot_product_attention(query, key, value, attn_mask=seen[:, None], scale=attention.scale)
    result: torch.Tensor = attention.out_proj(mixed.transpose(1, 2).reshape(batch, regions, -1))
    return result


def _probe(head: Any, tokens: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """SigLIP's pooling head with R probes: tokens (B, T, d), masks (B, R, T) -> (B, R, d)."""
    batch, regions, _ = masks.shape
    probes = head.probe.expand(batch, regions, -1)
    hidden = torch.repeat_interleave(~masks, head.attention.num_heads, dim=0)
    pooled = head.attention(probes, tokens, tokens, attn_mask=hidden, need_weights=False)[0]
    features: torch.Tensor = pooled + head.mlp(head.layernorm(pooled))
    return features
