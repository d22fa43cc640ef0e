"""A recipe's training in TRL's words: the device that was asked for, and no model besides the one that is trained."""

from __future__ import annotations

import pytest
import torch
from conftest_training import make_pair, make_recipe
from trl.trainer import dpo_trainer

from spr.errors import RecipeError
from spr.training.arguments import arguments
from spr.training.job import train


@pytest.mark.parametrize("objective", ["dpo", "sft"])
def test_of_several_gpus_the_one_that_was_asked_for_is_taken(objective, models, tmp_path, monkeypatch):
    chosen = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: chosen.append(str(device)))
    made = arguments(make_recipe(models("llava"), objective=objective), 1, tmp_path / "a" / "b", "cuda:1")
    assert (str(made.device), made.n_gpu, made.train_batch_size, chosen[-1]) == ("cuda:1", 1, 2, "cuda:1")


def test_a_model_that_is_trained_whole_is_neither_loaded_again_nor_hashed(models, image_root, tmp_path, monkeypatch):
    def asked(*arguments, **options):
        raise AssertionError

    for name in ("hash_module", "create_model_from_path"):
        monkeypatch.setattr(dpo_trainer, name, asked)
    pairs = [make_pair(i) for i in range(2)]
    train(pairs, make_recipe(models("llava"), method="full", max_steps=1), image_root, tmp_path)
    assert dpo_trainer.hash_module is asked


def test_processes_that_cannot_share_an_update_are_refused_before_pairs_are_looked_at(models, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(RecipeError, match=r"gradient_accumulation is 16 batches an update, which 3 processes cannot share"):
        train([], make_recipe(models("llava"), gradient_accumulation=16), tmp_path, tmp_path)
