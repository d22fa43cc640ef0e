from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from spr.errors import ResumeError
from spr.recipe import Recipe, check_recipe
from spr.running.run_dir import RunDir, changed_keys


def recipe(**changes: object) -> Recipe:
    values: dict[str, object] = {
        "source": {"annotations": "a.json", "image_root": "images"},
        "model": {"name": "m", "dialect": "tiny"},
        "score": {"weight": 0, "localization": {"preset": "annotations_only"}},
    }
    return check_recipe(values | changes, "test")


def test_the_recipe_comes_back_as_it_was_written(tmp_path: Path) -> None:
    run = RunDir(tmp_path / "run")
    run.prepare()
    run.write_recipe(recipe(seed=7))
    assert run.recipe() == recipe(seed=7)


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(ResumeError, match="exists and is no run directory; name another --out"):
        RunDir(tmp_path).prepare()
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_what_a_killed_first_write_leaves_does_not_lock_the_user_out(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("")
    (tmp_path / "run.json.tmp").write_text("{")
    RunDir(tmp_path).prepare()
    assert RunDir(tmp_path).exists


def test_a_directory_of_another_layout_is_refused_with_both_versions(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"layout": 99, "spr": "9.9.0"}))
    with pytest.raises(ResumeError, match=r"made by spr 9\.9\.0 with layout version 99; this spr .* reads version 1"):
        RunDir(tmp_path).prepare()
    with pytest.raises(ResumeError, match="layout version 99"):
        RunDir(tmp_path).check()


def test_no_run_directory_is_told_as_such(tmp_path: Path) -> None:
    with pytest.raises(ResumeError, match="is no run directory"):
        RunDir(tmp_path / "nowhere").check()


def test_a_directory_in_use_is_refused_and_its_user_named(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.prepare()
    assert run.user() is None
    with run.lock():
        assert "process " in str(run.user())
        with pytest.raises(ResumeError, match=r"is in use by process \d+ on host .* since 20"), run.lock():
            pass
    assert run.user() is None
    with run.lock():
        pass


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.prepare()
    code = (
        "import sys, time; from pathlib import Path; from spr.running.run_dir import RunDir\n"
        "with RunDir(Path(sys.argv[1])).lock():\n    print('held', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(ResumeError, match=f"process {holder.pid} "), run.lock():
            pass
        holder.kill()
    time.sleep(0.05)
    with run.lock():
        pass


def test_changed_keys_are_named_with_both_values() -> None:
    old = {"seed": 0, "score": {"weight": 0.8, "semantic": {"model": "a"}}, "gone": 1}
    new = {"seed": 0, "score": {"weight": 0.5, "semantic": None}, "limit": 3}
    assert changed_keys(old, new) == [
        "score.weight: 0.8 -> 0.5",
        'score.semantic: {"model": "a"} -> null',
        "limit: null -> 3",
        "gone: 1 -> null",
    ]
