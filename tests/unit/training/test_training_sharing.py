"""Packing pairs into rows: where each token goes, what it sees, and that no number changes."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from conftest_training import SHARING, make_pair, make_recipe, rows_of
from trl.trainer.utils import add_fused_lm_head

from spr.models.loading import load_model_and_processor
from spr.training import branching
from spr.training.branching import NARROW, Branches, seen
from spr.training.collator import PreferenceCollator
from spr.training.encoding import PairEncoder
from spr.training.features import Images
from spr.training.once import compute_once
from spr.training.preflight import preflight
from spr.training.sharing import Group, Layout, Span, groups, shared_as

PAIRS = [make_pair(i, path=f"{0 if i in (0, 2) else i}.png") for i in range(4)]
"""Two pairs about one photo and two about others."""
IMAGE = 9

# Two pairs that begin with 9 9 11: prompt 9 9 11 12, chosen 20 21, rejected 30; prompt 9 9 11 13 14, chosen 40, rejected 50.
ROWS = torch.tensor(
    [
        [9, 9, 11, 12, 20, 21, 0],
        [9, 9, 11, 13, 14, 40, 0],
        [9, 9, 11, 12, 30, 0, 0],
        [9, 9, 11, 13, 14, 50, 0],
    ]
)
SPANS = (Span(4, 2, 1), Span(5, 1, 1))
TREE = Layout(SPANS, (Group((0, 1), 3),), {})


def test_a_tree_is_what_prompts_begin_with_and_each_pairs_own_rest_chosen_last_prompt_token_and_rejected():
    packed = ROWS.flatten()[TREE.sources(7)]
    assert packed.tolist() == [[9, 9, 11, 12, 20, 21, 12, 30, 13, 14, 40, 14, 50]]


def test_pairs_alone_are_packed_by_themselves_and_filled_up_with_the_last_token():
    packed = ROWS.flatten()[TREE.by_pair().sources(7)]
    assert packed.tolist() == [[9, 9, 11, 12, 20, 21, 12, 30], [9, 9, 11, 13, 14, 40, 14, 50]]
    uneven = Layout((Span(4, 2, 1), Span(5, 1, 0)), (Group((0,), 3), Group((1,), 4)), {})
    assert ROWS.flatten()[uneven.sources(7)].tolist() == [[9, 9, 11, 12, 20, 21, 12, 30], [9, 9, 11, 13, 14, 40, 14, 14]]


def test_every_answer_token_is_predicted_from_the_token_before_it():
    # chosen 20 from 12, 21 from 20, 40 from 14; rejected 30 from the second 12, 50 from the second 14.
    packed = ROWS.flatten()[TREE.sources(7)]
    assert TREE.predictions().tolist() == [3, 4, 9, 6, 11]
    assert packed.flatten()[TREE.predictions()].tolist() == [12, 20, 14, 12, 14]
    alone = TREE.by_pair()
    assert ROWS.flatten()[alone.sources(7)].flatten()[alone.predictions()].tolist() == [12, 20, 14, 12, 14]


def test_each_answer_sees_the_prompt_and_itself():
    # Prefix 9 9, then 11, chosen 20 21, 11 again, rejected 30.
    assert seen(Group((0,), 2), Span(3, 2, 1))[0, 0].int().tolist() == [
        [1, 1, 1, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0, 0],
        [1, 1, 1, 1, 1, 0, 0],
        [1, 1, 0, 0, 0, 1, 0],
        [1, 1, 0, 0, 0, 1, 1],
    ]


def test_short_rows_are_one_call_with_who_sees_whom(monkeypatch):
    layout = Layout((Span(3, 2, 1), Span(3, 1, 1)), (Group((0,), 2), Group((1,), 2)), {})
    first, second = Branches.of(layout, torch.device("cpu")).whole[:, 0].int().tolist()
    assert first[:2] == [[1, 0, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0, 0]]
    assert first[2:] == seen(Group((0,), 2), Span(3, 2, 1))[0, 0].int().tolist()
    assert second[5] == [1, 1, 0, 0, 1, 1, 0]
    assert second[6] == [1, 0, 0, 0, 0, 0, 0]  # fills up
    monkeypatch.setattr(branching, "NARROW", 6)
    assert Branches.of(layout, torch.device("cpu")).whole is None


def test_pairs_of_one_image_share_what_their_prompts_begin_with_but_the_last_token():
    prompts = [torch.tensor(ids) for ids in ([1, 9, 9, 4, 5], [1, 9, 9, 6, 5], [1, 9, 9, 4, 5], [1, 9, 9, 4, 5])]
    assert groups(prompts, ["a", "a", "b", "a"], IMAGE) == (Group((0, 1, 3), 3), Group((2,), 4))
    assert groups(prompts[2:], ["a", "a"], IMAGE) == (Group((0, 1), 4),)


def test_prompts_that_differ_before_the_image_stand_alone_and_so_do_those_without_a_mark():
    prompts = [torch.tensor([1, 9, 9, 4]), torch.tensor([2, 9, 9, 4])]
    assert [group.pairs for group in groups(prompts, ["a", "a"], IMAGE)] == [(0,), (1,)]
    assert [group.pairs for group in groups(prompts[:1] * 2, ["a", "a"], None)] == [(0,), (1,)]


@pytest.mark.parametrize("family", SHARING)
def test_shared_prompts_give_the_numbers_and_gradients_of_separate_rows(family, models, image_root, monkeypatch):
    expected = None
    for sharing, narrow in ((None, 0), ("off", 0), ("pair", 0), ("pair", NARROW), ("tree", 0), ("tree", NARROW)):
        monkeypatch.setattr(branching, "NARROW", narrow)
        model, batch, labels = prepared(family, models, image_root)
        attention = model.get_decoder().layers[0].self_attn
        weight = (attention.language_expert_query_key_value if family == "cogvlm" else attention.k_proj).weight
        if sharing:
            compute_once(model, sharing)
            fields = {**batch, "images": Images(batch["images"], batch["layout"].sizes, reused=True)}
        else:
            fields = rows_of(model, batch)
        outputs = model(**fields, labels=labels, fused_lm_head=True)
        (outputs.log_probs * torch.linspace(0, 1, outputs.log_probs.numel()).view_as(outputs.log_probs)).sum().backward()
        if expected is None:
            expected, gradient = outputs, weight.grad
        for name in ("log_probs", "entropy", "mean_logits"):
            torch.testing.assert_close(outputs[name], expected[name], atol=1e-4, rtol=1e-4)
        assert torch.equal(outputs.is_top1, expected.is_top1)
        torch.testing.assert_close(weight.grad, gradient, atol=1e-3, rtol=1e-3)


def prepared(family, models, image_root):
    """A model with TRL's head, and a batch of all pairs with its labels."""
    model, processor = load_model_and_processor(make_recipe(models(family)).model, "cpu", "float32")
    encoder = PairEncoder(processor, image_root)
    ready = preflight(PAIRS, encoder, 4096, model.config.image_token_id)
    batch = PreferenceCollator(ready, encoder)([{"row": row} for row in range(4)])
    labels = batch["input_ids"].masked_fill(batch.pop("completion_mask") == 0, -100)
    assert [group.pairs for group in batch["layout"].groups] == [(0, 2), (1,), (3,)]
    add_fused_lm_head(model, outputs=("log_probs", "entropy", "mean_logits", "is_top1"))
    return model, batch, labels


