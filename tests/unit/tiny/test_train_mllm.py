"""The training of the bundled MLLM: it runs, checkpoints, resumes where it stopped, and writes a model that loads."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText, AutoProcessor

from spr.tiny.lessons import Mix
from spr.tiny.train_mllm import Course, Plan, Run, train

_SHORT = Plan(
    steps_a=2,
    batch_a=2,
    batch=2,
    describing=Course(Mix(references=1, descriptions=1, yes_no=1), steps=3, stop=2, softness=1.2, exact_from=0.7),
    finding=Course(Mix(references=2, descriptions=0, yes_no=0), steps=3, stop=2, softness=2.5, exact_from=None),
    asking=Course(Mix(1, 0, 1, 1), steps=3, stop=2, softness=4.0, exact_from=None, patches=False),
)


def _train(plan: Plan, out: Path) -> dict[str, torch.Tensor]:
    train(plan, Run(out, device="cpu", workers=0, save_every=1, snapshots=()))
    return load_file(out / "model" / "model.safetensors")


@pytest.mark.slow
def test_stopped_and_resumed_training_gives_the_same_weights(tmp_path: Path) -> None:
    whole = _train(_SHORT, tmp_path / "whole")
    shorter = dataclasses.replace(_SHORT, asking=dataclasses.replace(_SHORT.asking, stop=1))
    stopped = _train(shorter, tmp_path / "halved")
    resumed = _train(_SHORT, tmp_path / "halved")
    assert any(not torch.equal(stopped[name], whole[name]) for name in whole)
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


@pytest.mark.slow
def test_the_last_stage_may_begin_from_a_finished_model(tmp_path: Path) -> None:
    before = _train(dataclasses.replace(_SHORT, asking=dataclasses.replace(_SHORT.asking, stop=0)), tmp_path / "c")
    train(_SHORT, Run(tmp_path / "d", device="cpu", workers=0, save_every=1, snapshots=()), tmp_path / "c" / "model")
    after = load_file(tmp_path / "d" / "model" / "model.safetensors")
    assert {path.name for path in (tmp_path / "d").glob("*.pt")} == {"D.pt"}
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert len(changed) > len(before) / 2
    assert json.loads((tmp_path / "d" / "training.json").read_text())["start"] == str(tmp_path / "c" / "model")


def test_the_written_model_loads_in_half_precision_with_its_plan_beside_it(tmp_path: Path) -> None:
    weights = _train(_SHORT, tmp_path)
    assert {weight.dtype for weight in weights.values()} == {torch.float16}
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "model")
    (head,) = (weight for name, weight in weights.items() if name.endswith("lm_head.weight"))
    assert torch.equal(model.lm_head.weight.half(), head)
    assert AutoProcessor.from_pretrained(tmp_path / "model").tokenizer.convert_tokens_to_ids("<96>") > 0
    facts = json.loads((tmp_path / "training.json").read_text())
    assert facts["plan"]["finding"]["stop"] == 2
    assert facts["parameters"] > 4_000_000
