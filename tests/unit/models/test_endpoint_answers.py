"""Replies of a chat server: what they are worth, by their text alone."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from spr.models.base import Generation
from spr.models.endpoint_answers import Garbage, TooFew, answers_of, asked_wait, names_of, sentence


def completion(*choices: dict[str, Any], **usage: Any) -> str:
    return json.dumps({"choices": list(choices), "usage": usage or None})


def choice(content: Any, finish_reason: Any = "stop") -> dict[str, Any]:
    return {"message": {"role": "assistant", "content": content}, "finish_reason": finish_reason}


def test_an_answer_keeps_its_text_end_and_tokens() -> None:
    text = completion(choice(" a dog [1, 2]", "length"), prompt_tokens=40, completion_tokens=5)
    assert answers_of(text, 1) == [Generation(" a dog [1, 2]", "length", 40, 5)]


def test_the_tokens_of_several_answers_are_spread_and_keep_their_sum() -> None:
    text = completion(choice("a"), choice("b"), choice("c"), prompt_tokens=9, completion_tokens=8)
    assert [answer.completion_tokens for answer in answers_of(text, 3)] == [3, 3, 2]
    assert [answer.prompt_tokens for answer in answers_of(text, 3)] == [9, 9, 9]


def test_an_empty_answer_is_an_answer_and_uncounted_tokens_are_none() -> None:
    assert answers_of(completion(choice("")), 1) == [Generation("", "stop", 0, 0)]


def test_a_filtered_answer_is_refused() -> None:
    text = completion(choice(None, "content_filter"), choice("b"))
    assert [answer.finish_reason for answer in answers_of(text, 2)] == ["refused", "stop"]


def test_an_answer_that_was_all_thought_is_empty_and_cut_off() -> None:
    thought = {"message": {"content": None, "reasoning_content": "hm"}, "finish_reason": "length"}
    assert answers_of(completion(thought, completion_tokens=5), 1) == [Generation("", "length", 0, 5)]


def test_an_answer_that_says_why_there_is_none_is_refused() -> None:
    declined = {"message": {"content": None, "refusal": "I cannot help with that"}, "finish_reason": "stop"}
    assert answers_of(completion(declined), 1) == [Generation("", "refused", 0, 0)]


@pytest.mark.parametrize("count", [10**30, 2**31, -1, True, 2.5, "7", None])
def test_what_is_no_count_counts_nothing(count: Any) -> None:
    (answer,) = answers_of(completion(choice("a"), prompt_tokens=count, completion_tokens=count), 1)
    assert (answer.prompt_tokens, answer.completion_tokens) == (0, 0)
    assert type(answer.prompt_tokens) is int


def test_half_a_character_does_not_reach_a_file() -> None:
    text = '{"choices": [{"message": {"content": "a \\ud83d \\ud83d\\ude00"}, "finish_reason": "stop"}]}'
    assert answers_of(text, 1)[0].text == "a \N{REPLACEMENT CHARACTER} \N{GRINNING FACE}"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("<html>", "no json"),
        ("[]", "without choices"),
        ("{}", "without choices"),
        (completion(), "without choices"),
        ('{"choices": ["a"]}', "without choices"),
        ('{"choices": [{"finish_reason": "stop"}]}', "without content"),
        (completion(choice(None)), "without content"),
        (completion(choice("a", "abort")), "ended by abort"),
        (completion(choice("a", ["stop"])), "ended by .'stop'."),
        (completion(choice("a", "z" * 100_000)), r"ended by z{297}\.\.\.$"),
        ("[" * 200_000, "no json"),
        (completion(choice("a", None)), "ended by None"),
        (completion(choice("a"), choice("b")), "2 answers where 1 were asked for"),
    ],
)
def test_what_is_no_answer_is_garbage(text: str, fault: str) -> None:
    with pytest.raises(Garbage, match=fault):
        answers_of(text, 1)


def test_fewer_answers_than_asked_for_are_told_apart() -> None:
    with pytest.raises(TooFew) as few:
        answers_of(completion(choice("a")), 3)
    assert few.value.count == 1


@pytest.mark.parametrize("text", ["", "[]", "[" * 200_000, '{"data": null}', '{"data": [{}]}', '{"data": []}'])
def test_a_server_that_does_not_tell_its_models_has_none(text: str) -> None:
    assert names_of(text) == ()


def test_names_of_models() -> None:
    assert names_of('{"data": [{"id": "a"}, {"id": "b", "owned_by": "x"}]}') == ("a", "b")


@pytest.mark.parametrize(
    "text",
    ['{"error": {"message": "too long"}}', '{"error": "too long"}', '{"detail": "too long"}', "too\n  long", '"too long"'],
)
def test_a_servers_own_message_is_found_wherever_it_stands(text: str) -> None:
    assert sentence(text, None) == "too long"


def test_a_message_that_is_nested_without_end_is_cut() -> None:
    assert sentence("[" * 200_000, None) == "[" * 297 + "..."


def test_a_key_is_taken_out_of_what_a_server_says() -> None:
    said = sentence("{\"detail\": \"bad headers: {'authorization': 'Bearer s3cret-key'}, s3cret-key\"}", "s3cret-key")
    assert said == "bad headers: {'authorization': 'Bearer ***'}, ***"


def test_a_key_is_taken_out_before_a_long_message_is_cut() -> None:
    said = sentence("x" * 295 + "s3cret-key", "s3cret-key")
    assert len(said) <= 300
    assert "s3c" not in said


def test_both_forms_of_retry_after() -> None:
    assert asked_wait("1.5") == 1.5
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert 25 < (asked_wait(later) or 0) <= 30
    assert asked_wait("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert [asked_wait(header) for header in (None, "soon", "nan")] == [None, None, None]
