"""The semantic scorer on tiny random models of the real classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModel, AutoTokenizer

from spr.recipe_score import Semantic
from spr.rewards.semantic import SemanticItem, SemanticScorer

REGION = (16.0, 12.0, 48.0, 36.0)
WHOLE = (0.0, 0.0, 64.0, 48.0)


@pytest.fixture(scope="module")
def clip(clip_dir: Path) -> SemanticScorer:
    return SemanticScorer(Semantic(model=str(clip_dir)), "cpu")


@pytest.fixture(scope="module")
def siglip(siglip_dir: Path) -> SemanticScorer:
    return SemanticScorer(Semantic(model=str(siglip_dir)), "cpu")


def stock_cosine(path: Path, image: Image.Image, text: str, **padding: object) -> float:
    """Cosine of a squashed image and a text, by the stock classes alone."""
    model, tokenizer = AutoModel.from_pretrained(path).eval(), AutoTokenizer.from_pretrained(path)
    values = torch.from_numpy(np.asarray(image.resize((32, 32), Image.Resampling.BICUBIC)) / 255.0).float()
    mean, std = (
        ([0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])
        if model.config.model_type == "clip"
        else ([0.5] * 3, [0.5] * 3)
    )
    pixels = ((values - torch.tensor(mean)) / torch.tensor(std)).permute(2, 0, 1)[None]
    ids = tokenizer(text, return_tensors="pt", **padding)["input_ids"]
    with torch.inference_mode():
        a, b = model.get_image_features(pixels).pooler_output, model.get_text_features(input_ids=ids).pooler_output
    return float(torch.nn.functional.cosine_similarity(a, b))


def test_crop_and_region_of_the_whole_image_are_the_stock_clip_cosine(
    clip: SemanticScorer, clip_dir: Path, photo: Image.Image
) -> None:
    scores = clip.score(photo, WHOLE, ["a red dog", "a blue cat sleeps"])
    expected = [stock_cosine(clip_dir, photo, text) for text in ("a red dog", "a blue cat sleeps")]
    np.testing.assert_allclose(scores.crop, expected, atol=1e-5)
    np.testing.assert_allclose(scores.local, expected, atol=1e-5)


def test_siglip_texts_are_padded_to_the_context_it_was_trained_on(
    siglip: SemanticScorer, siglip_dir: Path, photo: Image.Image
) -> None:
    scores = siglip.score(photo, WHOLE, ["a red dog"])
    expected = stock_cosine(siglip_dir, photo, "a red dog", padding="max_length", max_length=8)
    np.testing.assert_allclose([*scores.crop, *scores.local], expected, atol=1e-5)


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_items_scored_together_are_scored_as_alone(name: str, request: pytest.FixtureRequest, photo: Image.Image) -> None:
    scorer: SemanticScorer = request.getfixturevalue(name)
    other = photo.rotate(180)
    items = [
        SemanticItem(photo, REGION, ["a red dog", "a cat"]),
        SemanticItem(other, WHOLE, []),
        SemanticItem(photo, WHOLE, ["a cat", "a cat", "a blue cat sleeps . a dog"]),
        SemanticItem(other, REGION, ["a cat"]),
    ]
    together = scorer.score_many(items)
    for item, scores in zip(items, together, strict=True):
        alone = scorer.score(item.image, item.region, item.texts)
        assert scores.crop.shape == (len(item.texts),)
        np.testing.assert_allclose(scores.crop, alone.crop, atol=1e-6)
        np.testing.assert_allclose(scores.local, alone.local, atol=1e-6)
    assert together[2].local[0] == together[2].local[1] != together[3].local[0]


def test_a_long_text_is_the_mean_of_its_sentences(clip: SemanticScorer, photo: Image.Image) -> None:
    # One token a letter or full stop, plus two: 3 x 20 + 2 and 2 x 20 + 2 tokens of 77 for the two halves.
    first, second = "a" * 59 + ".", "b" * 39 + "."
    whole = clip.score(photo, REGION, [f"{first} {second}", first, second])
    assert whole.chunks.tolist() == [2, 1, 1]
    np.testing.assert_allclose(whole.crop[0], whole.crop[1:].mean(), atol=1e-6)
    np.testing.assert_allclose(whole.local[0], whole.local[1:].mean(), atol=1e-6)


def test_truncated_tokens_are_counted(clip: SemanticScorer, clip_dir: Path, photo: Image.Image) -> None:
    # 100 letters + 2 special tokens, 77 of them read: 25 lost.
    assert clip.score(photo, REGION, ["a" * 100]).truncated_tokens.tolist() == [25]
    truncating = SemanticScorer(Semantic(model=str(clip_dir), text_pooling="truncate"), "cpu")
    long = "a" * 59 + ". " + "b" * 39
    scores = truncating.score(photo, REGION, [long + ".", long + "c" * 10, long[:40]])
    assert scores.truncated_tokens.tolist() == [25, 34, 0]
    assert scores.chunks.tolist() == [1, 1, 1]
    assert scores.crop[0] == pytest.approx(scores.crop[1], abs=1e-6)
    assert scores.crop[0] != pytest.approx(scores.crop[2], abs=1e-4)


def test_of_a_long_texts_chunks_the_lowest_the_mean_or_the_highest_cosine_counts(clip_dir: Path, photo: Image.Image) -> None:
    chunks = ["a" * 59 + ".", "b" * 39 + "." + "c" * 30 + ".", "d" * 70 + "."]
    scores = {}
    for pooling in ("min", "mean", "max"):
        scorer = SemanticScorer(Semantic.model_validate({"model": str(clip_dir), "text_pooling": pooling}), "cpu")
        scores[pooling] = scorer.score(photo, REGION, [" ".join(chunks), *chunks])
        assert scores[pooling].chunks.tolist() == [3, 1, 1, 1]
    for kind in ("crop", "local"):
        whole = [float(getattr(scores[pooling], kind)[0]) for pooling in ("min", "mean", "max")]
        parts = getattr(scores["mean"], kind)[1:]
        assert whole == pytest.approx([parts.min(), parts.mean(), parts.max()], abs=1e-6)
        assert whole[0] < whole[1] < whole[2]


def test_a_text_without_words_agrees_with_nothing(clip: SemanticScorer, photo: Image.Image) -> None:
    scores = clip.score(photo, REGION, ["", "  "])
    assert scores.crop.tolist() == scores.local.tolist() == [0.0, 0.0]
    assert scores.chunks.tolist() == [0, 0]


def test_local_reads_the_full_image_and_crop_only_the_region(clip: SemanticScorer, photo: Image.Image) -> None:
    around = photo.copy()
    around.paste((255, 255, 255), (0, 0, 8, 48))
    before, after = clip.score(photo, REGION, ["a dog"]), clip.score(around, REGION, ["a dog"])
    assert before.crop[0] == after.crop[0]
    assert before.local[0] != after.local[0]


@pytest.mark.parametrize("mode", ["pad", "center_crop"])
def test_a_wide_crop_can_be_padded_or_cut(clip_dir: Path, clip: SemanticScorer, mode: str) -> None:
    # Left and right thirds red, the middle third green: the centre square is pure green.
    image = Image.new("RGB", (96, 32), "red")
    image.paste("green", (32, 0, 64, 32))
    scorer = SemanticScorer(Semantic.model_validate({"model": str(clip_dir), "crop": mode}), "cpu")
    score = scorer.score(image, (0, 0, 96, 32), ["a dog"]).crop[0]
    if mode == "center_crop":
        expected = Image.new("RGB", (32, 32), "green")
    else:
        expected = Image.new("RGB", (96, 96), (123, 117, 104))
        expected.paste(image, (0, 32))
    assert score == pytest.approx(clip.score(expected, (0, 0, *expected.size), ["a dog"]).crop[0], abs=2e-2)
    assert score != clip.score(image, (0, 0, 96, 32), ["a dog"]).crop[0]


def test_bfloat16_weights_are_scored_in_float32(clip_dir: Path, clip: SemanticScorer, photo: Image.Image) -> None:
    half = SemanticScorer(Semantic(model=str(clip_dir), dtype="bfloat16"), "cpu").score(photo, REGION, ["a dog"])
    assert half.crop.dtype == np.float64
    np.testing.assert_allclose(half.crop, clip.score(photo, REGION, ["a dog"]).crop, atol=0.05)
    assert half.crop[0] != float(torch.tensor(half.crop[0]).bfloat16())
