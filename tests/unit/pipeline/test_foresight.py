"""The memory that is said between preflight and training: `spr plan`'s arithmetic on counted tokens."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from spr.models.shapes import PUBLISHED
from spr.pipeline import foresight
from spr.pipeline.estimates.costs import Pairs, training_memory
from spr.recipe import check_recipe
from spr.training.preflight import Preflight

PALIGEMMA = "google/paligemma-3b-mix-448"
LENGTHS = {"prompt": {"max": 1100.0}, "chosen": {"max": 90.0}, "rejected": {"max": 50.0}, "sequence": {"max": 1190.0}}
READY = Preflight((SimpleNamespace(size=(640, 480)),), (), (), LENGTHS, {}, 5)  # type: ignore[arg-type]


def recipe(name=PALIGEMMA, **train):
    values = {
        "source": {"annotations": "a.json", "image_root": "."},
        "model": {"name": name, "dialect": "paligemma"},
        "score": {"weight": 0, "localization": {"preset": "annotations_only"}},
        "train": {"batch_size": 2, "lora": {"r": 8}, **train},
    }
    return check_recipe(values, "test")


@pytest.mark.parametrize(("objective", "answer"), [("dpo", 70), ("sft", 90)])
def test_the_longest_pairs_count(objective, answer, monkeypatch):
    step = Pairs(2, 1100, answer, 1024, 8, shared=False, sft=objective == "sft", checkpointed=True)
    needed = training_memory(PUBLISHED[PALIGEMMA], step, "bfloat16", fused=False)
    for there, said in ((needed, "train: about "), (needed - 1, "WARNING: train needs about ")):
        monkeypatch.setattr(foresight, "device_memory", lambda _, there=there: there)
        line = foresight.memory_line(recipe(objective=objective), "cpu", READY)
        assert line.startswith(f"{said}{foresight.bytes_text(needed)} at the peak")
    assert "lower train.batch_size or the pixel limits" in line


def test_the_weights_that_are_trained_themselves_are_counted(monkeypatch):
    monkeypatch.setattr(foresight, "device_memory", lambda _: 2**60)
    said = foresight.memory_line(recipe(method="full", lora={}), "cpu", READY)
    step = Pairs(2, 1100, 70, 1024, 128, shared=False, sft=False, checkpointed=True, full=True)
    needed = training_memory(PUBLISHED[PALIGEMMA], step, "bfloat16", fused=False)
    assert needed > 16 * PUBLISHED[PALIGEMMA].language
    assert said.startswith(f"train: about {foresight.bytes_text(needed)} at the peak")


def test_what_the_arithmetic_does_not_cover_gets_no_figure():
    assert foresight.memory_line(recipe(vision_tower="tuned"), "cpu", READY) == (
        "train: how much memory it takes is unknown: what a tuned vision tower takes is not counted"
    )


def test_an_unknown_model_is_said_to_be_unknown():
    line = foresight.memory_line(recipe("someone/model"), "cpu", READY)
    assert line == "train: how much memory it takes is unknown: the model's config.json is not here"
