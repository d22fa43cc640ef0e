"""The reference from disk: computed once, used in every epoch and on resuming, made anew when it is of something else."""

from __future__ import annotations

import json

import pytest
import torch
from conftest_training import make_pair, make_recipe
from safetensors.torch import load_file

from spr.errors import ModelError, RecipeError
from spr.training.job import train
from spr.training.log import read_log
from spr.training.manifest import key_parts
from spr.training.reference import Cache, reference_logps, reference_parts, stored
from spr.training.trainers import SPRDPOTrainer

PAIRS = [make_pair(i, path=f"{0 if i in (0, 2, 4) else i}.png") for i in range(6)]
PARTS = {"model": "m", "pairs": "p", "train.dtype": "float32"}


def adapter(out):
    return load_file(out / "adapter" / "adapter_model.safetensors")


def losses(out):
    return [line["loss"] for line in read_log(out / "log.jsonl")]


@pytest.fixture
def scored(monkeypatch):
    """How many pairs each batch holds that the reference is computed for, and whether each step finds it in its batch."""
    seen = {"reference": [], "steps": []}
    whole, step = SPRDPOTrainer.score_reference, SPRDPOTrainer._compute_loss

    def score(self, rows):
        seen["reference"].append(len(rows))
        return whole(self, rows)

    def take(self, model, inputs, *rest):
        seen["steps"].append("ref_chosen_logps" in inputs)
        return step(self, model, inputs, *rest)

    monkeypatch.setattr(SPRDPOTrainer, "score_reference", score)
    monkeypatch.setattr(SPRDPOTrainer, "_compute_loss", take)
    return seen


def test_a_reference_from_disk_gives_the_losses_of_one_computed_in_every_step(models, image_root, tmp_path, scored):
    for name, precompute in (("inline", False), ("disk", True)):
        recipe = make_recipe(models("llava_onevision"), precompute_reference=precompute, max_steps=6, learning_rate=1e-3)
        train(PAIRS, recipe, image_root, tmp_path / name)
    assert losses(tmp_path / "disk") == pytest.approx(losses(tmp_path / "inline"), rel=1e-4)
    assert not (tmp_path / "inline" / "reference.json").exists()
    assert scored == {"reference": [2, 2, 2], "steps": [False] * 6 + [True] * 6}  # two epochs, one reference


def test_the_same_reference_serves_another_training_and_a_killed_one(models, image_root, tmp_path, scored, capsys):
    train(PAIRS, make_recipe(models("llava"), precompute_reference=True), image_root, tmp_path)
    kept = (tmp_path / "reference.json").read_bytes()
    first = adapter(tmp_path)
    for beta, force in ((0.1, False), (0.5, True)):
        (tmp_path / "manifest.json").unlink()
        train(PAIRS, make_recipe(models("llava"), precompute_reference=True, beta=beta), image_root, tmp_path, force=force)
        assert (tmp_path / "reference.json").read_bytes() == kept
        assert all(torch.equal(value, first[name]) for name, value in adapter(tmp_path).items()) == (beta == 0.1)
    assert scored["reference"] == [2, 2, 2]
    assert "reference" not in capsys.readouterr().err


def test_a_reference_of_something_else_is_computed_again_and_that_is_said(models, image_root, tmp_path, scored, capsys):
    train(PAIRS, make_recipe(models("llava"), precompute_reference=True), image_root, tmp_path)
    capsys.readouterr()
    half = make_recipe(models("llava"), precompute_reference=True, dtype="bfloat16")
    train(PAIRS, half, image_root, tmp_path, force=True)
    said = capsys.readouterr().err
    assert "reference.json is of another reference (train.dtype was 'float32', is now 'bfloat16'); it is computed again" in said
    assert json.loads((tmp_path / "reference.json").read_text())["parts"]["train.dtype"] == "bfloat16"
    train(PAIRS[:4], half, image_root, tmp_path, force=True)
    assert "reference.json is of another reference (pairs); it is computed again" in capsys.readouterr().err
    assert scored["reference"] == [2, 2, 2, 2, 2, 2, 2, 2]


def test_progress_is_told_of_the_reference_too(models, image_root, tmp_path):
    told = []
    recipe = make_recipe(models("llava"), precompute_reference=True)
    train(PAIRS, recipe, image_root, tmp_path, progress=lambda *args: told.append(args[:3]))
    assert [one for one in told if one[0] == "reference"] == [
        ("reference", 0, 6),
        ("reference", 2, 6),
        ("reference", 4, 6),
        ("reference", 6, 6),
    ]


@pytest.mark.parametrize("broken", ['{"parts": {}, "logps": {"a": [1]}}', '{"parts": 3, "logps": {}}', "[]", "{"])
def test_a_file_that_cannot_be_read_is_computed_again_and_that_is_said(broken, tmp_path, capsys):
    cache = Cache(tmp_path / "reference.json", {"pairs": "x"}, PAIRS, 2)
    assert stored(cache) == {}
    assert capsys.readouterr().err == ""
    cache.path.write_text(broken)
    assert stored(cache) == {}
    assert "reference.json cannot be read; it is computed again" in capsys.readouterr().err


