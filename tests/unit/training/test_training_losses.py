"""Every loss of TRL's list by the recipe's keys: the numbers and gradients of stock TRL, and refusals before anything runs."""

from __future__ import annotations

import dataclasses
import re
import typing

import pytest
from conftest_training import make_pair, make_recipe
from test_training_parity import PAIRS, assert_same, numbers, ours, stock
from test_training_parity import arguments as of_trl
from trl import DPOConfig, SFTConfig

from spr.errors import RecipeError
from spr.recipe import check_recipe
from spr.recipe_train import _ELSEWHERE, _NEVER, PREFERENCES, SORTED, UNWEIGHED, LossType, Trl
from spr.training import manifest
from spr.training.arguments import arguments
from spr.training.job import train
from spr.training.log import read_log
from spr.training.optimizer import check_optimizer
from spr.training.reference import reference_parts

SMOOTHED = {"exo_pair": 1e-3, "robust": 0.1, "aot": 0.1, "aot_unpaired": 0.1}
RPO = {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.5]}
MPO = {"loss_type": ["sigmoid", "bco_pair", "sft"], "loss_weights": [0.8, 0.2, 1.0]}
SETTINGS = {
    **{loss: {"loss_type": [loss]} for loss in typing.get_args(LossType) if loss not in (*SMOOTHED, "sft")},
    **{loss: {"loss_type": [loss], "trl": {"label_smoothing": value}} for loss, value in SMOOTHED.items()},
    "aot, labels as they are": {"loss_type": ["aot"]},
    "RPO": RPO,
    "MPO": MPO,
    "WPO": {"trl": {"use_weighting": True}},
    "WPO, two losses": {"loss_type": ["sigmoid_norm", "apo_zero"], "trl": {"use_weighting": True}},
    "LD-DPO": {"trl": {"ld_alpha": 0.5}},
    "LD-DPO, shared lengths alone": {"loss_type": ["ipo"], "trl": {"ld_alpha": 0.0}},
    "discopop, tau": {"loss_type": ["discopop"], "trl": {"discopop_tau": 0.5}},
    "forward KL": {"trl": {"f_divergence_type": "forward_kl"}},
    "Jensen-Shannon": {"loss_type": ["hinge"], "trl": {"f_divergence_type": "js_divergence"}},
    "alpha": {**RPO, "trl": {"f_divergence_type": "alpha_divergence", "f_alpha_divergence_coef": 0.3}},
}


def from_recipe(models, folder, settings):
    """Our trainer's arguments, as a recipe gives them, and TRL's own with the same names."""
    recipe = make_recipe(models("llava"), batch_size=len(PAIRS), **settings)
    flat = {name: value for name, value in settings.items() if name not in ("trl", "loss_type")} | settings.get("trl", {})
    return arguments(recipe, 1, folder, "cpu"), of_trl(folder, settings.get("loss_type", ["sigmoid"]), **flat)


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_each_loss_has_stock_trls_numbers_and_gradients(settings, models, image_root, tmp_path):
    mine, theirs = from_recipe(models, tmp_path, settings)
    cached = "ld_alpha" in settings.get("trl", {})
    found = numbers(*ours(models, "llava", image_root, mine, cached, prefix_sharing="tree"))
    assert_same(found, numbers(*stock(models, "llava", image_root, theirs)))


def test_the_recipe_knows_the_losses_that_trl_knows_and_no_others():
    documented = next(field for field in dataclasses.fields(DPOConfig) if field.name == "loss_type").metadata["help"]
    assert set(re.findall("`'([a-z_]+)'`", documented)) == set(typing.get_args(LossType))


def test_trls_weights_fail_for_the_losses_that_the_recipe_refuses_them_for(models, image_root, tmp_path):
    # Where this fails TRL has mended one, and the recipe can allow it.
    theirs = of_trl(tmp_path, use_weighting=True)
    trainer, batch = stock(models, "llava", image_root, theirs)
    failing = set()
    trainer.label_smoothing = 0.1
    for loss in set(typing.get_args(LossType)) - SORTED:
        trainer.loss_types = [loss]
        try:
            numbers(trainer, batch)
        except RuntimeError as error:
            assert "in-place" in str(error) or "inplace" in str(error) or "single memory location" in str(error)  # noqa: PT017
            failing.add(loss)
    assert failing | SORTED == UNWEIGHED
    with pytest.raises(NotImplementedError, match="sort samples"):
        stock(models, "llava", image_root, of_trl(tmp_path, ["aot"], use_weighting=True))


