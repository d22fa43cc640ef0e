"""What is trained moves and nothing else does: by method, with and without the vision tower, on whole and on 4-bit weights."""

from __future__ import annotations

import json

import pytest
import torch
from conftest_training import make_pair, make_recipe
from safetensors.torch import load_file

from spr.errors import RecipeError, ResumeError
from spr.models.base import Request, Sampling
from spr.models.loading import load_model_and_processor
from spr.models.opening import identity_of, open_model
from spr.training import internals, job, trainers
from spr.training.encoding import PairEncoder
from spr.training.job import train
from spr.training.log import read_log
from spr.training.parameters import vision_tower

PAIRS = [make_pair(i) for i in range(6)]
TOWER = ("vision_tower", "visual", "multi_modal_projector", "image_newline")


def weights(folder):
    return {name: value for path in sorted(folder.glob("*.safetensors")) for name, value in load_file(path).items()}


def moved(before, after):
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


def of_tower(names):
    return {name for name in names if any(part in name for part in TOWER)}


@pytest.mark.parametrize("family", ["llava", "llava_onevision", "qwen2_5_vl", "internvl"])
def test_all_of_the_language_model_moves_and_nothing_of_the_tower(family, models, image_root, tmp_path):
    report = train(PAIRS, make_recipe(models(family), method="full"), image_root, tmp_path)
    assert report.adapter == tmp_path / "model"
    before, after = weights(models(family)), weights(report.adapter)
    assert moved(before, after) == before.keys() - of_tower(before)
    assert read_log(tmp_path / "log.jsonl")[0]["loss"] == pytest.approx(0.693147, abs=1e-5)


@pytest.mark.parametrize("method", ["full", "lora"])
@pytest.mark.parametrize("family", ["llava", "llava_onevision", "qwen2_5_vl"])
def test_a_tuned_vision_tower_moves_where_features_depend_on_it(family, method, models, image_root, tmp_path, capsys):
    report = train(PAIRS, make_recipe(models(family), method=method, vision_tower="tuned"), image_root, tmp_path)
    assert "reuse_image_features is off, as vision_tower is tuned" in capsys.readouterr().err
    policy, processor = load_model_and_processor(make_recipe(models(family)).model, "cpu", "float32")
    fields = PairEncoder(processor, image_root).prompt(PAIRS[0]).images
    read = vision_tower(policy, fields)
    names = {name for name, value in policy.named_parameters() if id(value) in read}
    assert of_tower(names) == names
    if method == "full":
        changed = moved(
            dict(policy.state_dict()),
            dict(open_model(make_recipe(models(family)).model, "cpu", report.adapter)._model.state_dict()),
        )
        assert names & changed == names
        assert of_tower(changed) == names
    else:
        tuned = weights(report.adapter)
        layers = {name.rpartition(".lora_")[0].removeprefix("base_model.model.") for name in tuned}
        assert of_tower(layers) == {name for name in read.values() if name}
        assert all(value.any() for value in tuned.values())  # B begins at zero


def test_a_layer_of_the_tower_that_no_feature_depends_on_gets_nothing(models, image_root):
    policy, processor = load_model_and_processor(make_recipe(models("llava")).model, "cpu", "float32")
    fields = PairEncoder(processor, image_root).prompt(PAIRS[0]).images
    whole = policy.config.vision_config.num_hidden_layers
    for layer, read in ((-1, whole), (-2, whole - 1)):
        policy.config.vision_feature_layer = layer
        names = [name for name in vision_tower(policy, fields).values() if "layers." in name]
        assert {int(name.split("layers.")[1].split(".")[0]) for name in names} == set(range(read))


def test_a_model_that_was_trained_whole_answers_in_the_place_of_its_base(models, image_root, tmp_path):
    recipe = make_recipe(models("llava"), method="full", max_steps=6)
    report = train(PAIRS, recipe, image_root, tmp_path)
    base = recipe.model.model_copy(update={"dtype": "float32"})
    from PIL import Image

    requests = [Request((Image.open(image_root / pair.path),), pair.prompt, (1,)) for pair in PAIRS]
    greedy = Sampling(0.0, 1.0, 8)
    tuned = open_model(base, "cpu", report.adapter)
    alone = open_model(base.model_copy(update={"name": str(report.adapter)}), "cpu")
    assert (
        tuned.generate(requests, greedy)
        == alone.generate(requests, greedy)
        != open_model(base, "cpu").generate(requests, greedy)
    )
    assert identity_of(base, report.adapter).startswith("model@sha256:")


@pytest.mark.parametrize("objective", ["dpo", "sft"])
def test_a_whole_model_goes_on_from_a_checkpoint(objective, models, image_root, tmp_path):
    recipe = make_recipe(models("llava"), objective=objective, method="full", max_steps=4, save_steps=2)
    train(PAIRS, recipe, image_root, tmp_path / "whole")
    for kept in (True, False)[: 2 if objective == "dpo" else 1]:
        out = tmp_path / str(kept)
        train(PAIRS, recipe, image_root, out)
        (out / "manifest.json").unlink()
        (out / "checkpoints" / "checkpoint-4" / "complete.json").unlink()
        if kept:
            assert train(PAIRS, recipe, image_root, out).resumed_from == 2
            assert moved(weights(tmp_path / "whole" / "model"), weights(out / "model")) == set()
        else:
            (out / "reference.json").unlink()
            with pytest.raises(
                ResumeError, match=r"lacks the reference of 6 pairs, and the model has been updated 2 times since"
            ):
                train(PAIRS, recipe, image_root, out)


