"""Qwen2-VL, Qwen2.5-VL and Qwen3-VL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

from .shared import TEXT, byte_tokenizer, save, save_processor, special_ids

_IMAGE_MARK = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
_VISION = {"depth": 2, "num_heads": 2}


def build_qwen2_vl(folder: Path, seed: int = 0) -> Path:
    """A random Qwen2-VL (14 px patches merged 2 x 2; images of 56x56 up to 16 merged cells of 28 px)."""
    tokenizer = byte_tokenizer(_IMAGE_MARK)
    config = Qwen2VLConfig(
        vision_config={**_VISION, "embed_dim": 32, "hidden_size": 32, "mlp_ratio": 2},
        text_config=_text(tokenizer, {"mrope_section": [2, 1, 1]}),
        **_image_ids(tokenizer),
    )
    _save_images(folder, 28)
    _save_text("Qwen2VLProcessor", tokenizer, folder)
    return save(Qwen2VLForConditionalGeneration, config, tokenizer, folder, seed)


def build_qwen2_5_vl(folder: Path, seed: int = 0) -> Path:
    """A random Qwen2.5-VL (14 px patches merged 2 x 2; images of 56x56 up to 16 merged cells of 28 px)."""
    tokenizer = byte_tokenizer(_IMAGE_MARK)
    vision = {"hidden_size": 32, "intermediate_size": 64, "out_hidden_size": 32, "fullatt_block_indexes": [1]}
    config = Qwen2_5_VLConfig(
        vision_config={**_VISION, **vision},
        text_config=_text(tokenizer, {"mrope_section": [2, 1, 1]}),
        **_image_ids(tokenizer),
    )
    _save_images(folder, 28)
    _save_text("Qwen2_5_VLProcessor", tokenizer, folder)
    return save(Qwen2_5_VLForConditionalGeneration, config, tokenizer, folder, seed)


def build_qwen3_vl(folder: Path, seed: int = 0) -> Path:
    """A random Qwen3-VL (16 px patches merged 2 x 2, features of a second layer fed in beside the last; images of 64x64
    up to 16 merged cells of 32 px)."""
    tokenizer = byte_tokenizer(_IMAGE_MARK)
    vision = {"hidden_size": 32, "intermediate_size": 64, "out_hidden_size": 32}
    config = Qwen3VLConfig(
        vision_config={**_VISION, **vision, "num_position_embeddings": 16, "deepstack_visual_indexes": [0]},
        text_config={**_text(tokenizer, {"mrope_section": [2, 1, 1], "mrope_interleaved": True}), "head_dim": 8},
        **_image_ids(tokenizer),
    )
    _save_images(folder, 32, patch_size=16)
    _save_text("Qwen3VLProcessor", tokenizer, folder)
    return save(Qwen3VLForConditionalGeneration, config, tokenizer, folder, seed)


def _text(tokenizer: Any, rope: dict[str, Any]) -> dict[str, Any]:
    rope = {"rope_type": "default", "rope_theta": 10000.0, **rope}
    return {"vocab_size": len(tokenizer), "rope_parameters": rope, **special_ids(tokenizer), **TEXT}


def _image_ids(tokenizer: Any) -> dict[str, int]:
    names = ("vision_start", "vision_end", "image", "video")
    return {f"{name}_token_id": tokenizer.convert_tokens_to_ids(token) for name, token in zip(names, _IMAGE_MARK, strict=True)}


def _save_images(folder: Path, cell: int, **options: int) -> None:
    size = {"shortest_edge": 4 * cell * cell, "longest_edge": 16 * cell * cell}
    Qwen2VLImageProcessorPil(size=size, **options).save_pretrained(folder)


def _save_text(processor: str, tokenizer: Any, folder: Path) -> None:
    save_processor({"processor_class": processor}, tokenizer, "<|vision_start|><|image_pad|><|vision_end|>", folder)
