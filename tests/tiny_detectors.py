"""Tiny random open-vocabulary detectors of the real families, in the layout that `save_pretrained` and the hub give them.

Weights are random, so what they find means nothing; how phrases become input, and outputs boxes and scores, is the real thing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import pre_tokenizers
from transformers import (
    BertConfig,
    BertTokenizerFast,
    CLIPTextConfig,
    CLIPTokenizer,
    DetrImageProcessorPil,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessorPil,
    MMGroundingDinoConfig,
    MMGroundingDinoForObjectDetection,
    OmDetTurboConfig,
    OmDetTurboForObjectDetection,
    Owlv2Config,
    Owlv2ForObjectDetection,
    Owlv2ImageProcessorPil,
    SwinConfig,
)

from spr.tiny.detector import vocabulary

SIDE = 64
QUERIES = 12
_SWIN = {"image_size": SIDE, "embed_dim": 16, "depths": (1, 1, 1), "num_heads": (1, 2, 2), "window_size": 4}


def build_grounding_dino(folder: Path, mm: bool = False, length: int = 256) -> Path:
    """Grounding DINO, or MM-Grounding-DINO, at 64 px on the shorter side, 96 on the longer."""
    kind = MMGroundingDinoConfig if mm else GroundingDinoConfig
    config = kind(
        backbone_config=SwinConfig(**_SWIN, out_indices=[2, 3]),
        text_config=BertConfig(
            vocab_size=len(vocabulary()),
            hidden_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=length,
        ),
        num_queries=QUERIES,
        d_model=32,
        encoder_layers=1,
        encoder_ffn_dim=32,
        encoder_attention_heads=2,
        decoder_layers=2,
        decoder_ffn_dim=32,
        decoder_attention_heads=2,
        num_feature_levels=2,
        max_text_len=length,
    )
    GroundingDinoImageProcessorPil(size={"shortest_edge": SIDE, "longest_edge": 96}).save_pretrained(folder)
    BertTokenizerFast(vocab=vocabulary(), do_lower_case=True, model_max_length=length).save_pretrained(folder)
    return _save(MMGroundingDinoForObjectDetection if mm else GroundingDinoForObjectDetection, config, folder)


def build_owlv2(folder: Path) -> Path:
    """OWLv2 at 64 px with a text length of 16."""
    tokenizer, ids = _letters(folder)
    shared = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = Owlv2Config(
        text_config={**shared, **ids, "vocab_size": len(tokenizer), "max_position_embeddings": 16},
        vision_config={**shared, "image_size": SIDE, "patch_size": 16},
        projection_dim=32,
    )
    Owlv2ImageProcessorPil(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    return _save(Owlv2ForObjectDetection, config, folder)


def build_omdet_turbo(folder: Path) -> Path:
    """OmDet-Turbo at 64 px with a text length of 77."""
    tokenizer, ids = _letters(folder)
    text = {"hidden_size": 48, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = OmDetTurboConfig(
        text_config=CLIPTextConfig(**text, **ids, vocab_size=len(tokenizer), max_position_embeddings=77),
        backbone_config=SwinConfig(**_SWIN, out_indices=[1, 2, 3]),
        image_size=SIDE,
        num_queries=QUERIES,
        class_embed_dim=48,
        encoder_hidden_dim=32,
        decoder_hidden_dim=32,
        text_projection_in_dim=48,
        text_projection_out_dim=48,
        task_encoder_hidden_dim=32,
        apply_layernorm_after_vision_backbone=False,
        encoder_in_channels=[16, 32, 64],
        vision_features_channels=[32, 32, 32],
        backbone_feat_channels=[32, 32, 32],
        encoder_dim_feedforward=32,
        decoder_dim_feedforward=32,
        decoder_num_layers=1,
        encoder_attention_heads=2,
        decoder_num_heads=2,
    )
    DetrImageProcessorPil(size={"height": SIDE, "width": SIDE}, do_pad=False).save_pretrained(folder)
    return _save(OmDetTurboForObjectDetection, config, folder)


BUILDERS = {
    "grounding-dino": build_grounding_dino,
    "mm-grounding-dino": lambda folder: build_grounding_dino(folder, mm=True),
    "owlv2": build_owlv2,
    "omdet-turbo": build_omdet_turbo,
}


def _letters(folder: Path) -> tuple[CLIPTokenizer, dict[str, int]]:
    """A CLIP tokenizer that knows single letters only, and its special ids."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = ["<pad>", *letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(vocab={name: index for index, name in enumerate(names)}, merges=[], pad_token="<pad>")
    tokenizer.save_pretrained(folder)
    return tokenizer, {"bos_token_id": len(names) - 2, "eos_token_id": len(names) - 1, "pad_token_id": 0}


def _save(kind: Any, config: Any, folder: Path) -> Path:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = kind(config)
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and "sampling_offsets" not in name:
                torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)
    return folder
