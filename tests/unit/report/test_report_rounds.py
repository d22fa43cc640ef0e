"""The rounds of a run side by side, on the page and in the terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from synthetic_metrics import make_metrics
from synthetic_run import write_run

from spr.report import write_report
from spr.report.rounds import RoundRow, round_rows, rounds_note
from spr.report.terminal import rounds_text


def counts(out: int) -> dict[str, Any]:
    return {"in": out, "out": out, "parents": out, "dropped": {}}


FIRST = {
    "round": 1,
    "funnel": {"queries": counts(1200), "candidates": counts(6000), "pairs": counts(901), "train": counts(900)},
    "parse_rate": 0.9876,
    "localization": 0.6123,
    "margin": 0.0804,
    "training": {"updates": 130, "pairs": 900, "final": {"rewards/accuracies": 0.75, "loss": 0.6}, "displaced": False},
    "seconds": 312.0,
}
SECOND = {
    "round": 2,
    "funnel": {"queries": counts(1190)},
    "parse_rate": None,
    "localization": None,
    "margin": None,
    "training": None,
    "seconds": 4.0,
}
TWO = {"rounds": [FIRST, SECOND], "rounds_ended_by": None}


def shown(metrics: dict[str, Any]) -> str:
    console = Console(width=120)
    with console.capture() as said:
        for view in rounds_text(metrics):
            console.print(view)
    return said.get()


def test_a_row_a_round_with_what_is_there() -> None:
    first, second = round_rows(TWO)
    assert first == RoundRow(1, 1200, 0.9876, 0.6123, 901, 0.0804, 130, 0.75, 312.0)
    assert second == RoundRow(2, 1190, None, None, None, None, None, None, 4.0)
    assert round_rows(make_metrics()) == []


@pytest.mark.parametrize(
    ("end", "note"),
    [
        (None, ""),
        (1, "Round 1 gave no pairs, so no round came after it, and there is no tuned policy."),
        (2, "Round 2 gave no pairs, so no round came after it, and the policy of round 1 is the tuned one."),
    ],
)
def test_where_the_rounds_ended_is_said_with_the_policy_that_answers(end: int | None, note: str) -> None:
    assert rounds_note({"rounds_ended_by": end}) == note
    assert shown({**TWO, "rounds_ended_by": end}).rstrip().endswith(note or "4.0 s")


def test_the_terminal_shows_them_and_nothing_of_a_run_of_one_round() -> None:
    lines = shown(TWO).splitlines()
    assert [" ".join(line.split()) for line in lines if line.strip()[:1].isdigit()] == [
        "1 1,200 98.8 % 0.612 901 0.080 130 75.0 % 5 min 12 s",
        "2 1,190 – – – – – – 4.0 s",
    ]
    assert shown(make_metrics()) == ""


def test_the_page_has_a_section_of_rounds_where_there_are_several(tmp_path: Path) -> None:
    run = write_run(tmp_path, photos=4)
    assert 'id="rounds"' not in write_report(run).read_text()
    metrics = json.loads((run / "metrics.json").read_text())
    (run / "metrics.json").write_text(json.dumps({**metrics, **TWO, "rounds_ended_by": 2}))
    page = write_report(run).read_text()
    section = page[page.index('id="rounds"') :].partition("</section>")[0]
    assert "<td>1,200</td><td>98.8 %</td><td>0.612</td><td>901</td><td>0.080</td><td>130</td><td>75.0 %</td>" in section
    assert "Round 2 gave no pairs" in section
