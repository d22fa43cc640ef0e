"""Loading checkpoints: what is wrong with one is said in one sentence, and its identity follows its content."""

from __future__ import annotations

import json
import shutil

import pytest
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig

import tiny_random
from spr.errors import ModelError
from spr.models.loading import load_config, load_model_and_processor, model_identity
from spr.recipe import Model


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return tiny_random.build_llava_onevision(tmp_path_factory.mktemp("original") / "model")


@pytest.fixture
def copy(original, tmp_path):
    return shutil.copytree(original, tmp_path / "model")


def recipe(folder, **options):
    return Model(name=str(folder), dialect="llava-onevision", dtype="float32", **options)


def test_loads_without_the_video_half_where_torchvision_is_missing(original):
    model, processor = load_model_and_processor(recipe(original), "cpu")
    assert type(model).__name__ == "LlavaOnevisionForConditionalGeneration"
    assert type(processor).__name__ == "LlavaOnevisionProcessor"
    assert not model.training
    assert str(model.dtype) == "torch.float32"


def test_dtype_can_be_set_apart_from_the_recipe(original):
    model, _ = load_model_and_processor(recipe(original), "cpu", "bfloat16")
    assert str(model.dtype) == "torch.bfloat16"


def without(name):
    return lambda folder: (folder / name).unlink()


def other_model(folder):
    LlamaConfig().save_pretrained(folder)


def senseless_config(folder):
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["num_attention_heads"] = 5
    (folder / "config.json").write_text(json.dumps(config))


def senseless_text(folder):
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["vocab_size"] = "many"
    (folder / "config.json").write_text(json.dumps(config))


def broken_weights(folder):
    (folder / "model.safetensors").write_bytes(b"not weights")


def lacking_weights(folder):
    weights = load_file(folder / "model.safetensors")
    weights.pop(next(name for name in weights if "q_proj" in name))
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (without("config.json"), r"holds no config\.json"),
        (without("chat_template.jinja"), "no chat template"),
        (without("model.safetensors"), "cannot be loaded"),
        (other_model, "is a llama model"),
        (senseless_config, "cannot be loaded"),
        (broken_weights, "cannot be loaded"),
        (lacking_weights, "lack 1 tensors"),
    ],
)
def test_what_is_wrong_with_a_checkpoint_is_said(copy, harm, said):
    harm(copy)
    with pytest.raises(ModelError, match=said) as caught:
        load_model_and_processor(recipe(copy), "cpu")
    assert str(copy) in str(caught.value)


BARE = ["kosmos2", "paligemma", "florence2"]


@pytest.mark.parametrize("family", BARE)
@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (without("processor_config.json"), "cannot be loaded"),
        (without("tokenizer.json"), r"cannot be loaded|its tokenizer gives image tokens the id \d+, and its config\.json \d+"),
        (senseless_text, "cannot be loaded"),
        (lacking_weights, "lack 1 tensors"),
    ],
)
def test_what_is_wrong_with_a_family_without_a_template_is_said(family, harm, said, tmp_path):
    folder = tmp_path / family
    getattr(tiny_random, f"build_{family}")(folder)
    harm(folder)
    with pytest.raises(ModelError, match=said) as caught:
        load_model_and_processor(recipe(folder), "cpu")
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


REMOTE = """
import pathlib
from transformers import LlavaConfig, LlavaForConditionalGeneration

pathlib.Path({marker!r}).touch()

class ForeignConfig(LlavaConfig):
    model_type = "foreign"

class ForeignModel(LlavaForConditionalGeneration):
    config_class = ForeignConfig
"""


@pytest.fixture
def remote(tmp_path, monkeypatch):
    """A model that brings its own code, and the file that the code leaves behind when it runs."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    folder, marker = tiny_random.build_llava(tmp_path / "model"), tmp_path / "ran"
    (folder / "foreign.py").write_text(REMOTE.format(marker=str(marker)))
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "foreign",
        "auto_map": {"AutoConfig": "foreign.ForeignConfig", "AutoModelForImageTextToText": "foreign.ForeignModel"},
    }
    # A family that transformers knows is stored under older names of its weights; code of one's own is not.
    weights = {name: value.clone() for name, value in load_model_and_processor(recipe(folder), "cpu")[0].state_dict().items()}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config))
    return folder, marker


def test_a_models_own_code_is_not_run(remote):
    folder, marker = remote
    for load in (model_identity, lambda part: load_model_and_processor(part, "cpu")):
        with pytest.raises(ModelError, match=r"brings code of its own, which is not run.*trust_remote_code"):
            load(recipe(folder))
    assert not marker.exists()


def test_a_models_own_code_is_run_when_the_recipe_says_so(remote):
    folder, marker = remote
    model, _ = load_model_and_processor(recipe(folder, trust_remote_code=True), "cpu")
    assert type(model).__name__ == "ForeignModel"
    assert marker.exists()


@pytest.mark.parametrize("file", ["config.json", "processor_config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("pointer", ["someone/else--foreign.Foreign", [None, "someone/else--foreign.Foreign"]])
def test_code_in_another_repository_is_not_run_whatever_the_recipe_says(remote, file, pointer):
    folder, marker = remote
    values = json.loads((folder / file).read_text()) if (folder / file).exists() else {}
    (folder / file).write_text(json.dumps(values | {"auto_map": {"AutoConfig": pointer}}))
    with pytest.raises(ModelError, match=rf"its {file} takes code from someone/else, which no revision pins"):
        load_config(recipe(folder, trust_remote_code=True, revision="0" * 40))
    assert not marker.exists()


def test_a_file_that_is_no_json_is_named(remote):
    folder, _ = remote
    (folder / "tokenizer_config.json").write_text("{")
    with pytest.raises(ModelError, match=r"tokenizer_config\.json cannot be read"):
        load_config(recipe(folder, trust_remote_code=True))


@pytest.mark.parametrize("device", ["cpu", "cuda:0"])
def test_4bit_weights_need_bitsandbytes(original, device, monkeypatch):
    monkeypatch.setattr("spr.models.loading.find_spec", lambda _: None)
    with pytest.raises(ModelError, match=r"model\.quantization is 4bit, which needs bitsandbytes; install it"):
        load_model_and_processor(recipe(original, quantization="4bit"), device)


@pytest.mark.parametrize("name", ["/nowhere/at/all", "./nowhere", "~/nowhere", "nowhere", "a/b/c"])
def test_a_missing_directory_is_not_looked_for_on_the_hub(name):
    with pytest.raises(ModelError, match="is no directory"):
        model_identity(Model(name=name, dialect="tiny"))


def test_identity_is_that_of_the_content_and_not_of_the_place(original, copy):
    assert model_identity(recipe(original)) == model_identity(recipe(copy))
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"projector_hidden_act": "relu"}))
    assert model_identity(recipe(original)) != model_identity(recipe(copy))


def test_identity_follows_the_processors_effective_settings(tmp_path):
    folder = tiny_random.build_qwen2_5_vl(tmp_path / "qwen")
    size = {"shortest_edge": 3136, "longest_edge": 28 * 28 * 4}
    usual, limited = model_identity(recipe(folder)), model_identity(recipe(folder, processor={"size": size}))
    assert "Qwen2VLImageProcessorPil(" in usual
    assert "3136" in limited
    assert usual.split()[0] == limited.split()[0]
    assert usual != limited


def test_a_model_on_the_hub_that_cannot_be_reached(monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=r"someone/nothing cannot be loaded: .*connection"):
        model_identity(Model(name="someone/nothing", dialect="tiny"))
