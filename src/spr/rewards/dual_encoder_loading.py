"""Which models of transformers can compare texts with regions, and how one is loaded.

What a path or a name holds is checked by its config alone, before any weights are read; a fault is one ModelError that
says what is there. What the loaded model does is `dual_encoder`'s matter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoTokenizer, PreTrainedConfig

from spr.errors import ModelError
from spr.models.identity import check_directory
from spr.models.quiet import quiet_from_disk
from spr.recipe_score import Semantic
from spr.rewards.region_features import clip_region_features, siglip_region_features


@dataclass(frozen=True, slots=True)
class Family:
    """What sets one architecture apart from the others.

    `siglip_texts`: its texts were lower-cased and padded to the full context in training, and it reads the last position.
    `hides_padding`: its text tower attends both ways, so padding must be masked; a causal one never looks at it.
    `native_aspect`: its images keep their aspect (NaFlex), so that each has its own grid of patches.
    """

    name: str
    region_features: Callable[..., torch.Tensor]
    siglip_texts: bool = False
    hides_padding: bool = False
    native_aspect: bool = False


FAMILIES = {
    "clip": Family("CLIP", clip_region_features),
    "metaclip_2": Family("MetaCLIP 2", clip_region_features),
    "altclip": Family("AltCLIP", clip_region_features, hides_padding=True),
    "chinese_clip": Family("Chinese-CLIP", clip_region_features, hides_padding=True),
    "siglip": Family("SigLIP", siglip_region_features, siglip_texts=True),
    "siglip2": Family("SigLIP 2", siglip_region_features, siglip_texts=True, native_aspect=True),
}
"""By the config's model_type. SigLIP 2 of a fixed resolution is of type siglip, as its checkpoints say themselves."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A checkpoint's parts. `context`: how many tokens of a text, special ones included, it reads in one pass."""

    family: Family
    model: Any
    tokenizer: Any
    processor: Any
    context: int


def load(recipe: Semantic) -> Loaded:
    """Load the model on the CPU, in evaluation mode. Raises ModelError when there is none, when it is of another kind, when
    its parts cannot be read or its weights are incomplete."""
    where = f"score.semantic.model {recipe.model}"
    folder = Path(recipe.model).expanduser()
    name = str(folder) if folder.is_dir() else recipe.model
    check_directory(where, recipe.model)
    family = _family(where, name, recipe)
    part = "tokenizer"
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, revision=recipe.revision)
        part = "image processor"
        processor = AutoImageProcessor.from_pretrained(name, revision=recipe.revision)
        part = "model"
        with quiet_from_disk(name):
            model, loading = AutoModel.from_pretrained(
                name,
                revision=recipe.revision,
                dtype=getattr(torch, recipe.dtype),
                attn_implementation="sdpa",
                output_loading_info=True,
            )
    except Exception as error:  # Broken files fail in many ways inside the libraries; each of them is this one fault.
        raise _unreadable(where, part, error) from None
    if set(tokenizer.get_vocab().values()) <= set(tokenizer.all_special_ids):
        raise ModelError(f"{where}: its tokenizer knows no words, for its vocabulary is missing; download or save it again")
    if missing := sorted(loading["missing_keys"]):
        raise ModelError(
            f"{where}: its weights lack {len(missing)} of the architecture's tensors, e.g. {missing[0]}; "
            "download or save it again"
        )
    return Loaded(family, model.eval().requires_grad_(False), tokenizer, processor, _context(model.config, tokenizer))


def _family(where: str, name: str, recipe: Semantic) -> Family:
    """The family that the config names, with what the recipe asks of it checked. Raises ModelError."""
    try:
        values, _ = PreTrainedConfig.get_config_dict(name, revision=recipe.revision)
        kind = str(values.get("model_type", "unknown"))
        config = AutoConfig.from_pretrained(name, revision=recipe.revision) if kind in FAMILIES else None
    except Exception as error:  # As above; a config of another kind is not built at all, so that it can be named.
        raise _unreadable(where, "config", error) from None
    if config is None:
        architecture = ", ".join(values.get("architectures") or ["no architecture given"])
        known = ", ".join(family.name for family in FAMILIES.values())
        raise ModelError(
            f"{where} is of type {kind} ({architecture}), whose image regions cannot be compared with texts here; "
            f"name a model of one of these families: {known}"
        )
    if not getattr(config.vision_config, "vision_use_head", True):
        raise ModelError(f"{where} is a {FAMILIES[kind].name} model without its attention-pooling head; name one that has it")
    layers = int(config.vision_config.num_hidden_layers)
    if recipe.start_layer is not None and recipe.start_layer >= layers:
        raise ModelError(
            f"score.semantic.start_layer is {recipe.start_layer}, but the vision tower of {recipe.model} has {layers} layers; "
            f"set it to 0..{layers - 1}"
        )
    return FAMILIES[kind]


def _context(config: Any, tokenizer: Any) -> int:
    """Tokens a pass: the text tower's positions, or fewer where the tokenizer says so.

    A tokenizer that does not know says 1e30. RoBERTa, AltCLIP's text tower, counts its positions from pad_token_id + 1 on.
    """
    positions = int(config.text_config.max_position_embeddings)
    if config.model_type == "altclip":
        positions -= int(config.text_config.pad_token_id) + 1
    return int(min(positions, tokenizer.model_max_length))


def _unreadable(where: str, part: str, error: Exception) -> ModelError:
    first = next(iter(str(error).strip().splitlines()), type(error).__name__).rstrip(".: ")
    return ModelError(
        f"{where}: its {part} cannot be loaded ({first[:300]}); download or save it again, or check the name and the connection"
    )