def test_settings_and_pointers_are_names_that_trl_has():
    dpo, sft = ({field.name for field in dataclasses.fields(kind)} for kind in (DPOConfig, SFTConfig))
    assert set(Trl.model_fields) <= dpo
    assert set(Trl.model_fields) - set(PREFERENCES) <= sft
    assert {*_ELSEWHERE, *_NEVER} <= dpo
    assert not {*_ELSEWHERE, *_NEVER} & set(Trl.model_fields)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"trl": {"label_smothing": 0.1}}, "label_smothing is not among TRL's settings .* did you mean label_smoothing$"),
        ({"trl": {"reward_model": 1}}, "reward_model is not among TRL's settings .* these are: label_smoothing, "),
        ({"trl": {"max_length": 512}}, "max_length is set by the recipe's own key train.max_tokens"),
        ({"trl": {"per_device_train_batch_size": 2}}, "set by the recipe's own key train.batch_size"),
        ({"trl": {"precompute_ref_log_probs": True}}, "set by the recipe's own key train.precompute_reference"),
        ({"trl": {"output_dir": "x"}}, "output_dir cannot be set: the run directory holds"),
        ({"trl": {"sync_ref_model": True}}, "the policy as training begins, and never moves"),
        ({"trl": {"max_grad_norm": 0}}, r"train.trl.max_grad_norm is 0; it should be greater than 0"),
        ({"trl": {"label_smoothing": 0.5}}, r"train.trl.label_smoothing is 0.5; it should be less than 0.5"),
        ({"label_smoothing": 0.1}, "label_smoothing is one of TRL's settings; write it as train.trl.label_smoothing"),
        ({"lr_scheduler_type": "linear"}, "set by the recipe's own key train.scheduler"),
        (
            {"trl": {"label_smoothing": 0.1}},
            r"none of loss_type \[sigmoid\] reads it, only aot, aot_unpaired, exo_pair, robust",
        ),
        ({"trl": {"discopop_tau": 0.1}}, "reads it, only discopop"),
        ({"trl": {"f_alpha_divergence_coef": 0.3}}, "read with f_divergence_type: alpha_divergence only"),
        ({"loss_type": ["exo_pair"]}, "exo_pair needs trl.label_smoothing above 0"),
        (
            {"loss_type": ["bco_pair"], "trl": {"f_divergence_type": "forward_kl"}},
            "forward_kl has no meaning for loss_type bco",
        ),
        ({"loss_type": ["aot"], "trl": {"use_weighting": True}}, "TRL cannot weigh the pairs of loss_type aot"),
        ({"loss_type": ["sigmoid", "sft"], "trl": {"use_weighting": True}}, "TRL cannot weigh the pairs of loss_type sft"),
        ({"loss_type": ["aot_unpaired"], "batch_size": 1}, "aot_unpaired sorts the pairs of a batch, and batch_size is 1"),
        (
            {"objective": "sft", "trl": {"ld_alpha": 0.5}},
            "ld_alpha is a setting of preference losses, and objective sft has none",
        ),
        ({"loss_type": []}, "train: loss_type is empty"),
        ({"loss_type": ["sigmoid", "sft"], "loss_weights": [1, -0.5]}, r"loss_weights are \[1, -0.5\]; none may be below 0"),
        ({"loss_weights": [0]}, r"loss_weights are \[0\]; none may be below 0, and one has to be above"),
        ({"loss_weights": [float("nan")]}, "loss_weights"),
        ({"objective": "sft", "loss_type": ["hinge"]}, r"loss_type \[hinge\] is not read by objective sft"),
        ({"objective": "sft", "loss_weights": [2]}, "loss_weights are not read by objective sft"),
        ({"objective": "sft", "prefix_sharing": "tree"}, "prefix_sharing tree is not read by objective sft"),
        ({"method": "full", "lora": {"r": 4}}, r"lora.r is 4, but method full trains no adapter; set lora to \{\}"),
    ],
)
def test_what_trl_would_refuse_or_not_read_is_refused_in_the_recipe(options, said, models):
    with pytest.raises(RecipeError, match=said):
        make_recipe(models("llava"), **options)


