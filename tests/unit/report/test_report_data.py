from __future__ import annotations

from pathlib import Path

import pytest
from synthetic_run import write_run

from spr.errors import DataError, ResumeError
from spr.report.data import read_run


def test_a_directory_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ResumeError, match="no run directory"):
        read_run(tmp_path)


def test_a_broken_metrics_file_is_named(tmp_path: Path) -> None:
    run = write_run(tmp_path, photos=2)
    (run / "metrics.json").write_text('{"tasks":')
    with pytest.raises(DataError, match=r"metrics\.json is not valid json"):
        read_run(run)


def test_a_log_line_that_is_being_written_is_left_out(tmp_path: Path) -> None:
    run = write_run(tmp_path, photos=2)
    with (run / "policy" / "log.jsonl").open("a") as log:
        log.write('{"step": 101, "lo')
    assert read_run(run).log[-1]["step"] == 100


def test_the_flows_balance_and_come_in_order(tmp_path: Path) -> None:
    flows = read_run(write_run(tmp_path, photos=3)).flows
    assert list(flows) == ["images", "annotations", "queries", "candidates", "scores", "pairs", "train", "eval/rec/base"]
    for flow in flows.values():
        assert flow.rows_in == flow.parents + sum(flow.dropped.values())


def test_what_has_not_run_is_none_and_what_gave_nothing_is_empty(tmp_path: Path) -> None:
    assert read_run(write_run(tmp_path / "a", photos=2, parts=("queries",))).pairs is None
    assert read_run(write_run(tmp_path / "b", photos=2, kept_pairs=False)).pairs == []
