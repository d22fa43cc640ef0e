from __future__ import annotations

import io

import pytest

from spr.errors import RecipeError
from spr.running import progress
from spr.running.devices import device_names


class Clock:
    """Seconds that pass only when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_without_a_terminal_there_is_at_most_one_line_every_ten_seconds(clock: Clock) -> None:
    out = io.StringIO()
    with progress.meter("candidates", 100, stream=out) as tick:
        for _ in range(50):
            clock.now += 1
            tick(2)
    lines = out.getvalue().splitlines()
    assert lines[0] == "candidates: 20/100 rows, 2 rows/s, about 40 s left"
    assert len(lines) == 5
    assert lines[-1] == "candidates: 100 rows in 50.0 s, 2 rows/s"


def test_a_job_has_a_meter_for_each_phase(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress.JobMeter() as told:
        told("preflight", 0, 6, {})
        told("preflight", 3, 6, {})
        clock.now += 2
        told("preflight", 6, 6, {})
        progress.say("what comes after a phase stands after its last line")
        told("train", 0, 3, {})
        told("train", 1, 3, {"loss": 0.7})
        clock.now += 10
        told("train", 2, 3, {"loss": 0.61, "rewards/margins": 0.25, "rewards/chosen": -0.1, "grad_norm": 3.0})
        clock.now += 5
        told("train", 3, 3, {"loss": 0.6})
    assert capsys.readouterr().err.splitlines() == [
        "preflight: 6 pairs in 2.0 s, 3 pairs/s",
        "what comes after a phase stands after its last line",
        "train: 2/3 updates, 0.2 updates/s, about 5 s left, loss 0.61, margin 0.25, chosen -0.1",
        "train: 3 updates in 15.0 s, 0.2 updates/s",
    ]


def test_what_was_done_before_counts_for_nothing(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with progress.JobMeter() as told:
        told("train", 50, 100, {})
        clock.now += 20
        told("train", 60, 100, {"loss": 0.7})
        clock.now += 80
        told("train", 100, 100, {"loss": 0.6})
    assert capsys.readouterr().err.splitlines() == [
        "train: 60/100 updates, 0.5 updates/s, about 80 s left, loss 0.7",
        "train: 50 of 100 updates in 100.0 s, 0.5 updates/s",
    ]


def test_devices_are_named_as_torch_names_them() -> None:
    assert device_names(["cpu", "cpu"]) == ("cpu", "cpu")
    assert device_names(["auto"])[0] in ("cpu", "cuda:0")


@pytest.mark.parametrize(("device", "fault"), [("tpu9", "holds 'tpu9'"), (99, "holds cuda:99"), ("cuda:99", "holds cuda:99")])
def test_a_device_that_is_not_there_is_refused(device: str | int, fault: str) -> None:
    with pytest.raises(RecipeError, match=fault):
        device_names([device])
