"""Region tokens are read from the image, whichever way the model is asked, or the call is refused."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import tiny_random
from spr.errors import RegionError
from spr.models.base import Request, Sampling
from spr.models.conversation import conversation
from spr.models.loading import load_model_and_processor
from spr.models.transformers import TransformersModel
from spr.recipe_model import Model

REGION = "What is in [100, 100, 900, 900] <region_fea>?"
TWO = "Is [0, 0, 300, 400] <region_fea> left of [700, 700] <region_fea>?"
PLAIN = "What is the location of the dog in the image?"
LOGITS = {"output_logits": True, "return_dict_in_generate": True}
GREEDY, DRAWN = Sampling(0.0, 1.0, 8, 8), Sampling(1.0, 1.0, 8, 8)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tiny_random.build_ferret(tmp_path_factory.mktemp("ferret"))
    return Model(name=str(folder), dialect="ferret", dtype="float32")


@pytest.fixture(scope="module")
def loaded(recipe):
    return load_model_and_processor(recipe, "cpu")


@pytest.fixture(scope="module")
def asked(recipe) -> TransformersModel:
    return TransformersModel(recipe, "cpu")


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8))


def fields(loaded, picture, question, **options):
    _, processor = loaded
    text = conversation(processor).question(question, 1)
    return dict(processor(text=[text], images=[[picture]], return_tensors="pt", **options))


def elsewhere(given):
    """The same prompt with its regions read at the image's first pixel."""
    return {**given, "region_points": torch.zeros_like(given["region_points"])}


def encoded(model, given):
    """The same prompt with its image encoded, as `generate` and the trainers hand it on."""
    rest = {name: value for name, value in given.items() if name != "pixel_values"}
    return {**rest, "mm_encoder_outputs": {"image": model.base_model.get_image_features(given["pixel_values"])}}


@torch.no_grad()
def test_a_regions_features_change_logits_and_answers_in_every_way_to_ask(loaded, picture):
    model, _ = loaded
    given = fields(loaded, picture, REGION)
    ways = {
        "forward": lambda some: model(**some).logits[:, -1],
        "encoded": lambda some: model(**encoded(model, some)).logits[:, -1],
        "base": lambda some: model.lm_head(model.base_model(**some).last_hidden_state[:, -1]),
        "generate": lambda some: model.generate(
            **some, max_new_tokens=1, output_logits=True, return_dict_in_generate=True, do_sample=False
        ).logits[0],
    }
    here = {name: way(given) for name, way in ways.items()}
    for name, way in ways.items():
        torch.testing.assert_close(here[name], here["forward"], atol=1e-4, rtol=0)
        assert (way(elsewhere(given)) - here[name]).abs().max() > 5e-3, name  # one token of 250


@torch.no_grad()
def test_only_the_region_token_and_what_follows_it_changes(loaded, picture):
    model, processor = loaded
    given = fields(loaded, picture, REGION)
    place = int((given["input_ids"][0] == processor.region_token_id).nonzero())
    apart = (model(**given).logits - model(**elsewhere(given)).logits).abs().amax(dim=-1)[0]
    assert apart[:place].max() == 0
    assert apart[place:].min() > 0


def test_a_mask_is_read_where_it_is_painted(loaded, picture):
    model, _ = loaded
    box, point = np.zeros((60, 80), dtype=bool), np.zeros((60, 80), dtype=bool)
    box[6:55, 8:73] = True
    point[59, 79] = True
    painted = [fields(loaded, picture, REGION, region_masks=[[mask]]) for mask in (box, point)]
    with torch.no_grad():
        of_box, of_point = (model(**some).logits[0, -1] for some in painted)
    assert (of_box - of_point).abs().max() > 5e-3
    assert painted[0]["region_points"].amin(dim=(0, 1, 2)).tolist() == [8, 6]
    assert painted[0]["region_points"].amax(dim=(0, 1, 2)).tolist() == [72, 54]


