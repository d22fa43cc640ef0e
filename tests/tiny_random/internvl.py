"""InternVL."""

from __future__ import annotations

from pathlib import Path

from transformers import (
    GotOcr2ImageProcessorPil,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLVisionConfig,
    Qwen2Config,
)

from .shared import TEXT, byte_tokenizer, save, save_processor, special_ids

_NAMED = {
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": "<IMG_CONTEXT>",
    "video_token": "<video>",
}


def build_internvl(folder: Path, seed: int = 0) -> Path:
    """A random InternVL (own vision tower at 56 px, Qwen2): 4 image tokens a tile, up to 4 tiles and a thumbnail."""
    tokenizer = byte_tokenizer([*_NAMED.values(), "<ref>", "</ref>", "<box>", "</box>"], **_NAMED)
    vision = InternVLVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=56, patch_size=14
    )
    config = InternVLConfig(
        vision_config=vision,
        text_config=Qwen2Config(vocab_size=len(tokenizer), **special_ids(tokenizer), **TEXT),
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
    )
    images = GotOcr2ImageProcessorPil(size={"height": 56, "width": 56}, max_patches=4)
    images.save_pretrained(folder)
    processor = {"processor_class": "InternVLProcessor", "image_seq_length": 4}
    save_processor(processor, tokenizer, "<IMG_CONTEXT>\n", folder)
    return save(InternVLForConditionalGeneration, config, tokenizer, folder, seed)
