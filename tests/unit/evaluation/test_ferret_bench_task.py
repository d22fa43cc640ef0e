"""Ferret-Bench: what a model and a judge are asked, and what a review is worth."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from spr.errors import ModelError
from spr.evaluation.ferret_bench import CATEGORIES, FerretBench, with_fractions
from spr.evaluation.ferret_protocol import score_ratio
from spr.evaluation.metrics import Counting, task_metrics
from spr.evaluation.registry import make_task
from spr.items import Answer, BenchItem
from spr.models import dialects
from spr.records import Prediction
from spr.sources.ferret_bench import read_ferret_bench

GOLDEN = Path(__file__).parents[2] / "golden" / "ferret_protocol"
FERRET = dialects.get("ferret")
SIZE = (640, 480)
REGION = (64.0, 96.0, 192.0, 192.0)
READABLE = {"refer_desc": "8 6\nClear.", "refer_reason": "10 5", "ground_conv": "4, 4"}


def item(category: str = "refer_desc", number: int = 0) -> BenchItem:
    return BenchItem(
        item_id=f"{category}-{number}",
        path=f"{number}.jpg",
        width=640,
        height=480,
        category=category,
        question="What is {0} on?",
        regions=(REGION,),
        reference="A table.",
        context="Object 0 : table.",
        text="What is [0.1, 0.2, 0.3, 0.4] on?",
        role="Assistant",
        rule="Rate both.",
    )


def predictions(protocol: str, side: str, reviews: Mapping[str, Mapping[str, str]]) -> list[Prediction]:
    """What three questions of each kind are worth; reviews of `side` and of others by item."""
    items = [item(category, number) for category in CATEGORIES for number in range(3)]
    answers = {one.item_id: Answer(one.item_id, "It.") for one in items}
    task = make_task("ferret_bench", protocol)
    assert isinstance(task, FerretBench)
    found = task.reviewed(side, reviews).score_all(items, answers, FERRET, lambda _: None)
    return [row for rows in found.values() for row in rows]


def reviews(**changes: str) -> dict[str, str]:
    """Readable ones for all nine; `refer_desc_1="..."` changes one of them."""
    said = {f"{category}-{number}": text for category, text in READABLE.items() for number in range(3)}
    return said | {name[:-2] + "-" + name[-1]: text for name, text in changes.items()}


def base(protocol: str, found: list[Prediction]) -> dict[str, Any]:
    metrics: dict[str, Any] = task_metrics(make_task("ferret_bench", protocol), found, None, Counting(100, 0, protocol))
    return dict(metrics["base"])


def test_a_region_is_named_in_the_models_own_words() -> None:
    task = make_task("ferret_bench", "plain")
    assert task.prompt(item(), FERRET) == "What is [100, 200, 300, 400] <region_fea> on?"
    assert task.prompt(item(), dialects.get("cogvlm")) == "What is [[100,200,300,400]] on?"
    assert task.prompt(item(), dialects.get("llava-onevision")) == "What is [0.10, 0.20, 0.30, 0.40] on?"


@pytest.mark.parametrize("name", ["florence-2", "kosmos-2", "minigpt-v2", "paligemma"])
def test_a_family_of_fixed_prompts_is_not_asked(name: str) -> None:
    with pytest.raises(
        ModelError, match=f"dialect {name}: Ferret-Bench's questions cannot be asked, for the family knows fixed"
    ):
        make_task("ferret_bench", "plain").prompt(item(), dialects.get(name))


def test_the_judge_reads_words_alone_about_regions() -> None:
    answer = Answer("", "The cup [100, 200, 300, 400] is on [sic] a table [0, 0, 1000, 1000].")
    asked = FerretBench().judge_prompt(item(), answer, FERRET)
    assert asked == (
        "[Context]\\Object 0 : table.\n\n[Question]\nWhat is [0.1, 0.2, 0.3, 0.4] on?\n\n"
        "[Assistant 1]\nA table.\n\n[End of Assistant 1]\n\n"
        "[Assistant 2]\nThe cup is on [sic] a table.\n\n[End of Assistant 2]\n\n[System]\nRate both.\n\n"
    )


def test_the_judge_reads_places_as_fractions_of_the_photo_whatever_the_model_writes() -> None:
    for name in ("ferret", "cogvlm", "qwen3-vl", "tiny", "llava-onevision"):
        dialect = dialects.get(name)
        told = FerretBench().told(f"It is {dialect.ground('a dog', (320, 240, 640, 480), SIZE)}.", item("ground_conv"), dialect)
        assert "[0.500, 0.500, 1.000, 1.000]" in told.replace("0.999", "1.000"), name


def test_several_boxes_of_one_mark_up_stay_in_it_and_what_is_no_box_as_it_is() -> None:
    cogvlm = dialects.get("cogvlm")
    text = "two [[100,200,300,400;500,600,700,800]], one [[900,900,100,100]] here"
    told = "two [[0.100, 0.200, 0.300, 0.400;0.500, 0.600, 0.700, 0.800]], one [[900,900,100,100]] here"
    assert with_fractions(text, SIZE, cogvlm) == told


def test_scores_are_ratios_of_sums_by_kind_and_over_all() -> None:
    found = base("plain", predictions("plain", "base", {"base": reviews(refer_desc_0="2 6")}))
    # 6 + 6 + 6 of 2 + 8 + 8, 15 of 30, 12 of 12; and 45 of 60 in all.
    shares = {"refer_desc": 100.0, "refer_reason": 50.0, "ground_conv": 100.0, "score": 75.0, "judged": 100.0}
    assert {key: found[key] for key in shares} == pytest.approx(shares)
    low, high = found["ci95"]["score"]
    assert 60 < low < 75 < high < 100


def test_a_review_that_cannot_be_read_is_left_out_and_the_share_said() -> None:
    unreadable = reviews(refer_desc_0="Both are good.", refer_desc_1="80 90", ground_conv_2="nan 4")
    found = base("plain", predictions("plain", "base", {"base": unreadable}))
    assert found["judged"] == pytest.approx(100 * 6 / 9)
    # 6 of 8, 15 of 30, 8 of 8.
    assert found["score"] == pytest.approx(100 * 29 / 46)
    assert found["refer_desc"] == pytest.approx(75)


@pytest.mark.parametrize(
    ("review", "scores"),
    [
        ("8 9", (8, 9)),
        ("8.5, 9\nBoth ...", (8.5, 9)),
        ("\n10\t1 \r\nBecause", (10, 1)),
        ("8,9", (8, 9)),
        ("8 9 10", None),
        ("8", None),
        ("89", None),
        ("0 5", None),
        ("5 11", None),
        ("-8 9", None),
        ("nan 9", None),
        ("8/10 9/10", None),
        ("Assistant 1: 8, Assistant 2: 9", None),
        ("8\n9", None),
        ("", None),
    ],
)
def test_a_review_says_two_scores_in_its_first_line(review: str, scores: tuple[float, float] | None) -> None:
    assert FerretBench().scores(review) == scores


def test_what_one_side_has_no_scores_for_counts_on_neither() -> None:
    both = {"base": reviews(refer_desc_0="?"), "tuned": reviews(refer_desc_1="8 8", refer_reason_2="")}
    sides = {side: predictions("plain", side, both) for side in both}
    counted = {side: [one.item_id for one in rows if not one.payload["counted"]] for side, rows in sides.items()}
    assert counted == {"base": ["refer_desc-0", "refer_reason-2"], "tuned": ["refer_desc-0", "refer_reason-2"]}
    metrics = task_metrics(FerretBench(), sides["base"], sides["tuned"], Counting(100, 0, "plain"))
    assert metrics["base"]["refer_desc"] == pytest.approx(100 * 12 / 16)
    assert metrics["tuned"]["refer_desc"] == pytest.approx(100 * 14 / 16)
    assert metrics["delta"]["refer_desc"] == pytest.approx(100 * 2 / 16)
    assert (metrics["base"]["judged"], metrics["tuned"]["judged"]) == pytest.approx((100 * 8 / 9, 100 * 8 / 9))


@pytest.mark.parametrize("protocol", ["plain", "ferret"])
def test_without_reviews_nothing_is_judged(protocol: str) -> None:
    found = base(protocol, predictions(protocol, "base", {}))
    assert found["judged"] == 0
    assert np.isnan([found[key] for key in ("score", *CATEGORIES)]).all()
    assert found["parse_rate"] == 100


def test_by_ferrets_protocol_an_unreadable_review_is_minus_one_for_both() -> None:
    rated = reviews(refer_desc_0="Both are good.", refer_desc_1="80 90", ground_conv_2="nan 4")
    found = base("ferret", predictions("ferret", "base", {"base": rated}))
    assert found["refer_desc"] == score_ratio([(-1, -1), (80, 90), (8, 6)]) == 109.2
    # `4, 4` is none of their scores.
    assert found["ground_conv"] == score_ratio([(-1, -1)] * 3) == 100
    assert found["judged"] == pytest.approx(100 * 5 / 9)


def test_by_ferrets_protocol_the_ratios_are_those_of_its_script() -> None:
    """Whatever scores its script summed, in the order of its files: `tests/golden/ferret_protocol` holds its figures."""
    with gzip.open(GOLDEN / "figures.jsonl.gz", "rt", encoding="utf-8") as file:
        cases = json.loads(file.readline())["bench"]
    compared = 0
    for case in cases:
        items = [item(row["category"], number) for number, row in enumerate(case["rated"])]
        said = {
            one.item_id: f"{row['scores'][0]!r} {row['scores'][1]!r}" for one, row in zip(items, case["rated"], strict=True)
        }
        if case["fault"] or any(not np.isfinite(row["scores"]).all() for row in case["rated"]):
            continue
        task = make_task("ferret_bench", "ferret")
        assert isinstance(task, FerretBench)
        answers = {one.item_id: Answer(one.item_id, "It.") for one in items}
        read = task.reviewed("base", {"base": said})
        rows = [row for one in items for row in read.score(one, answers[one.item_id], FERRET)]
        columns = read.columns(rows)
        found = read.quantities(columns.sum(axis=0)[None], np.asarray([float(len(rows))]))[0]
        ours = dict(zip(("all", *CATEGORIES), found.tolist(), strict=False))
        assert {name: ours[name] for name in case["ratios"]} == case["ratios"]
        compared += 1
    assert compared > 50


def test_the_official_files_are_asked_and_judged_in_the_authors_words(real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "ferret_bench"
    for file in folder.glob("*/question.jsonl"):
        for line in file.read_text().splitlines():
            Image.new("L", SIZE).save(tmp_path / json.loads(line)["image"])
    items = read_ferret_bench(folder, tmp_path).items
    rules = json.loads((folder / "rule.json").read_text())
    for one in items:
        prompt = FerretBench().prompt(one, FERRET)
        assert prompt.count("<region_fea>") == len(one.regions) == one.text.count("[")
        asked = make_task("ferret_bench", "ferret").judge_prompt(one, Answer(one.item_id, "A dog [1, 2, 3, 4]."), FERRET)  # type: ignore[attr-defined]
        assert f"[Question]\n{one.text}\n\n[Assistant 1]\n{one.reference}\n\n" in asked
        assert asked.endswith(f"[System]\n{rules[one.category]['prompt']}\n\n")
        assert ("A dog [0.001, 0.002, 0.003, 0.004]." if one.category == "ground_conv" else "A dog.") in asked
    assert len(items) == 120
