"""What the builders share: the words, a byte-level tokenizer made of them, a chat template, and how weights are drawn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

CORPUS = [
    "a red circle [12, 40, 300, 410] next to a person [0.61, 0.36, 0.92, 0.83] on the bench",
    "describe the objects in the region [[001,002,003,004]] and give their boxes",
    '```json [{"bbox_2d": [10, 20, 30, 40], "label": "dog"}] ``` 5 6 7 8 9 999',
    "where is the blue square ? please provide the bounding box of the region this sentence describes",
]

CHAT_TEMPLATE = """\
{%- for message in messages -%}
<|im_start|>{{ message['role'] }}
{% if message['content'] is string %}{{ message['content'] }}{% else -%}
{%- for content in message['content'] -%}
{%- if content['type'] == 'image' %}IMAGE{% else %}{{ content['text'] }}{% endif -%}
{%- endfor -%}
{%- endif %}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif -%}"""

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
}


def byte_tokenizer(extra: list[str], **named: str) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with the special tokens `extra`; `named` says under which attribute it offers some of them."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320 + len(SPECIAL) + len(extra),
        special_tokens=[*SPECIAL, *extra],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return _wrap(tokenizer, extra, named)


def word_tokenizer(words: list[str]) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token=words[0]))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return _wrap(tokenizer, [word for word in words if word == "<image>"], {})


def _wrap(tokenizer: Tokenizer, extra: list[str], named: dict[str, str]) -> PreTrainedTokenizerFast:
    others = [token for token in ("<|im_start|>", *extra) if token not in named.values()]
    tokens = {**named, **{f"other_{place}": token for place, token in enumerate(others)}} if named else others
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=tokens,
        clean_up_tokenization_spaces=False,
    )


def special_ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    return {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}


def save_processor(processor: dict[str, Any], tokenizer: PreTrainedTokenizerFast, mark: str, folder: Path) -> None:
    tokenizer.save_pretrained(folder)
    (folder / "processor_config.json").write_text(json.dumps(processor, indent=2))
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE.replace("IMAGE", mark))


def save(kind: Any, config: Any, tokenizer: Any, folder: Path, seed: int, **generation: Any) -> Path:
    """Draw the weights from the seed and save the model; `generation` are settings of its generation config."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = kind(config)
        for parameter in model.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.2)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.update(**generation)
    model.save_pretrained(folder)
    return folder
