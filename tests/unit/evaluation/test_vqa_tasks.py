"""GQA, TextVQA and region descriptions as tasks: what is asked, what an answer is worth."""

from __future__ import annotations

import pytest

from spr.evaluation.region_description import RegionDescription
from spr.evaluation.vqa import Gqa, TextVqa
from spr.items import Answer, CaptionItem, VqaItem
from spr.models import dialects

FERRET = dialects.get("ferret")
TEN = ("stop",) * 3 + ("halt",) * 7


def test_gqa_is_exact_but_for_case_and_the_final_period() -> None:
    item = VqaItem("1", "1.jpg", 10, 10, "What color is it?", ("red",), "query")
    values = [Gqa().score(item, Answer("1", text), FERRET)[0] for text in ("Red.", "dark red", "")]
    assert Gqa().columns(values)[:, 0].tolist() == [100, 0, 0]
    assert Gqa().rights(values)["accuracy"].tolist() == [True, False, False]
    assert [one.status for one in values] == ["ok", "ok", "none"]
    assert values[0].groups == {"type": "query"}
    assert Gqa().prompt(item, FERRET).startswith("What color is it?\n")


def test_textvqa_is_a_mean_over_leaving_one_out() -> None:
    item = VqaItem("1", "1.jpg", 10, 10, "What does it say?", TEN)
    (stop,) = TextVqa().score(item, Answer("1", "Stop"), FERRET)
    # 3 of ten said so: leaving out one of the 3 leaves 2 of 3, leaving out another leaves 3.
    assert stop.payload["accuracy"] == pytest.approx((3 * 2 / 3 + 7) / 10)
    assert TextVqa().score(item, Answer("1", "halt"), FERRET)[0].payload["accuracy"] == pytest.approx(1)
    assert TextVqa().rights([stop]) == {}


def test_nothing_said_is_never_right() -> None:
    item = VqaItem("1", "1.jpg", 10, 10, "What does it say?", ("",) * 10)
    assert TextVqa().score(item, Answer("1", " "), FERRET)[0].payload["accuracy"] == 0


def test_region_descriptions_are_scored_by_their_words_among_all_items() -> None:
    region = (0.0, 0.0, 50.0, 50.0)
    texts = {"1": "the red cup on the left", "2": "a large brown wooden table"}
    items = [CaptionItem(name, "1.jpg", 100, 100, region, (text,), "thing") for name, text in texts.items()]
    answers = {"1": Answer("1", "the red cup [0, 0, 500, 500] on the left"), "2": Answer("2", "")}
    task = RegionDescription()
    found = task.score_all(items, answers, FERRET, lambda _: None)
    assert found["1"][0].payload["cider"] == pytest.approx(10)
    assert (found["2"][0].payload["cider"], found["2"][0].status) == (0, "none")
    assert task.columns([*found["1"], *found["2"]])[:, 0].tolist() == pytest.approx([1000, 0])
    assert found["1"][0].groups == {"size": "medium", "category": "thing"}
    assert "[0, 0, 500, 500]" in task.prompt(items[0], FERRET)


def test_an_item_without_an_answer_still_weighs_its_words() -> None:
    region = (0.0, 0.0, 50.0, 50.0)
    items = [
        CaptionItem(str(n), "1.jpg", 100, 100, region, (text,)) for n, text in enumerate(("a red cup here", "a blue cup there"))
    ]
    found = RegionDescription().score_all(items, {"0": Answer("0", "a red cup here")}, FERRET, lambda _: None)
    assert list(found) == ["0"]
    assert found["0"][0].payload["cider"] > 0
