"""A published CogVLM as users may have it: whole, pickled, damaged, or another model altogether."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from parity import cogvlm_cases as tiny
from spr.cli import app
from spr.errors import ModelError, RecipeError
from spr.models.base import Request, Sampling
from spr.models.cogvlm.config import CogVLMConfig
from spr.models.cogvlm.convert import convert, published_name
from spr.models.cogvlm.model import CogVLMForConditionalGeneration
from spr.models.transformers import TransformersModel
from spr.recipe import Model
from tiny_random.cogvlm import llama_words


@pytest.fixture
def words(tmp_path):
    return llama_words(tmp_path / "words")


@pytest.fixture
def published(tmp_path):
    """The published layout in one file; the function takes changes of config and tensors (None takes one away)."""

    def write(config=None, tensors=None, file="model.safetensors"):
        folder = tmp_path / "published"
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(json.dumps({**tiny.CONFIG, **(config or {})}))
        weights = {name: value for name, value in {**tiny.state_dict(), **(tensors or {})}.items() if value is not None}
        if file.endswith("bin"):
            torch.save(weights, folder / file)
        else:
            save_file(weights, folder / file)
        return folder

    return write


def test_a_converted_directory_answers_through_the_backend(published, words, tmp_path):
    convert(published(), words, tmp_path / "out")
    model = TransformersModel(Model(name=str(tmp_path / "out"), dialect="cogvlm", dtype="float32"), "cpu")
    ((answer,),) = model.generate([Request((Image.new("RGB", (80, 60)),), "where is it ?", (1,))], Sampling(0.0, 1.0, 4))
    assert answer.completion_tokens >= 1
    assert sorted(file.name for file in tmp_path.iterdir()) == ["out", "published", "words"]


def test_tensors_keep_their_values_and_precision(published, words, tmp_path):
    half = {name: value.bfloat16() for name, value in tiny.state_dict().items()}
    convert(published(tensors=half), words, tmp_path / "out")
    made = load_file(tmp_path / "out" / "model.safetensors")
    assert torch.equal(made["model.multi_modal_projector.eoi"], half["model.vision.eoi"])
    assert len(made) == len([name for name in half if not name.endswith("inv_freq")])
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "bfloat16"


def test_what_ends_an_answer_is_written_beside_the_weights(published, words, tmp_path):
    convert(published(), words, tmp_path / "out")
    settings = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert {name: settings[name] for name in ("bos_token_id", "eos_token_id", "pad_token_id")} == {
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }


def test_torchs_own_format_is_read_too(published, words, tmp_path):
    convert(published(file="pytorch_model.bin"), words, tmp_path / "out")
    made = load_file(tmp_path / "out" / "model.safetensors")
    assert torch.equal(made["lm_head.weight"], tiny.state_dict()["lm_head.weight"])


def test_at_full_size_names_and_shapes_are_the_published_ones_one_to_one():
    sizes = {"vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32}
    vision = {"hidden_size": 1792, "intermediate_size": 15360, "num_hidden_layers": 63, "num_positions": 1226, "patch_size": 14}
    published = tiny.shapes({**sizes, "num_attention_heads": 32, "vision_config": vision})
    with torch.device("meta"):
        ours = CogVLMForConditionalGeneration(CogVLMConfig()).state_dict()
    named = {published_name(name): tuple(value.shape) for name, value in ours.items()}
    assert len(named) == len(ours)
    assert named == {name: shape for name, shape in published.items() if not name.endswith("inv_freq")}


def test_plain_pickles_are_never_read(published, words, tmp_path):
    folder = published()
    (folder / "model.safetensors").unlink()

    class Surprise:
        def __reduce__(self):
            return print, ("run",)

    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Surprise(), protocol=2))
    with pytest.raises(ModelError, match=r"pytorch_model\.bin cannot be read as weights"):
        convert(folder, words, tmp_path / "out")


CONV = torch.zeros(1)
NAME = "model.layers.1.mlp.vision_mlp.up_proj.weight"
FAULTS = {
    "missing": ({}, {NAME: None}, f"published lacks {NAME}; complete the checkpoint"),
    "unexpected": (
        {},
        {"model.vision.conv.weight": torch.zeros(1)},
        r"published holds model\.vision\.conv\.weight, which CogVLM has not",
    ),
    "shape": ({}, {NAME: torch.zeros(3, 2)}, rf"{NAME} is \(3, 2\), and by its config.json \(48, 32\)"),
    "angles": ({}, {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}, "counts positions by other angles"),
    "chat": ({"template_version": "chat"}, {}, "a checkpoint for prompts of template 'chat'"),
    "config": ({"vision_config": {"hidden_size": 24}}, {}, r"config\.json is no CogVLM's: it lacks vision_config\.hidden_act"),
    "words": ({"vocab_size": 300}, {}, "has 400 words, and the model 300"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_no_such_checkpoint_is_named(fault, published, words, tmp_path):
    config, tensors, said = FAULTS[fault]
    if fault == "words":
        tensors = {name: tiny.state_dict()[name][:300].clone() for name in ("lm_head.weight", "model.embed_tokens.weight")}
    with pytest.raises(ModelError, match=said):
        convert(published(config, tensors), words, tmp_path / "out")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["published", "words"]


def test_many_missing_tensors_are_counted_and_some_of_them_named(published, words, tmp_path):
    lost = {name: None for name in tiny.state_dict() if ".mlp." in name and name.startswith("model.layers")}
    with pytest.raises(ModelError, match=r"lacks (\S+, ){4}\S+ \.\.\. \(18 in all\)"):
        convert(published(tensors=lost), words, tmp_path / "out")


def test_a_directory_without_weights_or_with_half_of_them_is_said(published, words, tmp_path):
    folder = published()
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="holds no weights"):
        convert(folder, words, tmp_path / "out")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "one", "b": "two"}}))
    with pytest.raises(ModelError, match=r"lacks lm_head\.weight, .* in all\)"):
        convert(folder, words, tmp_path / "out")


def test_a_damaged_file_is_said(published, words, tmp_path):
    folder = published()
    (folder / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(ModelError, match=r"model\.safetensors cannot be read as weights"):
        convert(folder, words, tmp_path / "out")


def test_a_folder_without_a_tokenizer_is_said(published, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"empty holds neither tokenizer\.json nor tokenizer\.model"):
        convert(published(), tmp_path / "empty", tmp_path / "out")
    (tmp_path / "empty" / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match="empty holds no Llama tokenizer that can be read"):
        convert(published(), tmp_path / "empty", tmp_path / "out")


def test_what_is_there_is_not_written_over(published, words, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(RecipeError, match="out is not empty"):
        convert(published(), words, tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]


def test_the_command_converts_and_says_where(published, words, tmp_path):
    arguments = ["--weights", str(published()), "--tokenizer", str(words), "--out", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-m", "spr.cli", "models", "convert", "cogvlm", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "out")
    assert "tensors" in done.stderr
    assert (tmp_path / "out" / "chat_template.jinja").is_file()


def test_the_help_names_the_family():
    assert "cogvlm" in CliRunner().invoke(app, ["models", "convert", "--help"]).output
