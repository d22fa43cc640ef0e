"""`spr demo --quick` with the bundled models: it ends well, and its bytes depend on nothing but the recipe."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from spr.demo import demo_recipe

pytestmark = pytest.mark.slow
DATA = ("queries", "candidates", "scores", "pairs")


def spr(*arguments: str | Path, timeout: float = 500) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "spr.cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def digests(run: Path, stages: tuple[str, ...] = DATA) -> dict[str, str]:
    files = [file for stage in stages for file in sorted((run / stage).glob("part-*.parquet"))]
    return {str(file.relative_to(run)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """One quick demo; the run and what it printed."""
    out = tmp_path_factory.mktemp("demo") / "run"
    return out, spr("demo", "--quick", "--out", out)


def recipe_file(run: Path, folder: Path, **changes: Any) -> Path:
    """The quick demo's recipe on the scenes of an existing demo."""
    values = demo_recipe(run / "world", quick=True).model_dump(mode="json") | changes
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_the_quick_demo_ends_with_its_tables_and_its_report(demo: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    run, done = demo
    assert done.returncode == 0, done.stderr
    assert "0.9" in done.stdout
    assert str(run / "report" / "index.html") in done.stdout.replace("\n", "")
    assert (run / "report" / "index.html").is_file()


def test_long_stages_show_rates(demo: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    for stage in ("scenes", *DATA, "train"):
        assert f"{stage}: " in demo[1].stderr
    assert "rows/s" in demo[1].stderr


def test_every_stage_has_at_least_four_shards(demo: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    for stage in DATA:
        assert len(list((demo[0] / stage).glob("part-*.parquet"))) >= 4


def test_every_funnel_balances(demo: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    metrics = json.loads((demo[0] / "metrics.json").read_text())
    assert set(metrics["funnel"]) >= {"images", "annotations", *DATA, "train"}
    for name, counts in metrics["funnel"].items():
        kept = counts.get("parents", counts["out"])
        assert counts["in"] == kept + sum(counts["dropped"].values()), name


def test_metrics_have_the_documented_layout(demo: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    metrics = json.loads((demo[0] / "metrics.json").read_text())
    rec = metrics["tasks"]["rec"]
    for side in ("base", "tuned"):
        assert list(rec[side]["acc"]) == ["0.5", "0.6", "0.7", "0.8", "0.9"]
        assert {"mean_acc", "mean_iou", "parse_rate", "ci95"} <= set(rec[side])
    for threshold, gain in rec["delta"]["acc"].items():
        low, high = rec["delta"]["ci95"][threshold]
        assert low <= gain <= high
        assert gain == pytest.approx(rec["tuned"]["acc"][threshold] - rec["base"]["acc"][threshold])
    assert {"localization", "boxes", "right_count", "names_right"} <= set(metrics["tasks"]["regions"]["base"])
    assert {"candidates", "scores", "train"} <= set(metrics["seconds"])


def test_the_demo_again_redoes_nothing(demo: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    files = [*demo[0].glob("*/part-*.parquet"), *(demo[0] / "policy" / "adapter").iterdir()]
    before = {file: file.stat().st_mtime_ns for file in files}
    assert spr("demo", "--quick", "--out", demo[0]).returncode == 0
    assert {file: file.stat().st_mtime_ns for file in files} == before


def test_a_demo_of_another_size_is_refused_and_left_alone(demo: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    annotations = demo[0] / "world" / "preference" / "annotations.json"
    before = annotations.stat().st_mtime_ns
    done = spr("demo", "--out", demo[0])
    assert done.returncode == 1
    assert "holds a demo of another size" in done.stderr
    assert annotations.stat().st_mtime_ns == before


@pytest.mark.parametrize("devices", [["cpu"], ["cpu", "cpu"]])
def test_bytes_do_not_depend_on_workers(
    demo: tuple[Path, subprocess.CompletedProcess[str]], devices: list[str], tmp_path: Path
) -> None:
    recipe = recipe_file(demo[0], tmp_path, resources={"devices": devices, "threads": 1})
    assert spr("run", recipe, "--out", tmp_path / "run", "--until", "pairs").returncode == 0
    assert digests(tmp_path / "run") == digests(demo[0])


def test_with_half_of_the_shards_deleted_only_those_are_redone(
    demo: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(demo[0], run)
    shutil.rmtree(run / "world")
    (run / "world").symlink_to(demo[0] / "world")
    recipe = recipe_file(demo[0], tmp_path)
    assert spr("run", recipe, "--out", run, "--until", "pairs").returncode == 0
    for stage in DATA:
        for part in sorted((run / stage).glob("part-*.parquet"))[::2]:
            part.unlink()
            part.with_suffix(".json").unlink()
    kept = {file: file.stat().st_mtime_ns for stage in DATA for file in (run / stage).glob("part-*.parquet")}
    assert spr("run", recipe, "--out", run, "--until", "pairs").returncode == 0
    assert digests(run) == digests(demo[0])
    assert all(file.stat().st_mtime_ns == time_of for file, time_of in kept.items())


def test_killed_anywhere_and_run_again_gives_the_same_bytes(
    demo: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    recipe = recipe_file(demo[0], tmp_path)
    run = tmp_path / "run"
    command = [sys.executable, "-m", "spr.cli", "run", str(recipe), "--out", str(run), "--until", "pairs"]
    for stage, part in (("queries", 1), ("candidates", 0), ("candidates", 2), ("scores", 1), ("pairs", 0)):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
        marker = run / stage / f"part-{part:05d}.parquet"
        while process.poll() is None and not marker.exists():
            time.sleep(0.005)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert spr("run", recipe, "--out", run, "--until", "pairs").returncode == 0
    assert digests(run) == digests(demo[0])
    assert not [file for file in run.rglob("*") if file.name.startswith((".", "tmp")) or file.suffix in (".tmp", ".partial")]


def test_evaluation_killed_and_resumed_gives_equal_rows(
    demo: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(demo[0], run, symlinks=True)
    side = run / "eval" / "rec" / "base"
    rows = (side / "predictions.parquet").read_bytes()
    (side / "predictions.parquet").unlink()
    for part in sorted(side.rglob("part-*"))[::2]:
        part.unlink()
    assert spr("eval", run, "--task", "rec").returncode == 0
    assert (side / "predictions.parquet").read_bytes() == rows
