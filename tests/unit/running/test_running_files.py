from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from spr.running.files import DiskError, canonical, clear_temporary, read_json, write_atomic, write_json


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.bin"
    write_atomic(path, b"old")
    write_atomic(path, b"new")
    assert path.read_bytes() == b"new"
    assert [p.name for p in path.parent.iterdir()] == ["a.bin"]


def test_a_full_disk_leaves_the_old_file_and_no_half_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.bin"
    write_atomic(path, b"old")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskError, match=r"a\.bin cannot be written: No space left on device; make room"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_a_file_size_limit_is_told_like_a_full_disk(tmp_path: Path) -> None:
    code = (
        "import resource, sys; from pathlib import Path; from spr.running.files import write_atomic, DiskError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n    write_atomic(Path(sys.argv[1]), bytes(100_000))\n"
        "except DiskError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.bin")], capture_output=True, text=True, check=True)
    assert "a.bin cannot be written: File too large" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_told_too(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskError, match=r"Not a directory|File exists"):
        write_atomic(tmp_path / "file" / "a.bin", b"")


def test_temporary_files_of_killed_writers_go(tmp_path: Path) -> None:
    (tmp_path / "queries").mkdir()
    (tmp_path / "queries" / "part-00000.parquet.tmp").write_bytes(b"half")
    (tmp_path / "queries" / "part-00001.parquet").write_bytes(b"whole")
    clear_temporary(tmp_path)
    assert [p.name for p in (tmp_path / "queries").iterdir()] == ["part-00001.parquet"]


def test_json_that_is_not_whole_reads_as_none(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    assert read_json(path) is None
    write_json(path, {"a": 1})
    assert read_json(path) == {"a": 1}
    path.write_text('{"a": ')
    assert read_json(path) is None


def test_json_that_is_written_is_json_to_every_reader(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"mean": float("nan"), "ci95": (float("-inf"), 1.5)})
    assert json.loads(path.read_text(), parse_constant=pytest.fail) == {"mean": None, "ci95": [None, 1.5]}


def test_canonical_json_knows_no_order() -> None:
    assert (
        canonical({"b": [1.5, None], "a": "é"}) == canonical({"a": "é", "b": (1.5, None)}) == b'{"a":"\\u00e9","b":[1.5,null]}'
    )
