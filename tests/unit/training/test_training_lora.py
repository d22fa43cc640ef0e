"""Where LoRA goes, family by family."""

from __future__ import annotations

import pytest
import torch
from conftest_training import FAMILIES
from transformers import AutoModelForImageTextToText, Glm4vConfig, Kosmos2Config

from spr.errors import RecipeError
from spr.models.ported import register
from spr.training.lora import target_modules

SMALL_TEXT = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
OTHERS = {
    "glm4v": Glm4vConfig(
        vision_config={"depth": 1, "hidden_size": 32, "num_heads": 2, "out_hidden_size": 32, "intermediate_size": 64},
        text_config={**SMALL_TEXT, "num_key_value_heads": 1, "vocab_size": 64},
    ),
    "kosmos-2": Kosmos2Config(
        text_config={"layers": 1, "embed_dim": 32, "attention_heads": 2, "ffn_dim": 64, "vocab_size": 64},
        vision_config={"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2},
    ),
}


@pytest.fixture
def llava(models):
    return AutoModelForImageTextToText.from_pretrained(models("llava"))


def check(model, per_layer, layers):
    hits = target_modules(model)
    print("\n".join(hits))
    assert len(hits) == per_layer * layers
    assert not [name for name in hits if "vision" in name or "visual" in name or "projector" in name]


@pytest.mark.parametrize("family", FAMILIES)
def test_seven_projections_a_layer_and_none_in_a_vision_tower(family, models):
    check(AutoModelForImageTextToText.from_pretrained(models(family)), per_layer=7, layers=2)


@pytest.mark.parametrize(("family", "per_layer"), [("glm4v", 6), ("kosmos-2", 6)])
def test_families_that_name_their_projections_otherwise(family, per_layer):
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(OTHERS[family])
    check(model, per_layer, layers=1)


def test_the_recipe_overrides_the_table(llava):
    hits = target_modules(llava, r".*language_model.*\.q_proj")
    assert hits == [f"model.language_model.layers.{i}.self_attn.q_proj" for i in range(2)]


def test_a_vision_tower_is_refused(llava):
    with pytest.raises(RecipeError, match=r"outside the language model, model.vision_tower"):
        target_modules(llava, r".*\.q_proj")


def test_hitting_nothing_is_refused(llava):
    ends = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    listed = ", ".join(rf"{end} \(2\)" for end in ends)
    first = r"model\.language_model\.layers\.0\.self_attn\.q_proj"
    with pytest.raises(RecipeError, match=f"hits no linear layer .* language model end in {listed}; the first is {first}$"):
        target_modules(llava, "nothing")


def test_layers_that_nothing_reads_are_left_out_aloud_and_refused_alone(models, capsys):
    register()
    cogvlm = AutoModelForImageTextToText.from_pretrained(models("cogvlm"))
    with pytest.raises(RecipeError, match=r"hits only layers whose results nothing reads, .*layers\.1\.mlp\.vision_mlp"):
        target_modules(cogvlm, r".*layers\.1\.mlp\.vision_mlp\..*")
    assert len(target_modules(cogvlm, r".*layers\.[01]\.mlp\.vision_mlp\..*")) == 3
    assert "3 of 6 layers of train.lora.target_modules get no adapter" in capsys.readouterr().err


def test_a_broken_expression_is_refused(llava):
    with pytest.raises(RecipeError, match="not a regular expression"):
        target_modules(llava, "(")
