"""Two rounds on the bundled world with the bundled model: real descriptions, real training, seconds to a minute a run."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from rich.console import Console
from safetensors.torch import load_file, save_file

from spr.demo import demo_recipe
from spr.errors import ResumeError
from spr.models.identity import directory_digest
from spr.pipeline import adapter_of, evaluate, plan, report, run, train
from spr.recipe import Recipe, check_recipe
from spr.records import Candidate, RegionQuery
from spr.running.files import file_digest
from spr.running.run_dir import RunDir
from spr.running.shards import ShardStore
from spr.tiny.splits import DEVELOPMENT, PREFERENCE, write_split
from spr.tiny.tasks import write_tasks
from spr.training.merge import merge
from spr.views import status_tables

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
DATA = ("queries", "candidates", "scores", "pairs")
WEIGHTS = "policy/adapter/adapter_model.safetensors"


def recipe(world: Path, rounds: int, **changes: Any) -> Recipe:
    """The bundled recipe on few scenes, judged by annotations alone, with two updates a round."""
    values = demo_recipe(world, quick=False).model_dump(mode="json")
    values["candidates"] |= {"k": 4, "prompts": ["plain", "names"], "batch_size": 32}
    values["score"] = {"weight": 0, "localization": {"preset": "annotations_only"}}
    values["pairs"] |= {"same_mentions": False}
    values["train"] |= {"max_steps": 2, "batch_size": 4, "threads": 1, "save_steps": 1}
    values["evaluation"] = {"bootstrap": 100, "max_new_tokens": 24, "rec": {**values["evaluation"]["rec"], "limit": 8}}
    values |= {"rounds": rounds, "shard_size": 6, "resources": {"devices": ["cpu"]}}
    for section, change in changes.items():
        values[section] |= change
    return check_recipe(values, "test")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rounds")
    write_split(PREFERENCE, 12, folder / "preference")
    write_split(DEVELOPMENT, 6, folder / "held_out")
    write_tasks(DEVELOPMENT, 6, folder / "held_out")
    return folder


@pytest.fixture(scope="module")
def finished(world: Path) -> Path:
    return run(recipe(world, 2), world / "run").path


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def rows(out: Path, stage: str, record: type[Any]) -> list[Any]:
    return ShardStore(out / stage, out / "dropped" / stage, record).all_rows()


def digests(out: Path) -> dict[str, str | None]:
    """Of all rows and weights that both rounds made."""
    parts = [path for folder in (out / "rounds" / "1", out) for name in DATA for path in (folder / name).glob("*.parquet")]
    return {str(path.relative_to(out)): file_digest(path) for path in [*parts, out / "rounds/1" / WEIGHTS, out / WEIGHTS]}


def metrics_of(out: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((out / "metrics.json").read_text())
    return values


def shown(out: Path) -> str:
    console = Console(width=200)
    with console.capture() as said:
        for view in status_tables(out):
            console.print(view)
    return said.get()


def test_the_policy_of_the_first_round_describes_other_regions_in_the_second(finished: Path) -> None:
    first = finished / "rounds" / "1"
    assert RunDir(first).recipe() == RunDir(finished).recipe().model_copy(update={"rounds": 1})
    regions = [{row.query_id: row.region for row in rows(out, "queries", RegionQuery)} for out in (first, finished)]
    other = [name for name, region in regions[0].items() if regions[1][name] != region]
    assert len(other) > len(regions[0]) / 4  # many of these small scenes have few regions within the limits
    tuned = f"adapter@sha256:{directory_digest(first / 'policy' / 'adapter')[:16]}"
    assert not any("adapter" in row.model for row in rows(first, "candidates", Candidate))
    assert all(row.model.endswith(tuned) for row in rows(finished, "candidates", Candidate))


def test_the_same_adapter_was_trained_on_from_where_it_stood(finished: Path, world: Path, tmp_path: Path) -> None:
    first = finished / "rounds" / "1"
    manifest = json.loads((finished / "policy" / "manifest.json").read_text())
    assert manifest["parts"]["start"] == directory_digest(first / "policy" / "adapter")
    line = json.loads((finished / "policy" / "log.jsonl").read_text().splitlines()[0])
    assert line["rewards/margins"] == pytest.approx(0, abs=1e-4)  # the reference is the policy as the round began
    before, after = load_file(first / WEIGHTS), load_file(finished / WEIGHTS)
    assert before.keys() == after.keys()
    assert all(not torch.equal(before[name], after[name]) for name in before)
    found = adapter_of(RunDir(finished))
    assert found == finished / "policy" / "adapter"
    merge(recipe(world, 2).model, found, tmp_path / "merged")
    assert (tmp_path / "merged" / "model.safetensors").is_file()


def test_base_and_last_policy_are_compared_and_the_rounds_stand_side_by_side(finished: Path) -> None:
    metrics = metrics_of(finished)
    assert metrics["tasks"]["rec"]["adapter"] == directory_digest(finished / "policy" / "adapter")
    first, last = metrics["rounds"]
    assert (first["round"], last["round"], metrics["rounds_ended_by"]) == (1, 2, None)
    assert last["funnel"]["pairs"] == metrics["funnel"]["pairs"]
    assert first["funnel"] == {name: metrics_of(finished / "rounds/1")["funnel"][name] for name in first["funnel"]}
    for one in (first, last):
        assert set(one["funnel"]) == {*DATA, "train"}
        assert (one["training"]["updates"], one["parse_rate"] > 0.9) == (2, True)
        assert one["margin"] > 0.01
    assert not (finished / "rounds" / "1" / "eval").exists()
    assert '<section id="rounds">' in (finished / "report" / "index.html").read_text()


def test_plan_and_status_count_the_rounds(finished: Path, world: Path) -> None:
    found = plan(recipe(world, 2), finished)
    assert [row.state.name for row in found][:10] == [
        *(f"rounds/1/{name}" for name in (*DATA, "train")),
        *(*DATA, "train"),
    ]
    assert all(row.state.finished for row in found)
    text = shown(finished)
    assert "rounds/1/candidates" in text
    assert "rounds/1/train: done, 2 updates" in text
    assert "\ntrain: done, 2 updates" in text
    assert "rounds/1" not in shown(finished / "rounds" / "1").partition("\n")[2]


def test_the_first_round_is_a_run_of_one_round_byte_for_byte_and_can_be_gone_on_from(
    finished: Path, world: Path, tmp_path: Path
) -> None:
    run(recipe(world, 1), tmp_path / "one", until="train")
    (tmp_path / "new" / "rounds").mkdir(parents=True)
    (tmp_path / "one").rename(tmp_path / "new" / "rounds" / "1")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "new" / "rounds").rglob("part-*.json")}
    run(recipe(world, 2), tmp_path / "new", until="train")
    assert digests(tmp_path / "new") == digests(finished)
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in before.items())


def test_a_run_that_was_killed_in_any_round_goes_on_to_the_same_bytes(finished: Path, world: Path, tmp_path: Path) -> None:
    out, file = tmp_path / "run", tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(recipe(world, 2).model_dump(mode="json")))
    command = [sys.executable, "-m", "spr.cli", "run", str(file), "--out", str(out)]
    for awaited in ("rounds/1/policy/log.jsonl", "candidates/part-00000.json"):
        process = subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.DEVNULL)
        while not (out / awaited).is_file():
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (out / "policy" / "manifest.json").exists()
    run(recipe(world, 2), out, until="train")
    assert digests(out) == digests(finished)


def test_until_names_a_step_of_any_round(world: Path, tmp_path: Path) -> None:
    run(recipe(world, 2), tmp_path / "run", until="rounds/1/candidates")
    assert (tmp_path / "run/rounds/1/candidates").is_dir()
    assert not (tmp_path / "run/rounds/1/scores").exists()
    run(recipe(world, 2), tmp_path / "run", until="queries")
    assert (tmp_path / "run/rounds/1" / WEIGHTS).is_file()
    assert (tmp_path / "run/queries").is_dir()
    assert not (tmp_path / "run/candidates").exists()


def test_a_changed_recipe_names_the_stale_rounds_and_force_makes_them_again(copy: Path, world: Path) -> None:
    before = digests(copy)
    changed = recipe(world, 2, pairs={"unmatched": "strip_box"})
    with pytest.raises(ResumeError) as refused:
        run(changed, copy)
    told = str(refused.value)
    change = 'pairs.unmatched: "keep" -> "strip_box"'
    assert f"another recipe ({change})" in told
    assert f"rounds/1/pairs: 2 shards ({change}); rounds/1/train: 1 shards (made from pairs)" in told
    assert "; candidates: 2 shards (made from rounds/1/train)" in told
    assert "; queries" not in told
    assert digests(copy) == before
    run(changed, copy, until="pairs", force=True)
    after = digests(copy)
    assert after[WEIGHTS] is None
    again = {name.rpartition("/part-")[0] for name in after if "part-" in name and after[name] != before[name]}
    assert again == {"rounds/1/pairs", "candidates", "scores", "pairs"}
    assert after[f"rounds/1/{WEIGHTS}"] not in (None, before[f"rounds/1/{WEIGHTS}"])


def test_another_policy_in_an_earlier_round_makes_what_it_described_stale(copy: Path, world: Path) -> None:
    weights = {name: value + 0.001 for name, value in load_file(copy / "rounds/1" / WEIGHTS).items()}
    save_file(weights, copy / "rounds/1" / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(ResumeError, match=r"candidates: 2 shards \(model.adapter: .* -> .*\); .*train: 1 shards") as refused:
        run(recipe(world, 2), copy)
    assert "rounds/1/" not in str(refused.value)


def test_a_policy_that_is_trained_again_to_the_same_leaves_the_next_round_as_it_is(copy: Path, world: Path) -> None:
    before = digests(copy)
    shutil.rmtree(copy / "rounds" / "1" / "policy")
    states = {row.state.name: row.state for row in plan(recipe(world, 2), copy)}
    assert not states["rounds/1/train"].finished
    assert states["candidates"].finished
    run(recipe(world, 2), copy, until="train")
    assert digests(copy) == before


def test_fewer_rounds_are_another_recipe_and_more_are_told_how_to_go_on(copy: Path, world: Path) -> None:
    with pytest.raises(ResumeError, match=r"another recipe \(rounds: 2 -> 1\)"):
        run(recipe(world, 1), copy)
    with pytest.raises(ResumeError, match=r"rounds: 2 -> 3.*docs/run-directory.md: how to go on from what is its round 2"):
        run(recipe(world, 3), copy)


def test_an_earlier_round_is_trained_evaluated_and_reported_like_a_run(copy: Path) -> None:
    first = copy / "rounds" / "1"
    assert not train(first).fresh
    found = evaluate(RunDir(first).recipe(), first)["rec"]
    assert found["adapter"] == directory_digest(first / "policy" / "adapter")
    assert found["base"] == metrics_of(copy)["tasks"]["rec"]["base"]
    assert report(first).is_file()
    assert "rounds" not in metrics_of(first)
    with RunDir(copy).lock(), pytest.raises(ResumeError, match="is in use by process"):
        evaluate(RunDir(first).recipe(), first)


@pytest.mark.parametrize(("rank", "lines"), [("0", 1), ("1", 0)])
def test_of_several_processes_the_leading_one_says_what_was_trained(rank: str, lines: int, finished: Path) -> None:
    command = [sys.executable, "-m", "spr.cli", "train", str(finished)]
    done = subprocess.run(command, env={**os.environ, "RANK": rank}, capture_output=True, text=True, check=True)
    assert done.stdout.count("\n") == len(re.findall("2 updates on .* finished before: ", done.stdout)) == lines


def test_a_round_without_pairs_is_the_last_and_the_policy_before_it_is_tuned(
    finished: Path, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(world / "preference", tmp_path / "preference")
    shutil.copytree(world / "held_out", tmp_path / "held_out")
    of_three = recipe(tmp_path, 3)
    run(of_three, tmp_path / "run", until="rounds/1/train")
    shutil.rmtree(tmp_path / "preference" / "images")
    out = run(of_three, tmp_path / "run").path
    assert "rounds/2/train: no pairs came out, so the rounds end here" in capsys.readouterr().err
    assert not (out / "queries").exists()
    metrics = metrics_of(out)
    first = out / "rounds" / "1" / "policy" / "adapter"
    assert (metrics["rounds_ended_by"], metrics["rounds"][1]["funnel"]["queries"]["dropped"]) == (2, {"image_missing": 12})
    assert metrics["tasks"]["rec"]["adapter"] == directory_digest(first)
    assert adapter_of(RunDir(out)) == first
    assert "the policy of round 1 is the tuned one" in shown(out)
    assert "the policy of round 1 is the tuned one" in (out / "report" / "index.html").read_text()
    assert {row.state.name for row in plan(of_three, out) if not row.state.finished} == {"rounds/2/train"}
    run(of_three, out)
    assert metrics_of(out)["tasks"] == metrics["tasks"]
