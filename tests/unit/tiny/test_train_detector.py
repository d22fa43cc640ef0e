"""The training of the bundled detector: its loss is the stock one on one image and right in batches, and it resumes."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForZeroShotObjectDetection
from transformers.loss.loss_grounding_dino import GroundingDinoForObjectDetectionLoss
from transformers.models.grounding_dino.modeling_grounding_dino import build_label_maps, build_text_mask

from spr.tiny import train_detector
from spr.tiny.detection_loss import Targets, detection_loss
from spr.tiny.detector import build_model, build_processor
from spr.tiny.scenes import CATEGORIES, TinyObject, layout
from spr.tiny.schedule import save_checkpoint
from spr.tiny.train_detector import UNSEEN, CaptionedScenes, Plan, asked, repainted, train

_SHORT = Plan(steps_proposals=1, steps=1, steps_sparing=1, batch=2)


def predictions(rows: int, queries: int = 12, tokens: int = 20, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    noise = torch.Generator().manual_seed(seed)
    boxes = torch.rand(rows, queries, 4, generator=noise) * 0.3 + 0.2
    return torch.randn(rows, queries, tokens, generator=noise) - 2, boxes


def caption() -> tuple[torch.Tensor, torch.Tensor]:
    """[CLS] red circle . cross . [SEP]: two phrases."""
    ids = build_processor().tokenizer("red circle. cross.", return_tensors="pt").input_ids
    return ids, torch.tensor([[0.3, 0.3, 0.2, 0.2], [0.6, 0.5, 0.3, 0.1], [0.4, 0.7, 0.1, 0.2]])


def test_the_loss_equals_the_stock_loss_on_one_image() -> None:
    ids, boxes = caption()
    logits, found = predictions(1, tokens=64)
    config = build_model(0).config
    config.two_stage = False
    maps, mask = build_label_maps(logits, ids), build_text_mask(logits, torch.ones_like(ids))
    labels = [{"class_labels": torch.tensor([0, 1, 1]), "boxes": boxes}]
    stock, _, _ = GroundingDinoForObjectDetectionLoss(logits, labels, "cpu", found, config, maps, mask)
    tokens = torch.zeros(1, 3, ids.shape[1])
    tokens[0, 0, 1:3] = 1
    tokens[0, 1:, 4] = 1
    ours = detection_loss(logits, found, Targets(boxes[None], tokens, [3], torch.ones_like(ids, dtype=torch.bool)))
    assert float(ours) == pytest.approx(float(stock), abs=1e-4)


def test_a_batch_is_the_mean_over_boxes_of_its_images() -> None:
    logits, found = predictions(3)
    counts = [1, 3, 2]
    boxes = torch.rand(3, 3, 4, generator=torch.Generator().manual_seed(1)) * 0.3 + 0.3
    tokens = (torch.rand(3, 3, 20, generator=torch.Generator().manual_seed(2)) > 0.7).float()
    tokens[..., 5] = 1
    text = torch.ones(3, 20, dtype=torch.bool)
    text[1, 12:] = False
    whole = detection_loss(logits, found, Targets(boxes, tokens, counts, text))
    alone = [
        detection_loss(logits[i : i + 1], found[i : i + 1], Targets(boxes[i : i + 1], tokens[i : i + 1], [n], text[i : i + 1]))
        for i, n in enumerate(counts)
    ]
    mean = sum(n * loss for n, loss in zip(counts, alone, strict=True)) / sum(counts)
    assert float(whole) == pytest.approx(float(mean), rel=1e-5)


def test_an_image_without_objects_teaches_that_nothing_is_there() -> None:
    logits, found = predictions(1)
    text = torch.ones(1, 20, dtype=torch.bool)
    nothing = Targets(torch.full((1, 1, 4), 0.5), torch.zeros(1, 1, 20), [0], text)
    assert float(detection_loss(logits - 4, found, nothing)) < float(detection_loss(logits, found, nothing))


def test_the_unseen_pairs_are_neither_shown_nor_named() -> None:
    for seed in range(200):
        objects = repainted(layout(seed))
        assert not {(o.color, o.shape) for o in objects} & UNSEEN
        kinds = asked(objects, random.Random(seed), sparing=seed % 2 == 0)
        assert not {(kind.color, kind.shape) for kind in kinds} & UNSEEN
        assert len(kinds) == len(set(map(str, kinds)))


def test_about_half_of_what_is_asked_is_absent() -> None:
    scenes = [(repainted(layout(seed)), seed) for seed in range(300)]
    there = [bool(kind.matches(objects)) for objects, seed in scenes for kind in asked(objects, random.Random(seed), False)]
    assert 0.4 < sum(there) / len(there) < 0.65


def test_half_of_the_sparing_captions_name_nothing_that_is_there() -> None:
    scenes = [(repainted(layout(seed)), seed) for seed in range(300)]
    captions = [(objects, asked(objects, random.Random(seed), True)) for objects, seed in scenes]
    nothing = [not any(kind.matches(objects) for kind in kinds) for objects, kinds in captions]
    assert all(kinds for _, kinds in captions)
    assert 0.45 < sum(nothing) / len(nothing) < 0.75


def test_an_object_is_named_by_the_tokens_of_every_phrase_that_is_true_of_it() -> None:
    batch = CaptionedScenes(build_processor().tokenizer, 0, 16, sparing_from=1)[0]
    words = build_processor().tokenizer.convert_ids_to_tokens
    for row, count in enumerate(batch.targets.counts):
        for i in range(count):
            named = {words(int(batch.input_ids[row, t])) for t in batch.targets.tokens[row, i].nonzero()[:, 0]}
            assert len(named & {"red", "orange", "yellow", "green", "blue", "purple", "pink", "brown"}) <= 1
            assert any({*category.split(), "object"} >= named for category in CATEGORIES)


def test_unseen_pairs_are_real_pairs() -> None:
    assert {f"{color} {shape}" for color, shape in UNSEEN} <= set(CATEGORIES)
    (painted,) = repainted([TinyObject("red", "cross", (0, 0, 20, 20))])
    assert (painted.color, painted.shape, painted.box) == ("orange", "cross", (0, 0, 20, 20))


def test_stopped_and_resumed_training_gives_the_same_weights_and_a_model_that_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(_SHORT, tmp_path / "whole", "cpu", workers=0, save_every=1)

    def stop_at_two(path: Path, modules: torch.nn.Module, optimizer: torch.optim.Optimizer, step: int, seconds: float) -> None:
        save_checkpoint(path, modules, optimizer, step, seconds)
        if step == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(train_detector, "save_checkpoint", stop_at_two)
    with pytest.raises(KeyboardInterrupt):
        train(_SHORT, tmp_path / "halved", "cpu", workers=0, save_every=1)
    monkeypatch.undo()
    assert not (tmp_path / "halved" / "model").exists()
    train(_SHORT, tmp_path / "halved", "cpu", workers=0, save_every=1)
    whole, halved = (load_file(tmp_path / run / "model" / "model.safetensors") for run in ("whole", "halved"))
    assert all(torch.equal(whole[name], halved[name]) for name in whole)
    assert {weight.dtype for weight in whole.values()} == {torch.float16}
    _, loading = AutoModelForZeroShotObjectDetection.from_pretrained(tmp_path / "whole" / "model", output_loading_info=True)
    assert not loading["missing_keys"]
