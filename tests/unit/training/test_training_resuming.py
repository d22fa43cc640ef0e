"""What a training goes on from, and what it refuses to: other pairs, a lost log, what a killed --force left."""

from __future__ import annotations

import shutil

import pytest
import torch
from conftest_training import make_pair, make_recipe
from safetensors.torch import load_file

import spr.training.job as job
from spr.errors import ResumeError
from spr.running.files import read_json, write_json
from spr.training.job import train

PAIRS = [make_pair(i) for i in range(6)]


def stopped_after_two(models, photos, out):
    """A training of four updates, killed after the third, and its recipe."""
    recipe = make_recipe(models("llava"), max_steps=4, save_steps=2)
    train(PAIRS, recipe, photos, out)
    (out / "manifest.json").unlink()
    (out / "checkpoints" / "checkpoint-4" / "complete.json").unlink()
    return recipe


def test_a_pair_whose_photo_went_or_came_since_is_refused_by_name(models, image_root, tmp_path):
    photos, out = tmp_path / "photos", tmp_path / "out"
    shutil.copytree(image_root, photos)
    recipe = stopped_after_two(models, photos, out)
    (photos / "3.png").rename(photos / "away.png")
    with pytest.raises(ResumeError, match=r"checkpoint-2 was trained on other pairs: 1 \(pair-3\) cannot be trained on any"):
        train(PAIRS, recipe, photos, out)
    train(PAIRS, recipe, photos, out, force=True)
    (out / "manifest.json").unlink()
    (photos / "away.png").rename(photos / "3.png")
    with pytest.raises(ResumeError, match=r"pairs: 1 \(pair-3\) could not be trained on then, and can be now; put the"):
        train(PAIRS, recipe, photos, out)


def test_a_checkpoint_that_an_earlier_version_marked_is_refused_and_kept(models, image_root, tmp_path):
    recipe = stopped_after_two(models, image_root, tmp_path)
    marker = tmp_path / "checkpoints" / "checkpoint-2" / "complete.json"
    write_json(marker, read_json(marker)["parts"])
    with pytest.raises(ResumeError, match=r"checkpoint-2 belongs to another training \(made by another version of spr\); give"):
        train(PAIRS, recipe, image_root, tmp_path)
    assert marker.exists()


def test_a_log_that_lacks_updates_is_refused(models, image_root, tmp_path):
    recipe = stopped_after_two(models, image_root, tmp_path)
    log = tmp_path / "log.jsonl"
    for lines in (log.read_text().splitlines()[1:], []):
        log.write_text("\n".join(lines))
        with pytest.raises(
            ResumeError, match=rf"log.jsonl holds {min(len(lines), 1)} of the 2 updates that the last checkpoint"
        ):
            train(PAIRS, recipe, image_root, tmp_path)
    assert train(PAIRS, recipe, image_root, tmp_path, force=True).resumed_from == 0


@pytest.mark.parametrize("killed_at", ["forget_all", "cut_log"])
def test_a_force_that_was_killed_is_gone_on_from(killed_at, models, image_root, tmp_path, monkeypatch):
    recipe = make_recipe(models("llava"), max_steps=4, save_steps=2)
    train(PAIRS, recipe, image_root, tmp_path)
    before = load_file(tmp_path / "adapter" / "adapter_model.safetensors")

    def killed(*arguments):
        raise KeyboardInterrupt

    whole = getattr(job, killed_at)
    monkeypatch.setattr(job, killed_at, killed)
    with pytest.raises(KeyboardInterrupt):
        train(PAIRS, recipe, image_root, tmp_path, force=True)
    monkeypatch.setattr(job, killed_at, whole)
    assert train(PAIRS, recipe, image_root, tmp_path).resumed_from == (4 if killed_at == "forget_all" else 0)
    after = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)
