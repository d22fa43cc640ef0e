"""Many groups of requests: a server is kept busy over their borders, and few photos are held."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from chat_server import Body, ChatServer, Reply, chat_server, says
from spr import images
from spr.candidates import CandidateStage
from spr.evaluation.asking import AskStage
from spr.items import Answer, Question
from spr.models.base import Request, Sampling
from spr.models.endpoint import AHEAD, EndpointModel
from spr.models.endpoint_requests import Picture
from spr.recipe import Candidates, Evaluation, Model
from spr.records import Candidate, RegionQuery, SceneObject

DRAWN = Sampling(0.7, 0.9, 16)
COUNT = 24


def recipe(server: ChatServer, **options: Any) -> Model:
    return Model(name="some/model", dialect="tiny", endpoint={"url": server.url, "retries": 0, **options})


def echo(body: Body, number: int) -> Reply:
    return says(f"{body['messages'][0]['content'][-1]['text']} {body.get('seed')}")


def group(number: int, seeds: tuple[int, ...] = (1,)) -> list[Request]:
    return [Request((Image.new("RGB", (8, 6), (number,) * 3),), f"photo {number}", seeds)]


def test_groups_are_answered_in_their_order_with_requests_over_their_borders() -> None:
    together = threading.Barrier(3, timeout=10)

    def waits_for_two_others(body: Body, number: int) -> Reply:
        together.wait()
        return Reply(text=echo(body, number).text, after=0.05 * (2 - number % 3))

    with chat_server(waits_for_two_others) as server:
        asked = EndpointModel(recipe(server, concurrency=3))
        found = list(asked.generate_each((group(number, (number,)) for number in range(9)), DRAWN))
    assert [answers[0][0].text for answers in found] == [f"photo {number} {number}" for number in range(9)]
    assert (server.most_at_once, len(server.bodies)) == (3, 9)


def test_groups_are_taken_as_they_are_needed() -> None:
    taken, held = 0, []

    def groups() -> Iterator[list[Request]]:
        nonlocal taken
        for number in range(COUNT):
            taken += 1
            yield group(number, (1, 2))

    with chat_server(echo) as server:
        for told, _ in enumerate(EndpointModel(recipe(server, concurrency=2)).generate_each(groups(), DRAWN)):
            held.append(taken - told)
    assert len(held) == COUNT
    assert max(held) <= 2 * AHEAD + 1


def test_a_group_without_requests_is_no_trouble() -> None:
    with chat_server(echo) as server:
        found = list(EndpointModel(recipe(server)).generate_each([[], group(7), []], DRAWN))
    assert [len(answers) for answers in found] == [0, 1, 0]


@pytest.fixture
def loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The photos that were read, in their order."""
    for number in range(COUNT):
        Image.new("RGB", (100, 50), (number,) * 3).save(tmp_path / f"{number}.png")
    paths: list[str] = []
    read = images.load
    monkeypatch.setattr(images, "load", lambda root, path, size: (paths.append(path), read(root, path, size))[1])
    return paths


def test_candidates_come_while_most_photos_are_not_read_yet(tmp_path: Path, loaded: list[str]) -> None:
    objects = (SceneObject("1", "dog", (10.0, 10.0, 20.0, 20.0)),)
    queries = [
        RegionQuery(f"q{number}", "i", f"{number}.png", 100, 50, (10.0, 10.0, 50.0, 40.0), objects) for number in range(COUNT)
    ]
    with chat_server(echo) as server:
        options = Candidates(k=2, prompts=("plain",), batch_size=8)
        stage = CandidateStage(options, recipe(server, concurrency=1), tmp_path, 0)
        stage.setup("cpu")
        rows = stage.process(queries)
        first = next(rows)
        assert len(loaded) <= AHEAD + 1
        kept = [first, *rows]
    assert [(row.query_id, row.k) for row in kept if isinstance(row, Candidate)] == [
        (query.query_id, k) for query in queries for k in (0, 1)
    ]
    assert stage.notes()["completion_tokens"] == 2 * COUNT * 3


def test_answers_come_while_most_photos_are_not_read_yet(tmp_path: Path, loaded: list[str]) -> None:
    items = [Question(f"i{number}", f"{number}.png", 100, 50, "where is dog ?") for number in range(COUNT)]
    with chat_server(echo) as server:
        evaluation = Evaluation(backend="endpoint", batch_size=8)
        stage = AskStage("rec", recipe(server, concurrency=1), evaluation, tmp_path)
        stage.setup("cpu")
        rows = stage.process(items)
        first = next(rows)
        assert len(loaded) <= AHEAD + 1
        kept = [first, *rows]
    assert [row.item_id for row in kept if isinstance(row, Answer)] == [item.item_id for item in items]


def test_a_picture_is_made_once_whoever_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = Picture(Image.new("RGB", (8, 6), "red"))
    made: list[int] = []
    wanted = threading.Barrier(4, timeout=10)
    save = Image.Image.save

    def slowly(*args: Any, **options: Any) -> None:
        made.append(1)
        threading.Event().wait(0.2)
        save(*args, **options)

    monkeypatch.setattr(Image.Image, "save", slowly)

    def want() -> None:
        wanted.wait()
        picture.url()

    threads = [threading.Thread(target=want) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1]


def test_questions_about_one_photo_share_its_picture(
    tmp_path: Path, loaded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    monkeypatch.setattr(Picture, "url", lambda self: (made.append(id(self)), "data:,")[1])
    items = [Question(f"i{number}", "0.png", 100, 50, f"where is dog {number} ?") for number in range(3)]
    with chat_server(lambda body, number: Reply(text=echo(body, number).text, after=0.2)) as server:
        stage = AskStage("rec", recipe(server, concurrency=3), Evaluation(backend="endpoint"), tmp_path)
        stage.setup("cpu")
        assert len(list(stage.process(items))) == 3
    assert len(made) == 3
    assert len(set(made)) == 1
