"""Records: what goes into a table comes out of it, and files of another kind are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spr import record_tables, records
from spr.errors import DataError
from spr.items import Answer

STORED: tuple[type[Any], ...] = (
    records.Scene,
    records.RegionQuery,
    records.Candidate,
    records.ScoredCandidate,
    records.PreferencePair,
    Answer,
    records.Prediction,
    records.Dropped,
)

text = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
number = st.floats(allow_nan=False)
st.register_type_strategy(str, text)
st.register_type_strategy(float, number)
st.register_type_strategy(int, st.integers(-(2**63), 2**63 - 1))


@pytest.mark.parametrize("record", STORED, ids=lambda record: record.__name__)
@settings(max_examples=30)
@given(data=st.data())
def test_every_record_survives_its_table(record: type[Any], data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.from_type(record), max_size=3))
    assert record_tables.from_table(record_tables.to_table(rows, record), record) == rows


def test_a_parquet_file_keeps_record_and_version(tmp_path: Path) -> None:
    row = records.Prediction(
        "rec",
        "i",
        "c",
        "text",
        None,
        "none",
        0.0,
        {"boxes": 2.0},
        "the cup",
        "c.png",
        9,
        6,
        ((0, 0, 3, 3),),
        "a cup",
        {"size": "small"},
    )
    pq.write_table(record_tables.to_table([row], records.Prediction), tmp_path / "part.parquet")
    assert record_tables.from_table(pq.read_table(tmp_path / "part.parquet"), records.Prediction) == [row]


def test_another_record_is_refused_by_name() -> None:
    table = record_tables.to_table([records.Dropped("1", "queries", "image_missing")], records.Dropped)
    with pytest.raises(DataError, match=r"part-00000 holds Dropped rows .* reads Scene version 3"):
        record_tables.from_table(table, records.Scene, "part-00000")


def test_another_schema_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    table = record_tables.to_table([records.Dropped("1", "queries", "image_missing")], records.Dropped)
    monkeypatch.setattr(record_tables, "SCHEMA_VERSION", 4)
    with pytest.raises(DataError, match=r"schema version 3; .* version 4"):
        record_tables.from_table(table, records.Dropped)


def test_a_foreign_table_is_refused() -> None:
    with pytest.raises(DataError, match="holds \\? rows"):
        record_tables.from_table(pa.table({"a": [1]}), records.Dropped)


def test_a_predictions_size_is_its_photos() -> None:
    row = records.Prediction("rec", "i", "c", "text", None, "none", 0.0, width=9, height=6)
    assert row.size == (9, 6)


def test_records_are_frozen() -> None:
    with pytest.raises(AttributeError):
        records.Dropped("1", "queries", "x").reason = "y"  # type: ignore[misc]
