"""Pairs weighed by their margin: the gradient is that of the weighted losses, and nothing else changes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from conftest_training import make_pair, make_recipe

from spr.errors import RecipeError
from spr.models.loading import load_model_and_processor
from spr.recipe import check_recipe
from spr.training import job, manifest
from spr.training.log import read_log
from spr.training.trainers import SPRDPOTrainer

PAIRS = [replace(make_pair(0), margin=0.1), replace(make_pair(1), margin=0.3)]
"""Of weights 0.5 and 1.5 together, of weight 1 each alone."""


def weighted(recipe, how="margin"):
    return recipe.model_copy(update={"pairs": recipe.pairs.model_copy(update={"weights": how})})


def gradients(monkeypatch, pairs, recipe, image_root, out):
    """The adapter's gradients of the first update."""
    found = {}

    class Watched(SPRDPOTrainer):
        def training_step(self, *args, **kwargs):
            loss = super().training_step(*args, **kwargs)
            found.update({name: p.grad.clone() for name, p in self.model.named_parameters() if p.grad is not None})
            return loss

    monkeypatch.setattr(job, "SPRDPOTrainer", Watched)
    job.train(pairs, recipe, image_root, out)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("loss", "attention"), [("sigmoid", "sdpa"), ("hinge", "sdpa"), ("ipo", "sdpa"), ("sigmoid", "eager")])
def test_the_gradient_is_that_of_the_weighted_losses(loss, attention, models, image_root, tmp_path, monkeypatch):
    recipe = weighted(make_recipe(models("llava"), loss_type=[loss], max_steps=1))
    recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"attention": attention})})
    alone = recipe.model_copy(update={"train": recipe.train.model_copy(update={"batch_size": 1})})
    both = gradients(monkeypatch, PAIRS, recipe, image_root, tmp_path / "both")
    first = gradients(monkeypatch, PAIRS[:1], alone, image_root, tmp_path / "first")
    second = gradients(monkeypatch, PAIRS[1:], alone, image_root, tmp_path / "second")
    moved = [name for name in both if both[name].any()]
    assert len(moved) == len(both) // 2  # LoRA's B begins at zero, so A has no gradient yet
    for name in moved:
        expected = (0.5 * first[name] + 1.5 * second[name]) / 2
        assert torch.allclose(both[name], expected, rtol=1e-4, atol=1e-6 * expected.abs().max().item())


def test_the_logged_losses_are_not_weighted(models, image_root, tmp_path):
    recipe = make_recipe(models("llava"), max_steps=1)
    job.train(PAIRS, recipe, image_root, tmp_path / "equal")
    job.train(PAIRS, weighted(recipe), image_root, tmp_path / "margin")
    logs = [read_log(tmp_path / name / "log.jsonl")[0] for name in ("equal", "margin")]
    assert logs[0]["loss"] == logs[1]["loss"]
    assert logs[0]["grad_norm"] != logs[1]["grad_norm"]


def test_weights_and_margins_are_part_of_what_a_training_is(models):
    recipe = make_recipe(models("llava"))
    plain, by_margin = manifest.key_parts(PAIRS, recipe), manifest.key_parts(PAIRS, weighted(recipe))
    assert manifest.key(plain) != manifest.key(by_margin)
    other = [replace(PAIRS[0], margin=0.2), PAIRS[1]]
    assert manifest.key_parts(other, recipe) == plain
    assert manifest.key_parts(other, weighted(recipe)) != by_margin


def test_sft_has_no_preferences_to_weigh(models):
    values = make_recipe(models("llava"), objective="sft").model_dump(mode="json")
    values["pairs"]["weights"] = "margin"
    with pytest.raises(RecipeError, match=r"pairs\.weights weighs preferences, and train\.objective: sft trains on none"):
        check_recipe(values, "test")


def test_the_model_is_called_as_before_without_weights(models):
    policy, _ = load_model_and_processor(make_recipe(models("llava")).model, "cpu", "float32")
    from spr.training.weighting import weigh_pairs

    ids = torch.tensor([[5, 6, 7]])
    before = policy(input_ids=ids).logits
    weigh_pairs(policy)
    assert torch.equal(policy(input_ids=ids).logits, before)
