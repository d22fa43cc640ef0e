"""Ferret at its full size, without weights: what it counts, and that the published names are ours one to one."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaForCausalLM

from published_configs import config
from spr.models.ferret.model import FerretForConditionalGeneration
from spr.models.ferret.names import TOWER, of_language, of_tower

SAMPLER = [
    *(f"agg_projector_list.{n}.{part}.{kind}" for n in (0, 1) for part in ("net.0", "norm") for kind in ("bias", "weight")),
    *(f"diff_projector_list.{n}.{kind}" for n in (0, 1) for kind in ("bias", "weight")),
    *(f"{part}_projector.{kind}" for part in ("flatten", "dim") for kind in ("bias", "weight")),
]
NEW = ["model.mm_projector.bias", "model.mm_projector.weight", *(f"model.region_geo_sampler.{name}" for name in SAMPLER)]
"""What the authors' apply_delta.py says a Ferret has beside a Vicuna."""


def built(name: str) -> FerretForConditionalGeneration:
    with torch.device("meta"):
        return FerretForConditionalGeneration(config(name))


def parameters(module: torch.nn.Module) -> int:
    return sum(value.numel() for value in module.parameters())


@pytest.mark.parametrize(("name", "width", "llama"), [("7b", 4096, 6_738_415_616), ("13b", 5120, 13_015_864_320)])
def test_parameters_are_those_of_the_parts(name: str, width: int, llama: int) -> None:
    # Two stages of Linear(1026, 1026), Conv1d(2052, 1024) and LayerNorm(1024); 32 * 1024 -> 1024 -> width.
    stage = 1026 * 1026 + 1026 + 2052 * 1024 + 1024 + 2 * 1024
    sampler = 2 * stage + 32 * 1024 * 1024 + 1024 + 1024 * width + width
    projector = 1024 * width + width
    model = built(f"models/ferret-{name}")
    assert parameters(model.model.region_geo_sampler) == sampler
    assert round(sampler / 1e6, 2) == {"7b": 44.07, "13b": 45.12}[name]
    assert parameters(model.model.vision_tower) == 303_507_456  # CLIP ViT-L/14-336's tower
    assert parameters(model) == llama + 2 * width + 303_507_456 + projector + sampler  # one word more in two tables


@pytest.mark.parametrize("name", ["7b", "13b"])
def test_published_names_are_ours_one_to_one_and_of_one_shape(name: str) -> None:
    model = built(f"models/ferret-{name}")
    ours = {key: value.shape for key, value in model.state_dict().items()}
    with torch.device("meta"):
        vicuna = LlamaForCausalLM(model.config.text_config)
    published = {key: value.shape for key, value in vicuna.state_dict().items()}
    language = {of_language(key): key for key in [*published, *NEW]}
    assert len(language) == len(published) + 18
    assert language.keys() == {key for key in ours if not key.startswith(TOWER)}
    assert all(ours[of_language(key)] == shape for key, shape in published.items())
    tower = {of_tower(f"vision_model.{key.removeprefix(TOWER)}") for key in ours if key.startswith(TOWER)}
    assert tower | language.keys() == ours.keys()


def test_what_old_files_hold_beside_weights_is_passed_over() -> None:
    assert of_language("model.layers.3.self_attn.rotary_emb.inv_freq") is None
    assert of_tower("vision_model.embeddings.position_ids") is None
    assert of_tower("text_model.embeddings.token_embedding.weight") is None
    assert of_language("model.layers.3.mlp.up_proj.weight") == "model.language_model.layers.3.mlp.up_proj.weight"
    assert of_language("something.else") == "something.else"
