"""The tiny CLIP: a stock `CLIPModel` of 2 M parameters with a word-level tokenizer; how it is trained is in `train_clip`."""

from __future__ import annotations

import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import CLIPConfig, CLIPModel, CLIPProcessor, PreTrainedTokenizerFast

from spr.tiny.mllm import TOKEN_PATTERN, split_words, squash_processor
from spr.tiny.scenes import SIDE
from spr.tiny.vocabulary import word_list

PATCH = 12
GRID = SIDE // PATCH
CONTEXT = 77
_SPECIAL = ("<pad>", "<unk>", "<unused>", "<s>", "</s>")


def build_processor() -> CLIPProcessor:
    """Word-level tokenizer with `<s> ... </s>`, and an image processor that squashes to 96 x 96."""
    vocabulary = {word: i for i, word in enumerate([*_SPECIAL, *word_list(split_words)])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(TOKEN_PATTERN), behavior="removed", invert=True)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[(name, vocabulary[name]) for name in ("<s>", "</s>")]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )
    return CLIPProcessor(image_processor=squash_processor(), tokenizer=fast)


def build_model(tokenizer: PreTrainedTokenizerFast, seed: int) -> CLIPModel:
    """A freshly initialised model in fp32."""
    torch.manual_seed(seed)
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": 128,
        "intermediate_size": 512,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "max_position_embeddings": CONTEXT,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    vision = {
        "hidden_size": 160,
        "intermediate_size": 640,
        "num_hidden_layers": 4,
        "num_attention_heads": 5,
        "image_size": SIDE,
        "patch_size": PATCH,
    }
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=128))
