"""A run whose queries give several pairs each: the plan, the funnel, what is shown by a query's id, the export."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from rich.console import Console
from small_world import described_recipe

from spr.errors import DataError
from spr.export.trl import FILE, export_trl
from spr.models import dialects
from spr.pipeline import plan, run
from spr.pipeline.assembly import pair_store
from spr.records import PreferencePair, RegionQuery
from spr.report.page import write_report
from spr.running.run_dir import RunDir
from spr.running.shards import ShardStore
from spr.views import pair_view


def three_texts(world: Path, path: Path) -> Path:
    """Descriptions of each query: every object moved by 1, by 2 and by 40 pixels."""
    dialect = dialects.get("llava-onevision")
    lines = []
    for query in ShardStore(world / "run" / "queries", world / "run" / "dropped" / "queries", RegionQuery).all_rows():
        for shift in (1, 2, 40):
            moved = [(o.category, (o.box[0] + shift, o.box[1], o.box[2] + shift, o.box[3])) for o in query.objects]
            text = " , ".join(dialect.ground(name, box, query.size) for name, box in moved)
            lines.append({"query_id": query.query_id, "text": text, "model": "by hand"})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


@pytest.fixture(scope="module")
def made(described: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[PreferencePair]]:
    folder = tmp_path_factory.mktemp("several")
    imported = {"source": "file", "path": str(three_texts(described, folder / "texts.jsonl")), "k": 3}
    pairs: dict[str, Any] = {"per_query": "all", "min_margin": 0.0}
    recipe = described_recipe(described, candidates=imported, pairs=pairs)
    rows = {row.state.name: (row.rows, row.at_most) for row in plan(recipe, folder / "run")}
    assert rows["pairs"] == (rows["queries"][0] * 3, True)
    out = run(recipe, folder / "run", until="pairs").path
    return out, pair_store(RunDir(out)).all_rows()


def test_the_funnel_balances_and_ids_are_unique(made: tuple[Path, list[PreferencePair]]) -> None:
    out, pairs = made
    counts = json.loads((out / "metrics.json").read_text())["funnel"]["pairs"]
    a_query = Counter(pair.query_id for pair in pairs)
    assert counts["out"] == len(pairs) == len({pair.pair_id for pair in pairs})
    assert counts["in"] == counts["parents"] + sum(counts["dropped"].values())
    assert counts["parents"] == len(a_query)
    assert max(a_query.values()) > 1


def test_a_query_is_shown_by_its_widest_pair_and_says_how_many_it_has(made: tuple[Path, list[PreferencePair]]) -> None:
    out, pairs = made
    query, count = Counter(pair.query_id for pair in pairs).most_common(1)[0]
    mine = [pair for pair in pairs if pair.query_id == query]
    assert [pair.margin for pair in mine] == sorted((pair.margin for pair in mine), reverse=True)
    console = Console(width=400)
    with console.capture() as said:
        for piece in pair_view(out, query):
            console.print(piece)
    head, second = said.get().splitlines()[:2]
    assert head.strip() == mine[0].pair_id
    assert second.strip() == f"one of {count} pairs of query {query}; also {', '.join(pair.pair_id for pair in mine[1:])}"
    with pytest.raises(DataError, match="holds no pair or query"):
        list(pair_view(out, "nobody"))


def test_the_report_counts_queries_and_its_pages_name_the_other_pairs(made: tuple[Path, list[PreferencePair]]) -> None:
    out, pairs = made
    page = write_report(out).read_text()
    with_pairs = len({pair.query_id for pair in pairs})
    assert f"<b>made a pair</b></th><td>{with_pairs}</td>" in page
    query = Counter(pair.query_id for pair in pairs).most_common(1)[0][0]
    drawn = [file for file in (out / "report" / "pairs").glob("*.html") if file.name.startswith(f"{query}-pair")]
    assert drawn
    assert all(f"pairs of query {query}; also {query}-pair-" in file.read_text() for file in drawn)


def test_all_pairs_are_exported(made: tuple[Path, list[PreferencePair]], described: Path, tmp_path: Path) -> None:
    pairs = made[1]
    assert export_trl(pairs, described / "images", tmp_path / "out") == []
    assert pq.read_table(tmp_path / "out" / FILE)["pair_id"].to_pylist() == [pair.pair_id for pair in pairs]
