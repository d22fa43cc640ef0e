"""What fits a model's context is told from texts and sizes as generation would find it."""

from __future__ import annotations

import pytest
from PIL import Image

import tiny_random
from spr.errors import ModelError
from spr.models import loading
from spr.models.base import Request, Sampling
from spr.models.fitting import Question, check_fit
from spr.models.transformers import TransformersModel
from spr.recipe import Model

QWEN = {"min_pixels": 56 * 56, "max_pixels": 28 * 28 * 64}
FAMILIES = {
    "llava": ("ferret", {}),
    "llava_onevision": ("llava-onevision", {}),
    "qwen2_vl": ("qwen2-vl", {}),
    "qwen2_5_vl": ("qwen2.5-vl", QWEN),
    "qwen3_vl": ("qwen3-vl", {}),
    "internvl": ("internvl", {}),
}
SIZES = ((201, 97), (64, 300))
SAID = "what is on the left of the dog ?"


@pytest.fixture(scope="module")
def recipes(tmp_path_factory):
    made = {}
    for family, (dialect, options) in FAMILIES.items():
        folder = getattr(tiny_random, f"build_{family}")(tmp_path_factory.mktemp(family) / "model")
        processor = {"size": {"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 64}} if options else {}
        made[family] = Model(name=str(folder), dialect=dialect, dialect_options=options, dtype="float32", processor=processor)
    return made


@pytest.fixture(scope="module")
def models(recipes):
    return {family: TransformersModel(recipe, "cpu") for family, recipe in recipes.items()}


def limited(monkeypatch, recipe, positions):
    config = loading.load_config(recipe)
    config.get_text_config().max_position_embeddings = positions
    monkeypatch.setattr(loading, "load_config", lambda _: config)


@pytest.mark.parametrize("sizes", [SIZES[:1], SIZES[1:], SIZES], ids=["wide", "tall", "two images"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_last_prompt_that_fits_is_the_one_generation_still_takes(family, sizes, recipes, models, monkeypatch):
    images = tuple(Image.new("RGB", size, (90, 120, 150)) for size in sizes)
    asked = Request(images, SAID, (0,))
    ((answer,),) = models[family].generate([asked], Sampling(0.0, 1.0, 8))
    short, long = Question("b.jpg", "a", sizes), Question("a.jpg", SAID, sizes)
    limited(monkeypatch, recipes[family], answer.prompt_tokens + 8)
    check_fit(recipes[family], [long, short], 8)
    with pytest.raises(ModelError) as fault:
        check_fit(recipes[family], [long, short], 9)
    said = str(fault.value)
    assert said.startswith(f"1 of 2 prompts do not fit into the model's {answer.prompt_tokens + 8} positions")
    assert f"a.jpg ({sizes[0][0]} x {sizes[0][1]} pixels), has {answer.prompt_tokens} tokens" in said
    assert "the answer up to 9" in said


def test_the_longest_is_named_with_how_many_do_not_fit(recipes, monkeypatch):
    asked = [Question(f"{side}.jpg", SAID, ((side, side),)) for side in (56, 112, 224, 168)]
    limited(monkeypatch, recipes["qwen2_5_vl"], 60)
    with pytest.raises(ModelError, match=r"3 of 4 prompts .* about 224\.jpg .* 64 of them its images'"):
        check_fit(recipes["qwen2_5_vl"], asked, 8)


def test_a_dialect_that_knows_other_limits_than_the_processor_is_refused_before_any_pixel_is_read(recipes):
    recipe = recipes["qwen2_5_vl"].model_copy(update={"dialect_options": {}})
    check_fit(recipe, [Question("small.jpg", SAID, ((112, 84),))], 8)
    said = (
        r"400 x 300 pixels is shown to the model as 216 patches of 14 x 14 pixels, but the dialect counts pixels of 392 x 308"
    )
    with pytest.raises(ModelError, match=said):
        check_fit(recipe, [Question("large.jpg", SAID, ((400, 300),))], 8)


def test_a_shape_that_the_processor_refuses_is_named(recipes):
    with pytest.raises(ModelError, match=r"2000 x 8 pixels is refused by the model's processor: .*aspect ratio"):
        check_fit(recipes["qwen3_vl"], [Question("thin.jpg", SAID, ((2000, 8),))], 8)


def test_prompts_that_plainly_fit_are_not_tokenized(recipes, monkeypatch):
    class Silent:
        continues = True

        def question(self, prompt, images):
            return prompt * images

    monkeypatch.setattr("spr.models.conversation.conversation", lambda _: Silent())
    check_fit(recipes["llava"], [Question("a.jpg", SAID, ((64, 64),))] * 3, 8)


def test_families_whose_images_all_take_the_same_are_left_to_their_first_batch(tmp_path):
    folder = tiny_random.build_kosmos2(tmp_path / "model")
    check_fit(Model(name=str(folder), dialect="kosmos-2"), [Question("a.jpg", SAID * 1000, ((64, 64),))], 8)
