"""Every family that runs, on a tiny random model of it: batches, shared work, and what each one's processor is given."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from PIL import Image

import tiny_random
from spr.errors import ModelError
from spr.models.base import Request, Sampling
from spr.models.conversation import conversation
from spr.models.loading import load_model_and_processor
from spr.models.transformers import TransformersModel
from spr.recipe import Model

QWEN_LIMITS = {"min_pixels": 56 * 56, "max_pixels": 28 * 28 * 16}
FAMILIES = {
    "llava": ("ferret", {}),
    "ferret": ("ferret", {}),
    "llava_onevision": ("llava-onevision", {}),
    "qwen2_vl": ("qwen2-vl", {}),
    "qwen2_5_vl": ("qwen2.5-vl", QWEN_LIMITS),
    "qwen3_vl": ("qwen3-vl", {}),
    "internvl": ("internvl", {}),
    "cogvlm": ("cogvlm", {}),
    "kosmos2": ("kosmos-2", {}),
    "paligemma": ("paligemma", {}),
    "florence2": ("florence-2", {}),
}
BARE = {"kosmos2": "", "paligemma": "<image>", "florence2": ""}
"""What families without a chat template want before a question, by their model cards."""
WAYS = {"kosmos2": "_repeated", "paligemma": "_repeated", "florence2": "_decoded"}
GREEDY, DRAWN = Sampling(0.0, 1.0, 8, 8), Sampling(1.0, 1.0, 8, 8)
SIZE, BOX = (80, 60), (8.0, 6.0, 40.0, 30.0)
every_family = pytest.mark.parametrize("family", FAMILIES)
bare_families = pytest.mark.parametrize("family", BARE)


@pytest.fixture(scope="module")
def recipes(tmp_path_factory):
    made = {}
    for family, (dialect, options) in FAMILIES.items():
        folder = tmp_path_factory.mktemp(family)
        getattr(tiny_random, f"build_{family}")(folder)
        made[family] = Model(name=str(folder), dialect=dialect, dialect_options=options, dtype="float32")
    return made


@pytest.fixture(scope="module")
def models(recipes):
    return {family: TransformersModel(recipe, "cpu") for family, recipe in recipes.items()}


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 255, (height, 80, 3), dtype=np.uint8)) for height in (60, 100)]


def requests(model, pictures):
    """Questions of different lengths about two photos, one of them asked three times."""
    ask = model.dialect.rec_prompt
    return [
        Request((pictures[0],), ask("the dog"), (1, 2, 3)),
        Request((pictures[0],), ask("a red circle next to a person on the bench"), (4,)),
        Request((pictures[1],), ask("it"), (7,)),
    ]


@every_family
@pytest.mark.parametrize("sampling", [GREEDY, DRAWN], ids=["greedy", "drawn"])
def test_a_batch_answers_like_asking_one_by_one(family, models, pictures, sampling):
    model = models[family]
    asked = requests(model, pictures)
    together = model.generate(asked, sampling)
    alone = [
        [model.generate([Request(item.images, item.prompt, (seed,))], sampling)[0][0] for seed in item.seeds] for item in asked
    ]
    assert together == alone
    assert len({answers[0].text for answers in together}) > 1


@every_family
def test_greedy_answers_are_those_of_the_familys_own_way(family, models, recipes, pictures):
    """The processor and `generate`, used as the model cards do."""
    model, processor = load_model_and_processor(recipes[family], "cpu")
    model.generation_config.forced_eos_token_id = None  # Bart's default would end an answer that is cut off
    asked = requests(models[family], pictures)
    for request, (answer, *_) in zip(asked, models[family].generate(asked, GREEDY), strict=True):
        text = BARE.get(family, "") + request.prompt
        if family not in BARE:
            content = [{"type": "image"}, {"type": "text", "text": request.prompt}]
            text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        inputs = processor(text=text, images=request.images[0], return_tensors="pt")
        inputs.pop("labels", None)
        written = model.generate(**inputs, do_sample=False, max_new_tokens=GREEDY.max_new_tokens)[0]
        tokens = written[2:] if family == "florence2" else written[inputs["input_ids"].shape[1] :]  # </s><s> come first
        ends = [place for place, token in enumerate(tokens) if token == processor.tokenizer.eos_token_id]
        kept = tokens[: ends[0]] if ends else tokens
        skip = models[family].dialect.skip_special_tokens
        assert answer.text == processor.tokenizer.decode(kept, skip_special_tokens=skip, clean_up_tokenization_spaces=False)
        assert answer.prompt_tokens == inputs["input_ids"].shape[1]


@every_family
def test_shared_work_changes_no_answer(family, models, pictures, monkeypatch):
    model = models[family]
    asked = requests(model, pictures)
    shared = model.generate(asked, DRAWN)
    assert model._prompts._way.__name__ == WAYS.get(family, "_continued")
    with monkeypatch.context() as patched:
        patched.setattr(model._prompts, "_way", model._prompts._whole)
        assert model.generate(asked, DRAWN) == shared


@every_family
def test_the_image_is_encoded_once_for_all_samples_of_a_prompt(family, models, pictures):
    model = models[family]
    prompt = model.dialect.rec_prompt("the dog")
    model.generate([Request((pictures[0],), prompt, (1,))], DRAWN)  # what is tried once has been tried
    tower = next(part for name, part in model._model.named_modules() if re.search(r"(vision_tower|vision_model|visual)$", name))
    seen = []
    hook = tower.register_forward_pre_hook(
        lambda _, args, fields: seen.append(next(value for value in (*args, *fields.values()) if value is not None).numel()),
        with_kwargs=True,
    )
    try:
        model.generate([Request((pictures[0],), prompt, (1,))], DRAWN)
        model.generate([Request((pictures[0],), prompt, (1, 2, 3, 4, 5))], DRAWN)
    finally:
        hook.remove()
    assert len(seen) == 2
    assert seen[0] == seen[1]


@every_family
def test_a_grounded_text_survives_the_tokenizer(family, models, recipes):
    """What a model is trained to write is what is read from it."""
    _, processor = load_model_and_processor(recipes[family], "cpu")
    dialect = models[family].dialect
    text = dialect.ground("a dog", BOX, SIZE)
    ids = conversation(processor).answer(dialect.rec_prompt("it"), text)
    end = ids.index(processor.tokenizer.eos_token_id)
    written = processor.tokenizer.decode(
        ids[:end], skip_special_tokens=dialect.skip_special_tokens, clean_up_tokenization_spaces=False
    )
    (read,), (meant,) = dialect.parse(written, SIZE), dialect.parse(text, SIZE)
    assert (read.box, read.phrase, read.status) == (meant.box, meant.phrase, "ok")


@every_family
def test_a_region_is_asked_about(family, models, pictures):
    dialect = models[family].dialect
    prompt = dialect.region_prompt(BOX, SIZE, ("dog", "red circle"))
    ((answer,),) = models[family].generate([Request((pictures[0],), prompt, (1,))], DRAWN)
    assert 1 <= answer.completion_tokens <= 8


@bare_families
def test_what_a_processor_without_a_template_makes_of_a_question(family, models, pictures):
    prompts = models[family]._prompts
    inputs = prompts._whole([prompts.ask((pictures[0],), "detect dog")], 1)
    text = prompts._processor.tokenizer.decode(inputs["input_ids"][0])
    expected = {
        "kosmos2": r"<s>\s*<image>.*</image>\s*detect dog",
        "paligemma": r"(<image>){16}<bos>detect dog\n",
        "florence2": r"(<image>){5}<s>detect dog</s>",
    }
    assert re.fullmatch(expected[family], text), text


@bare_families
def test_an_image_mark_in_a_bare_question_is_refused(family, models, pictures):
    with pytest.raises(ModelError, match="1 images holds 2 image marks"):
        models[family].generate([Request((pictures[0],), "a <image> mark", (1,))], GREEDY)


@pytest.mark.parametrize("family", ["cogvlm", "kosmos2", "florence2"])
def test_families_of_one_image_refuse_two(family, models, pictures):
    with pytest.raises(ModelError, match="takes one image a prompt, and was given 2"):
        models[family].generate([Request(tuple(pictures), "a dog", (1,))], GREEDY)


def test_florence2_maps_its_task_tokens(models, pictures):
    prompts = models["florence2"]._prompts
    inputs = prompts._whole([prompts.ask((pictures[0],), "<CAPTION_TO_PHRASE_GROUNDING>a dog")], 1)
    assert "Locate the phrases in the caption: a dog" in prompts._processor.tokenizer.decode(inputs["input_ids"][0])


def test_florence2_answers_begin_after_the_decoders_own_tokens(models, pictures):
    ((answer,),) = models["florence2"].generate([Request((pictures[0],), "a dog", (1,))], GREEDY)
    assert not answer.text.startswith(("</s>", "<s>"))
    assert answer.completion_tokens == 8
    begins = models["florence2"]._model.generation_config
    assert (begins.decoder_start_token_id, begins.forced_bos_token_id) == (2, 0)


def test_kosmos2_is_not_padded_because_it_counts_the_pads(models, pictures, monkeypatch):
    model = models["kosmos2"]
    asked = [
        Request((pictures[0],), "a", tuple(range(4))),
        Request((pictures[0],), "where is the blue square ? " * 6, tuple(range(4))),
    ]
    right = model.generate(asked, DRAWN)
    assert model._prompts._pads is False
    with monkeypatch.context() as patched:
        patched.setitem(model._prompts.__dict__, "_pads", True)
        wrong = model.generate(asked, DRAWN)
    assert wrong[1] == right[1]
    assert wrong[0] != right[0]


@pytest.mark.parametrize("window", [16, 64])
def test_paligemma_2_answers_alike_within_and_beyond_its_window(window, pictures, tmp_path, monkeypatch):
    folder = tiny_random.build_paligemma(tmp_path, window=window)
    model = TransformersModel(Model(name=str(folder), dialect="paligemma", dtype="float32", attention="eager"), "cpu")
    asked = requests(model, pictures)
    shared = model.generate(asked, DRAWN)
    assert model._prompts._way == model._prompts._repeated
    monkeypatch.setattr(model._prompts, "_way", model._prompts._whole)
    assert model.generate(asked, DRAWN) == shared


def test_an_attention_that_a_family_lacks_is_named(tmp_path):
    folder = tiny_random.build_paligemma(tmp_path, window=16)
    with pytest.raises(ModelError, match=r"does not run with model\.attention sdpa; set it to eager"):
        TransformersModel(Model(name=str(folder), dialect="paligemma", dtype="float32"), "cpu")


@pytest.mark.parametrize("family", ["llava_onevision", "cogvlm", "kosmos2", "florence2"])
def test_what_exceeds_the_context_is_refused_with_its_numbers(family, recipes, pictures):
    model = TransformersModel(recipes[family], "cpu")
    ((fits,),) = model.generate([Request((pictures[0],), "a dog", (1,))], GREEDY)
    # An encoder-decoder has positions for either side.
    room = fits.prompt_tokens if family == "florence2" else fits.prompt_tokens + 8
    text = model._model.config.get_text_config()
    text.max_position_embeddings = room
    assert model.generate([Request((pictures[0],), "a dog", (1,))], GREEDY) == [[fits]]
    text.max_position_embeddings = room - 1
    said = rf"a prompt of {fits.prompt_tokens} tokens.* up to 8 do not fit into the model's {room - 1} positions"
    with pytest.raises(ModelError, match=said):
        model.generate([Request((pictures[0],), "a dog", (1,))], GREEDY)


@every_family
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_answers(family, dtype, recipes, pictures):
    model = TransformersModel(recipes[family].model_copy(update={"dtype": dtype}), "cpu")
    (answers, *_) = model.generate(requests(model, pictures), DRAWN)
    assert model._model.dtype == getattr(torch, dtype)
    assert len(answers) == 3
