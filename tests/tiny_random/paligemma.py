"""PaliGemma."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import (
    Gemma2Config,
    GemmaConfig,
    GemmaTokenizer,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    PaliGemmaProcessor,
    SiglipImageProcessorPil,
    SiglipVisionConfig,
)

from .shared import CORPUS, TEXT, save


def build_paligemma(folder: Path, seed: int = 0, window: int | None = None) -> Path:
    """A random PaliGemma (SigLIP tower at 56 px, Gemma): 16 image tokens, places <loc0000> on, and no chat template.
    With a `window` it is a PaliGemma 2 (Gemma 2), every other layer of which sees so many tokens back."""
    images = SiglipImageProcessorPil(size={"height": 56, "width": 56})
    images.image_seq_length = 16
    processor = PaliGemmaProcessor(images, _tokenizer())
    tokenizer = processor.tokenizer
    ids = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    text = {"vocab_size": len(tokenizer), "head_dim": 8, **ids, **TEXT}
    config = PaliGemmaConfig(
        vision_config=SiglipVisionConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=56,
            patch_size=14,
            vision_use_head=False,
        ),
        text_config=GemmaConfig(**text) if window is None else Gemma2Config(**text, sliding_window=window),
        image_token_index=processor.image_token_id,
        projection_dim=32,
        hidden_size=32,
    )
    processor.save_pretrained(folder)
    return save(PaliGemmaForConditionalGeneration, config, tokenizer, folder, seed)


def _tokenizer() -> GemmaTokenizer:
    """The family's own tokenizer class with a vocabulary learnt here; unknown characters fall back to bytes."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *(f"<0x{byte:02X}>" for byte in range(256))]
    learner = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    learner.normalizer = normalizers.Replace(" ", "▁")
    learner.pre_tokenizer = pre_tokenizers.Split(" ", behavior="merged_with_previous")
    learner.train_from_iterator(
        [*CORPUS, "\n"], trainers.BpeTrainer(vocab_size=420, special_tokens=special, show_progress=False)
    )
    model = json.loads(learner.to_str())["model"]
    return GemmaTokenizer(vocab=model["vocab"], merges=[tuple(pair) for pair in model["merges"]])
