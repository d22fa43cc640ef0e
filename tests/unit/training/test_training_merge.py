"""Merging: the same answers without the adapter's files, and what is refused."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from conftest_training import make_pair, make_recipe
from peft import PeftModel
from transformers import AutoModelForImageTextToText, AutoProcessor

from spr.errors import ModelError, RecipeError
from spr.training.collator import PreferenceCollator
from spr.training.encoding import PairEncoder
from spr.training.job import train
from spr.training.merge import merge
from spr.training.preflight import preflight

PAIRS = [make_pair(i) for i in range(4)]


def logits(model, folder, image_root):
    processor = AutoProcessor.from_pretrained(folder)
    encoder = PairEncoder(processor, image_root)
    ready = preflight(PAIRS, encoder, 4096, model.config.image_token_id)
    batch = PreferenceCollator(ready, encoder)([{"row": 0}, {"row": 1}])
    pixels = torch.cat([batch["images"]["pixel_values"]] * 2)
    with torch.no_grad():
        return model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], pixel_values=pixels).logits


def test_merged_logits_equal_base_plus_adapter(models, image_root, tmp_path):
    recipe = make_recipe(models("llava"))
    report = train(PAIRS, recipe, image_root, tmp_path / "policy")
    merge(recipe.model, report.adapter, tmp_path / "merged")
    base = AutoModelForImageTextToText.from_pretrained(models("llava"))
    before = logits(base, models("llava"), image_root)
    tuned = logits(PeftModel.from_pretrained(base, report.adapter).eval(), models("llava"), image_root)
    merged = logits(AutoModelForImageTextToText.from_pretrained(tmp_path / "merged"), tmp_path / "merged", image_root)
    torch.testing.assert_close(merged, tuned, atol=1e-4, rtol=1e-4)
    assert (tuned - before).abs().max() > 0.1


def test_the_merged_model_keeps_the_base_precision(models, image_root, tmp_path):
    half = tmp_path / "half"
    shutil.copytree(models("llava"), half)
    AutoModelForImageTextToText.from_pretrained(half, dtype=torch.bfloat16).save_pretrained(half)
    recipe = make_recipe(half)
    report = train(PAIRS, recipe, image_root, tmp_path / "policy")
    merge(recipe.model, report.adapter, tmp_path / "merged")
    merged = AutoModelForImageTextToText.from_pretrained(tmp_path / "merged")
    assert {parameter.dtype for parameter in merged.parameters()} == {torch.bfloat16}


def test_a_folder_in_use_is_refused(models, tmp_path):
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text("{}")
    with pytest.raises(RecipeError, match="is not empty"):
        merge(make_recipe(models("llava")).model, tmp_path / "adapter", tmp_path)


def test_a_folder_without_an_adapter_is_refused(models, tmp_path):
    with pytest.raises(RecipeError, match="holds no adapter"):
        merge(make_recipe(models("llava")).model, tmp_path, tmp_path / "out")


def test_an_adapter_of_another_model_is_refused(models, image_root, tmp_path):
    report = train(PAIRS, make_recipe(models("llava")), image_root, tmp_path / "policy")
    config = json.loads((report.adapter / "adapter_config.json").read_text())
    (report.adapter / "adapter_config.json").write_text(json.dumps({**config, "r": 2}))
    with pytest.raises(ModelError, match="does not fit"):
        merge(make_recipe(models("llava")).model, report.adapter, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_quantized_base_is_refused(models, tmp_path, monkeypatch):
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{}")
    quantized = tmp_path / "quantized"
    shutil.copytree(models("llava"), quantized)
    config = json.loads((quantized / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    (quantized / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match="quantized"):
        merge(make_recipe(quantized).model, adapter, tmp_path / "out")
