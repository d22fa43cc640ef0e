"""Questions that a server will not answer: one photo's fault, all photos' fault, or none of theirs."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from chat_server import Body, ChatServer, Reply, chat_server, fails, says
from spr.errors import ModelError
from spr.models import endpoint
from spr.models.base import Generation, Request, Sampling
from spr.models.endpoint import EndpointModel
from spr.recipe import Model

DRAWN = Sampling(0.7, 0.9, 16)
REFUSED = Generation("", "refused", 0, 0)


def model(server: ChatServer, log: Path | None = None, **options: Any) -> EndpointModel:
    reached = {"url": server.url, "retries": 0, "concurrency": 1, **options}
    return EndpointModel(Model(name="some/model", dialect="tiny", endpoint=reached), log=log)


def about(*shades: int, seeds: tuple[int, ...] = (1,)) -> list[Request]:
    """One request about each photo of one shade of grey."""
    return [Request((Image.new("RGB", (8, 6), (shade,) * 3),), f"photo {shade}", seeds) for shade in shades]


def refuses(*words: str) -> Any:
    """Refuses the questions with these words, all without any."""

    def reply(body: Body, number: int) -> Reply:
        prompt = body["messages"][0]["content"][-1]["text"]
        return fails(400, f"cannot see {prompt}") if not words or prompt in words else says("a dog")

    return reply


def test_one_refused_question_is_an_answer_without_text() -> None:
    with chat_server(lambda body, number: fails(400, "too long") if body["seed"] == 2 else says("a dog")) as server:
        (answers,) = model(server).generate(about(0, seeds=(1, 2, 3)), DRAWN)
    assert answers == [Generation("a dog", "stop", 7, 3), REFUSED, Generation("a dog", "stop", 7, 3)]
    assert len(server.bodies) == 3


def test_a_photo_that_is_refused_alone_stops_nothing() -> None:
    with chat_server(refuses()) as server:
        asked = model(server)
        assert asked.generate(about(0, seeds=(1, 2, 3, 4)), DRAWN) == [[REFUSED] * 4]
        assert asked.generate(about(0, 1), DRAWN) == [[REFUSED]] * 2


def test_three_photos_refused_before_anything_was_answered_stop_the_run_in_the_servers_words() -> None:
    said = r"refuses one photo after the other \(3 in a row\); to the first it said 400: cannot see photo 0$"
    with chat_server(refuses()) as server:
        asked = model(server)
        asked.generate(about(0), DRAWN)
        with pytest.raises(ModelError, match=said):
            asked.generate(about(1, 2), DRAWN)


def test_a_server_that_filters_everything_stops_the_run() -> None:
    filtered = says("", finish_reason="content_filter")
    with chat_server(lambda body, number: filtered) as server, pytest.raises(ModelError, match="it filtered the answer"):
        model(server).generate(about(0, 1, 2), DRAWN)


def test_refusals_come_faster_than_answers_and_stop_nothing_while_one_is_under_way() -> None:
    def reply(body: Body, number: int) -> Reply:
        prompt = body["messages"][0]["content"][-1]["text"]
        return Reply(text=says("a dog").text, after=1.0) if prompt == "photo 0" else fails(400, "too large")

    with chat_server(reply) as server:
        found = model(server, concurrency=2).generate(about(0, 1, 2, 3, 4), DRAWN)
    assert [answer.finish_reason for (answer,) in found] == ["stop", *["refused"] * 4]


def test_after_an_answer_it_takes_many_refusals_in_a_row(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(endpoint, "REFUSED_IN_A_ROW", 5)
    with chat_server(refuses(*(f"photo {shade}" for shade in range(1, 20)))) as server:
        first = model(server, tmp_path / "log")
        found = first.generate(about(0, 1, 2, 3, 4, 0, 5, 6, 7, 8), DRAWN)
        assert [answer.finish_reason for (answer,) in found].count("refused") == 8
    with chat_server(refuses()) as server:
        # What the log knows was answered, though nothing is in this session.
        again = model(server, tmp_path / "log")
        assert again.generate(about(1, 2, 3, 4), DRAWN) == [[REFUSED]] * 4
        with pytest.raises(ModelError, match=r"\(5 in a row\)"):
            again.generate(about(5), DRAWN)


def test_the_first_refusal_of_a_shard_is_said_and_no_other(caplog: pytest.LogCaptureFixture) -> None:
    with chat_server(refuses("photo 1", "photo 2")) as server, caplog.at_level(logging.WARNING):
        asked = model(server)
        asked.generate(about(0, 1, 2), DRAWN)
        asked.generate(about(2), DRAWN)
    assert [line.getMessage().rpartition("; ")[2] for line in caplog.records] == [
        "it said 400: cannot see photo 1",
        "it said 400: cannot see photo 2",
    ]


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (fails(402, "insufficient credits"), "402: insufficient credits"),
        (fails(405, "POST is not for this address"), "405: POST is not for"),
        (Reply(307, headers={"Location": "https://elsewhere/v1/chat/completions"}), "307: https://elsewhere/v1/chat"),
        (Reply(301, headers={"Location": "/v2/models"}), "301: /v2/models"),
    ],
)
def test_what_is_no_photos_fault_stops_at_once_and_can_be_mended(reply: Reply, said: str, tmp_path: Path) -> None:
    with chat_server(lambda body, number: says("a dog") if number == 0 else reply) as server:
        with pytest.raises(
            ModelError, match=f"the server answered {said}.*; no photo is at fault, so mend it there, then give"
        ):
            model(server, tmp_path / "log").generate(about(0, 1, 2), DRAWN)
        assert len(server.bodies) == 2
        server.reply = refuses("nothing")
        assert [answer.text for (answer,) in model(server, tmp_path / "log").generate(about(0, 1, 2), DRAWN)] == ["a dog"] * 3


@pytest.mark.parametrize("status", [400, 413, 415, 422])
def test_what_may_be_a_photos_fault_drops_it(status: int) -> None:
    with chat_server(lambda body, number: fails(status, "no") if number else says("a dog")) as server:
        found = model(server).generate(about(0, 1), DRAWN)
    assert [answer.finish_reason for (answer,) in found] == ["stop", "refused"]
