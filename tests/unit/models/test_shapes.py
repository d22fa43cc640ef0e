from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    GotOcr2ImageProcessorPil,
    LlavaOnevisionImageProcessorPil,
    LlavaOnevisionProcessor,
    Qwen2VLImageProcessorPil,
)

import tiny_random
from published_configs import BILLIONS, config
from spr.errors import ModelError, RecipeError
from spr.models.image_tokens import Seen
from spr.models.loading import load_processor
from spr.models.own_shape import count, own_shape
from spr.models.shapes import PUBLISHED, Known, published
from spr.recipe_model import Model
from spr.training.lora import target_modules

SIZES = [(640, 480), (480, 640), (1024, 768), (500, 375), (1920, 1080), (97, 1003), (3000, 200), (32, 32)]


def known(name: str, **processor: object) -> Known:
    found = published(Model(name=name, dialect="ferret", processor=processor))
    assert isinstance(found, Known)
    return found


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_the_table_holds_what_the_real_architecture_counts(name: str) -> None:
    assert count(config(name)) == PUBLISHED[name]
    total = PUBLISHED[name].language + PUBLISHED[name].vision
    assert round(total / 1e9, 2) == BILLIONS[name]


@pytest.mark.parametrize("name", sorted(name for name, shape in PUBLISHED.items() if not shape.encoder_decoder))
def test_an_adapter_sits_on_the_layers_that_training_targets(name: str) -> None:
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config(name))
    layers = [model.get_submodule(hit) for hit in target_modules(model)]
    assert PUBLISHED[name].linear_width == sum(layer.in_features + layer.out_features for layer in layers)


def test_the_token_tables_are_no_part_of_what_every_token_is_multiplied_with() -> None:
    # Kosmos-2: 24 layers of 4 * 2048^2 + 2 * 2048 * 8192 weights and some norms and biases; one table of 65,037 words.
    shape = PUBLISHED["microsoft/kosmos-2-patch14-224"]
    assert shape.table == 65_037 * 2048
    assert 24 * (4 * 2048**2 + 2 * 2048 * 8192) < shape.blocks < 1.01 * 24 * (4 * 2048**2 + 2 * 2048 * 8192)


def test_a_token_is_multiplied_with_one_of_two_experts() -> None:
    # CogVLM: 32 layers of two experts of 4 * 4096^2 + 3 * 4096 * 11008 weights, and some norms.
    one = 32 * (4 * 4096**2 + 3 * 4096 * 11008)
    shape = PUBLISHED["models/cogvlm-17b"]
    assert 2 * one < shape.blocks < 2.01 * one
    assert one < shape.active < 1.01 * one


