"""A recipe's training in TRL's words: the device that was asked for, and no model besides the one that is trained."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType
from conftest_training import make_pair, make_recipe
from trl.trainer import dpo_trainer

from spr.errors import RecipeError
from spr.training import job
from spr.training.arguments import _one_device, arguments
from spr.training.internals import no_second_model
from spr.training.job import train


@pytest.fixture
def two_gpus(monkeypatch):
    """As if there were two, for as long as nothing is computed; the devices that are chosen. Accelerate forgets them after."""
    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: chosen.append(str(device)))
    AcceleratorState._reset_state(reset_partial_state=True)
    yield chosen
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.parametrize("objective", ["dpo", "sft"])
def test_of_several_gpus_the_one_that_was_asked_for_is_taken(objective, two_gpus, tmp_path):
    made = arguments(make_recipe(tmp_path / "no model", objective=objective), 1, tmp_path / "a" / "b", "cuda:1")
    assert (str(made.device), made.n_gpu, made.train_batch_size, two_gpus[-1]) == ("cuda:1", 1, 2, "cuda:1")


@pytest.mark.parametrize("kind", [DistributedType.MULTI_GPU, DistributedType.DEEPSPEED])
def test_a_device_that_the_launcher_chose_is_left_to_it(kind, two_gpus):
    made = SimpleNamespace(n_gpu=1, distributed_state=SimpleNamespace(distributed_type=kind))
    assert _one_device(made, "cuda:1") is made
    assert not two_gpus
    assert "_setup_devices" not in made.__dict__


def refused(*arguments, **options):
    raise AssertionError


@pytest.fixture
def no_second(monkeypatch):
    for name in ("hash_module", "create_model_from_path"):
        monkeypatch.setattr(dpo_trainer, name, refused)


def test_a_model_that_is_trained_whole_is_not_hashed(no_second, models, image_root, tmp_path):
    pairs = [make_pair(i) for i in range(2)]
    train(pairs, make_recipe(models("llava"), method="full", max_steps=1), image_root, tmp_path)
    assert dpo_trainer.hash_module is refused


def test_no_second_model_is_loaded_until_trl_has_its_functions_back(no_second):
    with no_second_model():
        assert dpo_trainer.create_model_from_path("meta/model", dtype="auto") is None
    with pytest.raises(KeyError), no_second_model():
        raise KeyError
    assert dpo_trainer.create_model_from_path is refused


def test_processes_that_cannot_share_an_update_are_refused_before_pairs_are_looked_at(models, tmp_path, monkeypatch):
    monkeypatch.setattr(job, "in_turn", lambda _: nullcontext())
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(RecipeError, match=r"gradient_accumulation is 16 batches an update, which 3 processes cannot share"):
        train([], make_recipe(models("llava"), gradient_accumulation=16), tmp_path, tmp_path)
