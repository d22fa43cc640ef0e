"""A training that goes on from an earlier adapter: the same adapter, and a reference that is the policy as it starts."""

from __future__ import annotations

import pytest
import torch
from conftest_training import make_pair, make_recipe
from safetensors.torch import load_file

from spr.errors import ModelError, ResumeError
from spr.models.identity import directory_digest
from spr.running.files import read_json
from spr.training.job import train
from spr.training.log import read_log

PAIRS = [make_pair(i) for i in range(6)]


@pytest.fixture(scope="module")
def first(models, image_root, tmp_path_factory):
    out = tmp_path_factory.mktemp("first")
    return train(PAIRS, make_recipe(models("llava"), max_steps=6), image_root, out).adapter


@pytest.mark.parametrize("precomputed", [False, True])
def test_the_first_loss_is_ln_2_again_and_the_adapter_goes_on(precomputed, first, models, image_root, tmp_path):
    # Against the base model, from which `first` has moved, the first loss would be another.
    recipe = make_recipe(models("llava"), max_steps=1, precompute_reference=precomputed)
    report = train(PAIRS, recipe, image_root, tmp_path, start=first)
    (line,) = read_log(tmp_path / "log.jsonl")
    assert line["loss"] == pytest.approx(0.693147, abs=1e-5)
    before, after = load_file(first / "adapter_model.safetensors"), load_file(report.adapter / "adapter_model.safetensors")
    assert before.keys() == after.keys()
    assert all(not torch.equal(before[name], after[name]) for name in before)
    assert max((before[name] - after[name]).abs().max() for name in before) < 0.1
    assert not (report.adapter / "ref").exists()


def test_equal_adapters_are_equal_files_whichever_process_saved_them(first):
    modules = read_json(first / "adapter_config.json")["target_modules"]
    assert len(modules) == 2 * 7
    assert modules == sorted(modules)


def test_where_it_started_is_part_of_what_it_is(first, models, image_root, tmp_path):
    recipe = make_recipe(models("llava"), max_steps=1)
    train(PAIRS, recipe, image_root, tmp_path / "on", start=first)
    assert read_json(tmp_path / "on" / "manifest.json")["parts"]["start"] == directory_digest(first)
    with pytest.raises(ResumeError, match=r"holds another training \(start was '[0-9a-f]{64}', is now None\)"):
        train(PAIRS, recipe, image_root, tmp_path / "on")
    with pytest.raises(ModelError, match="holds no model files"):
        train(PAIRS, recipe, image_root, tmp_path / "none", start=tmp_path / "nowhere")


@pytest.mark.parametrize("objective", ["dpo", "sft"])
def test_it_goes_on_from_a_checkpoint_to_the_same_adapter(objective, first, models, image_root, tmp_path):
    options = {"objective": objective, "max_steps": 4, "save_steps": 2, "gradient_checkpointing": True}
    recipe = make_recipe(models("llava"), **options)
    train(PAIRS, recipe, image_root, tmp_path / "whole", start=first)
    train(PAIRS, recipe, image_root, tmp_path / "again", start=first)
    (tmp_path / "again" / "manifest.json").unlink()
    last = max((tmp_path / "again" / "checkpoints").glob("checkpoint-4"))
    (last / "complete.json").unlink()
    assert train(PAIRS, recipe, image_root, tmp_path / "again", start=first).resumed_from == 2
    found = [load_file(tmp_path / name / "adapter" / "adapter_model.safetensors") for name in ("whole", "again")]
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_the_reference_says_the_same_every_time_whatever_the_policy_drops(models, image_root, tmp_path):
    lora = {"r": 4, "alpha": 8, "dropout": 0.5}
    recipe = make_recipe(models("llava"), max_steps=2, lora=lora, precompute_reference=True)
    first = train(PAIRS, recipe, image_root, tmp_path / "first").adapter
    found = []
    for seed in (1, 2):
        train(PAIRS, recipe.model_copy(update={"seed": seed}), image_root, tmp_path / str(seed), start=first)
        found.append(read_json(tmp_path / str(seed) / "reference.json")["logps"])
    assert found[0] == found[1]


def test_another_start_is_another_reference(first, models, image_root, tmp_path, capsys):
    recipe = make_recipe(models("llava"), max_steps=1, precompute_reference=True)
    train(PAIRS, recipe, image_root, tmp_path)
    train(PAIRS, recipe, image_root, tmp_path, start=first, force=True)
    assert "reference.json is of another reference (start was None, is now" in capsys.readouterr().err
    assert read_log(tmp_path / "log.jsonl")[0]["loss"] == pytest.approx(0.693147, abs=1e-5)