def test_sorted_pairs_are_not_weighed_by_their_margin(models):
    values = make_recipe(models("llava"), loss_type=["aot"]).model_dump(mode="json")
    values["pairs"]["weights"] = "margin"
    with pytest.raises(RecipeError, match=r"pairs.weights weighs pairs, and train.loss_type aot has no loss of one pair"):
        check_recipe(values, "test")


@pytest.mark.parametrize(
    ("trl", "said"),
    [
        ({"optim": "adamv"}, "with scheduler linear, optim 'adamv': adamv is not a valid OptimizerNames"),
        ({"optim": "lomo"}, "You need to install `lomo_optim`"),
        ({"lr_scheduler_kwargs": {"cycles": 1}}, "unexpected keyword argument 'cycles'"),
        (
            {"optim": "sgd", "adam_beta1": 0.8},
            "adam_beta1 0.8 would change nothing: optim sgd does not read it; leave",
        ),
        ({"optim_args": "momentum=0.9"}, "optim_args momentum=0.9 would change nothing: optim adamw_torch"),
        (
            {"optim": "sgd", "optim_args": "momentum=0.9,nestrov=true"},
            "train.trl: optim_args nestrov=true would change",
        ),
        ({"optim": "ademamix", "optim_args": "alpha=5.0,beta4=0.9"}, "train.trl: optim_args beta4=0.9 would change nothing"),
        ({"lr_scheduler_kwargs": {"num_cycles": "half"}}, "with scheduler cosine.* could not convert string to float: 'half'"),
    ],
)
def test_an_optimizer_that_cannot_be_made_is_refused_before_the_model_is_loaded(trl, said, tmp_path):
    recipe = make_recipe(tmp_path / "no model", trl=trl, **({"scheduler": "cosine"} if "cosine" in said else {}))
    with pytest.raises(RecipeError, match=said):
        check_optimizer(recipe)


@pytest.mark.parametrize(
    "trl",
    [
        {"adam_beta1": 0.8, "adam_beta2": 0.95, "adam_epsilon": 1e-6},
        {"optim": "sgd", "optim_args": "momentum=0.9, nesterov=true", "adam_beta1": 0.9},
        {"optim": "rmsprop", "optim_args": "alpha=0.9"},
        {"optim": "ademamix", "optim_args": "alpha=5.0,beta3=0.9999"},  # as it is without them
    ],
)
def test_settings_that_an_optimizer_reads_are_taken_and_defaults_may_be_spelt_out(trl, tmp_path):
    check_optimizer(make_recipe(tmp_path / "no model", trl=trl))


@pytest.mark.parametrize("objective", ["dpo", "sft"])
def test_settings_of_the_optimizer_reach_it(objective, models, image_root, tmp_path):
    pairs = [make_pair(i) for i in range(4)]
    settings = {"trl": {"max_grad_norm": 1e-9, "optim": "sgd", "lr_scheduler_kwargs": {"num_cycles": 1.5}}}
    recipe = make_recipe(models("llava"), objective=objective, scheduler="cosine", max_steps=3, **settings)
    train(pairs, recipe, image_root, tmp_path)
    lines = read_log(tmp_path / "log.jsonl")
    assert lines[2]["learning_rate"] == pytest.approx(lines[0]["learning_rate"])  # one and a half turns: down, up, down
    assert lines[1]["learning_rate"] < lines[0]["learning_rate"] / 2
    if objective == "dpo":
        assert abs(lines[2]["rewards/chosen"]) < 1e-5  # after two steps of 1e-11


def test_settings_are_part_of_what_a_training_is_and_ld_alpha_of_its_reference(models):
    pairs = [make_pair(i) for i in range(2)]
    plain, clipped, tails = (
        manifest.key_parts(pairs, make_recipe(models("llava"), trl=trl))
        for trl in ({}, {"max_grad_norm": 0.5}, {"ld_alpha": 0.5})
    )
    assert not any("trl" in name for name in plain)
    assert clipped == {**plain, "train.trl.max_grad_norm": 0.5}
    assert reference_parts(clipped) == reference_parts(plain)
    assert reference_parts(tails) == {**reference_parts(plain), "train.trl.ld_alpha": 0.5}
