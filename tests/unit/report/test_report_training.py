"""What the report says of a training: its curves, its tokens, and whether the chosen were displaced."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from rich.table import Table
from synthetic_run import write_run

from spr.report import charts, write_report
from spr.running.run_dir import RunDir
from spr.views import status_tables

HISTOGRAM = {"edges": [800, 850, 900, 950], "pairs": [12, 25, 2]}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run(tmp_path_factory.mktemp("trained"), photos=4)


def said(run: Path, rewards: list[tuple[float, float]]) -> str:
    """The section on training of a run whose log holds these rewards of the chosen and margins."""
    log = [{"step": i, "rewards/chosen": c, "rewards/margins": m} for i, (c, m) in enumerate(rewards, 1)]
    (run / "policy" / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))
    page = write_report(run).read_text(encoding="utf-8")
    section = page[page.index('<section id="training">') :]
    return " ".join(re.sub("<[^>]*>", " ", re.sub("<svg.*?</svg>", " ", section, flags=re.DOTALL)).split())


def test_displacement_at_the_end_is_named_with_its_numbers(run: Path) -> None:
    text = said(run, [(-0.3, 0.5), (-0.5, 0.7)] * 8)
    assert "Likelihood displacement: at the end the chosen texts stand \N{MINUS SIGN}4.00 nats against the reference" in text
    assert "the margin is +6.00 (last quarter of the updates)" in text
    assert "First seen at update 8." in text


def test_displacement_that_passed_is_named_with_its_update(run: Path) -> None:
    text = said(run, [(-0.3, 0.5), (-0.5, 0.7)] * 4 + [(0.3, 0.5), (0.5, 0.7)] * 16)
    assert "likelihood displacement for a while , first seen at update 8, and none at the end" in text


def test_a_fall_within_what_batches_differ_by_is_none(run: Path) -> None:
    text = said(run, [(-0.9, 0.5), (0.8, 0.7)] * 8)
    assert "below it, but by no more than batches differ, or without a margin that grew: no likelihood displacement." in text


def test_chosen_that_rise_are_not_displaced(run: Path) -> None:
    assert "of the updates): no likelihood displacement." in said(run, [(0.3, 0.5), (0.5, 0.7)] * 8)


def test_the_tokens_trained_on_are_drawn(run: Path) -> None:
    directory = RunDir(run)
    metrics = json.loads(directory.metrics_file.read_text())
    assert "Pairs trained on" not in write_report(run).read_text(encoding="utf-8")
    directory.metrics_file.write_text(json.dumps({**metrics, "training": {"lengths": {}, "histogram": HISTOGRAM}}))
    assert "Pairs trained on" in write_report(run).read_text(encoding="utf-8")
    directory.metrics_file.write_text(json.dumps(metrics))


def test_the_picture_of_tokens_is_svg_with_its_name() -> None:
    assert "Pairs trained on, by tokens" in charts.tokens(HISTOGRAM, "Pairs trained on")


def test_the_status_of_a_finished_training_shows_its_tokens(run: Path) -> None:
    report = {"updates": 5, "pairs": 39, "seconds": 61.0, "histogram": HISTOGRAM, "dropped": []}
    (run / "policy" / "manifest.json").write_text(json.dumps({"report": report}))
    *_, line = status_tables(run)
    (run / "policy" / "manifest.json").unlink()
    assert str(line).splitlines() == [
        "train: done, 5 updates on 39 pairs in 61 s",
        "tokens of a prompt with its longer answer, and pairs:",
        "  800 to 849 " + "█" * 20 + " " * 20 + " 12",
        "  850 to 899 " + "█" * 40 + " 25",
        "  900 to 949 " + "█" * 4 + " " * 36 + " 2",
    ]


def test_the_status_of_a_finished_training_shows_what_its_preflight_left_out(run: Path) -> None:
    reasons = ["eos_inside", "too_long", "too_long"]
    dropped = [{"row_id": f"pair-{i}", "stage": "policy", "reason": reason} for i, reason in enumerate(reasons)]
    report = {"updates": 5, "pairs": 36, "seconds": 61.0, "dropped": dropped}
    (run / "policy" / "manifest.json").write_text(json.dumps({"report": report}))
    table = next(view for view in status_tables(run) if isinstance(view, Table))
    (run / "policy" / "manifest.json").unlink()
    rows = list(zip(*(column.cells for column in table.columns), strict=True))
    assert rows[-1] == ("train", "", "39", "36", "3", "too_long 2, eos_inside 1")
    before = next(view for view in status_tables(run) if isinstance(view, Table))
    assert "train" not in before.columns[0].cells