def test_weights_of_4_bits_train_an_adapter(models, image_root, tmp_path):
    pytest.importorskip("bitsandbytes")
    recipe = make_recipe(models("llava"), max_steps=3)
    recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"quantization": "4bit"})})
    report = train(PAIRS, recipe, image_root, tmp_path / "4bit")
    lines = read_log(tmp_path / "4bit" / "log.jsonl")
    assert lines[0]["loss"] == pytest.approx(0.693147, abs=1e-4)
    assert lines[-1]["loss"] < lines[0]["loss"]
    assert all(value.any() for value in weights(report.adapter).values())
    other = train(
        PAIRS,
        recipe.model_copy(update={"model": recipe.model.model_copy(update={"quantization": "none"})}),
        image_root,
        tmp_path / "whole",
    )
    assert other.final["logps/chosen"] != report.final["logps/chosen"]


@pytest.mark.parametrize("more", [{"method": "full"}, {"vision_tower": "tuned"}], ids=str)
def test_weights_of_4_bits_are_not_trained_themselves(more, models, image_root, tmp_path):
    recipe = make_recipe(models("llava"), **more)
    recipe = recipe.model_copy(update={"model": recipe.model.model_copy(update={"quantization": "4bit"})})
    with pytest.raises(
        RecipeError, match=r"model\.quantization is 4bit and train\.\w+: (full|tuned) trains the weights themselves"
    ):
        train(PAIRS, recipe, image_root, tmp_path)


def test_an_adapter_of_another_shape_is_not_gone_on_with(models, image_root, tmp_path):
    first = train(PAIRS, make_recipe(models("llava")), image_root, tmp_path / "first").adapter
    wider = make_recipe(models("llava"), lora={"r": 8, "alpha": 8})
    with pytest.raises(RecipeError, match=r"has r 4, and train\.lora\.r is 8; .* set the same"):
        train(PAIRS, wider, image_root, tmp_path / "second", start=first)


def test_an_adapter_on_other_layers_is_not_gone_on_with(models, image_root, tmp_path):
    first = train(PAIRS, make_recipe(models("llava")), image_root, tmp_path / "first").adapter
    more = make_recipe(models("llava"), vision_tower="tuned")
    with pytest.raises(RecipeError, match=r"sits on 14 layers, and by the recipe .* one would sit on 28 others"):
        train(PAIRS, more, image_root, tmp_path / "second", start=first)


def test_sft_tunes_the_vision_tower_too(models, image_root, tmp_path, capsys):
    report = train(PAIRS, make_recipe(models("llava"), objective="sft", vision_tower="tuned"), image_root, tmp_path)
    assert "reuse_image_features is off" in capsys.readouterr().err
    tuned = weights(report.adapter)
    assert len(of_tower(tuned)) == 28
    assert all(value.any() for value in tuned.values())


def test_metrics_go_to_a_tracker_too(models, image_root, tmp_path, capsys):
    recipe = make_recipe(models("llava"), report_to=["tensorboard"])
    train(PAIRS, recipe, image_root, tmp_path)
    said = [line for line in capsys.readouterr().err.splitlines() if "tensorboard" in line]
    assert said == [f"train: tensorboard's files go to {tmp_path / 'checkpoints' / 'runs'}"]
    assert list((tmp_path / "checkpoints" / "runs").rglob("events.out.tfevents*"))
    other = make_recipe(models("llava"))
    assert not train(PAIRS, other, image_root, tmp_path).fresh  # where metrics go is no part of what a training is


@pytest.mark.parametrize(
    ("name", "told"),
    [("tensorbord", "there is no 'tensorbord'; name some of"), ("wandb", "names wandb, which is not installed")],
)
def test_a_tracker_that_is_not_there_is_refused_before_anything_is_loaded(name, told, models, image_root, tmp_path):
    with pytest.raises(RecipeError, match=rf"train\.report_to.* ?{told}"):
        train(PAIRS, make_recipe(models("llava"), report_to=[name]), image_root, tmp_path)
    assert not list(tmp_path.iterdir())


def other_head(model):
    """A head as no release of TRL adds it."""


@pytest.mark.parametrize(
    ("place", "name", "value", "told"),
    [
        (internals.utils, "add_fused_lm_head", other_head, "no fused head that is added as it was"),
        (internals, "FIELDS", internals.FIELDS | {"probs"}, "a fused head that returns other fields"),
        (internals.trl, "DPOTrainer", trainers.SPRDPOTrainer, "a DPO loss that is called otherwise"),
    ],
)
def test_nothing_is_shared_with_a_trl_of_other_internals(
    place, name, value, told, models, image_root, tmp_path, monkeypatch, capsys
):
    assert internals.changed() == ""
    train(PAIRS, make_recipe(models("llava"), prefix_sharing="off"), image_root, tmp_path / "off")
    monkeypatch.setattr(place, name, value)
    report = train(PAIRS, make_recipe(models("llava")), image_root, tmp_path / "other")
    assert f"prefix_sharing is off instead of pair: trl {internals.trl.__version__} has {told}" in capsys.readouterr().err
    assert report.prefix_sharing.startswith("off: trl")
    losses = [[line["loss"] for line in read_log(tmp_path / name / "log.jsonl")] for name in ("off", "other")]
    assert losses[0] == losses[1]


def test_the_card_of_a_whole_model_needs_no_base(models, image_root, tmp_path):
    train(PAIRS, make_recipe(models("llava"), method="full"), image_root, tmp_path)
    assert json.loads((tmp_path / "model" / "config.json").read_text())["dtype"] == "float32"
    assert job.POLICIES == ("adapter", "model")
