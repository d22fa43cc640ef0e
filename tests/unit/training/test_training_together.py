"""Several processes that are one training: the same updates as one process, whichever way the weights lie."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env
from conftest_training import make_pair, make_recipe

from spr.errors import RecipeError
from spr.pipeline import run as run_recipe
from spr.running.files import read_json
from spr.training.job import train
from spr.training.log import read_log
from spr.training.together import accumulation

CONFIGS = Path(__file__).parents[3] / "recipes" / "accelerate"
BIN = Path(sys.executable).parent
PAIRS = [make_pair(i) for i in range(6)]
OPTIONS = {"batch_size": 1, "gradient_accumulation": 4, "max_steps": 3, "save_steps": 2}
SUMS = {"loss", "grad_norm", "rewards/chosen", "rewards/margins", "logps/chosen", "logps/rejected"}
"""Metrics that are means over pairs; those over tokens weigh the tokens of a batch, which are others in two processes."""


def environment(name: str) -> dict[str, str]:
    """What `accelerate launch` sets for a training in two processes by one of the bundled configurations."""
    parsed = launch_command_parser().parse_args(
        ["--config_file", str(CONFIGS / f"{name}.yaml"), "--num_processes", "2", "x.py"]
    )
    parsed.deepspeed_fields_from_accelerate_config = ""
    settled, _, _ = _validate_launch_command(parsed)
    if settled.use_deepspeed:
        changed = prepare_deepspeed_cmd_env(settled)[1] | {"DS_ACCELERATOR": "cpu", "PATH": f"{BIN}:{os.environ['PATH']}"}
    else:
        changed = prepare_multi_gpu_env(settled)
    return {name: value for name, value in changed.items() if os.environ.get(name) != value} | {"OMP_NUM_THREADS": "1"}


def launched(name, models, options, image_root, out, family="llava", start=None):
    """Train in two processes on CPUs; how many of the model's weights were parted."""
    script = Path(__file__).with_name("train_together.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script)]
    arguments = [str(models(family)), json.dumps(options), str(image_root), str(out), *([str(start)] if start else [])]
    done = subprocess.run(
        [*command, *arguments], env=os.environ | environment(name), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-12000:]
    return json.loads(done.stdout.splitlines()[-1])["parted"]


def same_updates(one, other):
    first, second = read_log(one / "log.jsonl"), read_log(other / "log.jsonl")
    assert len(first) == len(second) == 3
    for a, b in zip(first, second, strict=True):
        for name in SUMS & a.keys():
            assert b[name] == pytest.approx(a[name], rel=1e-4, abs=1e-6), name


@pytest.mark.parametrize("objective", ["dpo", pytest.param("sft", marks=pytest.mark.slow)])
def test_two_processes_share_an_update(objective, models, image_root, tmp_path):
    options = OPTIONS | {"objective": objective}
    torch.set_num_threads(1)
    train(PAIRS, make_recipe(models("llava"), **options), image_root, tmp_path / "one")
    assert launched("ddp", models, options, image_root, tmp_path / "two") == 0
    same_updates(tmp_path / "one", tmp_path / "two")
    assert (tmp_path / "two" / "manifest.json").is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [{}, {"gradient_checkpointing": True}, {"method": "full", "gradient_checkpointing": True}],
    ids=lambda more: "-".join(more) or "plain",
)
def test_two_processes_of_deepspeed_share_an_update(more, models, image_root, tmp_path):
    torch.set_num_threads(1)
    train(PAIRS, make_recipe(models("llava_onevision"), **OPTIONS, **more), image_root, tmp_path / "one")
    assert launched("zero3", models, OPTIONS | more, image_root, tmp_path / "two", "llava_onevision") > 60
    same_updates(tmp_path / "one", tmp_path / "two")


