"""The transformers backend on tiny random models of three families: real classes, random weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import GenerationConfig

import tiny_random
from spr.errors import ModelError
from spr.models import prompts as prompts_module
from spr.models.base import Request, Sampling
from spr.models.transformers import TransformersModel, load_model_and_processor
from spr.recipe import Model

QWEN_LIMITS = {"min_pixels": 56 * 56, "max_pixels": 28 * 28 * 16}
FAMILIES = {
    "llava": (tiny_random.build_llava, "ferret", {}),
    "llava-onevision": (tiny_random.build_llava_onevision, "llava-onevision", {}),
    "qwen2.5-vl": (tiny_random.build_qwen2_5_vl, "qwen2.5-vl", QWEN_LIMITS),
}


@pytest.fixture(scope="module")
def recipes(tmp_path_factory):
    made = {}
    for name, (build, dialect, options) in FAMILIES.items():
        folder = build(tmp_path_factory.mktemp(name) / "model")
        made[name] = Model(name=str(folder), dialect=dialect, dialect_options=options, dtype="float32")
    return made


@pytest.fixture(scope="module")
def models(recipes):
    return {name: TransformersModel(recipe, "cpu") for name, recipe in recipes.items()}


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 255, (height, 80, 3), dtype=np.uint8)) for height in (60, 100, 50)]


every_family = pytest.mark.parametrize("family", FAMILIES)


def mixed_requests(pictures):
    one, two, three = pictures
    return [
        Request((one,), "where is it ?", (1, 2, 3)),
        Request((one,), "what is there on the left side ?", (4,)),
        Request((two, three), "two", (5, 6)),
        Request((three,), "x", (7,)),
    ]


@every_family
def test_one_and_two_images_and_several_seeds(models, pictures, family):
    brought = []
    answers = models[family].generate(mixed_requests(pictures), Sampling(1.0, 1.0, 6, 3), brought.append)
    assert [len(found) for found in answers] == [3, 1, 2, 1]
    assert sum(brought) == 7
    assert max(brought) == 3
    texts = [answer.text for answer in answers[0]]
    assert len(set(texts)) > 1
    for answer in (answer for found in answers for answer in found):
        assert answer.finish_reason in ("stop", "length")
        assert 1 <= answer.completion_tokens <= 6
        assert answer.finish_reason == "stop" or answer.completion_tokens == 6
    assert answers[1][0].prompt_tokens > answers[0][0].prompt_tokens  # the longer question; padding does not count
    assert len({answer.prompt_tokens for answer in answers[0]}) == 1


@every_family
def test_the_same_requests_give_the_same_answers(models, pictures, family):
    sampling = Sampling(0.8, 0.9, 6, 4)
    assert models[family].generate(mixed_requests(pictures), sampling) == models[family].generate(
        mixed_requests(pictures), sampling
    )


@every_family
def test_shared_prefixes_change_no_answer(models, pictures, family, monkeypatch):
    model = models[family]
    for sampling in (Sampling(1.0, 1.0, 8, 8), Sampling(0.0, 1.0, 8, 8)):
        shared = model.generate(mixed_requests(pictures), sampling)
        assert model._prompts._way == model._prompts._continued
        with monkeypatch.context() as patched:
            patched.setattr(model._prompts, "_way", model._prompts._whole)
            assert model.generate(mixed_requests(pictures), sampling) == shared


@every_family
def test_a_row_does_not_depend_on_its_neighbours(models, pictures, family):
    one, two, three = pictures
    sampling = Sampling(1.0, 1.0, 8, 3)

    def middle(first, last):
        asked = [Request((first,), "where is it ?", (1,)), Request((one,), "where ?", (9,)), Request((last,), "what ?", (3,))]
        return models[family].generate(asked, sampling)[1][0]

    assert middle(two, three) == middle(three, two)
    alone = models[family].generate([Request((one,), "where ?", (8, 9, 10))], sampling)[0][1]
    assert alone == middle(two, three)


@every_family
def test_greedy_is_argmax_generate(models, recipes, pictures, family):
    model, processor = load_model_and_processor(recipes[family], "cpu")
    conversation = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "where is it ?"}]}]
    text = processor.apply_chat_template(conversation, add_generation_prompt=True)
    inputs = processor(text=[text], images=[pictures[0]], return_tensors="pt")
    ends = GenerationConfig(eos_token_id=model.generation_config.eos_token_id, pad_token_id=0)
    written = model.generate(**inputs, generation_config=ends, do_sample=False, max_new_tokens=8)
    expected = processor.tokenizer.decode(written[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    (answers,) = models[family].generate([Request((pictures[0],), "where is it ?", (1, 2))], Sampling(0.0, 1.0, 8))
    assert [answer.text for answer in answers] == [expected, expected]


def test_an_answer_ends_at_the_end_token(models, pictures):
    model = models["llava"]
    requests = [Request((pictures[0],), "where ?", tuple(range(40)))]
    answers = model.generate(requests, Sampling(3.0, 1.0, 60, 40))[0]
    stopped = [answer for answer in answers if answer.finish_reason == "stop"]
    assert stopped
    assert all("<|" not in answer.text for answer in stopped)
    assert min(answer.completion_tokens for answer in stopped) < 60


def test_the_checkpoints_own_sampling_habits_are_not_used(models):
    config = models["llava"]._model.generation_config
    assert config.repetition_penalty is None
    assert config.top_k is None
    assert config.eos_token_id == [2]


def test_no_requests_no_answers(models):
    assert models["llava"].generate([], Sampling(1.0, 1.0, 4)) == []


def test_a_batch_that_does_not_fit_is_halved_and_noted(models, pictures, monkeypatch):
    model = models["llava"]
    requests = [Request((pictures[0],), "where ?", tuple(range(5)))]
    expected = model.generate(requests, Sampling(1.0, 1.0, 4, 8))
    write = model._write

    def little_memory(rows, sampling):
        if len(rows) > 2:
            raise torch.OutOfMemoryError
        return write(rows, sampling)

    monkeypatch.setattr(model, "_write", little_memory)
    assert model.generate(requests, Sampling(1.0, 1.0, 4, 8)) == expected
    assert model.take_notes() == {"halved_batches": 2}
    assert model.take_notes() == {}


def test_too_little_memory_for_a_trial_says_nothing_of_the_way(recipes, pictures, monkeypatch):
    model = TransformersModel(recipes["llava"], "cpu")
    requests = [Request((pictures[0],), "where ?", (1, 2))]
    continued, full = prompts_module.continue_from, []

    def once_full(*args):
        if not full:
            full.append(True)
            raise torch.OutOfMemoryError
        return continued(*args)

    monkeypatch.setattr(prompts_module, "continue_from", once_full)
    model.generate(requests, Sampling(1.0, 1.0, 4))
    assert model.take_notes() == {"halved_batches": 1}
    assert model._prompts._way.__name__ == "_continued"


def test_no_memory_at_all_is_one_sentence(recipes, pictures, monkeypatch):
    def full(*_args, **_kwargs):
        raise torch.OutOfMemoryError

    model = TransformersModel(recipes["llava"], "cpu")
    monkeypatch.setattr(prompts_module, "first_logits", full)
    with pytest.raises(ModelError, match="one prompt alone does not fit into the device's memory"):
        model.generate([Request((pictures[0],), "where ?", (1,))], Sampling(1.0, 1.0, 4))


def test_weights_that_do_not_fit_are_said_to(recipes, monkeypatch):
    def full(*_args, **_kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch.nn.Module, "to", full)
    with pytest.raises(
        ModelError, match=r"does not fit into the device's memory; .* or set model\.quantization to 4bit \(`spr plan`"
    ):
        load_model_and_processor(recipes["llava"], "cuda:0")


def test_an_image_mark_inside_a_prompt_is_refused(models, pictures):
    with pytest.raises(ModelError, match="1 images holds 2 image marks"):
        models["llava"].generate([Request((pictures[0],), "a <image> mark", (1,))], Sampling(1.0, 1.0, 4))


def test_a_dialect_that_counts_other_pixels_than_the_model_sees_is_refused(recipes, pictures):
    model = TransformersModel(recipes["qwen2.5-vl"].model_copy(update={"dialect_options": {}}), "cpu")
    large = Image.new("RGB", (400, 300))
    with pytest.raises(ModelError, match="counts pixels"):
        model.generate([Request((large,), "where ?", (1,))], Sampling(1.0, 1.0, 4))


def test_an_adapter_changes_answers_and_identity(models, recipes, pictures, tmp_path):
    from peft import LoraConfig, get_peft_model

    base, _ = load_model_and_processor(recipes["llava"], "cpu")
    config = LoraConfig(r=4, target_modules=r".*language_model.*\.q_proj", init_lora_weights=False)
    torch.manual_seed(0)
    get_peft_model(base, config).save_pretrained(tmp_path)
    tuned = TransformersModel(recipes["llava"], "cpu", tmp_path)
    assert tuned.identity.startswith(models["llava"].identity + " adapter@sha256:")
    requests = [Request((pictures[0],), "where is it ?", (1, 2, 3, 4))]
    sampling = Sampling(1.0, 1.0, 12, 4)
    assert tuned.generate(requests, sampling) != models["llava"].generate(requests, sampling)


def test_an_adapter_that_is_not_there_is_a_model_error(recipes, tmp_path):
    with pytest.raises(ModelError, match=r"adapter_config\.json"):
        TransformersModel(recipes["llava"], "cpu", tmp_path)