def test_a_pass_that_was_stopped_goes_on_batch_by_batch_and_ends_alike(tmp_path, monkeypatch):
    monkeypatch.setattr("spr.training.reference.SECONDS_BETWEEN_SAVES", -1.0)
    asked = []

    def score(rows, stop_at=None):
        if len(asked) == stop_at:
            raise KeyboardInterrupt
        asked.append(list(rows))
        return [(-1.0 - row / 3, -2.0 - row) for row in rows]

    killed, whole = (Cache(tmp_path / f"{name}.json", PARTS, PAIRS, 2) for name in ("killed", "whole"))
    with pytest.raises(KeyboardInterrupt):
        reference_logps(killed, {}, lambda rows: score(rows, stop_at=2))
    resumed = reference_logps(killed, stored(killed), score)
    assert len(asked) == 3
    whole = reference_logps(whole, {}, score)
    assert resumed == whole == {row: (-1.0 - row / 3, -2.0 - row) for row in range(6)}
    assert asked[:3] == asked[3:]


@pytest.mark.parametrize("logps", [(float("nan"), -1.0), (-1.0, float("-inf"))], ids=["chosen", "rejected"])
@pytest.mark.parametrize(("dtype", "helps"), [("bfloat16", "set train.dtype to float32"), ("float32", "leave that pair out")])
def test_a_reference_that_is_not_finite_names_its_pair(dtype, helps, logps, tmp_path):
    cache = Cache(tmp_path / "r.json", {**PARTS, "train.dtype": dtype}, PAIRS, 2)
    with pytest.raises(ModelError, match=rf"log-probability of pair pair-\d is not finite; {helps}"):
        reference_logps(cache, {}, lambda rows: [logps] * len(rows))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "is_another"),
    [({"batch_size": 3}, True), ({"threads": 3}, True), ({"prefix_sharing": "off"}, True), ({"beta": 0.3}, False)],
    ids=str,
)
def test_a_reference_is_of_what_is_computed_together(change, is_another, models):
    plain, changed = (
        reference_parts(key_parts(PAIRS, make_recipe(models("llava"), **{"threads": 2, **some}))) for some in ({}, change)
    )
    assert (plain != changed) == is_another


def test_sft_has_no_reference_to_compute(models):
    with pytest.raises(RecipeError, match="objective sft has no reference"):
        make_recipe(models("llava"), objective="sft", precompute_reference=True)


@pytest.mark.parametrize(
    "options", [{"prefix_sharing": "tree"}, {"prefix_sharing": "off", "reuse_image_features": False}], ids=str
)
def test_ways_to_share_train_alike_on_the_same_batches(options, models, image_root, tmp_path):
    # One batch of all pairs, whatever their order.
    for name, some in (("pair", {"prefix_sharing": "pair"}), ("other", options)):
        recipe = make_recipe(models("llava_onevision"), batch_size=6, max_steps=3, learning_rate=1e-3, **some)
        train(PAIRS, recipe, image_root, tmp_path / name)
    assert losses(tmp_path / "other") == pytest.approx(losses(tmp_path / "pair"), rel=1e-4)


def test_a_tree_is_fed_with_batches_of_one_image_and_resumes(models, image_root, tmp_path, monkeypatch):
    met = []
    step = SPRDPOTrainer._compute_loss

    def watched(self, model, inputs, *rest):
        met.append([len(group.pairs) for group in inputs["layout"].groups])
        return step(self, model, inputs, *rest)

    monkeypatch.setattr(SPRDPOTrainer, "_compute_loss", watched)
    pairs = [make_pair(i, path=f"{i % 2}.png") for i in range(8)]
    recipe = make_recipe(models("llava"), prefix_sharing="tree", batch_size=4, max_steps=6, save_steps=4)
    whole = train(pairs, recipe, image_root, tmp_path)
    assert met == [[4]] * 6
    (tmp_path / "manifest.json").unlink()
    (tmp_path / "checkpoints" / "checkpoint-6" / "complete.json").unlink()
    before = adapter(tmp_path)
    resumed = train(pairs, recipe, image_root, tmp_path)
    assert (whole.resumed_from, resumed.resumed_from, whole.prefix_sharing) == (0, 4, "tree")
    assert all(torch.equal(value, before[name]) for name, value in adapter(tmp_path).items())


def test_a_family_that_cannot_branch_trains_unshared_says_so_once_and_keeps_it_in_the_manifest(
    models, image_root, tmp_path, capsys
):
    report = train(PAIRS, make_recipe(models("paligemma"), prefix_sharing="tree"), image_root, tmp_path)
    reason = "off: the attention of paligemma is not known to be causal at every layer"
    assert report.prefix_sharing == json.loads((tmp_path / "manifest.json").read_text())["report"]["prefix_sharing"] == reason
    said = [line for line in capsys.readouterr().err.splitlines() if "prefix_sharing" in line]
    assert said == [f"train: prefix_sharing is off instead of tree: {reason.removeprefix('off: ')}"]