@pytest.mark.parametrize("size", SIZES[:-2])
@pytest.mark.parametrize(("name", "patch"), [("Qwen/Qwen2.5-VL-7B-Instruct", 14), ("Qwen/Qwen3-VL-8B-Instruct", 16)])
def test_qwens_image_tokens_are_those_of_its_processor(name: str, patch: int, size: tuple[int, int]) -> None:
    limits = {"shortest_edge": 200_704, "longest_edge": 1_003_520}
    processor = Qwen2VLImageProcessorPil(patch_size=patch, size=limits)
    patches = processor.get_number_of_image_patches(size[1], size[0], {})
    assert known(name, size=limits).image(size) == Seen(patches // 4, patches)
    assert known(name, min_pixels=200_704, max_pixels=1_003_520).image(size) == Seen(patches // 4, patches)


@pytest.mark.parametrize("size", SIZES)
def test_internvls_image_tokens_are_those_of_its_processor(size: tuple[int, int]) -> None:
    processor = GotOcr2ImageProcessorPil(size={"height": 448, "width": 448}, crop_to_patches=True, max_patches=12)
    tiles = processor.get_number_of_image_patches(size[1], size[0], {})
    assert known("OpenGVLab/InternVL3-8B-hf").image(size) == Seen(256 * tiles + 2, 1025 * tiles)


@pytest.mark.parametrize("size", SIZES)
def test_llava_onevisions_image_tokens_are_those_of_its_processor(size: tuple[int, int], tmp_path: Path) -> None:
    tiny = load_processor(Model(name=str(tiny_random.build_llava_onevision(tmp_path)), dialect="llava-onevision"))
    grid = [[384 * rows, 384 * columns] for rows in range(1, 7) for columns in range(1, 7)]
    images = LlavaOnevisionImageProcessorPil(size={"height": 384, "width": 384}, image_grid_pinpoints=grid)
    processor = LlavaOnevisionProcessor.__new__(LlavaOnevisionProcessor)
    processor.__dict__.update(vars(tiny) | {"image_processor": images, "num_image_tokens": 729})
    (tokens,) = processor._get_num_multimodal_tokens(image_sizes=[(size[1], size[0])]).num_image_tokens
    assert known("llava-hf/llava-onevision-qwen2-7b-ov-hf").image(size).tokens == tokens


def test_a_setting_of_the_processor_that_the_table_does_not_know_gives_no_number() -> None:
    said = published(Model(name="OpenGVLab/InternVL3-8B-hf", dialect="internvl", processor={"crop_to_patches": False}))
    assert said == "what model.processor.crop_to_patches does to image tokens is known only where the model's files are here"
    assert known("OpenGVLab/InternVL3-8B-hf", max_patches=1).image((1024, 768)) == Seen(258, 1025)


@pytest.mark.parametrize(
    ("name", "setting", "said"),
    [
        ("Qwen/Qwen2.5-VL-7B-Instruct", {"size": 300}, r"model\.processor\.size is 300; it should be \{shortest_edge"),
        ("Qwen/Qwen2.5-VL-7B-Instruct", {"size": {"longest_edge": None}}, r"size\.longest_edge is None; it should be a whole"),
        (
            "Qwen/Qwen3-VL-8B-Instruct",
            {"min_pixels": "abc"},
            r"model\.processor\.min_pixels is 'abc'; it should be a whole number",
        ),
        ("Qwen/Qwen2.5-VL-7B-Instruct", {"max_pixels": 100}, "at least 3136 pixels and at most 100 leave no size"),
        (
            "OpenGVLab/InternVL3-8B-hf",
            {"max_patches": 0},
            r"model\.processor\.max_patches is 0; it should be a whole number of at",
        ),
    ],
)
def test_settings_that_no_processor_could_have_are_refused(name: str, setting: dict[str, object], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        published(Model(name=name, dialect="ferret", processor=setting))


def test_a_size_by_other_edges_gives_no_number() -> None:
    model = Model(name="Qwen/Qwen3-VL-8B-Instruct", dialect="qwen3-vl", processor={"size": {"height": 300, "width": 300}})
    assert published(model) == "what model.processor.size does to image tokens is known only where the model's files are here"


def test_a_model_that_is_neither_here_nor_in_the_table_is_unknown() -> None:
    assert published(Model(name="someone/else", dialect="ferret")) == "the model's config.json is not here"


def test_a_directory_is_counted_itself(tmp_path: Path) -> None:
    # 32 wide, 2 layers of q 32x32, k and v 32x16, o 32x32, three MLP matrices 32x64, two norms of 32; a last norm.
    found = own_shape(Model(name=str(tiny_random.build_llava(tmp_path)), dialect="ferret"))
    assert found is not None
    blocks = 2 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64 + 2 * 32) + 32
    assert (found.shape.blocks, found.shape.kv_width, found.shape.layers) == (blocks, 2 * 16, 2)
    assert found.shape.linear_width == 2 * (2 * 64 + 2 * 48 + 3 * 96)
    assert found.image((640, 480)) == Seen(16, 16)


def test_the_limits_of_a_recipe_take_effect_on_a_directory(tmp_path: Path) -> None:
    folder = str(tiny_random.build_qwen2_5_vl(tmp_path))
    limits = {"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 40}
    free, limited = (own_shape(Model(name=folder, dialect="qwen2.5-vl", processor=part)) for part in ({}, {"size": limits}))
    assert free is not None
    assert limited is not None
    # 640 x 480 within 16 cells of 28 pixels is 4 x 3, within 40 it is 7 x 5; four patches a cell.
    assert (free.image((640, 480)), limited.image((640, 480))) == (Seen(12, 48), Seen(35, 140))


def test_what_is_no_vision_language_model_is_said(tmp_path: Path) -> None:
    folder = tiny_random.build_llava(tmp_path / "llava")
    config = AutoConfig.for_model("llama", hidden_size=32, num_hidden_layers=1, num_attention_heads=2, vocab_size=50)
    config.save_pretrained(folder)
    with pytest.raises(ModelError, match=r"model\.name \S*llava: its parts cannot be counted"):
        own_shape(Model(name=str(folder), dialect="ferret"))
