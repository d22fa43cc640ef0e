"""What stops a training long after the preflight: one sentence each, with what to do."""

from __future__ import annotations

import errno
import socket
import ssl
from types import SimpleNamespace

import pytest
import torch

from spr.errors import ModelError, SprError
from spr.running.files import DiskError
from spr.training.faults import told

QUIET, TRACKED = SimpleNamespace(report_to=()), SimpleNamespace(report_to=("wandb",))


@pytest.mark.parametrize(
    ("fault", "kind", "said"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), ModelError, "more memory than the device has left; free it, then"),
        (OSError(errno.ENOSPC, "No space left"), DiskError, "out cannot be written: No space left; make room"),
        (ConnectionError("api.tracker: refused"), SprError, "stopped by ConnectionError: api.tracker: refused; the same"),
        (OSError("HTTPSConnectionPool"), SprError, "stopped by OSError: HTTPSConnectionPool; the same command, without"),
        (socket.gaierror(-2, "Name not known"), SprError, r"stopped by gaierror: \[Errno -2\] Name not known; the same"),
        (ssl.SSLError(1, "bad certificate"), SprError, r"stopped by SSLError: .*bad certificate.*; the same"),
    ],
)
def test_each_fault_says_what_to_do(fault, kind, said, tmp_path):
    (tmp_path / "checkpoints" / "checkpoint-4").mkdir(parents=True)
    (tmp_path / "checkpoints" / "checkpoint-4" / "complete.json").write_text("{}")
    with pytest.raises(SprError, match=said) as caught, told(tmp_path / "out", tmp_path / "checkpoints", QUIET):
        raise fault
    assert type(caught.value) is kind
    assert kind is DiskError or "without --force, goes on from update 4" in str(caught.value)


@pytest.mark.parametrize(("train", "said"), [(TRACKED, "; without train.report_to nothing is sent anywhere"), (QUIET, "")])
def test_without_a_checkpoint_there_is_none_to_go_on_from(train, said, tmp_path):
    with pytest.raises(SprError, match=f"refused; give the same command again{said}$"), told(tmp_path, tmp_path, train):
        raise ConnectionError("refused")


@pytest.mark.parametrize("fault", [ZeroDivisionError, BrokenPipeError])
def test_other_faults_are_left_as_they_are(fault, tmp_path):
    with pytest.raises(fault) as caught, told(tmp_path, tmp_path, QUIET):
        raise fault
    assert type(caught.value) is fault