@pytest.mark.parametrize("family", ["llava_onevision", "qwen3_vl"])
def test_a_model_that_shares_answers_other_calls_as_before(family, models, image_root):
    model, batch, _ = prepared(family, models, image_root)
    fields = rows_of(model, batch)
    with torch.no_grad():
        before = model(**fields).logits
        compute_once(model, "tree")
        torch.testing.assert_close(model(**fields).logits, before, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("sharing", ["pair", "tree"])
def test_the_tower_sees_each_image_once_and_the_language_model_what_rows_share_once(sharing, models, image_root):
    model, batch, labels = prepared("qwen2_5_vl", models, image_root)
    compute_once(model, sharing)
    shapes = []
    model.get_decoder().layers[0].register_forward_hook(lambda _, args, __: shapes.append(tuple(args[0].shape[:2])))
    encoded = []
    model.base_model.visual.register_forward_hook(lambda *_: encoded.append(1))
    images = Images(batch["images"], batch["layout"].sizes, reused=True)
    for _ in range(2):  # policy and reference
        model(**{**batch, "images": images}, labels=labels, fused_lm_head=True)
    layout = batch["layout"] if sharing == "tree" else batch["layout"].by_pair()
    assert encoded == [1]
    assert shapes == [(3 if sharing == "tree" else 4, layout.width)] * 2


def test_eager_attention_and_unknown_families_are_not_shared_and_that_is_said(models, capsys):
    recipe = make_recipe(models("llava"))
    model, _ = load_model_and_processor(recipe.model.model_copy(update={"attention": "eager"}), "cpu", "float32")
    assert shared_as(model, "off", 4) == ("off", "off")
    assert capsys.readouterr().err == ""
    assert shared_as(model, "tree", 4) == ("off", "off: model.attention is eager, which cannot branch; sdpa can")
    model, _ = load_model_and_processor(recipe.model, "cpu", "float32")
    assert shared_as(model, "tree", 4) == ("tree", "tree")
    capsys.readouterr()
    model.config.model_type = "paligemma"
    assert shared_as(model, "pair", 4)[0] == "off"
    reason = "the attention of paligemma is not known to be causal at every layer"
    assert capsys.readouterr().err == f"train: prefix_sharing is off instead of pair: {reason}\n"


def test_the_same_pair_twice_in_a_batch_is_two_branches(models, image_root):
    model, processor = load_model_and_processor(make_recipe(models("llava")).model, "cpu", "float32")
    encoder = PairEncoder(processor, image_root)
    twice = [PAIRS[0], dataclasses.replace(PAIRS[0], pair_id="again")]
    ready = preflight(twice, encoder, 4096, model.config.image_token_id)
    batch = PreferenceCollator(ready, encoder)([{"row": 0}, {"row": 1}])
    (group,) = batch["layout"].groups
    assert group == Group((0, 1), batch["layout"].spans[0].prompt - 1)


def test_a_tree_of_one_pair_a_batch_is_said_to_share_nothing_more(models, capsys):
    model, _ = load_model_and_processor(make_recipe(models("llava")).model, "cpu", "float32")
    capsys.readouterr()
    assert shared_as(model, "tree", 2) == ("tree", "tree")
    assert shared_as(model, "pair", 1) == ("pair", "pair")
    assert capsys.readouterr().err == ""
    assert shared_as(model, "tree", 1) == ("tree", "tree")
    said = "train: prefix_sharing tree shares among the pairs of a batch, and batch_size is 1; raise it, or set pair\n"
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        ({"sliding_window": 6}, "sliding_window"),
        ({"sliding_window": 6, "use_sliding_window": False}, ""),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "sliding_attention"),
        ({"layer_types": ["full_attention", "full_attention"], "sliding_window": 6}, ""),
    ],
    ids=str,
)
def test_a_language_model_that_does_not_see_all_of_its_past_shares_nothing(settings, kind, models, capsys):
    model, _ = load_model_and_processor(make_recipe(models("llava")).model, "cpu", "float32")
    for name, value in settings.items():
        setattr(model.config.get_text_config(), name, value)
    shared, words = shared_as(model, "pair", 2)
    assert shared == ("off" if kind else "pair")
    if kind:
        assert words == f"off: its llama attends by {kind}, which does not branch"
        assert f"prefix_sharing is off instead of pair: its llama attends by {kind}" in capsys.readouterr().err
