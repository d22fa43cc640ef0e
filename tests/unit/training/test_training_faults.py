"""What stops a training long after the preflight: one sentence each, with what to do."""

from __future__ import annotations

import errno
import socket
import ssl
from types import SimpleNamespace

import pytest
import torch
from conftest_training import make_pair, make_recipe

from spr.errors import ModelError, SprError
from spr.running.files import DiskError
from spr.training import job
from spr.training.faults import told
from spr.training.job import train

QUIET, TRACKED = SimpleNamespace(report_to=()), SimpleNamespace(report_to=("wandb",))


@pytest.mark.parametrize(
    ("fault", "kind", "said"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), ModelError, "more memory than the device has left; free it, then"),
        (OSError(errno.ENOSPC, "No space left"), DiskError, "out cannot be written: No space left; make room"),
        (ConnectionError("api.tracker: refused"), SprError, "stopped by ConnectionError: api.tracker: refused; the same"),
        (OSError("HTTPSConnectionPool"), SprError, "stopped by OSError: HTTPSConnectionPool; the same command, without"),
        (socket.gaierror(-2, "Name not known"), SprError, r"stopped by gaierror: \[Errno -2\] Name not known; the same"),
        (OSError(errno.ENETUNREACH, "Net unreachable"), SprError, "stopped by OSError: .* Net unreachable; the same"),
        (ssl.SSLError(1, "bad certificate"), SprError, r"stopped by SSLError: .*bad certificate.*; the same"),
    ],
)
def test_each_fault_says_what_to_do(fault, kind, said, tmp_path):
    with pytest.raises(SprError, match=said) as caught, told(tmp_path / "out", QUIET, lambda: 4):
        raise fault
    assert type(caught.value) is kind
    assert kind is DiskError or "without --force, goes on from update 4" in str(caught.value)


@pytest.mark.parametrize(("train", "said"), [(TRACKED, "; without train.report_to nothing is sent anywhere"), (QUIET, "")])
def test_without_a_checkpoint_there_is_none_to_go_on_from(train, said, tmp_path):
    with pytest.raises(SprError, match=f"refused; give the same command again{said}$"), told(tmp_path, train, int):
        raise ConnectionError("refused")


@pytest.mark.parametrize("fault", [ZeroDivisionError, BrokenPipeError])
def test_other_faults_are_left_as_they_are(fault, tmp_path):
    with pytest.raises(fault) as caught, told(tmp_path, QUIET, int):
        raise fault
    assert type(caught.value) is fault


def test_the_pipe_of_a_tracker_that_died_is_told(tmp_path):
    with pytest.raises(SprError, match="stopped by BrokenPipeError"), told(tmp_path, TRACKED, int):
        raise BrokenPipeError


@pytest.mark.parametrize("theirs", [True, False])
def test_what_is_to_be_replaced_is_not_what_to_go_on_from(theirs, models, image_root, tmp_path, monkeypatch):
    pairs = [make_pair(i) for i in range(4)]
    train(pairs, make_recipe(models("llava"), save_steps=2), image_root, tmp_path)

    def full(*_):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(job, "load_model_and_processor", full)
    again = make_recipe(models("llava"), save_steps=2, **({"beta": 0.5} if theirs else {}))
    said = "free it, then give the same" if theirs else "free it, then the same command, without --force, goes on from update 2"
    with pytest.raises(ModelError, match=said):
        train(pairs, again, image_root, tmp_path, force=True)
