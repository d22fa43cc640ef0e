"""The model that the config.json of the authors' repository describes, without its tensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers.activations import ACT2FN

from spr.errors import ModelError
from spr.models.checkpoints import listed
from spr.models.cogvlm.config import CogVLMConfig
from spr.models.cogvlm.model import CogVLMForConditionalGeneration

_TEXT = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "rms_norm_eps")
_TEXT_TOO = ("hidden_act", "max_position_embeddings", "bos_token_id", "eos_token_id", "pad_token_id")
"""Those must stand in a config.json; these need not, where they are the authors' defaults, which are ours."""
_TOWER = "vision_config."
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


def published_model(weights: Path) -> CogVLMForConditionalGeneration:
    """The model of the published repository in `weights`, on the meta device. Raises ModelError where its config is another
    family's, lacks a value or has one of no model, or is of a checkpoint that is not asked with the bare question."""
    file = weights / "config.json"
    found = _read(file)
    values = _values(file, found)
    _check_template(file, found)
    vision = {ours: values[_TOWER + theirs] for theirs, ours in _VISION.items()}
    text = {name: value for name, value in values.items() if not name.startswith(_TOWER)}
    try:
        config = CogVLMConfig(vision_config=vision, text_config=text, image_token_id=text["vocab_size"])
        config.architectures = [CogVLMForConditionalGeneration.__name__]
        with torch.device("meta"):
            return CogVLMForConditionalGeneration(config)
    except Exception as error:  # what does not go together is met by the config's checks, or by torch
        said = " ".join(str(error).split())[:300]
        raise ModelError(f"{file} describes no model: {said}; name its repository's copy") from error


def _check_template(file: Path, found: dict[str, Any]) -> None:
    template = found.get("template_version")
    if template is None:  # the authors' code then takes it for a chat one's
        raise ModelError(
            f"{file} has no template_version, which is then 'chat'; if it is the grounding checkpoint's, add "
            '"template_version": "base" to it'
        )
    if template != "base":
        raise ModelError(
            f"{file.parent} is a checkpoint for prompts of template {template!r}; a grounding one takes the bare question "
            "('base')"
        )


def _values(file: Path, found: dict[str, Any]) -> dict[str, Any]:
    """What is read of a config.json by key, the tower's behind `vision_config.`; each is possible by itself."""
    tower = found.get("vision_config")
    given = found | {_TOWER + name: value for name, value in (tower if isinstance(tower, dict) else {}).items()}
    needed = [*_TEXT, *(_TOWER + name for name in _VISION)]
    if lost := [name for name in needed if name not in given]:
        raise ModelError(f"{file} is no CogVLM's: it lacks {listed(lost)}; name its repository's copy")
    values = {name: given[name] for name in (*needed, *_TEXT_TOO) if name in given}
    for name, value in values.items():
        if not _possible(name, value):
            raise ModelError(f"{file}: {name} is {value!r}, with which there is no model; name its repository's copy")
    return values


def _possible(name: str, value: object) -> bool:
    """Whether sizes are at least 1 and ids at least 0, small numbers above 0, and functions known."""
    if name.endswith("hidden_act"):
        return isinstance(value, str) and value in ACT2FN
    if name.endswith("_eps"):
        return isinstance(value, float) and value > 0
    return type(value) is int and value >= (0 if name.endswith("_id") else 1)


def _read(file: Path) -> dict[str, Any]:
    try:
        values = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} cannot be read: {error}; name a copy of THUDM/cogvlm-grounding-generalist-hf") from error
    if not isinstance(values, dict):
        raise ModelError(f"{file} is no configuration; name a copy of THUDM/cogvlm-grounding-generalist-hf")
    return values
