"""The published checkpoint to a directory that loads like any other: names, config, tokenizer and processor.

Tensors stay what they are; only their names change. Not here: reading files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor
from transformers import GenerationConfig

from spr.errors import ModelError
from spr.models.checkpoints import Checkpoint, listed, write_shards
from spr.models.cogvlm.config import CogVLMConfig
from spr.models.cogvlm.language import CogVLMRotaryEmbedding
from spr.models.cogvlm.model import CogVLMForConditionalGeneration
from spr.models.cogvlm.processor import build_processor
from spr.models.cogvlm.published import published_model
from spr.models.directories import free, new_directory
from spr.models.quiet import quiet

Progress = Callable[[int, int], None]
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


def convert(weights: Path, words: Path, out: Path, progress: Progress | None = None) -> None:
    """Write the model in `weights`, a copy of a CogVLM repository of the authors, with the tokenizer in `words` to `out`.
    Tensors keep their precision. `progress` is told how many tensors of how many are done.

    `out` appears whole or not at all. Raises ModelError for a config, a tokenizer or tensors that are not such a model's,
    naming what is missing or too much, and where the disk is full; RecipeError for an `out` that is not empty.
    """
    place = free(out)
    model = published_model(weights)
    config = model.config
    source = Checkpoint(weights)
    names = _checked(source, model)
    processor = build_processor(words, config)
    width = config.dtype.itemsize
    sizes = {ours: width * torch.Size(source.shape(published)).numel() for published, ours in names.items()}
    with new_directory(place) as partial:
        write_shards(partial, sizes, _tensors(source, names, progress or (lambda _done, _total: None)))
        with quiet():
            processor.save_pretrained(partial)
            config.save_pretrained(partial)
            _generation(config).save_pretrained(partial)


def published_name(name: str) -> str:
    """What a tensor of ours is called in the authors' repository."""
    for ours, theirs in _PUBLISHED.items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return name


def _checked(source: Checkpoint, model: CogVLMForConditionalGeneration) -> dict[str, str]:
    """Our names by the published ones, in the order of the files, after a comparison of names, shapes and angles with the
    model, whose config learns its precision. Raises ModelError."""
    config, weights = model.config, model.state_dict()
    ours = {published_name(name): name for name in weights}
    angles = [name for name in source.files if name.endswith(_ANGLES)]
    if lost := ours.keys() - source.files.keys():
        raise ModelError(f"{source.folder} lacks {listed(lost)}; complete the checkpoint")
    if more := source.files.keys() - ours.keys() - set(angles):
        raise ModelError(f"{source.folder} holds {listed(more)}, which CogVLM has not; name another checkpoint")
    order = sorted(ours, key=lambda name: (source.files[name].name, name))
    for name in order:
        shape, expected = source.shape(name), tuple(weights[ours[name]].shape)
        if shape != expected:
            raise ModelError(f"{source.folder}: {name} is {shape}, and by its config.json {expected}; complete the checkpoint")
    usual = CogVLMRotaryEmbedding(config.text_config).inv_freq
    for name in angles:
        found = source.tensor(name).float()
        if found.shape != usual.shape or not torch.allclose(found, usual, rtol=0.01):
            raise ModelError(f"{source.folder} counts positions by other angles ({name}) than CogVLM; name another checkpoint")
    config.dtype = source.tensor("lm_head.weight").dtype
    return {name: ours[name] for name in order}


def _tensors(source: Checkpoint, names: Mapping[str, str], progress: Progress) -> Iterator[tuple[str, Tensor]]:
    progress(0, len(names))
    for done, (published, ours) in enumerate(names.items(), start=1):
        value = source.tensor(published)
        progress(done, len(names))
        yield ours, value


def _generation(config: CogVLMConfig) -> GenerationConfig:
    text = config.text_config
    return GenerationConfig(bos_token_id=text.bos_token_id, eos_token_id=text.eos_token_id, pad_token_id=text.pad_token_id)
