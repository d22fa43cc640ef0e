"""Kosmos-2."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    CLIPImageProcessorPil,
    Kosmos2Config,
    Kosmos2ForConditionalGeneration,
    Kosmos2Processor,
    PreTrainedTokenizerFast,
)

from .shared import CORPUS, save


def build_kosmos2(folder: Path, seed: int = 0) -> Path:
    """A random Kosmos-2 (tower at 32 px): 64 image tokens, which are the ids of the first 64 words, and no chat template."""
    images = CLIPImageProcessorPil(size={"height": 32, "width": 32}, do_center_crop=False)
    processor = Kosmos2Processor(images, _tokenizer())
    config = Kosmos2Config(
        vision_config={
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "image_size": 32,
            "patch_size": 8,
        },
        text_config={
            "vocab_size": len(processor.tokenizer),
            "embed_dim": 32,
            "ffn_dim": 64,
            "layers": 2,
            "attention_heads": 4,
            "max_position_embeddings": 4096,
        },
    )
    processor.save_pretrained(folder)
    return save(Kosmos2ForConditionalGeneration, config, processor.tokenizer, folder, seed)


def _tokenizer() -> PreTrainedTokenizerFast:
    """Words as SentencePiece writes them, in the order of ids that the family expects: unknown, then ordinary words."""
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=160, special_tokens=special, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        clean_up_tokenization_spaces=False,
    )
