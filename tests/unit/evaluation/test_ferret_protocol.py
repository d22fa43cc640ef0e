"""Ferret's protocol, answer by answer against the authors' own scripts; tests/golden/ferret_protocol/authors.py asked them."""

from __future__ import annotations

import gzip
import json
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spr.boxes import Box, iou
from spr.evaluation import ferret_protocol as ferret
from spr.items import Phrase
from spr.models import dialects

GOLDEN = Path(__file__).parents[2] / "golden" / "ferret_protocol"
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
DATASETS = ("refcoco", "refcoco+", "refcocog")
Row = dict[str, Any]


@cache
def golden(name: str) -> list[Row]:
    with gzip.open(GOLDEN / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def figures(name: str) -> Any:
    return golden("figures")[0][name]


def truth_of(row: Row) -> Box:
    x, y, width, height = row["truth"]
    return (x, y, x + width, y + height)


def phrases_of(row: Row) -> list[Phrase]:
    return [Phrase(name, tuple(map(tuple, boxes)), tuple(kinds)) for name, kinds, boxes in row["phrases"]]


def rec_hits(row: Row) -> dict[str, list[bool]]:
    """At each threshold, whether the first box hits, the mean of all, and any: the figures of their script."""
    boxes = ferret.rec_boxes(row["text"], row["size"])
    ious, truth = ferret.rec_ious(boxes, truth_of(row)), truth_of(row)
    mean = ferret.rec_ious([tuple(np.asarray(boxes, dtype=np.float32).mean(axis=0))], truth)
    # Python's max of their tensors: what is compared with NaN in the lead never takes its place.
    said = {"1": ious[0], "mean": mean[0], "upper bound": max(ious)}
    return {name: [bool(ferret.reaches(value, threshold)) for threshold in THRESHOLDS] for name, value in said.items()}


def phrase_ious(row: Row) -> list[tuple[Phrase, dict[int, float]]]:
    """For each phrase of a sentence the one that it is judged as, and its best IoUs."""
    phrases = phrases_of(row)
    found = []
    for phrase in phrases:
        judged = ferret.first_phrase(phrase.phrase, phrases)
        boxes = ferret.phrase_boxes(row["text"], row["size"], phrase.phrase)
        found.append((judged, ferret.phrase_ious(boxes, judged.boxes)))
    return found


@pytest.mark.parametrize("name", ["rec", "flickr"])
def test_every_answer_is_read_as_their_scripts_read_it(name: str) -> None:
    assert len(golden(name)) == 1000
    for row in golden(name):
        theirs = None if row["decoding"] else [(phrase, tuple(box)) for phrase, box in row["decoded"]]
        assert ferret.read_boxes(row["text"], row["size"]) == theirs, row["text"]


@pytest.mark.parametrize(("name", "own"), [("rec", "on a threshold"), ("flickr", "cancelled area")])
def test_the_answers_are_of_every_kind(name: str, own: str) -> None:
    kinds = Counter(row["kind"] for row in golden(name))
    assert len(kinds) == 49
    assert min(kinds.values()) >= 15
    assert kinds[own] >= 50
    faults = Counter(row["decoding"].split(":")[0] for row in golden(name))
    assert faults["ValueError"] > 200
    assert faults["IndexError"] > 30
    assert faults["OverflowError"] > 4
    assert faults[""] > 600


def test_every_expression_is_hit_or_missed_as_in_their_script() -> None:
    for row in (row for row in golden("rec") if not row["fault"]):
        theirs = {name: [value == 1.0 for value in values] for name, values in row["hits"].items()}
        assert rec_hits(row) == theirs, row["text"]


def test_their_precision_of_expressions_over_all_answers() -> None:
    hits: dict[str, list[Row]] = defaultdict(list)
    for row in (row for row in golden("rec") if not row["fault"]):
        hits[row["dataset"]].append(rec_hits(row))
    for place, theirs in enumerate(figures("rec")):
        for dataset in DATASETS:
            ours = [np.mean([one[name][place] for one in hits[dataset]]) for name in ("1", "mean", "upper bound")]
            assert sorted(ours) == theirs[dataset]


def test_where_their_script_for_expressions_stops_the_answer_has_no_box() -> None:
    stopped = [row for row in golden("rec") if row["fault"]]
    assert Counter(row["fault"].split(":")[0] for row in stopped).keys() == {"IndexError", "OverflowError", "ValueError"}
    assert all(ferret.rec_boxes(row["text"], row["size"]) == [ferret.ZERO_BOX] for row in stopped)


def test_an_expression_has_no_box_where_a_number_of_pixels_is_longer_than_64_bits() -> None:
    assert ferret.rec_boxes(f"a dog [{2**63}, 0, 10, 10]", (1000, 1000)) == [ferret.ZERO_BOX]
    assert ferret.rec_boxes(f"a dog [{-(2**63) - 2048}, 0, 10, 10]", (1000, 1000)) == [ferret.ZERO_BOX]
    assert ferret.rec_boxes(f"a dog [{-(2**63)}, 0, 10, 10]", (1000, 1000)) == [(-(2.0**63), 0, 10, 10)]


def test_double_precision_would_decide_otherwise_on_a_threshold() -> None:
    flipped = 0
    for row in (row for row in golden("rec") if not row["fault"]):
        exact = float(iou([ferret.rec_boxes(row["text"], row["size"])[0]], [truth_of(row)])[0, 0])
        flipped += [exact >= threshold for threshold in THRESHOLDS] != [hit == 1.0 for hit in row["hits"]["1"]]
    assert flipped >= 10


def test_every_phrase_is_hit_or_missed_as_in_their_script() -> None:
    for row in (row for row in golden("flickr") if not row["fault"]):
        for (_, ious), theirs in zip(phrase_ious(row), row["hits"], strict=True):
            for k, best in ious.items():
                assert [best >= threshold for threshold in THRESHOLDS] == [hit == 1.0 for hit in theirs[str(k)]], row["text"]


def test_their_recalls_of_phrases_over_all_answers() -> None:
    clean = [found for row in golden("flickr") if not row["fault"] for found in phrase_ious(row)]
    for threshold, theirs in zip(THRESHOLDS, figures("flickr"), strict=True):
        for k in ferret.RECALLS:
            hits: dict[str, list[bool]] = defaultdict(list)
            for phrase, ious in clean:
                for kind in ("all", *phrase.types):
                    hits[kind].append(ious[k] >= threshold)
            assert {kind: sum(values) / len(values) for kind, values in hits.items()} == theirs[str(k)]
    recalls = [figures("flickr")[0][str(k)]["all"] for k in ferret.RECALLS]
    assert recalls == sorted(set(recalls)), "no more boxes, no more hits: these answers would not tell the recalls apart"


def test_where_their_script_for_phrases_stops_the_answer_has_no_box() -> None:
    stopped = [row for row in golden("flickr") if row["fault"]]
    assert Counter(row["fault"].split(":")[0] for row in stopped).keys() == {"IndexError", "OverflowError"}
    for row in stopped:
        assert ferret.phrase_boxes(row["text"], row["size"], row["phrases"][0][0]) == [ferret.ZERO_BOX]


def test_a_cancelled_area_spoils_every_recall_that_includes_it() -> None:
    assert ferret.phrase_ious([(0, 0, 10, 10), (10, 0, 0, 10)], [(0, 0, 10, 10)]) == pytest.approx(
        {1: 1.0, 5: np.nan, 10: np.nan, -1: np.nan}, nan_ok=True
    )
    assert any(np.isnan(ious[-1]) for row in golden("flickr") if not row["fault"] for _, ious in phrase_ious(row))


def test_an_area_beyond_64_bits_wraps_as_in_their_script() -> None:
    assert ferret.phrase_ious([(0, 0, 2.0**62, 1000)], [(0, 0, 10, 10)])[1] == np.inf
    assert any(np.isinf(ious[-1]) for row in golden("flickr") for _, ious in phrase_ious(row))


def test_a_repeated_phrase_is_judged_as_its_first() -> None:
    first, second = Phrase("a man", ((0, 0, 1, 1),), ("people",)), Phrase("a man", ((5, 5, 9, 9),), ("other",))
    assert ferret.first_phrase("a man", [first, second]) is first
    with pytest.raises(ValueError, match="'A man' is none of the sentence's phrases"):
        ferret.first_phrase("A man", [first, second])
    repeated = [row for row in golden("flickr") if len({name for name, *_ in row["phrases"]}) < len(row["phrases"])]
    assert len(repeated) > 200


def test_phrases_are_one_as_in_their_scripts() -> None:
    pairs = golden("phrases")
    assert len(pairs) == 1000
    assert 200 < sum(row["same"] for row in pairs) < 800
    for row in pairs:
        assert ferret.same_phrase(row["a"], row["b"]) == row["same"], row


def test_questions_are_theirs() -> None:
    dialect = dialects.get("ferret")
    assert all(dialect.rec_prompt(row["expression"]) == row["question"] for row in golden("rec"))
    for row in golden("flickr"):
        assert dialect.phrases_prompt([name for name, *_ in row["phrases"]]) == row["question"]


def test_every_answer_is_yes_or_no_as_in_their_script() -> None:
    rows = golden("pope")
    assert len(rows) == 1000
    assert min(Counter(row["said"] for row in rows).values()) > 300
    assert sum(not row["text"] for row in rows) > 5
    for row in rows:
        assert ferret.yes_no(row["text"]) == row["said"], row["text"]


def test_every_answer_is_shown_to_the_judge_as_in_their_script() -> None:
    rows = golden("bench")
    assert len(rows) == 1000
    assert {row["category"] for row in rows} == {"refer_desc", "refer_reason", "ground_conv"}
    for row in rows:
        if not row["fault"]:
            assert ferret.judged_text(row["text"], row["category"]) == row["judged"], row["text"]
    assert sum(row["judged"] != row["text"] for row in rows if not row["fault"]) > 400
    assert {row["fault"].split(":")[0] for row in rows} == {"", "IndexError", "ValueError"}


def test_a_bracket_that_stops_their_script_stays_unless_it_is_numbers() -> None:
    assert ferret.judged_text("a [sic] dog [100, 200, 300, 400]", "ground_conv") == "a [sic] dog [0.100, 0.200, 0.300, 0.400]"
    assert ferret.judged_text("a dog [1, 2, 3] [5, 5, 5, 5]", "ground_conv") == "a dog  [0.005, 0.005, 0.005, 0.005]"
    assert ferret.judged_text("a [sic] dog [1, 2] [3]", "another") == "a [sic] dog [1, 2] [3]"


def test_the_judge_is_asked_word_for_word() -> None:
    for row in golden("prompts"):
        answer = ferret.judged_text(row["text"], row["category"])
        rule = f"Rate both for {row['category']}.\nTwo scores first."
        prompt = ferret.judge_prompt(row["context"], row["question"], row["reference"], answer, "Assistant", rule)
        assert [message["content"] for message in row["messages"]] == [ferret.JUDGE_SYSTEM, prompt]
        assert prompt.startswith("[Context]\\Objects:")
        assert ferret.parse_score(row["review"]) == tuple(row["scores"])


def test_every_review_has_their_scores() -> None:
    rows = golden("reviews")
    assert len(rows) == 1000
    assert 200 < sum(row["scores"] == [-1, -1] for row in rows) < 800
    for row in rows:
        np.testing.assert_array_equal(ferret.parse_score(row["review"]), row["scores"], err_msg=row["review"])


def test_their_ratios_of_scores() -> None:
    unread = stopped = 0
    for case in figures("bench"):
        rated: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for row in case["rated"]:
            rated[row["category"]].append(tuple(row["scores"]))
            rated["all"].append(tuple(row["scores"]))
        unread += ferret.NO_SCORES in rated["all"]
        ours = {category: ferret.score_ratio(scores) for category, scores in rated.items()}
        if case["fault"]:
            assert np.isnan(list(ours.values())).any(), "theirs divided by zero"
            stopped += 1
        else:
            assert ours == case["ratios"]
    assert unread > 10
    assert stopped > 0
    assert np.isnan(ferret.score_ratio([]))
