"""Dual encoders of every family: regions, texts and contexts, against the stock classes on tiny random models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

import tiny_dual_encoders
from spr.errors import ModelError
from spr.recipe_score import Semantic
from spr.rewards.dual_encoder import DualEncoder
from spr.rewards.semantic import SemanticItem, SemanticScorer

ATTENTION = [{}, {"region_attention": "all"}, {"region_attention": "all", "start_layer": 2}]
REGION = (17.0, 2.0, 47.0, 30.0)
TEXTS = ["a red dog runs", "cat", "a blue cat , a dog ."]


@pytest.fixture(scope="module", params=tiny_dual_encoders.FAMILIES)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_dual_encoders.build(request.param, tmp_path_factory.mktemp(request.param), positions=32)


def encoder(folder: Path, **options: object) -> DualEncoder:
    return DualEncoder(Semantic.model_validate({"model": str(folder), **options}), "cpu")


def whole(image: Image.Image) -> tuple[float, float, float, float]:
    return (0.0, 0.0, float(image.width), float(image.height))


def stock_image_embedding(folder: Path, image: Image.Image) -> torch.Tensor:
    model, processor = AutoModel.from_pretrained(folder).eval(), AutoImageProcessor.from_pretrained(folder)
    squashed = image if model.config.model_type == "siglip2" else image.resize((32, 32), Image.Resampling(processor.resample))
    with torch.inference_mode():
        features = model.get_image_features(**processor(images=squashed, return_tensors="pt")).pooler_output
    return torch.nn.functional.normalize(features, dim=-1)


@pytest.mark.parametrize("attention", ATTENTION)
def test_the_whole_image_as_a_region_is_the_stock_image_embedding(
    folder: Path, attention: dict[str, object], photo: Image.Image
) -> None:
    model = encoder(folder, **attention)
    expected = stock_image_embedding(folder, photo)
    (region,) = model.embed_regions([photo], [[whole(photo)]])
    torch.testing.assert_close(region, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(model.embed_crops([photo], [whole(photo)]), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("attention", ATTENTION)
def test_regions_and_images_together_are_as_alone(folder: Path, attention: dict[str, object], photo: Image.Image) -> None:
    model = encoder(folder, **attention)
    tall = photo.rotate(90, expand=True)
    regions = [[REGION, whole(photo), (40.0, 30.0, 64.0, 48.0)], [(3.0, 20.0, 30.0, 60.0)]]
    together = list(model.embed_regions([photo, tall], regions))
    for image, boxes, embeddings in zip([photo, tall], regions, together, strict=True):
        for box, embedding in zip(boxes, embeddings, strict=True):
            (alone,) = model.embed_regions([image], [[box]])
            torch.testing.assert_close(embedding[None], alone, atol=1e-5, rtol=0)
    assert (together[0][0] - together[0][1]).abs().max() > 1e-3


def test_texts_together_are_as_alone_and_as_the_stock_model_reads_them(folder: Path) -> None:
    model, stock, tokenizer = encoder(folder), AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    together = model.embed_texts(TEXTS)
    padded = {"padding": "max_length", "max_length": 32} if "siglip" in stock.config.model_type else {}
    for text, embedding in zip(TEXTS, together, strict=True):
        torch.testing.assert_close(embedding[None], model.embed_texts([text]), atol=1e-5, rtol=0)
        with torch.inference_mode():
            expected = stock.get_text_features(tokenizer(text, return_tensors="pt", **padded)["input_ids"]).pooler_output
        torch.testing.assert_close(embedding[None], torch.nn.functional.normalize(expected, dim=-1), atol=1e-5, rtol=0)
    assert (together[0] - together[1]).abs().max() > 1e-3


def test_items_scored_together_are_scored_as_alone(folder: Path, photo: Image.Image) -> None:
    scorer = SemanticScorer(Semantic(model=str(folder)), "cpu")
    items = [SemanticItem(photo, REGION, TEXTS), SemanticItem(photo.rotate(90, expand=True), (0, 0, 20, 20), TEXTS[:1])]
    for item, scores in zip(items, scorer.score_many(items), strict=True):
        alone = scorer.score(item.image, item.region, item.texts)
        np.testing.assert_allclose([scores.crop, scores.local], [alone.crop, alone.local], atol=1e-5)
        assert (np.abs([scores.crop, scores.local]) <= 1).all()


def test_pixels_outside_a_region_matter_to_last_and_not_to_all(folder: Path, photo: Image.Image) -> None:
    # The region ends on patch borders, and nothing is resized: 32 x 32 pixels are 4 x 4 patches.
    image = photo.crop((0, 0, 32, 32))
    outside = Image.new("RGB", (32, 32), "white")
    outside.paste(image.crop((8, 8, 24, 16)), (8, 8))
    region = (8.0, 8.0, 24.0, 16.0)
    moved = {}
    for attention in ("last", "all"):
        before, after = encoder(folder, region_attention=attention).embed_regions([image, outside], [[region], [region]])
        moved[attention] = float((before - after).abs().max())
    assert moved["all"] < 1e-5 < 1e-3 < moved["last"]


def test_where_the_limit_begins_makes_a_difference(folder: Path, photo: Image.Image) -> None:
    embeddings = [next(encoder(folder, **attention).embed_regions([photo], [[REGION]])) for attention in ATTENTION[1:]]
    assert (embeddings[0] - embeddings[1]).abs().max() > 1e-3


@pytest.mark.parametrize("family", ["clip", "siglip2"])
def test_a_layer_that_the_tower_lacks_is_refused(family: str, tmp_path: Path) -> None:
    tiny_dual_encoders.build(family, tmp_path, layers=2)
    encoder(tmp_path, region_attention="all", start_layer=1)
    with pytest.raises(ModelError, match=r"start_layer is 2, but the vision tower of .* has 2 layers; set it to 0\.\.1"):
        encoder(tmp_path, region_attention="all", start_layer=2)


def test_a_start_layer_without_its_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="start_layer 1 goes with region_attention: all"):
        Semantic(model="m", start_layer=1)


@pytest.mark.parametrize(
    ("family", "positions", "limit", "context"),
    [
        ("clip", 77, None, 77),
        ("clip", 248, 248, 248),  # As Long-CLIP's config says.
        ("clip", 248, 77, 77),
        ("siglip", 64, 10**30, 64),
        ("siglip2", 64, 48, 48),
        ("altclip", 34, 1000, 33),  # Its positions start after the padding's, which is 0 here.
        ("chinese_clip", 52, 512, 52),
    ],
)
def test_the_context_is_the_smaller_of_what_tower_and_tokenizer_can(
    family: str, positions: int, limit: int | None, context: int, tmp_path: Path
) -> None:
    model = encoder(tiny_dual_encoders.build(family, tmp_path, positions=positions, model_max_length=limit))
    assert model.context == context
    text = "a " * 300
    assert model.count(text) > context
    assert torch.isfinite(model.embed_texts([text, "a dog"])).all()


def test_a_model_of_long_texts_reads_in_one_pass_what_clip_reads_in_two(tmp_path: Path, photo: Image.Image) -> None:
    text = "a dog runs . " * 25  # 100 words and 2 special tokens.
    passes = []
    for positions in (77, 248):
        folder = tiny_dual_encoders.build("clip", tmp_path / str(positions), positions=positions)
        passes.append(SemanticScorer(Semantic(model=str(folder)), "cpu").score(photo, REGION, [text]).chunks.tolist())
    assert passes == [[2], [1]]


@pytest.mark.parametrize("family", ["siglip", "siglip2"])
def test_siglip_reads_lower_case_as_in_its_training(family: str, tmp_path: Path) -> None:
    model = encoder(tiny_dual_encoders.build(family, tmp_path))
    lower, upper = model.embed_texts(["a red dog", "A Red DOG"])
    torch.testing.assert_close(lower, upper)


def test_native_aspect_keeps_the_crops_shape_unless_told_otherwise(tmp_path: Path) -> None:
    # Left and right thirds red, the middle third green. 96 x 32 at most 16 patches: 6 x 2 and some.
    tiny_dual_encoders.build("siglip2", tmp_path)
    image = Image.new("RGB", (96, 32), "red")
    image.paste("green", (32, 0, 64, 32))
    crops = [encoder(tmp_path, crop=how).embed_crops([image], [whole(image)])[0] for how in ("squash", "pad", "center_crop")]
    torch.testing.assert_close(crops[0], stock_image_embedding(tmp_path, image)[0], atol=1e-5, rtol=0)
    green = Image.new("RGB", (32, 32), "green")
    torch.testing.assert_close(crops[2], stock_image_embedding(tmp_path, green)[0], atol=1e-2, rtol=0)
    padded = Image.new("RGB", (96, 96), (128, 128, 128))
    padded.paste(image, (0, 32))
    torch.testing.assert_close(crops[1], stock_image_embedding(tmp_path, padded)[0], atol=5e-2, rtol=0)
