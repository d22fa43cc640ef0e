from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
import toy_stage
from toy_stage import ToyStage, engine, parts, run_toy, step, store

from spr.errors import DataError
from spr.running.balance import BalanceError, check_balance
from spr.running.files import DiskError
from spr.running.run_dir import RunDir
from spr.running.workers import WorkerDied, WorkerFailed


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of an undisturbed run with one worker: 5 shards of 20 scenes."""
    folder = tmp_path_factory.mktemp("undisturbed")
    assert run_toy(folder) == [0, 1, 2, 3, 4]
    return parts(folder)


def test_two_workers_write_the_same_bytes_as_one(tmp_path: Path, expected: dict[str, bytes]) -> None:
    assert run_toy(tmp_path, workers=2) == [0, 1, 2, 3, 4]
    assert parts(tmp_path) == expected


def test_a_finished_stage_is_not_set_up_again(tmp_path: Path) -> None:
    run_toy(tmp_path)
    assert run_toy(tmp_path, ToyStage(fault="bug", at="0")) == []


def test_only_deleted_shards_are_made_again(tmp_path: Path, expected: dict[str, bytes]) -> None:
    run_toy(tmp_path)
    kept = {index: store(tmp_path).part(index).stat().st_mtime_ns for index in (0, 2, 4)}
    store(tmp_path).remove(1)
    store(tmp_path).part(3).unlink()
    assert run_toy(tmp_path) == [1, 3]
    assert parts(tmp_path) == expected
    assert {index: store(tmp_path).part(index).stat().st_mtime_ns for index in kept} == kept


def test_a_part_without_its_manifest_is_made_again(tmp_path: Path, expected: dict[str, bytes]) -> None:
    run_toy(tmp_path)
    store(tmp_path).manifest_file(2).unlink()
    assert run_toy(tmp_path) == [2]
    assert parts(tmp_path) == expected


def test_what_changes_the_output_changes_all_keys(tmp_path: Path) -> None:
    run_toy(tmp_path)
    assert run_toy(tmp_path, ToyStage(scale=2.0)) == [0, 1, 2, 3, 4]
    assert run_toy(tmp_path, ToyStage(scale=2.0, version=2)) == [0, 1, 2, 3, 4]


def test_shards_beyond_a_shorter_input_go(tmp_path: Path) -> None:
    run_toy(tmp_path, count=20)
    assert run_toy(tmp_path, count=9) == [2]
    assert store(tmp_path).indices() == [0, 1, 2]
    assert [row.image_id for row in store(tmp_path).all_rows()] == ["0", "1", "2", "3", "4", "5", "6", "8"]


def test_no_rows_make_no_shards(tmp_path: Path) -> None:
    assert run_toy(tmp_path, count=0) == []
    assert parts(tmp_path) == {}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_user_fault_in_a_stage_stays_one_sentence(tmp_path: Path, workers: int) -> None:
    with pytest.raises(DataError, match="scene 5 is upside down; turn it"):
        run_toy(tmp_path, ToyStage(fault="user error", at="5"), workers)


def test_a_bug_in_a_worker_keeps_its_traceback(tmp_path: Path) -> None:
    with pytest.raises(
        WorkerFailed, match=r"stage toy failed on cpu in shard 1:\n(.|\n)*process(.|\n)*ZeroDivisionError: a bug"
    ):
        run_toy(tmp_path, ToyStage(fault="bug", at="5"), workers=2)


def test_a_killed_worker_is_told_with_device_and_shard_and_the_run_goes_on(tmp_path: Path, expected: dict[str, bytes]) -> None:
    with pytest.raises(WorkerDied, match=r"the worker on cpu died \(signal 9\) in stage toy, shard 4; .* out of memory"):
        run_toy(tmp_path, ToyStage(fault="die", at="18"), workers=2)
    assert not multiprocessing_children()
    run_toy(tmp_path, workers=2)
    assert parts(tmp_path) == expected


def test_a_lost_row_fails_the_stage(tmp_path: Path) -> None:
    with pytest.raises(BalanceError, match=r"stage toy: 1 row ids are neither kept nor dropped, e\.g\. 5"):
        run_toy(tmp_path, ToyStage(fault="lose", at="5"))
    assert store(tmp_path).indices() == [0]


def test_a_row_both_kept_and_dropped_fails_the_stage(tmp_path: Path) -> None:
    with pytest.raises(BalanceError, match=r"1 row ids are both kept and dropped, e\.g\. 5"):
        run_toy(tmp_path, ToyStage(fault="both", at="5"))


@pytest.mark.parametrize(
    ("inputs", "parents", "dropped", "fault"),
    [
        (["a", "a"], {"a"}, [], "come twice in the input"),
        (["a"], set(), ["a", "a"], "are dropped twice"),
        (["a"], {"a", "b"}, [], "are parents of output rows but not in the input"),
        (["a"], {"a"}, ["b"], "are dropped but not in the input"),
    ],
)
def test_every_other_imbalance_is_named(inputs: list[str], parents: set[str], dropped: list[str], fault: str) -> None:
    with pytest.raises(BalanceError, match=fault):
        check_balance("toy", inputs, parents, dropped)


@pytest.mark.parametrize("write", [1, 2, 3, 7])
def test_a_full_disk_at_any_file_leaves_whole_shards_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, expected: dict[str, bytes], write: int
) -> None:
    calls = 0
    real = os.fsync

    def fills_up(handle: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 2 * write - 1:  # A file, then its folder.
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fills_up)
        with pytest.raises(DiskError, match="No space left on device"):
            run_toy(tmp_path)
    assert not list(tmp_path.rglob("*.tmp"))
    assert all(store(tmp_path).finished(m.shard, m.key) for m in store(tmp_path).manifests())
    run_toy(tmp_path)
    assert parts(tmp_path) == expected


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("shards_before", [0, 2])
def test_a_run_killed_at_any_point_ends_with_the_same_bytes(
    tmp_path: Path, expected: dict[str, bytes], workers: int, shards_before: int
) -> None:
    with toy_process(tmp_path, workers) as process:
        wait_for(lambda: (tmp_path / "lock").exists() and len(store(tmp_path).indices()) >= shards_before, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
    (tmp_path / "toy").mkdir(exist_ok=True)
    (tmp_path / "toy" / "part-00004.parquet.tmp").write_bytes(b"half")
    with RunDir(tmp_path).lock():
        run_toy(tmp_path)
    assert parts(tmp_path) == expected
    assert not list(tmp_path.rglob("*.tmp"))


def test_ctrl_c_stops_the_workers_and_keeps_what_is_finished(tmp_path: Path, expected: dict[str, bytes]) -> None:
    with toy_process(tmp_path, workers=2) as process:
        wait_for(lambda: len(store(tmp_path).indices()) >= 1, process)
        children = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGINT)
        process.wait(timeout=60)
        assert not psutil.wait_procs(children, timeout=30)[1]
        assert process.stderr is not None
        errors = process.stderr.read()
    assert errors.count("KeyboardInterrupt") == 1
    run_toy(tmp_path)
    assert parts(tmp_path) == expected


def test_threads_are_set_in_this_process_too(tmp_path: Path) -> None:
    import torch

    from spr.running.local import LocalEngine

    LocalEngine(("cpu",), 2, toy_stage.quiet_meter).run(step(tmp_path, count=1))
    assert torch.get_num_threads() == 2
    engine().run(step(tmp_path, count=2))
    assert torch.get_num_threads() == 1


def toy_process(folder: Path, workers: int, slowness: float = 0.05) -> subprocess.Popen[str]:
    command = [sys.executable, toy_stage.__file__, str(folder), str(workers), str(slowness)]
    # Whoever starts the tests in the background of a shell hands on an ignored Ctrl-C.
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=heed)


def wait_for(condition: Any, process: subprocess.Popen[str], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.01)


def multiprocessing_children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]
