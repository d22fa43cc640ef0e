"""Packing a pair into one row: where each token goes, what it sees, and that no number changes."""

from __future__ import annotations

import pytest
import torch
from conftest_training import SHARING, make_pair, make_recipe
from trl.trainer.utils import add_fused_lm_head

from spr.models.loading import load_model_and_processor
from spr.training.collator import PreferenceCollator
from spr.training.encoding import PairEncoder
from spr.training.preflight import preflight
from spr.training.sharing import Packing, can_share, share_prompts
from spr.training.trainers import share_images

# One pair: prompt 10 11 12, chosen 20 21, rejected 30.
IDS = torch.tensor([[10, 11, 12, 20, 21], [10, 11, 12, 30, 0]])
LABELS = torch.tensor([[-100, -100, -100, 20, 21], [-100, -100, -100, 30, -100]])
PAIRS = [make_pair(i) for i in range(4)]


def test_a_pair_is_the_prompt_the_chosen_answer_and_the_rejected_after_the_last_prompt_token():
    packing = Packing.of(LABELS)
    assert packing.pack(IDS).tolist() == [[10, 11, 12, 20, 21, 12, 30]]
    assert packing.pack(torch.arange(5).expand(2, -1)).tolist() == [[0, 1, 2, 3, 4, 2, 3]]


def test_each_answer_sees_the_prompt_and_itself():
    mask = Packing.of(LABELS).mask()[0, 0].int().tolist()
    assert mask == [
        [1, 0, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 1, 0, 0],
        [1, 1, 0, 0, 0, 1, 0],
        [1, 1, 0, 0, 0, 1, 1],
    ]


def test_results_go_back_to_where_the_rows_had_them():
    packed = torch.tensor([[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0]])
    assert Packing.of(LABELS).unpack(packed, LABELS).tolist() == [[0, 0, 2, 3], [0, 0, 5, 0]]


@pytest.mark.parametrize("family", SHARING)
def test_shared_prompts_give_the_numbers_and_gradients_of_separate_rows(family, models, image_root):
    model, processor = load_model_and_processor(make_recipe(models(family)).model, "cpu", "float32")
    encoder = PairEncoder(processor, image_root)
    ready = preflight(PAIRS, encoder, 4096, model.config.image_token_id)
    batch = PreferenceCollator(ready, encoder)([{"row": row} for row in range(4)])
    labels = batch["input_ids"].masked_fill(batch.pop("completion_mask") == 0, -100)
    attention = model.get_decoder().layers[0].self_attn
    weight = (attention.language_expert_query_key_value if family == "cogvlm" else attention.k_proj).weight
    add_fused_lm_head(model, outputs=("log_probs", "entropy", "mean_logits", "is_top1"))

    def answer(copies):
        model.zero_grad()
        outputs = model(**share_images(model, batch, copies), labels=labels, fused_lm_head=True)
        (outputs.log_probs * torch.linspace(0, 1, outputs.log_probs.numel()).view_as(outputs.log_probs)).sum().backward()
        return outputs, weight.grad.clone()

    separate, gradient = answer(copies=2)
    assert can_share(model)
    share_prompts(model)
    shared, shared_gradient = answer(copies=1)
    for name in ("log_probs", "entropy", "mean_logits"):
        torch.testing.assert_close(shared[name], separate[name], atol=1e-4, rtol=1e-4)
    assert torch.equal(shared.is_top1, separate.is_top1)
    torch.testing.assert_close(shared_gradient, gradient, atol=1e-3, rtol=1e-3)


def test_eager_attention_and_unknown_families_are_not_shared(models):
    recipe = make_recipe(models("llava"))
    model, _ = load_model_and_processor(recipe.model.model_copy(update={"attention": "eager"}), "cpu", "float32")
    assert not can_share(model)
    model, _ = load_model_and_processor(recipe.model, "cpu", "float32")
    model.config.model_type = "paligemma"
    assert not can_share(model)
