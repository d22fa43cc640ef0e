"""Ferret's configuration from the config.json that its authors publish, which is Llama's with some of its own beside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from transformers import CLIPVisionConfig, LlamaConfig

from spr.errors import ModelError
from spr.models.ferret.config import FerretConfig

_LLAMA = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "hidden_act",
    "max_position_embeddings",
    "initializer_range",
    "rms_norm_eps",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
)
_REQUIRED = {"region_geo_sampler": True, "sampler_pooler_mode": "max", "mm_vision_select_layer": -2}
"""What the published models are, and the only thing that is built here."""
_TOWERS = {"clip-vit-large-patch14-336": {"image_size": 336, "patch_size": 14, "num_hidden_layers": 24}}
"""What a tower of that name is, beside its width."""
_FAULTS = (OSError, ValueError, KeyError, TypeError, AttributeError, StrictDataclassError)


def published_config(delta: Path, vision: Path) -> FerretConfig:
    """The configuration of the delta in `delta` on the tower in `vision`. Raises ModelError for another kind of model."""
    given = _read(delta / "config.json")
    for key, value in _REQUIRED.items():
        if given.get(key) != value:
            raise ModelError(
                f"{delta}/config.json: {key} is {given.get(key)!r}, and {value!r} in Ferret; name the published delta"
            )
    if not (vision / "config.json").is_file():
        raise ModelError(f"--vision {vision} holds no config.json; name the whole folder of CLIP ViT-L/14-336")
    try:
        tower = CLIPVisionConfig.from_pretrained(vision)
        text = LlamaConfig(**{key: given[key] for key in _LLAMA if key in given})
        region = int(given["im_region_fea_token"])
    except _FAULTS as error:
        raise ModelError(f"{delta} and {vision}: no configuration: {' '.join(str(error).split())[:300]}") from error
    if (tower.hidden_size, text.vocab_size) != (given.get("mm_hidden_size"), region + 1):
        raise ModelError(
            f"{delta} was trained on a tower of width {given.get('mm_hidden_size')} with {region + 1} words; {vision} is of "
            f"width {tower.hidden_size}, and the delta's table has {text.vocab_size} words"
        )
    named = str(given.get("mm_vision_tower")).rpartition("/")[2]
    for key, value in _TOWERS.get(named, {}).items():
        if getattr(tower, key) != value:
            raise ModelError(f"{delta} was trained on {named}, whose {key} is {value}, and {vision} has {getattr(tower, key)}")
    if text.pad_token_id is None:
        text.pad_token_id = 0  # the unknown word, as in the authors' training
    config = FerretConfig(
        vision_config=tower,
        text_config=text,
        image_seq_length=(tower.image_size // tower.patch_size) ** 2,
        region_token_id=region,
        image_token_index=region + 1,
    )
    config.architectures = ["FerretForConditionalGeneration"]
    config.dtype = "float16"
    return config


def _read(file: Path) -> dict[str, Any]:
    try:
        values = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise ModelError(f"{file} cannot be read: {error}; name the directory of the published delta") from error
    if not isinstance(values, dict):
        raise ModelError(f"{file} is no configuration; name the directory of the published delta")
    return values
