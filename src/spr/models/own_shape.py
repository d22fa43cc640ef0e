"""The shape of a model whose files are here, in a directory or in the hub's cache: counted on the model itself.

The model is built from its config.json on torch's meta device, where weights have a shape and no memory; nothing is
downloaded. Image tokens are those of its own processor.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache

from spr.boxes import Size
from spr.errors import ModelError
from spr.models.identity import check_directory
from spr.models.image_tokens import ImageRule, Seen, by_processor
from spr.models.shapes import Known, Shape
from spr.recipe_model import Model


def own_shape(model: Model) -> Known | None:
    """The shape of the recipe's model, or None where its files are not here.

    Raises ModelError for a path that is no model's, for files that cannot be read, and for a processor that does not say
    how many tokens an image takes.
    """
    check_directory(f"model.name {model.name}", model.name)
    folder = _folder(model)
    if folder is None:
        return None
    from spr.models.loading import load_config, load_processor
    from spr.models.quiet import quiet

    here = model.model_copy(update={"name": str(folder), "revision": None})
    processor, config = load_processor(here), load_config(here)
    try:
        with quiet():
            return Known(count(config), _rule(model.name, config, processor))
    except _UNLIKE as fault:
        raise ModelError(
            f"model.name {model.name}: its parts cannot be counted: {' '.join(str(fault).split())[:300]}"
        ) from fault


def count(config: Any) -> Shape:
    """The shape of the architecture that a config describes."""
    import torch
    from torch import nn
    from transformers import AutoModelForImageTextToText

    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    head, decoder, text = model.get_output_embeddings(), model.get_decoder(), config.get_text_config()
    parts = (decoder, model.get_input_embeddings(), head)
    language = sum(item.numel() for item in {item for part in parts for item in part.parameters()})
    heads = text.num_attention_heads
    groups = getattr(text, "num_key_value_heads", None) or heads
    head_width = getattr(text, "head_dim", None) or text.hidden_size // heads
    unread = {head, *getattr(decoder, "unread", ())}
    linear = [part for part in decoder.modules() if isinstance(part, nn.Linear) and part not in unread]
    return Shape(
        family=config.model_type,
        language=language,
        vision=sum(item.numel() for item in model.parameters()) - language,
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        inner=next(getattr(text, name) for name in _INNER if hasattr(text, name)),
        # A layer that looks at an encoder's tokens keeps keys and values of these as well.
        kv_width=2 * groups * head_width * (2 if config.is_encoder_decoder else 1),
        vocabulary=head.weight.shape[0],
        linear_width=sum(part.in_features + part.out_features for part in linear),
        tied=head.weight is model.get_input_embeddings().weight,
        encoder_decoder=bool(config.is_encoder_decoder),
        experts=getattr(decoder, "experts", 1),
    )


_UNLIKE = (ValueError, TypeError, KeyError, AttributeError, StopIteration, NotImplementedError)
"""What an architecture raises that has not the parts of a vision-language model."""
_INNER = ("intermediate_size", "ffn_dim", "decoder_ffn_dim")


def _folder(model: Model) -> Path | None:
    """Where the model's files are; for a hub name the snapshot in the cache, if it was ever loaded."""
    path = Path(model.name).expanduser()
    if path.is_dir():
        return path
    if model.name.count("/") != 1:
        return None
    found = try_to_load_from_cache(model.name, "config.json", revision=model.revision)
    return Path(found).parent if isinstance(found, str) else None


def _rule(name: str, config: Any, processor: Any) -> ImageRule:
    """Tokens as the processor itself counts them; patches from the tokens that its tower merges into one."""
    merging = getattr(config.vision_config, "spatial_merge_size", 1) ** 2
    merging = max(merging, round(1 / getattr(config, "downsample_ratio", 1) ** 2))
    whole = _tile(config.vision_config)
    if (queries := getattr(config, "latent_query_num", None)) is not None:
        return lambda _: Seen(queries, whole)
    if not hasattr(processor, "_get_num_multimodal_tokens"):
        raise ModelError(f"model.name {name}: its processor does not say how many tokens an image takes")

    def seen(size: Size) -> Seen:
        tokens, _ = by_processor(processor, size)
        return Seen(tokens, max(tokens * merging, whole))

    return seen


def _tile(vision: Any) -> int:
    """Patches of the one size that a tower takes; 1 where it takes any."""
    sides = getattr(vision, "image_size", None), getattr(vision, "patch_size", None)
    image, patch = (side[0] if isinstance(side, list | tuple) else side for side in sides)
    return math.prod([image // patch] * 2) if image and patch else 1
