"""What stops a training long after the preflight: one sentence each, with what to do."""

from __future__ import annotations

import errno

import pytest
import torch

from spr.errors import ModelError, SprError
from spr.running.files import DiskError
from spr.training.faults import told

FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize(
    ("fault", "kind", "said"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), ModelError, "more memory than the device has left; free it, then"),
        (FULL, DiskError, "out cannot be written: No space left on device; make room"),
        (ConnectionError("api.tracker: refused"), SprError, "stopped by ConnectionError: api.tracker: refused; the same"),
        (OSError("HTTPSConnectionPool"), SprError, "stopped by OSError: HTTPSConnectionPool; the same command again goes on"),
    ],
)
def test_each_fault_says_what_to_do(fault, kind, said, tmp_path):
    (tmp_path / "checkpoints" / "checkpoint-4").mkdir(parents=True)
    (tmp_path / "checkpoints" / "checkpoint-4" / "complete.json").write_text("{}")
    with pytest.raises(SprError, match=said) as caught, told(tmp_path / "out", tmp_path / "checkpoints"):
        raise fault
    assert type(caught.value) is kind
    assert kind is DiskError or "goes on from update 4" in str(caught.value)


def test_without_a_checkpoint_there_is_none_to_go_on_from(tmp_path):
    with pytest.raises(SprError, match=r"give the same command again; without train.report_to"), told(tmp_path, tmp_path):
        raise ConnectionError("refused")


def test_other_faults_are_left_as_they_are(tmp_path):
    with pytest.raises(ZeroDivisionError), told(tmp_path, tmp_path):
        raise ZeroDivisionError
