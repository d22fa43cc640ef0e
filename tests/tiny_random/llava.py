"""LLaVA and LLaVA-OneVision."""

from __future__ import annotations

from pathlib import Path

from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionImageProcessorPil,
    LlavaProcessor,
    Qwen2Config,
    SiglipVisionConfig,
)

from .shared import CHAT_TEMPLATE, SPECIAL, TEXT, byte_tokenizer, save, save_processor, special_ids, word_tokenizer


def build_llava(folder: Path, seed: int = 0, vocabulary: list[str] | None = None) -> Path:
    """A random LLaVA (CLIP tower at 32 px, Llama): 16 image tokens an image. `vocabulary` replaces the byte-level
    tokenizer's words by whole words split at spaces."""
    tokenizer = byte_tokenizer(["<image>"]) if vocabulary is None else word_tokenizer([*SPECIAL, "<image>", *vocabulary])
    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=8
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=LlamaConfig(vocab_size=len(tokenizer), **special_ids(tokenizer), **TEXT),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_seq_length=16,
        vision_feature_layer=-1,
    )
    images = CLIPImageProcessorPil(
        size={"height": 32, "width": 32}, crop_size={"height": 32, "width": 32}, do_center_crop=False
    )
    processor = LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE.replace("IMAGE", "<image>\n"),
    )
    processor.save_pretrained(folder)
    return save(LlavaForConditionalGeneration, config, tokenizer, folder, seed)


def build_llava_onevision(folder: Path, seed: int = 0) -> Path:
    """A random LLaVA-OneVision (SigLIP tower at 56 px, anyres up to 112 px, Qwen2)."""
    tokenizer = byte_tokenizer(["<image>", "<video>"])
    pinpoints = [[56, 56], [56, 112], [112, 56], [112, 112]]
    vision = SiglipVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=56,
        patch_size=14,
        vision_use_head=False,
    )
    config = LlavaOnevisionConfig(
        vision_config=vision,
        text_config=Qwen2Config(vocab_size=len(tokenizer), **special_ids(tokenizer), **TEXT),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=pinpoints,
    )
    images = LlavaOnevisionImageProcessorPil(size={"height": 56, "width": 56}, image_grid_pinpoints=pinpoints)
    images.save_pretrained(folder)
    processor = {
        "processor_class": "LlavaOnevisionProcessor",
        "num_image_tokens": 16,
        "vision_feature_select_strategy": "full",
        "vision_aspect_ratio": "anyres_max_9",
        "image_token": "<image>",
        "video_token": "<video>",
    }
    save_processor(processor, tokenizer, "<image>\n", folder)
    return save(LlavaOnevisionForConditionalGeneration, config, tokenizer, folder, seed)
