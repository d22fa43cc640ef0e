"""Going on from the log of requests: what was answered is not asked again, anything else is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from chat_server import ChatServer, Reply, chat_server, fails, says
from spr.errors import ModelError
from spr.models.base import Request, Sampling
from spr.models.endpoint import EndpointModel
from spr.recipe import Model

RED, BLUE = (Image.new("RGB", (8, 6), color) for color in ("red", "blue"))
DRAWN, GREEDY = Sampling(0.7, 0.9, 16), Sampling(0.0, 1.0, 16)


def recipe(server: ChatServer, **options: Any) -> Model:
    return Model(name="some/model", dialect="tiny", endpoint={"url": server.url, "retries": 0, **options})


def model(server: ChatServer, log: Path, **options: Any) -> EndpointModel:
    return EndpointModel(recipe(server, **options), log=log)


def echo(body: dict[str, Any], number: int) -> Reply:
    """Says the question's words and seed back."""
    return says(f"{body['messages'][0]['content'][-1]['text']} {body.get('seed')}")


def test_what_is_answered_is_not_asked_again(tmp_path: Path) -> None:
    log = tmp_path / "requests" / "candidates.jsonl"
    requests = [Request((RED,), "a", (1, 2)), Request((BLUE,), "a", (1,))]
    with chat_server(echo) as server:
        first = model(server, log).generate(requests, DRAWN)
        again = model(server, log)
        assert again.generate(requests, DRAWN) == first
        assert again.take_notes() == {"from_log": 3}
        assert len(server.bodies) == 3
        (other,) = model(server, log).generate([Request((RED,), "a", (5,))], DRAWN)
        assert (other[0].text, len(server.bodies)) == ("a 5", 4)
    assert sorted(json.loads(line)["seed"] for line in log.read_text().splitlines()) == [1, 1, 2, 5]


@pytest.mark.parametrize(
    ("change", "image", "prompt", "sampling"),
    [
        ({"revision": "v2"}, RED, "a", DRAWN),
        ({"served": "other"}, RED, "a", DRAWN),
        ({}, BLUE, "a", DRAWN),
        ({}, RED.resize((6, 8)), "a", DRAWN),
        ({}, RED, "b", DRAWN),
        ({}, RED, "a", Sampling(0.8, 0.9, 16)),
        ({}, RED, "a", Sampling(0.7, 1.0, 16)),
        ({}, RED, "a", Sampling(0.7, 0.9, 17)),
        ({}, RED, "a", GREEDY),
    ],
)
def test_another_question_is_not_found_in_the_log(
    change: dict[str, str], image: Image.Image, prompt: str, sampling: Sampling, tmp_path: Path
) -> None:
    with chat_server(echo) as server:
        model(server, tmp_path / "log").generate([Request((RED,), "a", (1,))], DRAWN)
        changed = recipe(server, served_name=change.get("served")).model_copy(update={"revision": change.get("revision")})
        EndpointModel(changed, log=tmp_path / "log").generate([Request((image,), prompt, (1,))], sampling)
        assert len(server.bodies) == 2
        same = recipe(server, concurrency=1, retries=3, timeout=9)
        EndpointModel(same, log=tmp_path / "log").generate([Request((RED.copy(),), "a", (1,))], Sampling(0.7, 0.9, 16, 99))
        assert len(server.bodies) == 2


def test_what_was_answered_before_a_server_died_is_kept(tmp_path: Path) -> None:
    requests = [Request((RED,), f"question {i}", (i,)) for i in range(8)]

    def dies(body: dict[str, Any], number: int) -> Reply:
        return echo(body, number) if number < 5 else Reply(0)

    with chat_server(dies) as server, pytest.raises(ModelError, match="no connection"):
        model(server, tmp_path / "log", concurrency=1).generate(requests, DRAWN)
    with chat_server(echo) as alive:
        asked = model(alive, tmp_path / "log")
        found = asked.generate(requests, DRAWN)
    assert sorted(alive.prompts) == [f"question {i}" for i in (5, 6, 7)]
    assert [answers[0].text for answers in found] == [f"question {i} {i}" for i in range(8)]
    assert asked.take_notes() == {"from_log": 5}


def test_a_refusal_is_not_kept(tmp_path: Path) -> None:
    requests = [Request((RED,), "a", (1, 2))]
    with chat_server(lambda body, number: fails(400, "no") if body["seed"] == 1 else says("a")) as server:
        model(server, tmp_path / "log").generate(requests, DRAWN)
        model(server, tmp_path / "log").generate(requests, DRAWN)
    assert sorted(body["seed"] for body in server.bodies) == [1, 1, 2]
