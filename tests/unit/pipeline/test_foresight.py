"""The memory and time that are said between preflight and training: `spr plan`'s arithmetic on counted tokens."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from spr.models.shapes import PUBLISHED
from spr.pipeline import foresight
from spr.pipeline.estimates.costs import Pairs, training_memory, training_seconds, update_seconds
from spr.pipeline.estimates.device import Speed
from spr.pipeline.estimates.units import time_text
from spr.recipe import check_recipe
from spr.training.preflight import Preflight

PALIGEMMA = "google/paligemma-3b-mix-448"
LENGTHS = {
    "prompt": {"median": 1000.0, "max": 1100.0},
    "chosen": {"median": 70.0, "max": 90.0},
    "rejected": {"median": 30.0, "max": 50.0},
}
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
        line, _ = foresight.foreseen(recipe(objective=objective), "cpu", READY, 9)
        assert line.startswith(f"{said}{foresight.bytes_text(needed)} at the peak")
    assert "lower train.batch_size or the pixel limits" in line


def test_the_weights_that_are_trained_themselves_are_counted(monkeypatch):
    monkeypatch.setattr(foresight, "device_memory", lambda _: 2**60)
    said, _ = foresight.foreseen(recipe(method="full", lora={}), "cpu", READY, 9)
    step = Pairs(2, 1100, 70, 1024, 128, shared=False, sft=False, checkpointed=True, full=True)
    needed = training_memory(PUBLISHED[PALIGEMMA], step, "bfloat16", fused=False)
    assert needed > 16 * PUBLISHED[PALIGEMMA].language
    assert said.startswith(f"train: about {foresight.bytes_text(needed)} at the peak")


def test_what_the_arithmetic_does_not_cover_gets_no_figure():
    assert foresight.foreseen(recipe(vision_tower="tuned"), "cpu", READY, 9) == [
        "train: how much memory and time it takes is unknown: what a tuned vision tower takes is not counted"
    ]


def test_an_unknown_model_is_said_to_be_unknown():
    assert foresight.foreseen(recipe("someone/model"), "cpu", READY, 9) == [
        "train: how much memory and time it takes is unknown: the model's config.json is not here"
    ]


def test_weights_that_are_parted_over_processes_get_no_figure(monkeypatch):
    def alone(*_):  # under ZeRO-3 the processes make a model together, or wait for each other for ever
        raise AssertionError

    monkeypatch.setattr(foresight, "known_shape", alone)
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    (said,) = foresight.foreseen(recipe(), "cpu", READY, 9)
    assert said.endswith("is unknown: FSDP and ZeRO-3 part the weights over the processes")


def test_when_no_update_is_left_there_is_no_time_to_tell(monkeypatch):
    monkeypatch.setattr(foresight, "device_memory", lambda _: 2**60)
    (said,) = foresight.foreseen(recipe(), "cpu", READY, 0)
    assert said.endswith("that cpu has")


@pytest.mark.parametrize("processes", [1, 4])
def test_the_time_is_that_of_pairs_of_median_length_shared_by_the_processes(processes, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", str(processes))
    speed = Speed("cpu", flops=1e12, bandwidth=1e10, call=1e-5)
    monkeypatch.setattr(foresight, "measure", lambda *_: speed)
    _, said = foresight.foreseen(recipe(gradient_accumulation=8), "cpu", READY, 9)
    step = Pairs(2, 1000, 50, 1024, 8, shared=False, sft=False, checkpointed=True)
    shape = PUBLISHED[PALIGEMMA]
    update = 8 / processes * training_seconds(shape, step, speed, fused=False) + update_seconds(shape, step, speed)
    assert said == f"train: about {time_text(9 * update)} for 9 updates, by the arithmetic of `spr plan`"
