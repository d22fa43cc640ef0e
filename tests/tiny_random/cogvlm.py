"""CogVLM, the one that is brought along."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import LlamaTokenizer

from spr.models.cogvlm.config import CogVLMConfig
from spr.models.cogvlm.model import CogVLMForConditionalGeneration
from spr.models.cogvlm.processor import build_processor

from .shared import CORPUS, TEXT, save

WORDS = 400


def build_cogvlm(folder: Path, seed: int = 0) -> Path:
    """A random CogVLM (EVA tower at 42 px, Llama with two experts a layer): 11 image tokens, one image a prompt."""
    llama_words(folder)
    config = CogVLMConfig(
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 42,
            "patch_size": 14,
        },
        text_config={**TEXT, "num_key_value_heads": None, "vocab_size": WORDS},
        image_token_id=WORDS,
    )
    processor = build_processor(folder, config)
    processor.save_pretrained(folder)
    return save(CogVLMForConditionalGeneration, config, processor.tokenizer, folder, seed)


def llama_words(folder: Path) -> Path:
    """Vicuna's kind of tokenizer with 400 words learnt here: pieces as SentencePiece has them, bytes for the rest."""
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    learner = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    learner.normalizer = normalizers.Replace(" ", "▁")
    learner.pre_tokenizer = pre_tokenizers.Split("▁", behavior="merged_with_next")
    learner.train_from_iterator(
        [f" {line}" for line in CORPUS], trainers.BpeTrainer(vocab_size=WORDS, special_tokens=special, show_progress=False)
    )
    model = json.loads(learner.to_str())["model"]
    tokenizer = LlamaTokenizer(vocab=model["vocab"], merges=[tuple(pair) for pair in model["merges"]], pad_token="<unk>")
    assert len(tokenizer) == WORDS
    tokenizer.save_pretrained(folder)
    return folder
