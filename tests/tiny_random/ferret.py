"""Ferret, from the classes of this package: in `spr models convert`'s layout, and as its authors publish it."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPImageProcessorPil, CLIPVisionConfig, LlamaConfig, PreTrainedTokenizerFast

from spr.models import ported
from spr.models.ferret.config import FerretConfig
from spr.models.ferret.model import FerretForConditionalGeneration
from spr.models.ferret.processor import CHAT_TEMPLATE, FerretProcessor
from spr.models.ferret.tokenizer import ferret_tokenizer

from .shared import CORPUS, TEXT, save

VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}


def build_ferret(folder: Path, seed: int = 0) -> Path:
    """A random Ferret (CLIP tower at 32 px, Llama): 16 image tokens an image."""
    ported.register()
    tokenizer = build_tokenizer()
    FerretProcessor(build_images(), tokenizer, patch_size=8, chat_template=CHAT_TEMPLATE).save_pretrained(folder)
    return save(FerretForConditionalGeneration, build_config(tokenizer), tokenizer, folder, seed)


def build_images() -> CLIPImageProcessorPil:
    side = {"height": 32, "width": 32}
    return CLIPImageProcessorPil(size=side, crop_size=side, do_center_crop=False)


def build_config(tokenizer: PreTrainedTokenizerFast) -> FerretConfig:
    region = tokenizer.convert_tokens_to_ids("<region_fea>")
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": 0}
    return FerretConfig(
        vision_config=CLIPVisionConfig(**VISION),
        text_config=LlamaConfig(vocab_size=region + 1, **ids, **TEXT),
        image_seq_length=16,
        region_token_id=region,
        image_token_index=region + 1,
    )


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Words as Llama's SentencePiece model has them: bytes first, blanks at the beginning of a word, none within."""
    return ferret_tokenizer(*_words())


def _words() -> tuple[dict[str, int], list[tuple[str, str]]]:
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=True)
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    corpus = [*CORPUS, "USER: What is in the region [12, 40, 300, 410]? ASSISTANT:"]
    tokenizer.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=420, special_tokens=special, show_progress=False))
    model = json.loads(tokenizer.to_str())["model"]
    return model["vocab"], [(left, right) for left, right in model["merges"]]
