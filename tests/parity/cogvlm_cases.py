"""What CogVLM and the authors' code are both given: seeded weights in the published layout, words and pixels.

Weights are drawn from one seed in the order of their names; `cogvlm.npz` holds what `cogvlm_authors.py` was told.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

EXPECTED = Path(__file__).with_name("cogvlm.npz")
SEED = 17
NEW_TOKENS = 8
CONFIG: dict[str, Any] = {
    "vocab_size": 400,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "rms_norm_eps": 1e-5,
    "max_position_embeddings": 2048,
    "hidden_act": "silu",
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
    "tie_word_embeddings": False,
    "template_version": "base",
    "vision_config": {
        "hidden_size": 24,
        "intermediate_size": 40,
        "num_hidden_layers": 2,
        "num_heads": 2,
        "image_size": 42,
        "patch_size": 14,
        "num_positions": 10,
        "in_channels": 3,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-6,
        "dropout_prob": 0.0,
    },
}
"""What matters of config.json in the repository of THUDM/cogvlm-grounding-generalist-hf, with small numbers."""
PATCHES = 9
TEXTS = {"text": [[7, 30, 41, 5, 88, 12, 60, 9]], "image": [[11, 50, 23, 4, 77, 35]], "batch": [[64, 8, 19, 91, 33], [40] * 2]}
"""Token ids of the words by case; the start token comes before them, and in all cases but `text` an image between."""


def shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the published tensors."""
    wide, inner, words = (config[name] for name in ("hidden_size", "intermediate_size", "vocab_size"))
    found: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (words, wide),
        "model.norm.weight": (wide,),
        "lm_head.weight": (words, wide),
    }
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        found[f"{at}.self_attn.rotary_emb.inv_freq"] = (wide // config["num_attention_heads"] // 2,)
        for norm in ("input_layernorm", "post_attention_layernorm"):
            found[f"{at}.{norm}.weight"] = (wide,)
        for kind in ("vision", "language"):
            found[f"{at}.self_attn.{kind}_expert_query_key_value.weight"] = (3 * wide, wide)
            found[f"{at}.self_attn.{kind}_expert_dense.weight"] = (wide, wide)
            for gate in ("gate_proj", "up_proj"):
                found[f"{at}.mlp.{kind}_mlp.{gate}.weight"] = (inner, wide)
            found[f"{at}.mlp.{kind}_mlp.down_proj.weight"] = (wide, inner)
    return found | _vision_shapes(config["vision_config"], wide, inner)


def _vision_shapes(vision: dict[str, Any], wide: int, inner: int) -> dict[str, tuple[int, ...]]:
    own, middle, patch = vision["hidden_size"], vision["intermediate_size"], vision["patch_size"]
    found: dict[str, tuple[int, ...]] = {
        "boi": (1, 1, wide),
        "eoi": (1, 1, wide),
        "patch_embedding.cls_embedding": (1, own),
        "patch_embedding.position_embedding.weight": (vision["num_positions"], own),
        "patch_embedding.proj.weight": (own, 3, patch, patch),
        "patch_embedding.proj.bias": (own,),
        "linear_proj.linear_proj.weight": (wide, own),
        "linear_proj.norm1.weight": (wide,),
        "linear_proj.norm1.bias": (wide,),
        "linear_proj.dense_h_to_4h.weight": (inner, wide),
        "linear_proj.gate_proj.weight": (inner, wide),
        "linear_proj.dense_4h_to_h.weight": (wide, inner),
    }
    for layer in range(vision["num_hidden_layers"]):
        at = f"transformer.layers.{layer}"
        linear = {"attention.query_key_value": (3 * own, own), "attention.dense": (own, own)}
        linear |= {"mlp.fc1": (middle, own), "mlp.fc2": (own, middle)}
        for name, shape in linear.items():
            found |= {f"{at}.{name}.weight": shape, f"{at}.{name}.bias": shape[:1]}
        for norm in ("input_layernorm", "post_attention_layernorm"):
            found |= {f"{at}.{norm}.weight": (own,), f"{at}.{norm}.bias": (own,)}
    return {f"model.vision.{name}": shape for name, shape in found.items()}


def state_dict() -> dict[str, Tensor]:
    """The published tensors, float32, drawn in the order of their names."""
    generator = torch.Generator().manual_seed(SEED)
    drawn = {}
    for name, shape in sorted(shapes(CONFIG).items()):
        values = torch.randn(shape, generator=generator)
        if name.endswith("inv_freq"):
            drawn[name] = 10000.0 ** -(torch.arange(shape[0]) / shape[0])
        else:
            drawn[name] = 1 + 0.1 * values if "norm" in name and name.endswith("weight") else 0.3 * values
    return drawn


def images(case: str) -> Tensor:
    """Pixels (rows, 3, 42, 42) of a case, as the image processor would give them."""
    generator = torch.Generator().manual_seed(SEED + 1 + sorted(TEXTS).index(case))
    side = CONFIG["vision_config"]["image_size"]
    return torch.randn((len(TEXTS[case]), 3, side, side), generator=generator)


def expected() -> dict[str, np.ndarray]:
    """What the authors' code gave, by the names that `cogvlm_authors.py` says."""
    with np.load(EXPECTED) as file:
        return dict(file)
