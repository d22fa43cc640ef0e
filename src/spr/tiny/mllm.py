"""The tiny grounding MLLM: its tokenizer, processor and architecture, all of them stock transformers classes.

A `LlavaForConditionalGeneration` of 4 M parameters: 8 x 8 patches of a 96 x 96 image, a word-level tokenizer in which each
coordinate `<0>` ... `<96>` is one token, and a chat template, so that it loads like any other model. The grid of
coordinates is the grid of pixels on which the tiny world's boxes lie, so quantisation costs no accuracy on it. How it
is trained is in `train_mllm`.
"""

from __future__ import annotations

import math
import re

import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
from transformers import (
    CLIPImageProcessorPil,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

from spr.tiny.scenes import SIDE
from spr.tiny.vocabulary import word_list

PATCH = 12
PATCHES = (SIDE // PATCH) ** 2
WIDTH = 192
BINS = SIDE + 1
_SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", "<image>", "<answer>")
TOKEN_PATTERN = r"<\w+>|\w+|[^\w\s]"
_CHAT_TEMPLATE = (
    "<s>{% for message in messages %}{% if message['role'] == 'user' %}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}"
    "{% else %}<answer>{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{{ part['text'] }}{% endfor %}{% endif %}</s>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<answer>{% endif %}"
)


def split_words(text: str) -> list[str]:
    """The tokens of a text as the tokenizer cuts it: lower case, coordinates whole, punctuation apart."""
    return re.findall(TOKEN_PATTERN, text.lower())


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Special tokens, coordinates, then the words of the tiny world and of the prompt family, sorted."""
    vocabulary = [*_SPECIAL, *(f"<{v}>" for v in range(BINS)), *word_list(split_words)]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(vocabulary)}, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(TOKEN_PATTERN), behavior="removed", invert=True)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        extra_special_tokens={"image_token": "<image>", "answer_token": "<answer>"},
        padding_side="left",
        model_max_length=1024,
        clean_up_tokenization_spaces=False,
    )


def squash_processor() -> CLIPImageProcessorPil:
    """Squashes every image to 96 x 96, without a crop, and scales its values to -2..2."""
    return CLIPImageProcessorPil(
        size={"height": SIDE, "width": SIDE},
        do_center_crop=False,
        crop_size={"height": SIDE, "width": SIDE},
        image_mean=[0.5, 0.5, 0.5],
        image_std=[0.25, 0.25, 0.25],
    )


def build_processor() -> LlavaProcessor:
    """Tokenizer, chat template, and an image processor that squashes every image to 96 x 96."""
    return LlavaProcessor(
        image_processor=squash_processor(),
        tokenizer=build_tokenizer(),
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        chat_template=_CHAT_TEMPLATE,
        image_token="<image>",
        num_additional_image_tokens=1,
    )


def build_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> LlavaForConditionalGeneration:
    """A freshly initialised model in fp32: sine-cosine vision positions, Fourier coordinate embeddings and head rows."""
    torch.manual_seed(seed)
    vision = CLIPVisionConfig(
        hidden_size=WIDTH,
        intermediate_size=4 * WIDTH,
        num_hidden_layers=4,
        num_attention_heads=6,
        image_size=SIDE,
        patch_size=PATCH,
        projection_dim=WIDTH,
    )
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        intermediate_size=512,
        num_hidden_layers=5,
        num_attention_heads=6,
        num_key_value_heads=6,
        max_position_embeddings=1024,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=False,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        image_seq_length=PATCHES,
        tie_word_embeddings=False,
    )
    model = LlavaForConditionalGeneration(config)
    _initialise(model, tokenizer)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.bos_token_id = tokenizer.bos_token_id
    return model


@torch.no_grad()
def _initialise(model: LlavaForConditionalGeneration, tokenizer: PreTrainedTokenizerFast) -> None:
    side = SIDE // PATCH
    ys, xs = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    grid = torch.cat([_fourier(xs.flatten() / side, WIDTH // 2), _fourier(ys.flatten() / side, WIDTH // 2)], dim=1)
    for name, weight in model.named_parameters():
        if name.endswith("position_embedding.weight"):
            weight[1:] = 0.5 * grid
            weight[0].zero_()
    first = tokenizer.convert_tokens_to_ids("<0>")
    coordinates = _fourier(torch.arange(BINS) / BINS, WIDTH)
    for weight in (model.get_input_embeddings().weight, model.get_output_embeddings().weight):
        weight[first : first + BINS] = coordinates * weight.std() * math.sqrt(2)


def _fourier(positions: torch.Tensor, width: int) -> torch.Tensor:
    """(n,) in 0..1 -> (n, width): sines and cosines of geometrically spaced frequencies."""
    frequencies = math.pi * torch.exp(torch.linspace(0, math.log(48), width // 2))
    angles = positions[:, None].float() * frequencies[None]
    return torch.cat([angles.sin(), angles.cos()], dim=1)
