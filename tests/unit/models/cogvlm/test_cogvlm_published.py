"""The authors' config.json as users may have it: every value is read, and what is no model's is named."""

from __future__ import annotations

import json

import pytest

from parity import cogvlm_cases as tiny
from spr.errors import ModelError
from spr.models.cogvlm.config import CogVLMConfig
from spr.models.cogvlm.published import published_model

OTHERS = {
    "vocab_size": 500,
    "hidden_size": 36,
    "intermediate_size": 44,
    "num_hidden_layers": 1,
    "num_attention_heads": 6,
    "rms_norm_eps": 2e-3,
    "hidden_act": "relu",
    "max_position_embeddings": 1024,
    "bos_token_id": 5,
    "eos_token_id": 6,
    "pad_token_id": 7,
}
TOWER = {
    "hidden_size": 20,
    "intermediate_size": 28,
    "num_hidden_layers": 1,
    "num_heads": 5,
    "image_size": 30,
    "patch_size": 10,
    "in_channels": 4,
    "hidden_act": "relu",
    "layer_norm_eps": 3e-3,
}
OURS = {"num_heads": "num_attention_heads", "in_channels": "num_channels"}


@pytest.fixture
def folder(tmp_path):
    """The published config with changes of its keys and the tower's; None takes one away."""

    def write(changes, tower=None):
        config = {**tiny.CONFIG, "vision_config": {**tiny.CONFIG["vision_config"], **(tower or {})}, **changes}
        config = {key: value for key, value in config.items() if value is not None}
        (tmp_path / "config.json").write_text(json.dumps(config))
        return tmp_path

    return write


def test_every_value_is_read(folder):
    config, usual = published_model(folder(OTHERS, TOWER)).config, CogVLMConfig()
    read = {name: getattr(config.text_config, name) for name in OTHERS}
    tower = {name: getattr(config.vision_config, OURS.get(name, name)) for name in TOWER}
    assert (read, tower, config.image_token_id) == (OTHERS, TOWER, 500)
    assert all(getattr(usual.text_config, name) != value for name, value in OTHERS.items())
    assert all(getattr(usual.vision_config, OURS.get(name, name)) != value for name, value in TOWER.items())


def test_what_need_not_be_written_is_the_authors_default(folder):
    optional = dict.fromkeys(("hidden_act", "max_position_embeddings", "bos_token_id", "eos_token_id", "pad_token_id"))
    text = published_model(folder(optional)).config.text_config
    assert (text.hidden_act, text.max_position_embeddings) == ("silu", 2048)
    assert (text.bos_token_id, text.eos_token_id, text.pad_token_id) == (1, 2, 0)


def test_a_config_without_a_template_is_a_chat_ones_and_says_what_to_add(folder):
    with pytest.raises(ModelError, match=r'has no template_version, .* add "template_version": "base" to it'):
        published_model(folder({"template_version": None}))


def test_another_familys_config_is_told_from_one_without_a_template(folder):
    with pytest.raises(ModelError, match=r"is no CogVLM's: it lacks .*vision_config"):
        published_model(folder({"template_version": None, "vision_config": {}}))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden_size", "32"),
        ("max_position_embeddings", True),
        ("num_attention_heads", 0),
        ("num_hidden_layers", -1),
        ("hidden_act", "foo"),
        ("hidden_act", ["silu"]),
        ("rms_norm_eps", "1e-5"),
        ("rms_norm_eps", 0.0),
        ("eos_token_id", -1),
        ("vision_config.patch_size", 0),
        ("vision_config.layer_norm_eps", None),
        ("vision_config.image_size", 42.0),
    ],
)
def test_a_value_of_no_model_is_named_with_its_key(key, value, folder):
    tower, _, name = key.rpartition(".")
    written = folder({}, {name: value}) if tower else folder({name: value})
    with pytest.raises(ModelError) as caught:
        published_model(written)
    assert f"config.json: {key} is {value!r}, with which there is no model" in str(caught.value)


@pytest.mark.parametrize(("changes", "tower", "heads"), [({"num_attention_heads": 5}, {}, 5), ({}, {"num_heads": 7}, 7)])
def test_heads_that_do_not_divide_the_width_are_said(changes, tower, heads, folder):
    with pytest.raises(ModelError, match=rf"config\.json describes no model: .* multiple of .* heads \({heads}\)"):
        published_model(folder(changes, tower))


@pytest.mark.parametrize("tower", [[1], "vit"])
def test_a_tower_that_is_no_table_is_one_without_values(tower, folder):
    with pytest.raises(ModelError, match=r"it lacks vision_config\.hidden_act, .*\(9 in all\)"):
        published_model(folder({"vision_config": tower}))
