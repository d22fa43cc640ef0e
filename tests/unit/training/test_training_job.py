"""The training job as a whole: what moves, what it writes, and that stopping it changes nothing."""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest_training import FAMILIES, make_pair, make_recipe
from safetensors.torch import load_file
from transformers import TrainerControl, TrainerState, TrainingArguments

from spr.errors import DataError, ModelError, RecipeError, ResumeError
from spr.models.loading import load_model_and_processor
from spr.training.encoding import PairEncoder
from spr.training.job import train
from spr.training.log import UpdateLog, read_log
from spr.training.order import stream

PAIRS = [make_pair(i) for i in range(6)]


def tensors(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "adapter" / "adapter_model.safetensors")


@pytest.mark.parametrize("objective", ["dpo", "sft"])
@pytest.mark.parametrize("family", FAMILIES)
def test_two_updates_move_every_adapter_parameter_and_none_of_the_base(family, objective, models, image_root, tmp_path):
    # Two: lora_B starts at zero, so lora_A has no gradient at the very first update.
    recipe = make_recipe(models(family), objective=objective)
    first = train(PAIRS, make_recipe(models(family), objective=objective, max_steps=1), image_root, tmp_path / "one")
    second = train(PAIRS, recipe, image_root, tmp_path / "two")
    one, two = tensors(tmp_path / "one"), tensors(tmp_path / "two")
    assert one.keys() == two.keys()
    assert len(one) == 2 * 2 * 7  # A and B of seven projections in two layers
    assert all(not torch.equal(one[name], two[name]) for name in one)
    assert all("language_model" in name for name in one)
    assert (first.updates, second.updates) == (1, 2)


def test_the_first_dpo_loss_is_ln_2(models, image_root, tmp_path):
    train(PAIRS, make_recipe(models("llava"), max_steps=1), image_root, tmp_path)
    (line,) = read_log(tmp_path / "log.jsonl")
    assert line["loss"] == pytest.approx(0.693147, abs=1e-5)
    assert line["rewards/margins"] == pytest.approx(0, abs=1e-5)


def test_the_log_has_one_line_an_update_with_what_is_watched(models, image_root, tmp_path):
    train(PAIRS, make_recipe(models("llava"), max_steps=3), image_root, tmp_path)
    lines = read_log(tmp_path / "log.jsonl")
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert lines[2]["epoch"] == 1.0
    watched = {"loss", "logps/chosen", "logps/rejected", "rewards/margins", "rewards/accuracies", "learning_rate", "grad_norm"}
    assert watched <= lines[0].keys()


def test_margins_grow_when_the_same_pairs_are_seen_again(models, image_root, tmp_path):
    report = train(PAIRS, make_recipe(models("llava"), max_steps=12), image_root, tmp_path)
    assert report.final["rewards/margins"] > 0.1
    assert report.final["loss"] < 0.65


def test_a_finished_training_is_not_done_again(models, image_root, tmp_path):
    recipe = make_recipe(models("llava"))
    first = train(PAIRS, recipe, image_root, tmp_path)
    stamp = (tmp_path / "adapter" / "adapter_model.safetensors").stat().st_mtime_ns
    second = train(list(reversed(PAIRS)), recipe, image_root, tmp_path)
    assert first.fresh
    assert not second.fresh
    assert second.final == first.final
    assert (tmp_path / "adapter" / "adapter_model.safetensors").stat().st_mtime_ns == stamp


def test_another_recipe_is_refused_by_name_and_forced_over(models, image_root, tmp_path):
    train(PAIRS, make_recipe(models("llava")), image_root, tmp_path)
    other = make_recipe(models("llava"), learning_rate=2e-2)
    with pytest.raises(ResumeError, match=r"train.learning_rate was 0.01, is now 0.02"):
        train(PAIRS, other, image_root, tmp_path)
    assert train(PAIRS, other, image_root, tmp_path, force=True).fresh


def test_a_training_that_cannot_begin_leaves_what_is_there(models, image_root, tmp_path):
    train(PAIRS, make_recipe(models("llava")), image_root, tmp_path)
    before = {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()}
    nothing = make_recipe(models("llava"), lora={"r": 4, "target_modules": "nothing"})
    with pytest.raises(RecipeError, match="nothing"):
        train(PAIRS, nothing, image_root, tmp_path, force=True)
    with pytest.raises(DataError, match="image_missing"):
        train(PAIRS, make_recipe(models("llava")), tmp_path / "elsewhere", tmp_path, force=True)
    assert {path: path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()} == before
    assert train(PAIRS, make_recipe(models("llava")), image_root, tmp_path).fresh is False


def test_other_pairs_are_refused_from_a_checkpoint(models, image_root, tmp_path):
    recipe = make_recipe(models("llava"), save_steps=1)
    train(PAIRS, recipe, image_root, tmp_path)
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(ResumeError, match=r"checkpoint-\d belongs to another training \(pairs\)"):
        train(PAIRS[:4], recipe, image_root, tmp_path)


