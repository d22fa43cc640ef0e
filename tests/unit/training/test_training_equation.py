"""The DPO equation, checked against log-probabilities computed by hand from the model's logits."""

from __future__ import annotations

import math

import pytest
import torch
from conftest_training import FAMILIES, make_pair, make_recipe, rows_of
from peft import PeftModel

from spr.models.loading import load_model_and_processor
from spr.training.collator import PreferenceCollator
from spr.training.encoding import PairEncoder
from spr.training.job import train
from spr.training.log import read_log
from spr.training.preflight import preflight

PAIRS = [make_pair(i) for i in range(4)]
BETA = 0.3


def batch_of_all(recipe, image_root, model, processor):
    encoder = PairEncoder(processor, image_root)
    ready = preflight(PAIRS, encoder, 4096, model.config.image_token_id)
    return PreferenceCollator(ready, encoder)([{"row": row} for row in range(len(PAIRS))])


def answer_logps(model, batch):
    """Sum of log-probabilities of each row's answer tokens, from plain logits, pixels given twice."""
    images = {name: torch.cat([value] * 2) for name, value in batch["images"].items()}
    fields = {name: value for name, value in batch.items() if name not in ("images", "layout", "completion_mask")}
    with torch.no_grad():
        logits = model(**fields, **images).logits[:, :-1].double()
    picked = logits.log_softmax(-1).gather(-1, batch["input_ids"][:, 1:, None])[..., 0]
    return (picked * batch["completion_mask"][:, 1:]).sum(dim=1)


@pytest.mark.parametrize(("family", "attention"), [*((family, "sdpa") for family in FAMILIES), ("llava", "eager")])
def test_loss_and_rewards_follow_the_dpo_equation(family, attention, models, image_root, tmp_path):
    # Sdpa shares the prompt of a pair, eager does not. One pass over the pairs, then the loss of the next.
    options = {"beta": BETA, "batch_size": 4, "scheduler": "constant_with_warmup"}
    recipe = make_recipe(models(family), **options, max_steps=1)
    recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"attention": attention})})
    train(PAIRS, recipe, image_root, tmp_path / "one")
    again = recipe.model_copy(update={"train": recipe.train.model_copy(update={"max_steps": 2})})
    train(PAIRS, again, image_root, tmp_path / "two")
    base, processor = load_model_and_processor(recipe.model, "cpu", "float32")
    batch = batch_of_all(recipe, image_root, base, processor)
    reference = answer_logps(base, batch)
    policy = PeftModel.from_pretrained(base, tmp_path / "one" / "adapter").eval()
    chosen, rejected = (answer_logps(policy, batch) - reference).chunk(2)
    expected = -torch.nn.functional.logsigmoid(BETA * (chosen - rejected)).mean().item()
    line = read_log(tmp_path / "two" / "log.jsonl")[1]
    assert line["loss"] == pytest.approx(expected, abs=1e-5)
    assert line["rewards/chosen"] == pytest.approx(BETA * chosen.mean().item(), abs=1e-4)
    assert line["rewards/margins"] == pytest.approx(BETA * (chosen - rejected).mean().item(), abs=1e-4)


def test_losses_add_up_with_their_weights(models, image_root, tmp_path):
    options = {"batch_size": 4, "max_steps": 1, "loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.5]}
    recipe = make_recipe(models("llava"), **options)
    train(PAIRS, recipe, image_root, tmp_path)
    base, processor = load_model_and_processor(recipe.model, "cpu", "float32")
    batch = batch_of_all(recipe, image_root, base, processor)
    tokens = batch["completion_mask"].chunk(2)[0].sum()
    nll = -answer_logps(base, batch).chunk(2)[0].sum() / tokens
    assert read_log(tmp_path / "log.jsonl")[0]["loss"] == pytest.approx(math.log(2) + 0.5 * nll.item(), abs=1e-4)


def test_sft_loss_is_the_mean_over_the_chosen_tokens(models, image_root, tmp_path):
    recipe = make_recipe(models("llava"), objective="sft", batch_size=4, max_steps=1)
    train(PAIRS, recipe, image_root, tmp_path)
    base, processor = load_model_and_processor(recipe.model, "cpu", "float32")
    batch = batch_of_all(recipe, image_root, base, processor)
    chosen = answer_logps(base, batch).chunk(2)[0]
    (line,) = read_log(tmp_path / "log.jsonl")
    assert line["loss"] == pytest.approx(-chosen.sum().item() / batch["completion_mask"].chunk(2)[0].sum().item(), abs=1e-5)
    assert line["logps/chosen"] == pytest.approx(chosen.mean().item(), rel=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_features_encoded_once_give_the_logits_of_pixels_given_twice(family, models, image_root):
    recipe = make_recipe(models(family))
    base, processor = load_model_and_processor(recipe.model, "cpu", "float32")
    batch = batch_of_all(recipe, image_root, base, processor)
    del batch["completion_mask"]
    images = {name: torch.cat([value] * 2) for name, value in batch["images"].items()}
    fields = {name: value for name, value in batch.items() if name not in ("images", "layout")}
    shared = rows_of(base, batch)
    assert "pixel_values" not in shared
    with torch.no_grad():
        torch.testing.assert_close(base(**shared).logits, base(**fields, **images).logits, atol=1e-5, rtol=1e-5)


def test_a_model_that_takes_no_features_gets_pixels_for_every_row(models, image_root):
    recipe = make_recipe(models("llava"))
    base, processor = load_model_and_processor(recipe.model, "cpu", "float32")

    class PixelsOnly(type(base)):
        def forward(self, input_ids=None, pixel_values=None, attention_mask=None):
            return super().forward(input_ids=input_ids, pixel_values=pixel_values, attention_mask=attention_mask)

    base.__class__ = PixelsOnly
    batch = batch_of_all(recipe, image_root, base, processor)
    del batch["completion_mask"]
    shared = rows_of(base, batch)
    assert shared["pixel_values"].shape == (8, 3, 32, 32)
    assert base(**shared).logits.shape[0] == 8
