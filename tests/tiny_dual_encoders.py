"""Tiny random dual encoders of every family that scores texts against regions, in the layout that the hub gives them.

Built from the families' own configuration classes: everything is real but the weights. Their tokenizers know eight whole
words, one token each; SigLIP 2's knows letters.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AltCLIPConfig,
    AutoModel,
    ChineseCLIPConfig,
    ChineseCLIPImageProcessorPil,
    CLIPConfig,
    CLIPImageProcessorPil,
    MetaClip2Config,
    PreTrainedTokenizerFast,
    Siglip2Config,
    Siglip2ImageProcessorPil,
    Siglip2Tokenizer,
    SiglipConfig,
    SiglipImageProcessorPil,
)

FAMILIES = ("clip", "metaclip_2", "altclip", "chinese_clip", "siglip", "siglip2")
SIDE, PATCH = 32, 8
TOWER = {"hidden_size": 24, "intermediate_size": 48, "num_attention_heads": 4}
WORDS = ("a", "red", "blue", "dog", "cat", "runs", ".", ",")
_CONFIGS = {
    "clip": CLIPConfig,
    "metaclip_2": MetaClip2Config,
    "altclip": AltCLIPConfig,
    "chinese_clip": ChineseCLIPConfig,
    "siglip": SiglipConfig,
    "siglip2": Siglip2Config,
}


def build(family: str, folder: Path, layers: int = 3, positions: int = 16, model_max_length: int | None = None) -> Path:
    """A checkpoint with a vision tower of `layers` layers and a text tower of `positions` position embeddings.

    Images are 32 x 32 pixels in patches of 8; of native aspect (siglip2) at most 16 patches of 8.
    """
    tokenizer = _tokenizer(family, model_max_length)
    text = TOWER | {"num_hidden_layers": 2, "vocab_size": len(tokenizer), "max_position_embeddings": positions}
    text |= {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "hidden_dropout_prob": 0.0}
    text |= {"projection_size": 24} if family.startswith("siglip") else {"project_dim": 24}
    vision = TOWER | {"num_hidden_layers": layers, "patch_size": PATCH}
    vision |= {"num_patches": (SIDE // PATCH) ** 2} if family == "siglip2" else {"image_size": SIDE}
    joint = {} if family.startswith("siglip") else {"projection_dim": 16}
    config = _CONFIGS[family](text_config=text, vision_config=vision, **joint)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModel.from_config(config)
        for parameter in model.parameters():
            if parameter.ndim > 1 or torch.count_nonzero(parameter) == 0:  # Weights, and biases that would not be seen.
                torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    _processor(family).save_pretrained(folder)
    return folder


def _processor(family: str) -> Any:
    square = {"height": SIDE, "width": SIDE}
    if family == "siglip2":
        return Siglip2ImageProcessorPil(patch_size=PATCH, max_num_patches=(SIDE // PATCH) ** 2)
    if family == "siglip":
        return SiglipImageProcessorPil(size=square)
    kind = ChineseCLIPImageProcessorPil if family == "chinese_clip" else CLIPImageProcessorPil
    return kind(size={"shortest_edge": SIDE}, crop_size=square)


def _tokenizer(family: str, model_max_length: int | None) -> PreTrainedTokenizerFast:
    """</s> at the end, and <s> at the beginning but for SigLIP. Whole words; SigLIP 2's own class knows letters."""
    specials = ("<pad>", "<s>", "</s>", "<unk>")
    names = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    limit = {} if model_max_length is None else {"model_max_length": model_max_length}
    if family == "siglip2":
        letters = {name: index for index, name in enumerate((*specials, *"abcdefghijklmnopqrstuvwxyz.,▁"))}
        tokenizer: Any = Siglip2Tokenizer(vocab=letters, merges=[], padding_side="right", **names, **limit)
    else:
        vocabulary = {name: index for index, name in enumerate((*specials, *WORDS))}
        tokens = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
        tokens.pre_tokenizer = pre_tokenizers.Whitespace()
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokens, **names, **limit)
    single = "$A </s>" if family.startswith("siglip") else "<s> $A </s>"
    template = processors.TemplateProcessing(single=single, special_tokens=[("<s>", 1), ("</s>", 2)])
    tokenizer.backend_tokenizer.post_processor = template
    return tokenizer