@pytest.mark.slow
@pytest.mark.parametrize(
    "more",
    [
        {},
        {"gradient_checkpointing": True, "precompute_reference": True},
        {"vision_tower": "tuned"},
        {"method": "full"},
        {"objective": "sft"},
    ],
    ids=lambda more: "-".join(more) or "plain",
)
def test_two_processes_with_parted_weights_share_an_update(more, models, image_root, tmp_path):
    torch.set_num_threads(1)
    options = OPTIONS | more
    train(PAIRS, make_recipe(models("llava_onevision"), **options), image_root, tmp_path / "one")
    assert launched("fsdp2", models, options, image_root, tmp_path / "two", "llava_onevision") > 60
    same_updates(tmp_path / "one", tmp_path / "two")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "method"), [("ddp", "full"), ("fsdp2", "lora"), ("fsdp2", "full"), ("zero3", "lora"), ("zero3", "full")]
)
def test_a_training_in_two_processes_goes_on_from_its_checkpoint(name, method, models, image_root, tmp_path):
    options = OPTIONS | {"method": method}
    torch.set_num_threads(1)
    train(PAIRS, make_recipe(models("llava"), **options), image_root, tmp_path / "one")
    launched(name, models, options, image_root, tmp_path / "two")
    (tmp_path / "two" / "manifest.json").unlink()
    for path in (tmp_path / "two" / "checkpoints").glob("checkpoint-3*"):
        (path / "complete.json").unlink()
    launched(name, models, options, image_root, tmp_path / "two")
    assert json.loads((tmp_path / "two" / "manifest.json").read_text())["report"]["resumed_from"] == 2
    same_updates(tmp_path / "one", tmp_path / "two")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ddp", "fsdp2", "zero3"])
def test_two_processes_go_on_from_an_earlier_adapter(name, models, image_root, tmp_path):
    torch.set_num_threads(1)
    recipe = make_recipe(models("llava"), **OPTIONS)
    start = train(PAIRS, recipe, image_root, tmp_path / "start").adapter
    train(PAIRS, recipe, image_root, tmp_path / "one", start=start)
    launched(name, models, OPTIONS, image_root, tmp_path / "two", start=start)
    same_updates(tmp_path / "one", tmp_path / "two")
    assert read_log(tmp_path / "two" / "log.jsonl")[0]["loss"] == pytest.approx(math.log(2), abs=1e-5)


@pytest.mark.slow
def test_parted_weights_train_in_bfloat16_too(models, image_root, tmp_path):
    options = OPTIONS | {"dtype": "bfloat16"}
    torch.set_num_threads(1)
    train(PAIRS, make_recipe(models("llava_onevision"), **options), image_root, tmp_path / "one")
    launched("fsdp2", models, options, image_root, tmp_path / "two", "llava_onevision")
    first, second = (read_log(tmp_path / name / "log.jsonl") for name in ("one", "two"))
    assert second[0]["loss"] == pytest.approx(first[0]["loss"], rel=0.02)
    assert second[-1]["rewards/margins"] == pytest.approx(first[-1]["rewards/margins"], rel=0.1)


@pytest.mark.slow
def test_the_leading_process_goes_first_and_marks_a_checkpoint_last(tmp_path):
    script = Path(__file__).with_name("take_turns.py")
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        "2",
        str(script),
        str(tmp_path),
    ]
    done = subprocess.run(command, env=os.environ | environment("ddp"), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-12000:]
    assert json.loads(done.stdout) == {"first": True, "marked": False}
    assert read_json(tmp_path / "checkpoint-1" / "complete.json") == {"parts": {"pairs": "p"}, "left_out": ["a", "b"]}


def test_an_update_that_processes_cannot_share_is_refused(models, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(RecipeError, match=r"gradient_accumulation is 16 batches an update, which 3 processes cannot share"):
        accumulation(make_recipe(models("llava"), gradient_accumulation=16).train)
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert accumulation(make_recipe(models("llava"), gradient_accumulation=16).train) == 2


def test_a_whole_run_is_not_launched(models, monkeypatch, tmp_path):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RecipeError, match=r"`spr run` was started in 2 processes.*then launch `spr train`"):
        run_recipe(make_recipe(models("llava")), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_configurations_leave_precision_to_the_recipe(path):
    assert yaml.safe_load(path.read_text())["mixed_precision"] == "no"
