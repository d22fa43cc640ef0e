"""What score.semantic.model may be; everything else is one sentence that says what was found there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AlignConfig, GroundingDinoConfig, LlamaConfig, LlamaForCausalLM, SiglipConfig

import tiny_dual_encoders
import tiny_random
from spr.errors import ModelError
from spr.recipe_score import Semantic
from spr.rewards.dual_encoder_loading import load

FAMILIES = "CLIP, MetaCLIP 2, AltCLIP, Chinese-CLIP, SigLIP, SigLIP 2"


def refusal(path: Path) -> str:
    """The one sentence about a model that cannot be used."""
    with pytest.raises(ModelError) as caught:
        load(Semantic(model=str(path)))
    message = str(caught.value)
    assert message.startswith(f"score.semantic.model {path}")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("family", tiny_dual_encoders.FAMILIES)
def test_every_family_is_loaded_in_evaluation_mode_and_the_type_asked_for(family: str, tmp_path: Path) -> None:
    loaded = load(Semantic(model=str(tiny_dual_encoders.build(family, tmp_path)), dtype="bfloat16"))
    assert loaded.model.dtype is torch.bfloat16
    assert not loaded.model.training
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())


def test_an_empty_directory(tmp_path: Path) -> None:
    assert "is a directory without config.json; name one that holds" in refusal(tmp_path)


def test_a_file(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"weights")
    assert "is a file; name the directory" in refusal(file)


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    assert "does not exist; name a directory" in refusal(tmp_path / "nothing")


@pytest.mark.parametrize("text", ["{ no json", "[1, 2]", ""])
def test_a_config_that_is_no_json_object(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(text)
    assert "its config cannot be loaded" in refusal(tmp_path)


def test_a_language_model(tmp_path: Path) -> None:
    LlamaForCausalLM(
        LlamaConfig(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1)
    ).save_pretrained(tmp_path)
    message = refusal(tmp_path)
    assert "is of type llama (LlamaForCausalLM)" in message
    assert message.endswith(f"name a model of one of these families: {FAMILIES}")


def test_a_model_that_describes_images(tmp_path: Path) -> None:
    assert "of type llava (LlavaForConditionalGeneration)" in refusal(tiny_random.build_llava(tmp_path / "llava"))


@pytest.mark.parametrize(("config", "kind"), [(GroundingDinoConfig, "grounding-dino"), (AlignConfig, "align")])
def test_a_detector_and_a_tower_without_patches_are_refused_before_any_weights_are_read(
    config: type, kind: str, tmp_path: Path
) -> None:
    config().save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"no weights at all")
    message = refusal(tmp_path)
    assert f"is of type {kind}" in message
    assert FAMILIES in message


def test_a_type_that_transformers_does_not_know_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "evaclip", "architectures": ["EvaClip"]}))
    assert "is of type evaclip (EvaClip)" in refusal(tmp_path)


def test_siglip_without_the_head_that_pools_its_patches(tmp_path: Path) -> None:
    SiglipConfig(vision_config={"vision_use_head": False}).save_pretrained(tmp_path)
    assert "is a SigLIP model without its attention-pooling head" in refusal(tmp_path)


@pytest.mark.parametrize(("file", "part"), [("tokenizer.json", "tokenizer"), ("preprocessor_config.json", "image processor")])
def test_a_broken_tokenizer_or_image_processor(file: str, part: str, tmp_path: Path) -> None:
    tiny_dual_encoders.build("clip", tmp_path)
    assert (tmp_path / file).is_file()
    (tmp_path / file).write_text("{ no json")
    assert f"its {part} cannot be loaded" in refusal(tmp_path)


def test_a_tokenizer_without_its_vocabulary_would_read_every_text_as_the_same(tmp_path: Path) -> None:
    tiny_dual_encoders.build("clip", tmp_path)
    for file in tmp_path.glob("tokenizer*.json"):
        file.unlink()
    assert "its tokenizer knows no words" in refusal(tmp_path)


def test_incomplete_or_broken_weights(clip_dir: Path, tmp_path: Path) -> None:
    copy = tmp_path / "clip"
    shutil.copytree(clip_dir, copy)
    weights = load_file(copy / "model.safetensors")
    save_file(
        {k: v for k, v in weights.items() if k != "visual_projection.weight"}, copy / "model.safetensors", {"format": "pt"}
    )
    assert "lack 1 of the architecture's tensors, e.g. visual_projection.weight" in refusal(copy)
    (copy / "model.safetensors").write_bytes(b"no weights")
    assert "its model cannot be loaded" in refusal(copy)
