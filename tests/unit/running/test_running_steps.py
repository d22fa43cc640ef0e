from __future__ import annotations

from pathlib import Path

import pytest
from toy_stage import ToyStage, run_toy, scenes, step, store

from spr.errors import ModelError
from spr.records import RegionQuery
from spr.running.inputs import RowInput, StoreInput, as_they_are
from spr.running.shards import ShardStore
from spr.running.steps import DONE, STALE, TO_DO, Step, StepState, clear_stale, inspect


def later(folder: Path) -> Step:
    """A second step that reads the first; it is never run here."""
    target = ShardStore(folder / "later", folder / "dropped" / "later", RegionQuery)
    return Step("later", ToyStage(), StoreInput((store(folder),), as_they_are, 4, 5), target, ("toy",))


def test_a_new_step_is_all_to_do(tmp_path: Path) -> None:
    state = inspect(step(tmp_path), {})
    assert state == StepState("toy", dict.fromkeys(range(5), TO_DO), (), 0)


def test_a_finished_step_is_all_done_with_its_rows(tmp_path: Path) -> None:
    run_toy(tmp_path)
    state = inspect(step(tmp_path), {})
    assert state.finished
    assert state.rows == 18


@pytest.mark.parametrize(
    ("stage", "why"),
    [(ToyStage(scale=2.5), "scale: 1.0 -> 2.5"), (ToyStage(version=3), "stage version: 1 -> 3")],
)
def test_what_changed_is_the_reason_of_stale_shards(tmp_path: Path, stage: ToyStage, why: str) -> None:
    run_toy(tmp_path)
    state = inspect(step(tmp_path, stage), {})
    assert (state.count(STALE), state.why, state.rows) == (5, (why,), 0)


def test_another_shard_size_makes_all_stale(tmp_path: Path) -> None:
    run_toy(tmp_path)
    other = Step("toy", ToyStage(), RowInput(scenes(20), 5), store(tmp_path))
    state = inspect(other, {})
    assert state.count(STALE) == 5
    assert "shard_size: 4 -> 5" in state.why
    assert "the input has fewer shards now" in state.why


def test_a_longer_input_makes_only_its_last_partial_shard_stale(tmp_path: Path) -> None:
    run_toy(tmp_path, count=10)
    state = inspect(step(tmp_path, count=20), {})
    assert state.shards == {0: DONE, 1: DONE, 2: STALE, 3: TO_DO, 4: TO_DO}
    assert state.why == ("its input changed",)


def test_stale_is_what_was_made_from_stale(tmp_path: Path) -> None:
    run_toy(tmp_path)
    second = later(tmp_path)
    for index in range(5):
        manifest = store(tmp_path).manifest(index)
        assert manifest is not None
        second.store.write(index, [], [], manifest)
    earlier = {"toy": StepState("toy", {0: STALE, 1: DONE, 2: DONE, 3: DONE, 4: DONE}, ("x",), 0)}
    state = inspect(second, earlier)
    assert state.shards[0] == STALE
    assert "made from toy" in state.why


def test_clearing_takes_away_the_stale_shards_only(tmp_path: Path) -> None:
    run_toy(tmp_path, count=10)
    longer = step(tmp_path, count=20)
    clear_stale(longer, inspect(longer, {}))
    assert store(tmp_path).indices() == [0, 1]


class Unreadable(ToyStage):
    """A stage whose model is out of reach."""

    @property
    def recipe_part(self) -> dict[str, object]:
        raise ModelError("toy-model cannot be loaded")


def test_a_stage_is_asked_what_it_depends_on_only_where_a_shard_is_to_compare_with(tmp_path: Path) -> None:
    assert inspect(step(tmp_path, Unreadable()), {}).count(TO_DO) == 5
    run_toy(tmp_path)
    with pytest.raises(ModelError, match="toy-model cannot be loaded"):
        inspect(step(tmp_path, Unreadable()), {})
