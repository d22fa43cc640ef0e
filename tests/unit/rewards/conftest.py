"""Tiny random CLIP and SigLIP checkpoints of the real classes, with tokenizers made on the spot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPTokenizer,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipImageProcessorPil,
    SiglipModel,
)

SIDE = 32
VISION = {"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
VISION |= {"image_size": SIDE, "patch_size": 8}
TEXT = {"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
WORDS = ("a", "red", "blue", "dog", "cat", "runs", "sleeps", ".", ",")


@pytest.fixture(scope="session")
def clip_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CLIP with a context of 77 whose tokenizer knows single letters only: a text has letters + 2 tokens."""
    path = tmp_path_factory.mktemp("clip")
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    names = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(vocab={name: index for index, name in enumerate(names)}, merges=[])
    text = {**TEXT, "vocab_size": len(names), "max_position_embeddings": 77}
    text |= {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": 0}
    torch.manual_seed(0)
    CLIPModel(CLIPConfig(text_config=text, vision_config=VISION, projection_dim=16)).save_pretrained(path)
    tokenizer.save_pretrained(path)
    CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}).save_pretrained(path)
    return path


@pytest.fixture(scope="session")
def siglip_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SigLIP with a context of 8 whose tokenizer knows whole words."""
    path = tmp_path_factory.mktemp("siglip")
    vocabulary = {name: index for index, name in enumerate(("<pad>", "</s>", "<unk>", *WORDS))}
    tokens = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokens.pre_tokenizer = pre_tokenizers.Whitespace()
    tokens.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokens, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    text = {**TEXT, "vocab_size": len(vocabulary), "max_position_embeddings": 8}
    torch.manual_seed(1)
    model = SiglipModel(SiglipConfig(text_config=text, vision_config=VISION))
    torch.nn.init.normal_(model.vision_model.head.attention.in_proj_bias, std=0.1)
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    SiglipImageProcessorPil(size={"height": SIDE, "width": SIDE}).save_pretrained(path)
    return path


@pytest.fixture
def photo() -> Image.Image:
    """Noise of 64 x 48 pixels with a colour that changes across it."""
    noise = np.random.default_rng(0).integers(0, 128, (48, 64, 3), dtype=np.uint8)
    noise[:, 32:, 0] += 100
    return Image.fromarray(noise)


SENTENCES = [
    ("the red dog runs", "DET ADJ NOUN VERB", "det amod nsubj ROOT", (2, 2, 3, 3)),
    ("a cat sleeps", "DET NOUN VERB", "det nsubj ROOT", (1, 2, 2)),
    ("a red cat sees the dog", "DET ADJ NOUN VERB DET NOUN", "det amod nsubj ROOT det dobj", (2, 2, 3, 3, 5, 3)),
    ("the dog sees a red dog", "DET NOUN VERB DET ADJ NOUN", "det nsubj ROOT det amod dobj", (1, 2, 2, 5, 5, 2)),
]


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A spaCy pipeline with a parser and parts of speech, trained on four sentences."""
    spacy = pytest.importorskip("spacy")
    from spacy.tokens import Doc
    from spacy.training import Example

    nlp = spacy.blank("en")
    nlp.add_pipe("morphologizer")
    nlp.add_pipe("parser", config={"min_action_freq": 1})
    examples = []
    for text, pos, deps, heads in SENTENCES:
        words = text.split()
        given = Doc(nlp.vocab, words=words, pos=pos.split(), heads=list(heads), deps=deps.split())
        examples.append(Example(nlp.make_doc(text), given))
    optimizer = nlp.initialize(lambda: examples)
    for _ in range(40):
        nlp.update(examples, sgd=optimizer)
    path = tmp_path_factory.mktemp("pipeline")
    nlp.to_disk(path)
    return path