def test_region_tokens_and_regions_must_match(loaded, picture):
    model, _ = loaded
    given = fields(loaded, picture, TWO)
    without = {name: value for name, value in given.items() if not name.startswith("region_")}
    with pytest.raises(ValueError, match=r"hold \[2\] region tokens, and points for \[0\] regions"):
        model(**without)
    with pytest.raises(ValueError, match=r"hold \[2\] region tokens, and points for \[0\] regions"):
        model.generate(**without, max_new_tokens=1)
    fewer = {name: value[:, :1] if name.startswith("region_") else value for name, value in given.items()}
    with pytest.raises(ValueError, match=r"hold \[2\] region tokens, and points for \[1\] regions"):
        model(**fewer)
    plain = fields(loaded, picture, PLAIN)
    with pytest.raises(ValueError, match=r"hold \[0\] region tokens, and points for \[2\] regions"):
        model(**{**plain, **{name: value for name, value in given.items() if name.startswith("region_")}})
    with pytest.raises(ValueError, match="16 image tokens and features for 0"):
        model(**{name: value for name, value in given.items() if name != "pixel_values"})


def test_a_region_token_that_the_model_writes_is_a_word_like_any_other(loaded, picture):
    model, processor = loaded
    given = fields(loaded, picture, PLAIN)
    with torch.no_grad():
        cache = model(**given).past_key_values
        written = torch.tensor([[processor.region_token_id]])
        logits = model(input_ids=written, past_key_values=cache).logits
    assert logits.shape == (1, 1, model.config.text_config.vocab_size)


def test_several_answers_a_prompt_read_the_same_region(loaded, picture):
    model, processor = loaded
    texts = [conversation(processor).question(question, 1) for question in (REGION, TWO)]
    processor.tokenizer.padding_side = "left"
    other = Image.fromarray(255 - np.asarray(picture))
    given = processor(text=texts, images=[[picture], [other]], padding=True, return_tensors="pt")
    alone = model.generate(**given, max_new_tokens=4, do_sample=False)
    first = model.generate(**given, max_new_tokens=1, do_sample=True, num_return_sequences=2, **LOGITS).logits[0]
    expected = model.generate(**given, max_new_tokens=1, do_sample=False, **LOGITS).logits[0]
    torch.testing.assert_close(first, expected.repeat_interleave(2, dim=0), atol=1e-5, rtol=0)
    beams = model.generate(**given, max_new_tokens=4, do_sample=False, num_beams=2, num_return_sequences=2)
    assert beams.shape[0] == 4
    forced = model.generate(**given, max_new_tokens=4, do_sample=True, top_k=1, num_return_sequences=3)
    assert forced.view(2, 3, -1).tolist() == [[row] * 3 for row in alone.tolist()]


@pytest.mark.parametrize("sampling", [GREEDY, DRAWN], ids=["greedy", "drawn"])
def test_prompts_with_and_without_regions_are_answered_together_as_alone(asked, picture, sampling):
    other = picture.resize((200, 100))
    requests = [Request((image,), text, (1, 2)) for image in (picture, other) for text in (PLAIN, REGION, TWO, PLAIN + "?")]
    together = asked.generate(requests, sampling)
    assert together == [asked.generate([request], sampling)[0] for request in requests]
    assert len({answers[0].text for answers in together}) > 2


def test_of_many_questions_the_one_whose_region_cannot_be_read_is_named(asked, picture):
    requests = [Request((picture,), text, (1,)) for text in (PLAIN, REGION, "where is the <region_fea> thing ?")]
    with pytest.raises(RegionError, match=r"give region_masks; in the prompt '.*where is the <region_fea> thing \?"):
        asked.generate(requests, GREEDY)


