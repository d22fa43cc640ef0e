"""The detector over its four families, each a tiny random model of the real classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForZeroShotObjectDetection, AutoTokenizer, BertTokenizerFast
from transformers.image_transforms import center_to_corners_format

from spr.boxes import iou
from spr.errors import ModelError
from spr.recipe_score import Detector
from spr.records import Detection
from spr.rewards.detector import DetectionItem, PhraseDetector
from spr.rewards.detector_families import FAMILIES, Ask
from tiny_detectors import BUILDERS, QUERIES, build_grounding_dino

PHRASES = ["red circle", "a dog", "blue square"]


@pytest.fixture(scope="module", params=sorted(BUILDERS))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return BUILDERS[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def dino(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_grounding_dino(tmp_path_factory.mktemp("dino"))


def noise(width: int = 120, height: int = 80, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8))


def detector(folder: Path, **options: Any) -> PhraseDetector:
    return PhraseDetector(Detector(model=str(folder), **{"threshold": 0.0, "nms": 1.0, **options}), "cpu")


def detect(folder: Path, image: Image.Image, *texts: list[str], **options: Any) -> list[tuple[Detection, ...]]:
    return detector(folder, **options).detect([DetectionItem(image, texts)])[0]


def close(a: tuple[Detection, ...], b: tuple[Detection, ...]) -> bool:
    same = [x.phrase for x in a] == [x.phrase for x in b]
    return same and np.allclose([[*x.box, x.score] for x in a], [[*x.box, x.score] for x in b], atol=1e-3)


def family(folder: Path) -> tuple[Any, Any, Any]:
    """The stock model, our family over it, and the pixels of two images."""
    model = AutoModelForZeroShotObjectDetection.from_pretrained(folder).eval()
    processor = AutoImageProcessor.from_pretrained(folder)
    pixels = processor(images=[noise(seed=1), noise(seed=2)], return_tensors="pt")["pixel_values"]
    return model, FAMILIES[model.config.model_type](model, AutoTokenizer.from_pretrained(folder)), pixels


@torch.inference_mode()
def test_an_image_seen_once_gives_the_same_bits_as_one_seen_for_every_ask(folder: Path) -> None:
    _, ours, pixels = family(folder)
    asks: list[Ask] = [ours.asks(PHRASES[:n])[0] for n in (1, 2, 3)]
    once = ours.find(ours.see(pixels[:1]), [0, 0, 0], asks)
    again = ours.find(ours.see(pixels[:1].expand(3, -1, -1, -1)), [0, 1, 2], asks)
    assert torch.equal(once[0], again[0])
    assert all(torch.equal(a, b) for a, b in zip(once[1], again[1], strict=True))


@torch.inference_mode()
def test_the_stand_in_leaves_the_model_as_it_was(folder: Path) -> None:
    model, ours, pixels = family(folder)
    before = {name: id(module) for name, module in model.named_modules()}
    ours.find(ours.see(pixels), [1, 0], [ours.asks(PHRASES)[0]] * 2)
    assert {name: id(module) for name, module in model.named_modules()} == before


@pytest.mark.parametrize("mm", [False, True])
@torch.inference_mode()
def test_a_phrase_of_a_caption_scores_the_mean_of_its_tokens_in_the_stock_output(tmp_path: Path, mm: bool) -> None:
    model, ours, pixels = family(build_grounding_dino(tmp_path, mm=mm))
    tokens = AutoTokenizer.from_pretrained(tmp_path)("red circle. a dog. blue square.", return_tensors="pt")
    out = model(pixel_values=pixels[:1], input_ids=tokens.input_ids, attention_mask=tokens.attention_mask)
    probabilities = out.logits[0].sigmoid()
    boxes, (scores,) = ours.find(ours.see(pixels[:1]), [0], ours.asks(PHRASES))
    # [CLS] red circle . a d ##o ##g . blue square . [SEP]
    spans = ((1, 3), (4, 8), (9, 11))
    for column, (start, stop) in enumerate(spans):
        assert torch.allclose(scores[:, column], probabilities[:, start:stop].mean(-1), atol=1e-6)
    assert torch.allclose(boxes[0], center_to_corners_format(out.pred_boxes[0]), atol=1e-6)


@torch.inference_mode()
def test_owlv2_boxes_are_those_of_its_own_post_processing(tmp_path: Path) -> None:
    folder, image = BUILDERS["owlv2"](tmp_path), noise(120, 80)
    model, tokenizer = AutoModelForZeroShotObjectDetection.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    processor = AutoImageProcessor.from_pretrained(folder)
    inputs = tokenizer(PHRASES, padding="max_length", truncation=True, max_length=16, return_tensors="pt")
    out = model(**inputs, pixel_values=processor(images=image, return_tensors="pt")["pixel_values"])
    (stock,) = processor.post_process_object_detection(out, threshold=0.0, target_sizes=[(80, 120)])
    boxes = stock["boxes"].clamp(min=0).numpy()
    wanted = {
        (PHRASES[label], *np.round(np.minimum(box, [120, 80, 120, 80]), 2).tolist(), round(float(score), 4))
        for label, box, score in zip(stock["labels"].tolist(), boxes, stock["scores"], strict=True)
    }
    found = {(d.phrase, *np.round(d.box, 2).tolist(), round(d.score, 4)) for d in detect(folder, image, PHRASES)[0]}
    assert found <= wanted
    assert len(found) == sum(box[2] > box[0] and box[3] > box[1] for box in np.minimum(boxes, [120, 80, 120, 80]))


@torch.inference_mode()
def test_omdet_turbo_reads_as_the_stock_model_and_keeps_nothing_from_earlier_asks(tmp_path: Path) -> None:
    model, ours, pixels = family(BUILDERS["omdet-turbo"](tmp_path))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    fixed = {"padding": "max_length", "truncation": True, "max_length": 77, "return_tensors": "pt"}
    task, classes = tokenizer(["Detect red circle, a dog."], **fixed), tokenizer(["red circle", "a dog"], **fixed)
    out = model(
        pixel_values=pixels[:1],
        classes_input_ids=classes.input_ids,
        classes_attention_mask=classes.attention_mask,
        tasks_input_ids=task.input_ids,
        tasks_attention_mask=task.attention_mask,
        classes_structure=torch.tensor([2]),
    )
    ours.find(ours.see(pixels), [1], ours.asks(["blue square", "cross"]))
    boxes, (scores,) = ours.find(ours.see(pixels[:1]), [0], ours.asks(PHRASES[:2]))
    assert torch.allclose(scores, out.decoder_class_logits[0].sigmoid(), atol=1e-6)
    assert torch.allclose(boxes[0], center_to_corners_format(out.decoder_coord_logits[0]), atol=1e-6)
    assert len(model.language_cache_class.cache) == 2


@torch.inference_mode()
def test_every_ask_looks_at_its_own_image(folder: Path) -> None:
    _, ours, pixels = family(folder)
    (ask,) = ours.asks(PHRASES)
    together, scores = ours.find(ours.see(pixels), [1, 0], [ask, ask])
    for place, row in enumerate((1, 0)):
        alone, (alone_scores,) = ours.find(ours.see(pixels[row : row + 1]), [0], [ask])
        assert torch.allclose(together[place], alone[0], atol=1e-4)
        assert torch.allclose(scores[place], alone_scores, atol=1e-4)
    assert not torch.allclose(together[0], together[1], atol=1e-3)


def test_order_of_texts_batches_and_neighbours_change_nothing(folder: Path) -> None:
    image, other = noise(seed=3), noise(96, 96, seed=4)
    alone = [detect(folder, image, text)[0] for text in (PHRASES, PHRASES[:1])]
    together = detector(folder, batch_size=2).detect(
        [
            DetectionItem(other, [PHRASES]),
            DetectionItem(image, [PHRASES[:1], PHRASES, PHRASES[::-1]]),
            DetectionItem(other, [[]]),
        ]
    )
    assert close(together[0][0], detect(folder, other, PHRASES)[0])
    assert close(together[1][0], alone[1])
    assert close(together[1][1], alone[0])
    assert together[1][2] == together[1][1]
    assert together[2] == [()]


def test_boxes_lie_in_the_image_and_scores_are_sorted(folder: Path) -> None:
    for size in ((120, 80), (60, 200)):
        (found,) = detect(folder, noise(*size), PHRASES)
        assert found
        assert all(0 <= d.box[0] < d.box[2] <= size[0] and 0 <= d.box[1] < d.box[3] <= size[1] for d in found)
        assert [d.score for d in found] == sorted((d.score for d in found), reverse=True)


def test_boxes_that_score_too_little_are_not_there(dino: Path) -> None:
    (everything,) = detect(dino, noise(), PHRASES)
    middle = float(np.median([d.score for d in everything]))
    (some,) = detect(dino, noise(), PHRASES, threshold=middle)
    assert [d.score for d in some] == [d.score for d in everything if d.score >= middle]
    assert detect(dino, noise(), PHRASES, threshold=1.0) == [()]


def test_of_overlapping_boxes_the_best_stays(tmp_path: Path) -> None:
    folder = BUILDERS["owlv2"](tmp_path)
    (everything,), (apart,) = (detect(folder, noise(), PHRASES, nms=nms) for nms in (1.0, 0.05))
    assert apart[0] == everything[0]
    assert 1 < len(apart) < len(everything)
    overlaps = iou([d.box for d in apart], [d.box for d in apart])
    assert (overlaps - np.eye(len(apart))).max() <= 0.05


def test_per_query_shares_captions_and_each_text_keeps_its_own_phrases(dino: Path) -> None:
    image = noise()
    first, second = detect(dino, image, PHRASES[:2], PHRASES[2:], captions="per_query")
    (all_three,) = detect(dino, image, PHRASES)
    assert {d.phrase for d in first} <= set(PHRASES[:2])
    assert {d.phrase for d in second} == {PHRASES[2]}
    # The boxes are those of one pass for all three phrases, and not those of a caption of the third alone.
    shared, own = {d.box for d in all_three}, {d.box for d in detect(dino, image, PHRASES[2:])[0]}
    assert {d.box for d in first} == {d.box for d in second} == shared
    assert not shared & own


@pytest.mark.parametrize(
    "text",
    [
        [],
        [f"thing {i}" for i in range(200)],
        ["word " * 5000],
        ["[1, 2, 3, 4]"],
        ["<0> <1>"],
        ["собака", "狗", "كلب", "🐕"],
        ["3.5 inch", "...", " "],
        ["[SEP] [CLS] [PAD]"],
    ],
)
def test_odd_texts_are_looked_for_without_a_fault(folder: Path, text: list[str]) -> None:
    (found,) = detect(folder, noise(64, 64), text)
    assert len(found) <= 4 * QUERIES * max(1, len(text))


def test_phrases_too_long_for_a_pass_are_counted(folder: Path) -> None:
    assert detector(folder).reading(["word " * 5000, "red", "Red.", "word " * 6000]) == {"part": 2, "whole": 1}
    assert detector(folder).reading([]) == {}


def test_a_phrase_with_a_word_that_the_vocabulary_cannot_spell_is_not_looked_for(dino: Path) -> None:
    assert detector(dino).reading(["собака", "red 狗", "🐕", "red dog"]) == {"none": 3, "whole": 1}
    assert detect(dino, noise(), ["собака", "red 狗", "🐕"]) == [()]
    assert close(detect(dino, noise(), ["собака", "red dog"])[0], detect(dino, noise(), ["red dog"])[0])


def test_a_tokenizer_with_other_separators_is_refused(tmp_path: Path) -> None:
    folder = build_grounding_dino(tmp_path)
    words = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "?", "red"])}
    BertTokenizerFast(vocab=words).save_pretrained(folder)
    with pytest.raises(ModelError, match=r"gives \[CLS\], \[SEP\], '.' and '\?' the ids \[2, 3, 5, 6\]"):
        detector(folder)


def test_a_panorama_and_a_single_pixel(dino: Path) -> None:
    for size in ((10_000, 200), (1, 1)):
        (found,) = detect(dino, noise(*size), PHRASES)
        assert all(d.box[2] <= size[0] and d.box[3] <= size[1] for d in found)


def test_what_is_no_detector_is_refused_by_its_kind(tmp_path: Path, clip_dir: Path) -> None:
    with pytest.raises(ModelError, match="is of type clip; name a detector of type grounding-dino"):
        detector(clip_dir)
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{")
    for name, said in (("empty", "without config.json"), ("nowhere", "does not exist"), ("broken", "cannot be loaded")):
        with pytest.raises(ModelError, match=rf"score.detector.model \S*{name}.* {said}"):
            detector(tmp_path / name)


def test_a_checkpoint_without_all_its_weights_is_refused(tmp_path: Path) -> None:
    folder = build_grounding_dino(tmp_path)
    model = AutoModelForZeroShotObjectDetection.from_pretrained(folder)
    weights = {name: value.contiguous() for name, value in model.state_dict().items() if "text_projection" not in name}
    model.save_pretrained(folder, state_dict=weights)
    with pytest.raises(ModelError, match=r"lack 2 of the architecture's tensors"):
        detector(folder)
