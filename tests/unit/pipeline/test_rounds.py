"""The rounds of a run: where they lie, what they begin from, which policy answers, and what is said of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from spr.errors import RecipeError, ResumeError
from spr.pipeline import run
from spr.pipeline.assembly import DATA, data_steps
from spr.pipeline.making import make_rounds
from spr.pipeline.metrics import write_metrics
from spr.pipeline.owning import check_recipe_owned
from spr.pipeline.rounds import adapter_of, directories, ended_by, held, outer, rounds_of, seed_of, start_of
from spr.pipeline.surveying import TRAIN, Survey, refusal, survey
from spr.recipe import Recipe, check_recipe
from spr.records import PreferencePair, RegionQuery, Scene
from spr.running.files import read_json, write_json
from spr.running.run_dir import RunDir
from spr.running.shards import Manifest, Origin, ShardStore
from spr.running.steps import DONE, STALE, TO_DO, StepState
from spr.sources.coco import SceneReading


def recipe(rounds: int | None = None, **changes: Any) -> Recipe:
    values: dict[str, Any] = {
        "shard_size": 2,
        "source": {"annotations": "none.json", "image_root": "none"},
        "model": {"name": "/nowhere/model", "dialect": "ferret"},
        "candidates": {"prompts": ["plain"]},
        "score": {"weight": 0, "localization": {"preset": "annotations_only"}},
    }
    return check_recipe(values | ({} if rounds is None else {"rounds": rounds}) | changes, "test")


def begin(run: RunDir, rounds: int) -> RunDir:
    """A run of so many rounds, all begun, whose source gave three images: two shards."""
    for one in rounds_of(recipe(rounds), run):
        one.run.prepare()
        one.run.write_recipe(one.recipe)
        write_json(one.run.path / "source.json", {"funnel": {"images": {"in": 3, "out": 3, "parents": 3, "dropped": {}}}})
    return run


def finish(run: RunDir) -> Path:
    """A finished training, as far as whoever asks for its adapter looks."""
    (run.policy / "adapter").mkdir(parents=True)
    told = {"adapter": "adapter", "pairs": 8, "dropped": [], "updates": 1, "final": {}, "displaced": False, "seconds": 1.0}
    told |= {"chosen_first": 0.0, "chosen_last": 0.1}
    write_json(run.policy / "manifest.json", {"key": "", "parts": {}, "report": told})
    return run.policy / "adapter"


def made(run: RunDir, stage: str, shard: int, rows: int) -> None:
    """A manifest that states so many rows."""
    record = {"pairs": PreferencePair, "queries": RegionQuery}[stage]
    store = ShardStore(run.path / stage, run.path / "dropped" / stage, record)
    store.write(shard, [], [], Manifest(shard, "", Origin(stage, 1, {}, 2, ""), "", "", 1, rows, rows, {}, 1.0, {}, {}))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"train": {"method": "full"}}, "train.method: full leaves none"),
        ({"candidates": {"source": "file", "path": "texts.jsonl"}}, "candidates.source: file only holds what others wrote"),
        (
            {"model": {"name": "m", "dialect": "ferret", "endpoint": {"url": "http://localhost:1/v1"}}},
            "model.endpoint does not",
        ),
    ],
)
def test_who_cannot_describe_as_the_trained_policy_is_refused_for_several_rounds_only(
    changes: dict[str, Any], told: str
) -> None:
    assert recipe(1, **changes).rounds == recipe(**changes).rounds == 1
    with pytest.raises(RecipeError, match=rf"rounds is 2: from the second round on .*{told}"):
        recipe(2, **changes)


def test_the_last_round_is_the_run_itself_and_earlier_ones_are_shorter_runs_below_it(tmp_path: Path) -> None:
    directory = RunDir(tmp_path / "run")
    found = rounds_of(recipe(3), directory)
    assert [one.run.path.relative_to(tmp_path).as_posix() for one in found] == ["run/rounds/1", "run/rounds/2", "run"]
    assert [one.prefix for one in found] == ["rounds/1/", "rounds/2/", ""]
    assert [one.recipe for one in found] == [recipe(1), recipe(2), recipe(3)]
    assert [one.run.path for one in rounds_of(recipe(), directory)] == [directory.path]


def test_a_later_round_begins_from_the_policy_of_the_one_before_and_draws_anew(tmp_path: Path) -> None:
    found = rounds_of(recipe(3, seed=5), begin(RunDir(tmp_path), 3))
    assert [start_of(one.recipe, one.run) for one in found] == [
        None,
        tmp_path / "rounds/1/policy/adapter",
        tmp_path / "rounds/2/policy/adapter",
    ]
    seeds = [seed_of(one.recipe) for one in found]
    assert seeds[0] == 5
    assert len(set(seeds)) == 3
    assert seeds != [seed_of(one.recipe) for one in rounds_of(recipe(3, seed=6), RunDir(tmp_path))]


def test_an_earlier_round_finds_its_own_beginning_beside_it(tmp_path: Path) -> None:
    directory = begin(RunDir(tmp_path / "run"), 3)
    second = RunDir(tmp_path / "run" / "rounds" / "2")
    assert outer(second) == RunDir((tmp_path / "run").resolve())
    assert outer(directory) is None
    assert start_of(second.recipe(), second) == tmp_path / "run/rounds/1/policy/adapter"
    assert [one.run.path.name for one in rounds_of(second.recipe(), second)] == ["1", "2"]
    with pytest.raises(ResumeError, match=r"is round 2 of .*run, and the recipe has rounds: 3; name another --out"):
        rounds_of(recipe(3), second)


@pytest.mark.parametrize("named", [".", "../2", "../../../second"])
def test_an_earlier_round_finds_its_beginning_by_whatever_path_it_is_named(
    named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(RunDir(tmp_path / "run"), 3)
    first = finish(RunDir(tmp_path / "run" / "rounds" / "1"))
    (tmp_path / "second").symlink_to(tmp_path / "run" / "rounds" / "2")
    monkeypatch.chdir(tmp_path / "run" / "rounds" / "2")
    second = RunDir(Path(named))
    start = start_of(second.recipe(), second)
    assert start is not None
    assert start.samefile(first)


def test_a_folder_named_like_a_round_is_none_without_a_run_above_it(tmp_path: Path) -> None:
    alone = RunDir(tmp_path / "rounds" / "2")
    assert outer(alone) is None
    assert start_of(recipe(2), alone) == tmp_path / "rounds/2/rounds/1/policy/adapter"


def test_the_lock_of_an_earlier_round_is_the_whole_runs(tmp_path: Path) -> None:
    directory = begin(RunDir(tmp_path / "run"), 2)
    first = RunDir(tmp_path / "run" / "rounds" / "1")
    with held(first):
        assert directory.user() is not None
        with pytest.raises(ResumeError, match="is in use by process"), held(directory):
            pass
    assert directory.user() is None
    assert not (first.path / "lock").exists()


@pytest.mark.parametrize(("empty", "answers"), [(1, None), (2, 1), (3, 2)])
def test_the_round_without_pairs_ends_the_run_and_the_policy_before_it_is_the_tuned_one(
    empty: int, answers: int | None, tmp_path: Path
) -> None:
    directory = begin(RunDir(tmp_path / "run"), 3)
    rounds = list(directories(directory).values())
    adapters = {}
    for number in range(1, empty):
        for shard in (0, 1):
            made(rounds[number - 1], "pairs", shard, 4)
        adapters[number] = finish(rounds[number - 1])
    made(rounds[empty - 1], "pairs", 0, 0)
    assert ended_by(directory) is None  # its second shard may still hold some
    assert adapter_of(directory) is None
    made(rounds[empty - 1], "pairs", 1, 0)
    assert ended_by(directory) == empty
    assert adapter_of(directory) == adapters.get(answers or 0)
    values = write_metrics(directory)
    assert values["rounds_ended_by"] == empty
    assert [one["round"] for one in values["rounds"]] == [1, 2, 3]


def test_a_run_answers_with_its_own_policy_and_not_with_that_of_a_round_on_its_way(tmp_path: Path) -> None:
    directory = begin(RunDir(tmp_path / "run"), 2)
    first = finish(RunDir(tmp_path / "run" / "rounds" / "1"))
    assert adapter_of(directory) is None
    assert adapter_of(RunDir(tmp_path / "run" / "rounds" / "1")) == first
    own = finish(directory)
    assert adapter_of(directory) == own


def test_a_finished_round_that_was_killed_before_its_results_is_given_them(tmp_path: Path) -> None:
    directory = begin(RunDir(tmp_path / "run"), 2)
    first, last = rounds_of(recipe(2), directory)
    for shard in (0, 1):
        made(first.run, "pairs", shard, 4)
    adapter = finish(first.run)
    write_json(adapter / "processor_config.json", {"processor_class": "LlavaProcessor"})
    write_json(adapter / "adapter_config.json", {"base_model_name_or_path": "a/b"})
    (adapter / "README.md").write_text("what PEFT writes beside every adapter")
    done = {name: StepState(name, {0: DONE, 1: DONE}, (), 8) for name in (*DATA, TRAIN)}
    found = [Survey(first, {}, done, (), waits=False), Survey(last, {}, {}, (), waits=False)]
    make_rounds(found, SceneReading((), (), {}, 0, ""), stages=(), force=False)
    assert read_json(first.run.metrics_file) == write_metrics(first.run)
    assert "spatial-preference-rewarding" in (adapter / "README.md").read_text()
    assert not directory.metrics_file.exists()


def test_a_run_of_one_round_says_nothing_of_rounds(tmp_path: Path) -> None:
    values = write_metrics(begin(RunDir(tmp_path / "run"), 1))
    assert list(values) == ["tasks", "funnel", "writing", "training", "seconds", "versions"]


def test_a_run_of_before_there_were_rounds_is_still_its_recipes(tmp_path: Path) -> None:
    directory = begin(RunDir(tmp_path / "run"), 1)
    values = read_json(directory.recipe_file)
    assert isinstance(values, dict)
    write_json(directory.recipe_file, {name: value for name, value in values.items() if name != "rounds"})
    check_recipe_owned(recipe(), directory, [])
    with pytest.raises(ResumeError, match=r"belongs to another recipe \(rounds: 1 -> 2\)"):
        check_recipe_owned(recipe(2), directory, [])


def test_what_describes_later_is_stale_with_the_policy_and_otherwise_as_done_as_it_is_there(tmp_path: Path) -> None:
    directory = RunDir(tmp_path / "run")
    first, last = rounds_of(recipe(2), directory)
    scenes = [Scene(str(n), f"{n}.jpg", 100, 100, ()) for n in range(3)]
    before = survey(first, scenes, keys=False)
    assert before.trained.name == "rounds/1/train"
    store = {step.name: step for step in data_steps(last.recipe, last.run, [])}["candidates"].store
    store.write(0, [], [], Manifest(0, "", Origin("candidates", 1, {}, 2, ""), "", "", 3, 15, 3, {}, 1.0, {}, {}))
    assert survey(last, scenes, before, keys=False).states["candidates"].shards == {0: DONE, 1: TO_DO}
    lost = {**before.states, TRAIN: dataclasses.replace(before.states[TRAIN], shards={0: STALE})}
    found = survey(last, scenes, dataclasses.replace(before, states=lost), keys=False)
    assert found.waits
    assert found.states["candidates"].why == ("made from rounds/1/train",)
    assert "candidates: 1 shards (made from rounds/1/train)" in refusal(recipe(2), directory, [before, found])


def test_after_a_round_without_pairs_nothing_is_to_do(tmp_path: Path) -> None:
    first, last = rounds_of(recipe(2), begin(RunDir(tmp_path / "run"), 2))
    before = survey(first, [], keys=False)
    assert before.ends == "rounds/1/pairs is empty"
    found = survey(last, [], before, keys=False)
    assert {state.count(TO_DO) for state in found.states.values()} == {0}
    assert {state.why for state in found.states.values()} == {("rounds/1/pairs is empty",)}


@pytest.mark.parametrize("until", ["rounds/2/pairs", "rounds/1/eval", "rounds/0/pairs", "rounds/1", "rounds/1/", "nothing"])
def test_a_stage_that_is_not_there_is_told_with_those_of_earlier_rounds(until: str, tmp_path: Path) -> None:
    with pytest.raises(
        RecipeError, match=rf"--until {until}: .*queries, .*report, or of an earlier round, e.g. rounds/1/train"
    ):
        run(recipe(2), tmp_path / "run", until=until)
    with pytest.raises(RecipeError, match=r"name one of queries, .*report$"):
        run(recipe(), tmp_path / "run", until="rounds/1/pairs")
    assert not (tmp_path / "run").exists()


def test_rounds_may_lie_where_a_run_begins_and_other_things_not(tmp_path: Path) -> None:
    (tmp_path / "new" / "rounds" / "1").mkdir(parents=True)
    RunDir(tmp_path / "new").prepare()
    assert RunDir(tmp_path / "new").exists
    (tmp_path / "other" / "photos").mkdir(parents=True)
    with pytest.raises(ResumeError, match="exists and is no run directory"):
        RunDir(tmp_path / "other").prepare()
