from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pytest
from toy_stage import ToyStage, parts, run_toy, scenes, store

from spr.errors import DataError
from spr.records import Dropped, Prediction
from spr.running.inputs import RowInput, StoreInput, as_they_are, gather
from spr.running.shards import Origin, ShardStore, parquet_bytes


def test_equal_rows_make_equal_bytes() -> None:
    rows = [
        Prediction("rec", "a", "i", "text", None, "none", math.nan, {"x": 1.0}),
        Prediction("rec", "b", "i", "", (0, 0, 1, 1), "ok", 0.5),
    ]
    again = [dataclasses.replace(row) for row in rows]
    assert parquet_bytes(rows, Prediction) == parquet_bytes(again, Prediction)
    assert parquet_bytes(rows, Prediction) != parquet_bytes(rows[::-1], Prediction)


def test_the_key_sees_every_field() -> None:
    origin = Origin("toy", 1, {"scale": 1.0}, 4, "abc")
    others = [
        dataclasses.replace(origin, stage="boy"),
        dataclasses.replace(origin, version=2),
        dataclasses.replace(origin, recipe={"scale": 1.5}),
        dataclasses.replace(origin, shard_size=5),
        dataclasses.replace(origin, input="abd"),
    ]
    assert len({origin.key, *(other.key for other in others)}) == 6
    assert dataclasses.replace(origin).key == origin.key


def test_a_manifest_states_what_went_in_came_out_and_was_dropped(tmp_path: Path) -> None:
    run_toy(tmp_path)
    manifest = store(tmp_path).manifest(1)  # Scenes 4, 5, 6, 7.
    assert manifest is not None
    assert (manifest.rows_in, manifest.rows_out, manifest.parents, manifest.dropped) == (4, 3, 3, {"seven": 1})
    assert manifest.notes == {"rows": 4}
    assert {"spatial-preference-rewarding", "torch", "python"} <= manifest.versions.keys()
    assert store(tmp_path).all_dropped() == [Dropped("7", "toy", "seven"), Dropped("17", "toy", "seven")]


def test_a_shard_counts_only_with_its_key_and_its_bytes(tmp_path: Path) -> None:
    run_toy(tmp_path)
    shards = store(tmp_path)
    manifest = shards.manifest(0)
    assert manifest is not None
    assert shards.finished(0, manifest.key)
    assert not shards.finished(0, "another key")
    shards.part(0).write_bytes(shards.part(0).read_bytes()[:-1])
    assert not shards.finished(0, manifest.key)


def test_a_broken_part_is_told_with_what_to_do(tmp_path: Path) -> None:
    run_toy(tmp_path)
    store(tmp_path).part(0).write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"part-00000\.parquet cannot be read: .*; delete it and give `spr run` again"):
        store(tmp_path).rows(0)


def test_a_part_of_other_records_is_refused(tmp_path: Path) -> None:
    run_toy(tmp_path)
    with pytest.raises(DataError, match=r"holds RegionQuery rows of schema version 3; .* reads Prediction"):
        ShardStore(tmp_path / "toy", tmp_path / "dropped" / "toy", Prediction).rows(0)


def test_shards_are_ranges_of_the_input() -> None:
    source = RowInput(scenes(10), 4)
    assert source.count() == 3
    assert [[row.image_id for row in source.rows(i)] for i in range(3)] == [list("0123"), list("4567"), list("89")]
    assert RowInput([], 4).count() == 0


def test_a_changed_row_changes_the_digest_of_its_shard_only() -> None:
    rows = scenes(10)
    changed = [*rows[:5], dataclasses.replace(rows[5], width=65), *rows[6:]]
    before, after = RowInput(rows, 4), RowInput(changed, 4)
    assert [before.digest(i) == after.digest(i) for i in range(3)] == [True, False, True]


def test_the_input_of_a_later_stage_is_the_same_shard_of_the_earlier(tmp_path: Path) -> None:
    run_toy(tmp_path, count=10)
    source = StoreInput((store(tmp_path),), as_they_are, 4, 3)
    assert [row.image_id for row in source.rows(1)] == ["4", "5", "6"]
    assert source.size(1) == 3
    before = source.digest(1)
    store(tmp_path).remove(1)
    assert source.digest(1) is None
    run_toy(tmp_path, count=10)
    assert source.digest(1) == before
    run_toy(tmp_path, ToyStage(scale=2.0), count=10)
    assert source.digest(1) != before


@dataclasses.dataclass(frozen=True)
class Child:
    query_id: str
    k: int


def test_children_are_gathered_by_query_with_k_ascending() -> None:
    parents = [Child("b", -1), Child("a", -1), Child("childless", -1)]
    children = [Child("a", 1), Child("b", 0), Child("a", 0)]
    found = gather(parents, children, lambda parent, own: (parent.query_id, [child.k for child in own]))
    assert found == [("b", [0]), ("a", [0, 1])]


def test_a_child_without_its_query_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"1 rows name queries that their shard does not hold, e\.g\. x"):
        gather([Child("a", -1)], [Child("x", 0)], lambda parent, own: None)


def test_dropped_rows_lie_beside_the_parts(tmp_path: Path) -> None:
    run_toy(tmp_path, count=4)
    assert list(parts(tmp_path)) == ["dropped/toy/part-00000.parquet", "toy/part-00000.parquet"]
