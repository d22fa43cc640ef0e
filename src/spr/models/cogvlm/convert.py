"""The published checkpoint to a directory that loads like any other: names, config, tokenizer and processor.

Tensors stay what they are, in the files and the precision they came in; only names change, one file at a time. Not here:
downloading, or the progress bar.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import GenerationConfig

from spr.errors import ModelError
from spr.models.checkpoint import Shard, check_names, new_directory, read_json_file, shards
from spr.models.cogvlm.config import CogVLMConfig
from spr.models.cogvlm.language import CogVLMRotaryEmbedding
from spr.models.cogvlm.model import CogVLMForConditionalGeneration
from spr.models.cogvlm.processor import build_processor

_PUBLISHED = {
    "model.multi_modal_projector.boi": "model.vision.boi",
    "model.multi_modal_projector.eoi": "model.vision.eoi",
    "model.multi_modal_projector.": "model.vision.linear_proj.",
    "model.vision_tower.layers.": "model.vision.transformer.layers.",
    "model.vision_tower.": "model.vision.",
    "model.language_model.": "model.",
}
"""Beginnings of our names, and of the published ones; the first that fits is taken, and other names are the same."""
_ANGLES = ".rotary_emb.inv_freq"
_TEXT = (
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "rms_norm_eps"),
    *("hidden_act", "max_position_embeddings", "bos_token_id", "eos_token_id", "pad_token_id"),
)
_VISION = {
    "hidden_size": "hidden_size",
    "intermediate_size": "intermediate_size",
    "num_hidden_layers": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "image_size": "image_size",
    "patch_size": "patch_size",
    "in_channels": "num_channels",
    "hidden_act": "hidden_act",
    "layer_norm_eps": "layer_norm_eps",
}
"""Keys of the published vision_config, and ours."""


def convert(weights: Path, words: Path, out: Path, progress: Callable[[int], None] | None = None) -> None:
    """Write the model in `weights`, a copy of a CogVLM repository of the authors, with the tokenizer in `words` to `out`.

    `out` appears whole or not at all; `progress` is told of every file done. Raises ModelError for a config, a
    tokenizer or tensors that are not such a model's, naming what is missing or too much, and for an `out` that is not empty.
    """
    config = read_config(weights)
    files = shards(weights)
    names = _check(weights, files, config)
    with new_directory(out) as partial:
        build_processor(words, config).save_pretrained(partial)
        config.save_pretrained(partial)
        text = config.text_config
        GenerationConfig(
            bos_token_id=text.bos_token_id, eos_token_id=text.eos_token_id, pad_token_id=text.pad_token_id
        ).save_pretrained(partial)
        _write(files, names, partial, progress)


def read_config(weights: Path) -> CogVLMConfig:
    """The config of the published repository in `weights` as ours. Raises ModelError where it is another family's, lacks a
    value, or is of a checkpoint that is not asked with the bare question."""
    found = read_json_file(weights / "config.json")
    template = found.get("template_version", "base")
    if template != "base":
        raise ModelError(
            f"{weights} is a checkpoint for prompts of template {template!r}; a grounding one takes the bare question ('base')"
        )
    try:
        vision = {ours: found["vision_config"][theirs] for theirs, ours in _VISION.items()}
        text = {name: found[name] for name in _TEXT}
    except (KeyError, TypeError) as error:
        raise ModelError(f"{weights / 'config.json'} is no CogVLM's: it lacks {error}; name its repository's copy") from error
    config = CogVLMConfig(vision_config=vision, text_config=text, image_token_id=text["vocab_size"])
    config.architectures = [CogVLMForConditionalGeneration.__name__]
    return config


def published_name(name: str) -> str:
    """What a tensor of ours is called in the authors' repository."""
    for ours, theirs in _PUBLISHED.items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return name


def _check(weights: Path, files: Sequence[Shard], config: CogVLMConfig) -> dict[str, str]:
    """Our names by the published ones, after a comparison of all names, shapes and angles with the model of the config,
    which learns its precision. Raises ModelError."""
    with torch.device("meta"):
        model = CogVLMForConditionalGeneration(config)
    found = {name: shape for shard in files for name, shape in shard.shapes().items()}
    angles = {name for name in found if name.endswith(_ANGLES)}
    ours = {published_name(name): name for name in model.state_dict()}
    expected = {theirs: tuple(model.state_dict()[name].shape) for theirs, name in ours.items()}
    check_names(weights, {name: found[name] for name in found.keys() - angles}, expected)
    usual = CogVLMRotaryEmbedding(config.text_config).inv_freq
    for shard in files:
        for name, value in shard.tensors({*angles, "lm_head.weight"}).items():
            if name == "lm_head.weight":
                config.dtype = value.dtype
            elif value.shape != usual.shape or not torch.allclose(value.float(), usual, rtol=0.01):
                raise ModelError(f"{weights} counts positions by other angles ({name}) than CogVLM; name another checkpoint")
    return ours


def _write(files: Sequence[Shard], names: Mapping[str, str], out: Path, progress: Callable[[int], None] | None) -> None:
    index: dict[str, str] = {}
    size = 0
    for place, shard in enumerate(files, start=1):
        tensors = {names[name]: value.contiguous() for name, value in shard.tensors(names).items()}
        size += sum(value.nbytes for value in tensors.values())
        file = f"model-{place:05}-of-{len(files):05}.safetensors"
        save_file(tensors, out / file, metadata={"format": "pt"})
        index |= dict.fromkeys(tensors, file)
        if progress is not None:
            progress(1)
    whole: dict[str, Any] = {"metadata": {"total_size": size}, "weight_map": dict(sorted(index.items()))}
    (out / "model.safetensors.index.json").write_text(json.dumps(whole, indent=2) + "\n")
