"""The hyper-parameters of published checkpoints, as their config.json on the hub states them: only what decides a shape."""

from __future__ import annotations

from typing import Any

from transformers import AutoConfig

from spr.models import ported

_QWEN2_7B = {
    "model_type": "qwen2",
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "tie_word_embeddings": False,
}
_SIGLIP = {
    "model_type": "siglip_vision_model",
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_attention_heads": 16,
    "patch_size": 14,
    "vision_use_head": False,
}
_VICUNA = {"model_type": "llama", "vocab_size": 32001, "num_attention_heads": 32, "tie_word_embeddings": False}
_CLIP = {
    "model_type": "clip_vision_model",
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 336,
    "patch_size": 14,
}

CONFIGS: dict[str, dict[str, Any]] = {
    "llava-hf/llava-onevision-qwen2-7b-ov-hf": {
        "model_type": "llava_onevision",
        "text_config": {**_QWEN2_7B, "vocab_size": 152000},
        "vision_config": {**_SIGLIP, "num_hidden_layers": 26, "image_size": 384},
        "tie_word_embeddings": False,
    },
    "Qwen/Qwen2.5-VL-7B-Instruct": {
        "model_type": "qwen2_5_vl",
        "text_config": {**_QWEN2_7B, "model_type": "qwen2_5_vl_text", "vocab_size": 152064},
        "vision_config": {
            "depth": 32,
            "hidden_size": 1280,
            "intermediate_size": 3420,
            "num_heads": 16,
            "out_hidden_size": 3584,
            "patch_size": 14,
        },
        "tie_word_embeddings": False,
    },
    "Qwen/Qwen3-VL-8B-Instruct": {
        "model_type": "qwen3_vl",
        "text_config": {
            "vocab_size": 151936,
            "hidden_size": 4096,
            "intermediate_size": 12288,
            "num_hidden_layers": 36,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 128,
        },
        "vision_config": {
            "depth": 27,
            "hidden_size": 1152,
            "intermediate_size": 4304,
            "num_heads": 16,
            "out_hidden_size": 4096,
            "patch_size": 16,
            "deepstack_visual_indexes": [8, 16, 24],
        },
        "tie_word_embeddings": False,
    },
    "OpenGVLab/InternVL3-8B-hf": {
        "model_type": "internvl",
        "text_config": {**_QWEN2_7B, "vocab_size": 151674},
        "vision_config": {"hidden_size": 1024, "num_hidden_layers": 24, "intermediate_size": 4096, "attention_bias": True},
        "tie_word_embeddings": False,
    },
    "microsoft/kosmos-2-patch14-224": {
        "model_type": "kosmos-2",
        "text_config": {"vocab_size": 65037, "embed_dim": 2048, "layers": 24, "ffn_dim": 8192, "attention_heads": 32},
        "vision_config": {"hidden_size": 1024, "num_hidden_layers": 24, "intermediate_size": 4096, "image_size": 224},
    },
    "google/paligemma-3b-mix-448": {
        "model_type": "paligemma",
        "text_config": {
            "model_type": "gemma",
            "vocab_size": 257216,
            "hidden_size": 2048,
            "intermediate_size": 16384,
            "num_hidden_layers": 18,
            "num_attention_heads": 8,
            "num_key_value_heads": 1,
            "head_dim": 256,
        },
        "vision_config": {**_SIGLIP, "num_hidden_layers": 27, "image_size": 448},
        "projection_dim": 2048,
    },
    "models/ferret-7b": {
        "model_type": "ferret",
        "text_config": {**_VICUNA, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32},
        "vision_config": _CLIP,
    },
    "models/ferret-13b": {
        "model_type": "ferret",
        "text_config": {
            **_VICUNA,
            "hidden_size": 5120,
            "intermediate_size": 13824,
            "num_hidden_layers": 40,
            "num_attention_heads": 40,
        },
        "vision_config": _CLIP,
    },
    "florence-community/Florence-2-large": {
        "model_type": "florence2",
        "text_config": {
            "model_type": "bart",
            "vocab_size": 51328,
            "d_model": 1024,
            "encoder_layers": 12,
            "decoder_layers": 12,
            "encoder_attention_heads": 16,
            "decoder_attention_heads": 16,
            "encoder_ffn_dim": 4096,
            "decoder_ffn_dim": 4096,
            "max_position_embeddings": 4096,
        },
        "vision_config": {
            "embed_dim": [256, 512, 1024, 2048],
            "num_heads": [8, 16, 32, 64],
            "num_groups": [8, 16, 32, 64],
            "projection_dim": 1024,
        },
    },
    # THUDM/cogvlm-grounding-generalist-hf, converted
    "models/cogvlm-17b": {
        "model_type": "cogvlm",
        "text_config": {
            "vocab_size": 32000,
            "hidden_size": 4096,
            "intermediate_size": 11008,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
        },
        "vision_config": {
            "hidden_size": 1792,
            "intermediate_size": 15360,
            "num_hidden_layers": 63,
            "num_attention_heads": 16,
            "image_size": 490,
            "patch_size": 14,
        },
    },
}

BILLIONS = {
    "llava-hf/llava-onevision-qwen2-7b-ov-hf": 8.03,
    "Qwen/Qwen2.5-VL-7B-Instruct": 8.29,
    "Qwen/Qwen3-VL-8B-Instruct": 8.77,
    "OpenGVLab/InternVL3-8B-hf": 7.94,
    "microsoft/kosmos-2-patch14-224": 1.66,
    "google/paligemma-3b-mix-448": 2.92,
    "models/ferret-7b": 7.09,
    "models/ferret-13b": 13.37,
    "florence-community/Florence-2-large": 0.78,
    "models/cogvlm-17b": 17.64,
}
"""Parameters as the hub's pages count them; Ferret's, which lies on no page, are Llama's with a word more, the tower's of
CLIP ViT-L/14-336, and the sampler's and projector's of its paper."""


def config(name: str) -> Any:
    """The real configuration class of a published model, filled in."""
    ported.register()
    values = dict(CONFIGS[name])
    return AutoConfig.for_model(values.pop("model_type"), **values)
