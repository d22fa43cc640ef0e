"""Ferret's regions in training: their features reach policy and reference alike, in either way to compute a pair."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from conftest_training import make_pair, make_recipe, rows_of
from safetensors.torch import load_file
from trl.trainer.utils import add_fused_lm_head

import spr.training.job as job
from spr.models.loading import load_model_and_processor
from spr.training.base import prepare_base
from spr.training.collator import PreferenceCollator
from spr.training.encoding import PairEncoder
from spr.training.features import Images
from spr.training.log import read_log
from spr.training.once import compute_once
from spr.training.preflight import preflight

QUESTIONS = (
    "What is in [100, 100, 900, 900] <region_fea>?",
    "where is the dog ?",
    "Is [0, 0, 300, 400] <region_fea> left of [700, 700] <region_fea>?",
    "What is at [20, 990] <region_fea>?",
    "What is in [100, 100, 900, 900] <region_fea>?",
)
PAIRS = [dataclasses.replace(make_pair(i, path=f"{i % 2}.png"), prompt=question) for i, question in enumerate(QUESTIONS)]
"""Pairs about two photos, which differ in how many regions they mark, but for two that ask the same."""
FIELDS = ("region_points", "region_sizes", "region_starts")


@pytest.fixture
def prepared(models, image_root):
    """The model with TRL's head, and a batch of all pairs with its labels."""
    model, processor = load_model_and_processor(make_recipe(models("ferret")).model, "cpu", "float32")
    encoder = PairEncoder(processor, image_root)
    ready = preflight(PAIRS, encoder, 4096, model.config.image_token_id)
    batch = PreferenceCollator(ready, encoder)([{"row": row} for row in range(5)])
    labels = batch["input_ids"].masked_fill(batch.pop("completion_mask") == 0, -100)
    add_fused_lm_head(model, outputs=("log_probs", "entropy", "mean_logits", "is_top1"))
    return model, batch, labels


def scored(model, batch, labels):
    images = Images(batch["images"], batch["layout"].sizes, reused=True)
    return model(**{**batch, "images": images}, labels=labels, fused_lm_head=True).log_probs


def test_a_batch_carries_each_pairs_regions_once(prepared):
    _, batch, _ = prepared
    assert {name: tuple(batch["regions"][name].shape) for name in FIELDS} == {
        "region_points": (5, 2, 512, 2),
        "region_sizes": (5, 2, 2),
        "region_starts": (5, 2, 2),
    }
    assert (batch["regions"]["region_sizes"] > 0).all(dim=-1).sum(dim=1).tolist() == [1, 0, 2, 1, 1]


@pytest.mark.parametrize("sharing", ["off", "pair", "tree"])
def test_shared_prompts_give_the_numbers_and_gradients_of_separate_rows_with_regions(sharing, prepared):
    model, batch, labels = prepared
    weight = model.get_decoder().layers[0].self_attn.k_proj.weight

    def answer(log_probs):
        model.zero_grad()
        (log_probs * torch.linspace(0, 1, log_probs.numel()).view_as(log_probs)).sum().backward()
        return log_probs, weight.grad.clone()

    separate, gradient = answer(model(**rows_of(model, batch), labels=labels, fused_lm_head=True).log_probs)
    compute_once(model, sharing)
    shared, shared_gradient = answer(scored(model, batch, labels))
    torch.testing.assert_close(shared, separate, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(shared_gradient, gradient, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("sharing", ["off", "pair", "tree"])
def test_where_a_region_is_read_changes_the_answers_of_its_own_pair_alone(sharing, prepared):
    model, batch, labels = prepared
    compute_once(model, sharing)
    moved = {**batch, "regions": {**batch["regions"], "region_points": batch["regions"]["region_points"].clone()}}
    moved["regions"]["region_points"][2] = 0
    with torch.no_grad():
        before, after = (scored(model, some, labels) for some in (batch, moved))
    apart = (before - after).abs().amax(dim=1)
    assert (apart[[2, 7]] > 1e-2).all()
    torch.testing.assert_close(before[[0, 1, 3, 4, 5, 6, 8, 9]], after[[0, 1, 3, 4, 5, 6, 8, 9]], atol=1e-5, rtol=0)


@pytest.mark.parametrize("options", [{}, {"gradient_checkpointing": True}, {"objective": "sft"}], ids=str)
def test_training_on_regions_moves_every_adapter_parameter_and_none_of_the_base(
    options, models, image_root, tmp_path, monkeypatch
):
    policies = []
    monkeypatch.setattr(job, "prepare_base", lambda policy: (policies.append(policy), prepare_base(policy)))
    for steps in (1, 2):
        job.train(PAIRS, make_recipe(models("ferret"), max_steps=steps, **options), image_root, tmp_path / str(steps))
    one, two = (load_file(tmp_path / str(steps) / "adapter" / "adapter_model.safetensors") for steps in (1, 2))
    if "objective" not in options:
        assert read_log(tmp_path / "2" / "log.jsonl")[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert len(one) == 2 * 2 * 7
    assert [name for name in one if torch.equal(one[name], two[name])] == []
    before = load_model_and_processor(make_recipe(models("ferret")).model, "cpu", "float32")[0].state_dict()
    after = {name.replace(".base_layer", ""): value for name, value in policies[-1].state_dict().items() if "lora_" not in name}
    assert after.keys() == before.keys()
    assert [name for name in before if not torch.equal(before[name], after[name])] == []


def test_what_a_policy_learns_depends_on_its_regions(models, image_root, tmp_path):
    others = [dataclasses.replace(pair, prompt=pair.prompt.replace("<region_fea>", "")) for pair in PAIRS]
    trained = []
    for name, pairs in (("with", PAIRS), ("again", PAIRS), ("without", others)):
        job.train(pairs, make_recipe(models("ferret")), image_root, tmp_path / name)
        trained.append(load_file(tmp_path / name / "adapter" / "adapter_model.safetensors"))
    assert all(torch.equal(trained[0][key], trained[1][key]) for key in trained[0])
    assert not any(torch.equal(trained[0][key], trained[2][key]) for key in trained[0])


def test_an_answer_with_the_mark_of_a_region_is_dropped(models, image_root):
    model, processor = load_model_and_processor(make_recipe(models("ferret")).model, "cpu", "float32")
    pairs = [PAIRS[0], dataclasses.replace(PAIRS[1], rejected="a dog [1, 2, 3, 4] <region_fea>")]
    ready = preflight(pairs, PairEncoder(processor, image_root), 4096, model.config.image_token_id)
    assert [(row.row_id, row.reason) for row in ready.dropped] == [("pair-1", "region_token_in_answer")]


@pytest.mark.parametrize("prompt", ["what is the <region_fea>?", "What is in [0, 0, 2000, 3] <region_fea>?"])
def test_a_prompt_whose_region_cannot_be_read_is_dropped(prompt, models, image_root):
    model, processor = load_model_and_processor(make_recipe(models("ferret")).model, "cpu", "float32")
    pairs = [PAIRS[0], dataclasses.replace(PAIRS[1], prompt=prompt)]
    ready = preflight(pairs, PairEncoder(processor, image_root), 4096, model.config.image_token_id)
    assert [(row.row_id, row.reason) for row in ready.dropped] == [("pair-1", "region_unreadable")]