def test_an_image_is_encoded_once_for_all_answers_about_its_region(asked, picture):
    asked.generate([Request((picture,), PLAIN, (1,))], DRAWN)  # what is tried once has been tried
    assert asked._prompts._way == asked._prompts._continued
    seen = []
    tower = asked._model.model.vision_tower
    hook = tower.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    try:
        asked.generate([Request((picture,), REGION, (1, 2, 3, 4, 5))], DRAWN)
        asked.generate([Request((picture,), question, (1,)) for question in (PLAIN, PLAIN + "?")], DRAWN)
        asked.generate([Request((picture,), question, (1, 2)) for question in (PLAIN, REGION)], DRAWN)
    finally:
        hook.remove()
    # Questions without a region share the image; a region's features need it for each question.
    assert seen == [1, 1, 2]


SLOPE = torch.linspace(-1, 1, 5).expand(1, 32, 5, 5)
PLACES = {
    # On a slope one place, of which bfloat16 makes the middle: only what is read there can differ.
    "read": (SLOPE, torch.full((1, 512, 2), 0.501)),
    # On a plain all places read the same: only which of them are near each other can differ.
    "chosen": (torch.ones(1, 32, 5, 5), torch.rand(1, 512, 2, generator=torch.Generator().manual_seed(0))),
}


@pytest.mark.parametrize("how", PLACES)
def test_places_are_not_rounded_to_the_weights_precision(how, loaded):
    sampler = copy.deepcopy(loaded[0].model.region_geo_sampler).bfloat16()
    maps, places = PLACES[how]
    starts = torch.zeros(1, 2, dtype=torch.long)
    with torch.no_grad():
        exact, rounded = (sampler(maps, some, starts) for some in (places, places.bfloat16().float()))
    assert not torch.equal(exact, rounded)


def test_linear_layers_whose_weights_are_bytes_do_not_make_features_bytes(loaded):
    class Packed(nn.Module):
        """A linear layer that computes as before and shows its weight as quantized ones do."""

        def __init__(self, inner):
            super().__init__()
            self.forward = inner.forward
            self.weight = nn.Parameter(torch.zeros(3, 1, dtype=torch.uint8), requires_grad=False)

    sampler = copy.deepcopy(loaded[0].model.region_geo_sampler)
    generator = torch.Generator().manual_seed(0)
    given = torch.randn(1, 32, 4, 4, generator=generator), torch.rand(1, 512, 2, generator=generator), torch.zeros(1, 2).long()
    with torch.no_grad():
        expected = sampler(*given)
        sampler.dim_projector, sampler.flatten_projector = Packed(sampler.dim_projector), Packed(sampler.flatten_projector)
        assert torch.equal(sampler(*given), expected)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_reads_regions_where_float32_does(dtype, recipe, loaded, picture):
    model, _ = load_model_and_processor(recipe, "cpu", dtype)
    given = fields(loaded, picture, TWO)
    half = {name: value.to(model.dtype) if value.is_floating_point() else value for name, value in given.items()}
    with torch.no_grad():
        logits = model(**half).logits[0, -1].float()
        expected = loaded[0](**given).logits[0, -1]
    assert torch.corrcoef(torch.stack([logits, expected]))[0, 1] > 0.9


def test_training_in_mixed_precision_reads_a_region_where_generation_does(recipe, loaded, picture):
    model, _ = load_model_and_processor(recipe, "cpu", "bfloat16")
    given = fields(loaded, picture, TWO)
    maps = torch.randn(2, 32, 4, 4, generator=torch.Generator().manual_seed(0))
    places = given["region_points"][0] / given["region_sizes"][0][:, None].float()
    sampler, starts = model.model.region_geo_sampler, given["region_starts"][0]
    with torch.no_grad():
        expected = sampler(maps.bfloat16(), places, starts)
        with torch.autocast("cpu", torch.bfloat16):
            mixed = sampler(maps.bfloat16().float(), places, starts)
    assert expected.dtype == torch.bfloat16
    assert torch.equal(mixed, expected)
