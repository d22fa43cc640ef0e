"""The tiny Grounding DINO: its tokenizer, processor and architecture, all of them stock transformers classes.

A `GroundingDinoForObjectDetection` of 4.2 M parameters: a Swin backbone on 16 x 16 patches of a 96 x 96 image, features at
strides 12 and 24, 30 queries, and a WordPiece tokenizer in which the words of the tiny world are one token each and any
other Latin word falls into letters. How it is trained is in `train_detector`.
"""

from __future__ import annotations

import string

import torch
from tokenizers import BertWordPieceTokenizer
from transformers import (
    BertConfig,
    BertTokenizerFast,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessorPil,
    GroundingDinoProcessor,
    SwinConfig,
)

from spr.rewards.captions import CLS, DOT, QUESTION, SEP
from spr.tiny.language import words
from spr.tiny.scenes import SIDE

WIDTH = 128
TEXT_LENGTH = 64
_FIXED = {"[PAD]": 0, "[UNK]": 100, "[CLS]": CLS, "[SEP]": SEP, "[MASK]": 103, ".": DOT, "?": QUESTION}
_FIRST_LOGIT = -4.0
_SHIFT = 4.0


def vocabulary() -> dict[str, int]:
    """Word pieces by id: the special tokens where Grounding DINO's code expects them, the words of the tiny world, single
    letters, digits and signs alone and inside a word; the ids between are unused."""
    marks = [sign for sign in string.punctuation if sign not in _FIXED]
    letters = [*string.ascii_lowercase, *string.digits]
    pieces = dict.fromkeys([*words(), *letters, *(f"##{letter}" for letter in letters), *marks])
    free = (i for i in range(QUESTION) if i not in _FIXED.values())
    table = {**_FIXED, **{piece: next(free) for piece in pieces}}
    return table | {f"[unused{i}]": i for i in free}


def build_tokenizer() -> BertTokenizerFast:
    """WordPiece over `vocabulary`, lower case."""
    pieces = BertWordPieceTokenizer(vocab=vocabulary(), lowercase=True)
    return BertTokenizerFast(tokenizer_object=pieces._tokenizer, do_lower_case=True, model_max_length=TEXT_LENGTH)


def build_processor() -> GroundingDinoProcessor:
    """The tokenizer, and an image processor that squashes to 96 x 96 and scales values to -2..2."""
    images = GroundingDinoImageProcessorPil(
        size={"height": SIDE, "width": SIDE}, image_mean=[0.5] * 3, image_std=[0.25] * 3, do_pad=False
    )
    return GroundingDinoProcessor(image_processor=images, tokenizer=build_tokenizer())


def build_model(seed: int) -> GroundingDinoForObjectDetection:
    """A freshly initialised model in fp32."""
    torch.manual_seed(seed)
    backbone = SwinConfig(
        image_size=SIDE,
        patch_size=6,
        embed_dim=64,
        depths=(2, 2, 2),
        num_heads=(2, 4, 8),
        window_size=4,
        drop_path_rate=0.0,
        out_indices=[2, 3],
    )
    text = BertConfig(
        vocab_size=QUESTION + 1,
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=256,
        max_position_embeddings=TEXT_LENGTH,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    config = GroundingDinoConfig(
        backbone_config=backbone,
        text_config=text,
        num_queries=30,
        d_model=WIDTH,
        encoder_layers=2,
        encoder_ffn_dim=256,
        encoder_attention_heads=4,
        decoder_layers=3,
        decoder_ffn_dim=256,
        decoder_attention_heads=4,
        num_feature_levels=2,
        max_text_len=TEXT_LENGTH,
        dropout=0.0,
        fusion_droppath=0.0,
    )
    model = GroundingDinoForObjectDetection(config)
    _start_low(model)
    return model


@torch.no_grad()
def _start_low(model: GroundingDinoForObjectDetection) -> None:
    """Let all class logits begin near -4, so that focal loss begins with "nothing there".

    Logits are products of normalised queries and normalised tokens, without a bias of their own. One coordinate serves as
    the bias: shifted up in the queries, down in the tokens, whose other coordinates begin small.
    """
    decoder, tokens = model.model.decoder.layer_norm, model.model.encoder.layers[-1].text_enhancer_layer.layer_norm_after
    for norm in (decoder, model.model.enc_output_norm):
        norm.bias[0] = _SHIFT
    tokens.weight.fill_(0.1)
    tokens.bias[0] = _FIRST_LOGIT / _SHIFT
    decoder.requires_grad_(False)