@pytest.mark.parametrize(
    ("objective", "accumulation"),
    [("dpo", 1), ("dpo", 2), ("sft", 1)],
)
@pytest.mark.slow
def test_killed_and_resumed_equals_uninterrupted(objective, accumulation, models, image_root, tmp_path):
    options = {"objective": objective, "gradient_accumulation": accumulation, "max_steps": 7, "save_steps": 2}
    options["lora"] = {"r": 4, "alpha": 8, "dropout": 0.1}
    recipe = make_recipe(models("llava"), **options)
    script = Path(__file__).with_name("train_and_die.py")
    arguments = [str(models("llava")), json.dumps(options), str(image_root), str(tmp_path / "killed"), "5"]
    done = subprocess.run([sys.executable, str(script), *arguments], env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed" / "manifest.json").exists()
    torch.set_num_threads(1)
    torch.rand(3)  # the random state a resumed process starts with is not the killed one's
    resumed = train(PAIRS, recipe, image_root, tmp_path / "killed")
    whole = train(PAIRS, recipe, image_root, tmp_path / "whole")
    assert (resumed.resumed_from, whole.resumed_from) == (4, 0)
    killed, uninterrupted = tensors(tmp_path / "killed"), tensors(tmp_path / "whole")
    assert all(torch.equal(killed[name], uninterrupted[name]) for name in uninterrupted)
    logs = [
        [{k: v for k, v in line.items() if "per_second" not in k} for line in read_log(tmp_path / name / "log.jsonl")]
        for name in ("killed", "whole")
    ]
    assert logs[0] == logs[1]


def test_a_checkpoint_without_its_marker_is_passed_over(models, image_root, tmp_path):
    recipe = make_recipe(models("llava"), max_steps=4, save_steps=2)
    train(PAIRS, recipe, image_root, tmp_path)
    whole = tensors(tmp_path)
    (tmp_path / "manifest.json").unlink()
    (tmp_path / "checkpoints" / "checkpoint-4" / "complete.json").unlink()
    (tmp_path / "checkpoints" / "checkpoint-4" / "optimizer.pt").write_bytes(b"half")
    report = train(PAIRS, recipe, image_root, tmp_path)
    assert report.resumed_from == 2
    assert all(torch.equal(value, whole[name]) for name, value in tensors(tmp_path).items())


@pytest.mark.parametrize("loss", ["sigmoid", "hinge", "ipo"])
def test_a_batch_of_8_is_a_batch_of_1_accumulated_8_times(loss, models, image_root, tmp_path):
    for name, batch in (("together", 8), ("apart", 1)):
        options = {"batch_size": batch, "gradient_accumulation": 8 // batch, "loss_type": [loss]}
        recipe = make_recipe(models("llava"), max_steps=2, **options)
        train([make_pair(i) for i in range(16)], recipe, image_root, tmp_path / name)
    together, apart = tensors(tmp_path / "together"), tensors(tmp_path / "apart")
    for name, value in together.items():
        torch.testing.assert_close(value, apart[name], atol=2e-4, rtol=1e-3)
    losses = [[line["loss"] for line in read_log(tmp_path / name / "log.jsonl")] for name in ("together", "apart")]
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def test_the_manifest_holds_key_parts_counts_versions_and_token_lengths(models, image_root, tmp_path):
    missing = make_pair(7, path="missing.png")
    train([*PAIRS, missing], make_recipe(models("llava")), image_root, tmp_path)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["parts"]["train.beta"] == 0.1
    assert manifest["report"]["pairs"] == 6
    assert manifest["report"]["dropped"] == [{"row_id": "pair-7", "stage": "policy", "reason": "image_missing"}]
    assert manifest["report"]["lengths"]["prompt"]["min"] > 16
    assert {"torch", "trl", "peft", "transformers"} <= manifest["versions"].keys()


def test_the_adapter_folder_holds_the_processor_too(models, image_root, tmp_path):
    report = train(PAIRS, make_recipe(models("llava")), image_root, tmp_path)
    names = {path.name for path in report.adapter.iterdir()}
    assert {"adapter_model.safetensors", "adapter_config.json", "tokenizer.json", "processor_config.json"} <= names


def test_sft_raises_the_chosen_answers_and_reports_no_displacement(models, image_root, tmp_path):
    recipe = make_recipe(models("llava"), objective="sft", max_steps=12)
    report = train(PAIRS, recipe, image_root, tmp_path)
    assert report.chosen_last > report.chosen_first
    assert not report.displaced


def test_gradient_checkpointing_changes_no_number_and_adds_no_hooks(models, image_root, tmp_path):
    hooks = []

    def count(phase, done, total, metrics):
        embeddings = [item for item in gc.get_objects() if type(item) is torch.nn.Embedding]
        hooks.append(max(len(embedding._forward_hooks) for embedding in embeddings))

    for name, checkpointing in (("off", False), ("on", True)):
        recipe = make_recipe(models("llava"), gradient_checkpointing=checkpointing, max_steps=3)
        train(PAIRS, recipe, image_root, tmp_path / name, progress=count if checkpointing else None)
    off, on = ([line["loss"] for line in read_log(tmp_path / name / "log.jsonl")] for name in ("off", "on"))
    assert on == pytest.approx(off, abs=1e-5)
    assert hooks[-3] == hooks[-1]


def test_bfloat16_is_obeyed_on_a_cpu(models, image_root, tmp_path):
    train(PAIRS, make_recipe(models("llava"), dtype="bfloat16", max_steps=2), image_root, tmp_path)
    half = [line["loss"] for line in read_log(tmp_path / "log.jsonl")]
    assert half[0] == pytest.approx(0.693147, abs=1e-2)
    assert (tmp_path / "manifest.json").exists()


@pytest.mark.parametrize(("objective", "warmup", "good"), [("sft", 0.0, 0), ("dpo", 1.0, 1)])
def test_a_loss_that_is_not_finite_stops_the_training_and_leaves_no_checkpoint_that_gave_it(
    objective, warmup, good, models, image_root, tmp_path
):
    # Without warm-up the first update ruins the weights, with it the second; the loss shows it one update later.
    options = {"learning_rate": 1e30, "warmup_ratio": warmup, "save_steps": 1, "max_steps": 6}
    recipe = make_recipe(models("llava"), objective=objective, scheduler="constant_with_warmup", **options)
    kept = (
        f"the last good checkpoint, of update {good}, is .*checkpoint-{good}" if good else "there is no checkpoint from before"
    )
    seen = [f"pair-{i}" for i in stream([pair.pair_id for pair in PAIRS], recipe.seed, 12)[2 * good + 2 : 2 * good + 4]]
    said = rf"the loss of update {good + 2} is nan; in its batch were {', '.join(seen)}; {kept}. Lower train.learning_rate"
    with pytest.raises(ModelError, match=said) as stopped:
        train(PAIRS, recipe, image_root, tmp_path)
    assert "float32" not in str(stopped.value)  # it computes in it already
    assert ("with --force, which removes that checkpoint: copy it first" in str(stopped.value)) == bool(good)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == [f"checkpoint-{good}"] * bool(good)
    assert [line["step"] for line in read_log(tmp_path / "log.jsonl")] == list(range(1, good + 2))
    with pytest.raises(ModelError, match=said):  # the same again, from the good one
        train(PAIRS, recipe, image_root, tmp_path)


@pytest.mark.parametrize("half", [True, False])
def test_a_gradient_that_is_not_finite_names_sixteen_pairs_and_keeps_the_checkpoint(half, tmp_path):
    checkpoint = tmp_path / "checkpoint-1"
    checkpoint.mkdir()
    (checkpoint / "complete.json").write_text("{}")
    log = UpdateLog(tmp_path / "log.jsonl", 40, 20, None, [f"pair-{i}" for i in range(40)])
    arguments, state = TrainingArguments(str(tmp_path), bf16=half, use_cpu=True), TrainerState(global_step=2, max_steps=2)
    said = (
        r"the gradient norm of update 2 is inf; in its batch were pair-20, .*, pair-35 and 4 more; the last good checkpoint, of"
    )
    with pytest.raises(ModelError, match=said) as stopped:
        log.on_log(arguments, state, TrainerControl(), {"loss": 0.5, "grad_norm": float("inf")})
    assert (", or set train.dtype to float32; a changed recipe" in str(stopped.value)) == half
    assert checkpoint.exists()
    assert read_log(tmp_path / "log.jsonl") == []


def test_a_photo_that_vanishes_while_training_is_an_error(models, image_root, tmp_path, monkeypatch):
    monkeypatch.setattr(PairEncoder.__init__, "__defaults__", (1,))  # nothing is kept, so photos are read again
    photos = tmp_path / "photos"
    shutil.copytree(image_root, photos)

    def remove(phase, done, total, metrics):
        if phase == "preflight" and done == total:
            shutil.rmtree(photos)

    with pytest.raises(DataError, match="a photo changed while training"):
        train(PAIRS, make_recipe(models("llava")), photos, tmp_path / "out", progress=remove)


def test_no_pairs_at_all_is_an_error(models, image_root, tmp_path):
    with pytest.raises(DataError, match="no preference pairs"):
        train([], make_recipe(models("llava")), image_root, tmp_path)


def test_a_model_that_is_not_there_is_an_error(image_root, tmp_path):
    with pytest.raises(ModelError, match="nowhere"):
        load_model_and_processor(make_recipe(tmp_path / "nowhere").model, "cpu", "float32")


def test_progress_is_told_both_phases(models, image_root, tmp_path):
    told = []
    train(PAIRS, make_recipe(models("llava")), image_root, tmp_path, progress=lambda *args: told.append(args[:3]))
    assert told == [("preflight", i, 6) for i in range(7)] + [("train", i, 2) for i in range(3)]
