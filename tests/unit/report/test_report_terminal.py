"""One pair as text, and how the texts write boxes."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from synthetic_run import write_run

from spr.errors import DataError
from spr.records import Detection
from spr.report.case import Case, Cases
from spr.report.data import read_run
from spr.report.terminal import case_text, writing_text

NASTY = "[bold]loud[/bold] [link=http://x]\x1b[31m:smile:\x07 "


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Cases:
    return Cases(read_run(write_run(tmp_path_factory.mktemp("terminal"), photos=12)))


def shown(case: Case, width: int = 160) -> str:
    """What a terminal of so many columns is sent."""
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=True, color_system=None)
    for piece in case_text(case):
        console.print(piece)
    return out.getvalue()


def test_how_the_texts_write_boxes_is_told_with_bars_and_with_other_readings() -> None:
    meeting = {"texts": 7, "boxes": 1200, "share": 0.25, "others": {"qwen2.5-vl": 0.9}, "better": ["qwen2.5-vl"]}
    values = {
        "dialect": "qwen3-vl",
        "texts": 7,
        "parse_rate": 1.0,
        "boxes": 1200,
        "unreadable": {},
        "numbers": {"0 to 1": 3},
        "written": [0, 1, 4, 8, 0, 0, 0, 0, 0, 0],
        "annotated": [8, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        "meeting": meeting,
        "doubts": ["who knows"],
    }

    def said(told: dict[str, object]) -> str:
        out = io.StringIO()
        console = Console(file=out, width=160)
        for piece in writing_text(told):
            console.print(piece)
        return out.getvalue()

    text = said(values)
    assert " ▁▄█      " in text
    assert "█        ▁" in text
    assert "boxes that meet an annotated object" in text
    assert "25.0 % of 1,200 in 7 texts; as qwen2.5-vl 90.0 %" in text
    assert "WARNING: who knows" in text
    older = {name: value for name, value in values.items() if name != "meeting"}
    assert "boxes that meet" not in said(older)
    nothing_read = {"texts": 7, "boxes": 0, "share": None, "others": {"tiny": 0.0}, "better": []}
    assert "boxes that meet" not in said(values | {"boxes": 0, "meeting": nothing_read})


def test_all_facts_of_a_pair_are_told(cases: Cases) -> None:
    case = cases.of(cases.pairs[0])
    text = " ".join(shown(case).split())
    pair = case.pair
    assert " ".join(pair.prompt.split()) in text
    for row in case.candidates:
        assert f"{row.composite:.3f}" in text
        assert f"{row.detail['localization_strict']:.3f}" in text
        for one in row.detections:
            assert f"{one.phrase} {one.score:.2f} at (" in text
    assert f"#{pair.chosen_k}, chosen" in text
    assert f"#{pair.rejected_k}, rejected" in text
    assert f"Composite {pair.chosen_score:.3f} → {pair.refined_score:.3f}" in text
    assert f"Margin {pair.margin:.3f}." in text
    assert "(1: IoU " in text
    for scene in pair.objects:
        assert scene.category in text.partition("Ground truth")[2]


def test_best_comes_first(cases: Cases) -> None:
    case = cases.of(cases.pairs[0])
    composites = [row.composite for row in case.candidates]
    assert composites == sorted(composites, reverse=True)


def test_model_text_is_neither_markup_nor_control(cases: Cases) -> None:
    case = cases.of(cases.pairs[0])
    rows = tuple(
        replace(row, text=NASTY + row.text, mentions=(), variant=NASTY, detections=(Detection(NASTY, (0, 0, 9, 9), 0.5),))
        for row in case.candidates
    )
    pair = replace(case.pair, prompt=NASTY, chosen=NASTY, chosen_unrefined=NASTY, pair_id=NASTY, path=NASTY)
    text = shown(replace(case, pair=pair, candidates=rows))
    assert "\x1b" not in text
    assert "\x07" not in text
    assert text.count("[bold]loud[/bold] [link=http://x]\\x1b[31m:smile:\\x07") >= 5 + 2 * len(rows)


def test_the_tables_of_an_ordinary_run_fit_80_columns(cases: Cases) -> None:
    lines = shown(cases.of(cases.pairs[0]), width=80).splitlines()
    assert max(map(len, lines)) <= 80
    assert not any("…" in line for line in lines)


def test_a_pair_without_scores_is_still_told(cases: Cases) -> None:
    case = replace(cases.of(cases.pairs[0]), candidates=())
    assert "Chosen, before and after refinement" in shown(case)


def test_a_pair_is_found_by_its_id_and_by_its_query(cases: Cases) -> None:
    pair = cases.pairs[1]
    assert cases.find(pair.pair_id).pair is cases.find(pair.query_id).pair is pair


def test_a_wrong_id_is_told_what_ids_look_like_and_how_many_there_are(cases: Cases) -> None:
    first, count = cases.pairs[0].pair_id, len(cases.pairs)
    with pytest.raises(DataError, match=f"holds no pair or query 'x.x1b'; its ids look like {first}, of {count} pairs in all"):
        cases.find("x\x1b")


def test_a_query_without_a_pair_says_why(cases: Cases) -> None:
    paired = {pair.query_id for pair in cases.pairs}
    dropped = next(row.query_id for row in cases.run.scores or [] if row.query_id not in paired)
    with pytest.raises(DataError, match=f"query {dropped} of .* made no pair: pairs dropped it as margin_too_small"):
        cases.find(dropped)


def test_a_run_without_pairs_says_so(tmp_path: Path) -> None:
    empty = Cases(read_run(write_run(tmp_path, photos=2, parts=("queries",))))
    with pytest.raises(DataError, match="holds no pairs; `spr status"):
        empty.find("any")
