"""Tiny random models of real families, in the layout that `save_pretrained` and the hub give them.

Built from the families' own configuration classes, with a tokenizer made on the spot: everything is real but the
weights, which are random and know nothing. Each is well under 2 MB. Not here: the trained models of the tiny world.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
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
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Config,
    Qwen2VLImageProcessorPil,
    SiglipVisionConfig,
)

CORPUS = [
    "a red circle [12, 40, 300, 410] next to a person [0.61, 0.36, 0.92, 0.83] on the bench",
    "describe the objects in the region [[001,002,003,004]] and give their boxes",
    '```json [{"bbox_2d": [10, 20, 30, 40], "label": "dog"}] ``` 5 6 7 8 9 999',
    "where is the blue square ? please provide the bounding box of the region this sentence describes",
]

CHAT_TEMPLATE = """\
{%- for message in messages -%}
<|im_start|>{{ message['role'] }}
{% if message['content'] is string %}{{ message['content'] }}{% else -%}
{%- for content in message['content'] -%}
{%- if content['type'] == 'image' %}IMAGE{% else %}{{ content['text'] }}{% endif -%}
{%- endfor -%}
{%- endif %}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif -%}"""

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
}


def build_llava(folder: Path, seed: int = 0, vocabulary: list[str] | None = None) -> Path:
    """A random LLaVA (CLIP tower at 32 px, Llama): 16 image tokens an image. `vocabulary` replaces the byte-level
    tokenizer's words by whole words split at spaces."""
    tokenizer = _tokenizer(["<image>"]) if vocabulary is None else _word_tokenizer([*SPECIAL, "<image>", *vocabulary])
    vision = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=8
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=LlamaConfig(vocab_size=len(tokenizer), **_special_ids(tokenizer), **TEXT),
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
    return _save(LlavaForConditionalGeneration, config, tokenizer, folder, seed)


def build_llava_onevision(folder: Path, seed: int = 0) -> Path:
    """A random LLaVA-OneVision (SigLIP tower at 56 px, anyres up to 112 px, Qwen2)."""
    tokenizer = _tokenizer(["<image>", "<video>"])
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
        text_config=Qwen2Config(vocab_size=len(tokenizer), **_special_ids(tokenizer), **TEXT),
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
    _save_processor(processor, tokenizer, "<image>\n", folder)
    return _save(LlavaOnevisionForConditionalGeneration, config, tokenizer, folder, seed)


def build_qwen2_5_vl(folder: Path, seed: int = 0) -> Path:
    """A random Qwen2.5-VL (14 px patches merged 2 x 2; images of 56x56 up to 16 merged cells of 28 px)."""
    image_mark = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    tokenizer = _tokenizer(image_mark)
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in image_mark}
    config = Qwen2_5_VLConfig(
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 2,
            "out_hidden_size": 32,
            "fullatt_block_indexes": [1],
        },
        text_config={
            "vocab_size": len(tokenizer),
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 1, 1]},
            **_special_ids(tokenizer),
            **TEXT,
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )
    images = Qwen2VLImageProcessorPil(size={"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 16})
    images.save_pretrained(folder)
    mark = "<|vision_start|><|image_pad|><|vision_end|>"
    _save_processor({"processor_class": "Qwen2_5_VLProcessor"}, tokenizer, mark, folder)
    return _save(Qwen2_5_VLForConditionalGeneration, config, tokenizer, folder, seed)


def _tokenizer(extra: list[str]) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320 + len(SPECIAL) + len(extra),
        special_tokens=[*SPECIAL, *extra],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return _wrap(tokenizer, extra)


def _word_tokenizer(words: list[str]) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token=words[0]))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return _wrap(tokenizer, [word for word in words if word == "<image>"])


def _wrap(tokenizer: Tokenizer, extra: list[str]) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>", *extra],
        clean_up_tokenization_spaces=False,
    )


def _special_ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    return {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}


def _save_processor(processor: dict[str, Any], tokenizer: PreTrainedTokenizerFast, mark: str, folder: Path) -> None:
    tokenizer.save_pretrained(folder)
    (folder / "processor_config.json").write_text(json.dumps(processor, indent=2))
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE.replace("IMAGE", mark))


def _save(kind: Any, config: Any, tokenizer: PreTrainedTokenizerFast, folder: Path, seed: int) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = kind(config)
        for parameter in model.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.2)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    return folder
