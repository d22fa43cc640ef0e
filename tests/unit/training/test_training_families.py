"""Every family that can be trained, and those that cannot: what LoRA hits, what moves, and what a batch is."""

from __future__ import annotations

import dataclasses
import math
import re

import pytest
import torch
from conftest_training import TRAINABLE, make_pair, make_recipe, rows_of
from PIL import Image
from safetensors.torch import load_file

import spr.training.job as job
from spr.errors import ModelError
from spr.models import dialects
from spr.models.base import Request, Sampling
from spr.models.loading import load_model_and_processor
from spr.models.prompts import Prompts
from spr.models.transformers import TransformersModel
from spr.training.base import prepare_base
from spr.training.collator import PreferenceCollator
from spr.training.encoding import PairEncoder
from spr.training.log import read_log
from spr.training.lora import target_modules
from spr.training.merge import merge
from spr.training.preflight import preflight

PAIRS = [make_pair(i) for i in range(4)]
LLAMA = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
PROJECTIONS = {
    "kosmos2": ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"),
    "cogvlm": tuple(
        f"{kind}_{name}"
        for kind in ("vision", "language")
        for name in ("expert_query_key_value", "expert_dense", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
    ),
}
UNREAD = {"cogvlm": ("expert_dense", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")}
"""No word reads what the last layer adds to image tokens."""
WITHOUT_TEMPLATE = ("kosmos2", "paligemma")


def load(models, family):
    return load_model_and_processor(make_recipe(models(family)).model, "cpu", "float32")


def collated(models, image_root, family, rows=(0, 1)):
    model, processor = load(models, family)
    encoder = PairEncoder(processor, image_root)
    ready = preflight(PAIRS, encoder, 4096, getattr(model.config, "image_token_id", None))
    return model, processor, PreferenceCollator(ready, encoder)([{"row": row} for row in rows])


def projections(family):
    """(layer, name) of what an adapter sits on, in two layers."""
    every = {(layer, name) for layer in "01" for name in PROJECTIONS.get(family, LLAMA)}
    return every - {("1", f"vision_{name}") for name in UNREAD.get(family, ())}


@pytest.mark.parametrize("family", TRAINABLE)
def test_lora_hits_every_projection_of_every_layer_and_nothing_of_the_tower(family, models):
    model, _ = load(models, family)
    hits = target_modules(model)
    print("\n".join([f"{family}:", *hits]))
    found = [re.search(r"layers\.(\d+)\.(?:self_attn\.|mlp\.(?=\w+$|\w+_mlp)|ffn\.)(.+)$", name).groups() for name in hits]
    assert sorted(found) == sorted(projections(family))
    assert not [name for name in hits if re.search("vision(?!_expert|_mlp)|visual|projector|projection|merger", name)]


@pytest.mark.parametrize("family", TRAINABLE)
def test_dpo_moves_every_adapter_parameter_and_none_of_the_base(family, models, image_root, tmp_path, monkeypatch):
    # Two updates: lora_B starts at zero, so lora_A has no gradient at the very first.
    policies = []
    monkeypatch.setattr(job, "prepare_base", lambda policy: (policies.append(policy), prepare_base(policy)))
    for steps in (1, 2):
        job.train(PAIRS, make_recipe(models(family), max_steps=steps), image_root, tmp_path / str(steps))
    one, two = (load_file(tmp_path / str(steps) / "adapter" / "adapter_model.safetensors") for steps in (1, 2))
    # Before the first update policy and reference are one.
    assert read_log(tmp_path / "2" / "log.jsonl")[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)
    assert len(one) == 2 * len(projections(family))  # A and B of each projection
    assert [name for name in one if torch.equal(one[name], two[name])] == []
    before = dict(load(models, family)[0].named_parameters())
    after = {name.replace(".base_layer", ""): value for name, value in policies[-1].named_parameters() if "lora_" not in name}
    assert after.keys() == before.keys()
    assert [name for name in before if not torch.equal(before[name], after[name])] == []


@pytest.mark.slow
@pytest.mark.parametrize("family", TRAINABLE)
def test_an_adapter_on_its_base_answers_like_the_merged_model(family, models, image_root, tmp_path):
    recipe = make_recipe(models(family))
    report = job.train(PAIRS, recipe, image_root, tmp_path / "policy")
    merge(recipe.model, report.adapter, tmp_path / "merged", "stored")
    base = recipe.model.model_copy(update={"dtype": "float32"})
    merged = base.model_copy(update={"name": str(tmp_path / "merged")})
    requests = [Request((Image.open(image_root / pair.path),), pair.prompt, (1,)) for pair in PAIRS]
    sampling = Sampling(0.0, 1.0, 8)
    tuned = TransformersModel(base, "cpu", report.adapter).generate(requests, sampling)
    assert TransformersModel(merged, "cpu").generate(requests, sampling) == tuned
    assert TransformersModel(base, "cpu").generate(requests, sampling) != tuned


@pytest.mark.parametrize("family", [*WITHOUT_TEMPLATE, "cogvlm"])
def test_sft_and_gradient_checkpointing_train_families_with_ways_of_their_own_too(family, models, image_root, tmp_path):
    options = {"objective": "sft"}, {"gradient_checkpointing": True}, {}
    reports = [
        job.train(PAIRS, make_recipe(models(family), **some), image_root, tmp_path / str(i)) for i, some in enumerate(options)
    ]
    assert reports[0].final["loss"] > 0
    assert reports[1].final["loss"] == pytest.approx(reports[2].final["loss"], abs=1e-5)


@pytest.mark.parametrize("family", TRAINABLE)
def test_a_prompt_is_trained_on_as_it_is_asked(family, models, image_root):
    model, processor = load(models, family)
    prompt = PairEncoder(processor, image_root).prompt(PAIRS[0])
    prompts = Prompts(model, processor, dialects.get("ferret"))
    asked = prompts._whole([prompts.ask((Image.open(image_root / PAIRS[0].path),), PAIRS[0].prompt)], 1)
    assert asked.keys() == {*prompt.tokens, *prompt.pixels, "attention_mask"}
    assert all(torch.equal(value, asked[name][0]) for name, value in prompt.tokens.items())
    assert all(torch.equal(value, asked[name]) for name, value in prompt.pixels.items())


def test_paligemmas_rows_are_what_its_processor_makes_of_prefix_and_suffix(models, image_root):
    model, processor, batch = collated(models, image_root, "paligemma")
    pictures = [[Image.open(image_root / pair.path)] for pair in PAIRS[:2]] * 2
    texts = [pair.chosen for pair in PAIRS[:2]] + [pair.rejected for pair in PAIRS[:2]]
    processor.tokenizer.padding_side = "right"
    own = processor(
        text=[f"<image>{pair.prompt}" for pair in PAIRS[:2]] * 2,
        suffix=texts,
        images=pictures,
        padding=True,
        return_tensors="pt",
    )
    assert torch.equal(batch["input_ids"], own["input_ids"])
    assert torch.equal(batch["token_type_ids"], own["token_type_ids"])
    assert torch.equal(batch["completion_mask"], (own["labels"] != -100).long() * own["attention_mask"])
    del own["labels"]
    batch.pop("completion_mask")
    with torch.no_grad():
        ours, theirs = model(**rows_of(model, batch)).logits, model(**own).logits
    real = batch["attention_mask"].bool()
    torch.testing.assert_close(ours[real], theirs[real], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", WITHOUT_TEMPLATE)
def test_an_image_mark_in_a_bare_question_is_dropped(family, models, image_root):
    model, processor = load(models, family)
    pairs = [PAIRS[0], dataclasses.replace(PAIRS[1], prompt="what is <image> here")]
    ready = preflight(pairs, PairEncoder(processor, image_root), 4096, getattr(model.config, "image_token_id", None))
    assert [row.reason for row in ready.dropped] == ["image_token_in_prompt"]


def test_kosmos2s_answers_may_hold_the_words_whose_ids_mark_an_image(models, image_root):
    _, processor = load(models, "kosmos2")
    encoder = PairEncoder(processor, image_root)
    image_ids = set(range(4, 68))  # the 64 after the unknown word's
    assert image_ids & set(encoder.answers(PAIRS[0]).chosen.tolist())
    assert preflight(PAIRS, encoder, 4096, None).dropped == ()
    assert int(encoder.prompt(PAIRS[0]).tokens["image_embeds_position_mask"].sum()) == 64


def test_kosmos2s_backbone_gives_the_logits_of_the_whole_model(models, image_root):
    model, _, batch = collated(models, image_root, "kosmos2")
    batch.pop("completion_mask")
    pixels = batch["images"]["pixel_values"].repeat(2, 1, 1, 1)
    fields = {name: value.clone() for name, value in batch.items() if name not in ("images", "layout")}
    with torch.no_grad():
        whole = model(**fields, pixel_values=pixels).logits
        prepare_base(model)
        hidden = model.base_model(**rows_of(model, batch)).last_hidden_state
        ours = model.get_output_embeddings()(hidden)
    real = batch["attention_mask"].bool()
    torch.testing.assert_close(ours[real], whole[real], atol=1e-4, rtol=1e-4)


def test_a_prepared_base_answers_alike_while_training(models, image_root):
    # Kosmos-2 drops out a tenth of everything by its own configuration, in calls of a function; others do by a module.
    model, _, batch = collated(models, image_root, "kosmos2")
    batch.pop("completion_mask")
    layers = model.text_model.model.layers
    layers[0].ffn = torch.nn.Sequential(layers[0].ffn, torch.nn.Dropout(0.5))
    prepare_base(model)
    model.train()
    with torch.no_grad():
        first, second = (model.base_model(**rows_of(model, batch)).last_hidden_state for _ in range(2))
    assert torch.equal(first, second)


def test_an_encoder_decoder_is_refused_before_its_weights_are_read(models, image_root, tmp_path, monkeypatch):
    monkeypatch.setattr(job, "load_model_and_processor", lambda *_: pytest.fail("weights were read"))
    with pytest.raises(ModelError, match=r"is an encoder-decoder \(florence2\), which DPO and SFT by TRL cannot train"):
        job.train(PAIRS, make_recipe(models("florence2")), image_root, tmp_path / "out")
    assert not (tmp_path / "out").exists()
