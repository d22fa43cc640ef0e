"""Merging: the same answers without the adapter's files, what rounding leaves of the adapter, and what is refused."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from conftest_training import make_pair, make_recipe
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForImageTextToText, AutoProcessor

from spr.errors import ModelError, RecipeError
from spr.training.collator import PreferenceCollator
from spr.training.encoding import PairEncoder
from spr.training.job import train
from spr.training.merge import merge
from spr.training.merged import Merged
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
    merge(recipe.model, report.adapter, tmp_path / "merged", "stored")
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
    merge(recipe.model, report.adapter, tmp_path / "merged", "stored")
    merged = AutoModelForImageTextToText.from_pretrained(tmp_path / "merged")
    assert {parameter.dtype for parameter in merged.parameters()} == {torch.bfloat16}


def ones(folder, model, dtype, change):
    """The model with values of 1 in its value projections, and an adapter that adds `change` to each of them."""
    base = AutoModelForImageTextToText.from_pretrained(model, dtype=dtype)
    AutoProcessor.from_pretrained(model).save_pretrained(folder / "base")
    config = LoraConfig(r=1, lora_alpha=1, target_modules=r".*language_model.*v_proj", task_type="CAUSAL_LM")
    for name, parameter in base.named_parameters():
        if "language_model" in name and "v_proj.weight" in name:
            parameter.data.fill_(1.0)
    base.save_pretrained(folder / "base")
    tuned = get_peft_model(base, config, autocast_adapter_dtype=True)
    for name, parameter in tuned.named_parameters():
        if "lora_" in name:
            parameter.data.fill_(1.0 if "lora_A" in name else change)
    tuned.save_pretrained(folder / "adapter")
    return make_recipe(folder / "base").model, folder / "adapter"


STEP = 2.0**-7
"""From 1.0 to the next number of bfloat16."""


@pytest.mark.parametrize(
    ("change", "kept", "noise"),
    [(STEP, 1.0, 0.0), (0.75 * STEP, 4 / 3, 1 / 3), (STEP / 4, 0.0, 1.0), (2.25 * STEP, 2 / 2.25, 0.25 / 2.25)],
)
def test_what_rounding_leaves_can_be_counted_on_fingers(change, kept, noise, models, tmp_path):
    model, adapter = ones(tmp_path, models("llava"), torch.bfloat16, change)
    said = merge(model, adapter, tmp_path / "merged")
    assert (said.kept, said.noise) == (pytest.approx(kept), pytest.approx(noise))
    merged = AutoModelForImageTextToText.from_pretrained(tmp_path / "merged")
    weights = [p for name, p in merged.named_parameters() if "language_model" in name and "v_proj.weight" in name]
    assert {value for weight in weights for value in weight.unique().tolist()} == {1.0 + kept * change}


def test_a_sum_is_rounded_once(models, tmp_path):
    # Rounded to bfloat16 first, the change 0.5 + 1/512 would be 0.5; and 1 + 0.5 + 1/512 is no tie in float32.
    model, adapter = ones(tmp_path, models("llava"), torch.float32, 0.5 + STEP / 4)
    merge(model, adapter, tmp_path / "merged", "float32")
    merged = AutoModelForImageTextToText.from_pretrained(tmp_path / "merged")
    (weight, *_) = (p for name, p in merged.named_parameters() if "language_model" in name and "v_proj.weight" in name)
    assert set(weight.unique().tolist()) == {1.5 + STEP / 4}


def test_the_base_is_untouched_where_no_adapter_is(models, tmp_path):
    model, adapter = ones(tmp_path, models("llava"), torch.bfloat16, STEP)
    merge(model, adapter, tmp_path / "merged")
    before = AutoModelForImageTextToText.from_pretrained(model.name).state_dict()
    after = AutoModelForImageTextToText.from_pretrained(tmp_path / "merged").state_dict()
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if "language_model" in name and "v_proj.weight" in name}


@pytest.mark.parametrize(
    ("kept", "noise", "words"),
    [
        (0.95, 0.5, "95.0 % of the adapter's change survived rounding to bfloat16, beside rounding noise of 50 % of its size"),
        (0.42, 0.8, "WARNING: only 42.0 % of the adapter's change survived rounding to bfloat16; the rest lies below half"),
        (1.0, 2.25, "WARNING: rounding to bfloat16 moves the adapted weights 2.2 times as far as the adapter does"),
        (None, None, "WARNING: the adapter changes no weight"),
    ],
)
def test_much_that_is_lost_is_told(kept, noise, words):
    assert Merged("bfloat16", kept, noise).told().startswith(words)


def test_an_adapter_that_was_never_trained_is_told(models, tmp_path):
    model, adapter = ones(tmp_path, models("llava"), torch.float32, 0.0)
    assert merge(model, adapter, tmp_path / "merged") == Merged("bfloat16", None, None)


def test_an_unknown_precision_is_refused(models, tmp_path):
    with pytest.raises(
        RecipeError, match="--dtype int4: there is no such precision here; name one of bfloat16, float32, stored"
    ):
        merge(make_recipe(models("llava")).model, tmp_path, tmp_path / "out", "int4")


def test_weights_that_are_not_finite_are_refused(models, tmp_path):
    model, adapter = ones(tmp_path, models("llava"), torch.float16, 70000.0)
    with pytest.raises(ModelError, match=r"does not fit .*: merged weights overflow torch.float16"):
        merge(model, adapter, tmp_path / "merged", "stored")
    assert not (tmp_path / "merged").exists()


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
