"""The endpoint backend against a server whose every reply is written down here."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from chat_server import ChatServer, Reply, chat_server, fails, says
from spr.errors import ModelError
from spr.models import endpoint_server
from spr.models.base import Generation, Request, Sampling
from spr.models.endpoint import EndpointModel
from spr.models.opening import open_model
from spr.recipe import Model

RED, BLUE = (Image.new("RGB", (8, 6), color) for color in ("red", "blue"))
DRAWN, GREEDY = Sampling(0.7, 0.9, 16), Sampling(0.0, 1.0, 16)
FAST = {"retries": 2, "timeout": 5}
NOTHING = {"temperature": 0.7, "top_p": 0.9, "max_tokens": 16}


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_server, "FIRST_WAIT", 0.01)


def recipe(server: ChatServer | str, **options: Any) -> Model:
    url = server if isinstance(server, str) else server.url
    return Model(name="some/model", dialect="tiny", endpoint={"url": url, **FAST, **options})


def model(server: ChatServer | str, log: Path | None = None, **options: Any) -> EndpointModel:
    return EndpointModel(recipe(server, **options), log=log)


def echo(body: dict[str, Any], number: int) -> Reply:
    """Says the question's words and seed back, once for each answer that is asked for."""
    words = body["messages"][0]["content"][-1]["text"]
    return says(*(f"{words} {body.get('seed')} {i}" for i in range(body.get("n", 1))), completion=2 * body.get("n", 1))


def test_a_question_is_pictures_then_words_and_how_to_draw() -> None:
    with chat_server(echo) as server:
        found = model(server).generate([Request((RED, BLUE), "what ?", (2**62,))], DRAWN)
    assert found == [[Generation(f"what ? {2**62} 0", "stop", 7, 2)]]
    (body,) = server.bodies
    assert {name: body[name] for name in body if name != "messages"} == {"model": "some/model", "seed": 2**62, **NOTHING}
    assert [part["type"] for part in body["messages"][0]["content"]] == ["image_url", "image_url", "text"]
    assert [list(picture.getdata()) for picture in server.pictures(0)] == [list(RED.getdata()), list(BLUE.getdata())]


def test_a_picture_is_its_pixels_alone() -> None:
    turned = RED.copy()
    turned.info["icc_profile"] = b"a profile"
    turned.getexif()[0x0112] = 6
    with chat_server(echo) as server:
        model(server).generate([Request((turned,), "what ?", (1,))], DRAWN)
    (picture,) = server.pictures(0)
    assert (picture.size, picture.info, dict(picture.getexif())) == ((8, 6), {}, {})


def test_a_greedy_question_is_asked_once_for_all_seeds() -> None:
    with chat_server(echo) as server:
        (answers,) = model(server).generate([Request((RED,), "what ?", (1, 2, 3))], GREEDY)
    assert [answer.text for answer in answers] == ["what ? None 0"] * 3
    (body,) = server.bodies
    assert (body["temperature"], body["top_p"], body.keys() & {"seed", "n"}) == (0.0, 1.0, set())


def test_answers_come_in_the_order_of_requests_and_seeds() -> None:
    requests = [Request((RED,), "a", (1, 2)), Request((BLUE,), "b", (3,)), Request((RED,), "a", (4,))]
    brought: list[int] = []
    with chat_server(echo) as server:
        found = model(server).generate(requests, DRAWN, brought.append)
    assert [[answer.text for answer in answers] for answers in found] == [["a 1 0", "a 2 0"], ["b 3 0"], ["a 4 0"]]
    assert len(server.bodies) == 4
    assert brought == [1, 1, 1, 1]


def test_by_n_the_same_words_about_the_same_image_are_one_question() -> None:
    requests = [Request((RED,), "a", (1, 2)), Request((BLUE,), "a", (3,)), Request((RED,), "a", (4,))]
    with chat_server(echo) as server:
        found = model(server, samples="n", concurrency=1).generate(requests, DRAWN)
    assert [[answer.text for answer in answers] for answers in found] == [["a 1 0", "a 1 1"], ["a 3 0"], ["a 1 2"]]
    assert [(body["seed"], body.get("n")) for body in server.bodies] == [(1, 3), (3, None)]


def test_by_n_other_words_are_another_question_and_every_answer_is_progress() -> None:
    requests = [Request((RED,), "a", (1,)), Request((RED,), "b", (2, 3, 4)), Request((RED,), "a", (5,))]
    brought: list[int] = []
    with chat_server(echo) as server:
        found = model(server, samples="n", concurrency=1).generate(requests, DRAWN, brought.append)
    assert [[answer.text for answer in answers] for answers in found] == [["a 1 0"], ["b 2 0", "b 2 1", "b 2 2"], ["a 1 1"]]
    assert brought == [2, 3]


def test_a_server_that_ignores_n_is_found_out() -> None:
    said = "samples is n, but the server at .* gave 1 of 2 answers; set model.endpoint.samples: ask"
    with chat_server(lambda body, number: says("one")) as server, pytest.raises(ModelError, match=said):
        model(server, samples="n").generate([Request((RED,), "a", (1, 2))], DRAWN)


@pytest.mark.parametrize(("dialect", "asked"), [("qwen2-vl", False), ("tiny", None)])
def test_special_tokens_are_asked_for_where_boxes_are_made_of_them(dialect: str, asked: bool | None) -> None:
    with chat_server(echo) as server:
        its_model = recipe(server).model_copy(update={"dialect": dialect})
        EndpointModel(its_model).generate([Request((RED,), "a", (1,))], DRAWN)
    assert server.bodies[0].get("skip_special_tokens") is asked


@pytest.mark.parametrize("concurrency", [1, 3])
def test_so_many_requests_are_under_way_and_no_more(concurrency: int) -> None:
    with chat_server(lambda body, number: Reply(text=says("a").text, after=0.15)) as server:
        model(server, concurrency=concurrency).generate([Request((RED,), "a", tuple(range(6)))], DRAWN)
    assert server.most_at_once == concurrency


FAULTS = {
    "503": fails(503, "loading"),
    "408": fails(408, "too slow"),
    "409": fails(409, "in use"),
    "425": fails(425, "too early"),
    "429": fails(429, "slow down"),
    "nested": Reply(200, "[" * 200_000),
    "a nested fault": Reply(500, "[" * 200_000),
    "no word": Reply(0),
    "no json": Reply(200, "<html>Welcome to nginx</html>"),
    "no choices": Reply(200, '{"object": "list", "choices": []}'),
    "no content": Reply(200, '{"choices": [{"finish_reason": "stop", "message": {}}]}'),
    "half a reply": Reply(200, '{"choi', {"Content-Length": "4000"}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_passing_fault_is_tried_again_and_counted(fault: str) -> None:
    with chat_server(lambda body, number: FAULTS[fault] if number < 2 else says("a dog")) as server:
        asked = model(server)
        assert asked.generate([Request((RED,), "a", (1,))], DRAWN)[0][0].text == "a dog"
    assert len(server.bodies) == 3
    assert asked.take_notes() == {"retried": 2}
    assert asked.take_notes() == {}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_lasting_fault_stops_with_one_sentence(fault: str) -> None:
    with chat_server(lambda body, number: FAULTS[fault]) as server, pytest.raises(ModelError) as stopped:
        model(server, concurrency=1).generate([Request((RED,), "a", (1, 2, 3))], DRAWN)
    assert len(server.bodies) == 3
    said = str(stopped.value)
    assert said.startswith(f"model.endpoint.url {server.url}: ")
    assert said.endswith(
        "(tries: 3); see that the server is up and well, then give the same command again, what is answered is kept"
    )
    assert "\n" not in said
    assert stopped.value.__cause__ is None


def test_a_server_that_stalls_is_timed_out() -> None:
    stalls = Reply(text=says("late").text, after=3.0)
    with chat_server(lambda body, number: stalls if number == 0 else says("a dog")) as server:
        asked = model(server, timeout=0.8)
        assert asked.generate([Request((RED,), "a", (1,))], DRAWN)[0][0].text == "a dog"
        assert asked.take_notes() == {"retried": 1}
    with (
        chat_server(lambda body, number: stalls) as server,
        pytest.raises(ModelError, match=r"no answer within .*timeout 0\.8 s"),
    ):
        model(server, timeout=0.8, retries=0).generate([Request((RED,), "a", (1,))], DRAWN)


class Dripping(BaseHTTPRequestHandler):
    """Sends a reply byte by byte for six seconds."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "100000")
        self.end_headers()
        with contextlib.suppress(OSError):
            for _ in range(60):
                self.wfile.write(b" ")
                time.sleep(0.1)

    def log_message(self, *args: Any) -> None:
        pass


def test_a_server_that_drips_is_timed_out() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Dripping)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    began = time.monotonic()
    with pytest.raises(ModelError, match=r"no answer within model\.endpoint\.timeout 0\.5 s \(tries: 1\)"):
        model(f"http://127.0.0.1:{server.server_address[1]}/v1", timeout=0.5, retries=0)
    assert time.monotonic() - began < 5
    server.shutdown()
    server.server_close()


def test_nobody_waits_for_a_thread_that_asks() -> None:
    found: list[threading.Thread] = []

    def looks(body: dict[str, Any], number: int) -> Reply:
        found.extend(thread for thread in threading.enumerate() if thread.name.startswith("spr "))
        return says("a")

    with chat_server(looks) as server:
        model(server).generate([Request((RED,), "a", (1,))], DRAWN)
    assert {thread.name for thread in found} == {"spr endpoint", "spr request"}
    assert all(thread.daemon for thread in found)


def test_a_server_is_left_alone_for_as_long_as_it_asks() -> None:
    came: list[float] = []

    def busy(body: dict[str, Any], number: int) -> Reply:
        came.append(time.monotonic())
        return says("a") if number else fails(429, "slow down", Retry_After="0.4")

    with chat_server(busy) as server:
        model(server).generate([Request((RED,), "a", (1,))], DRAWN)
    assert came[1] - came[0] >= 0.4


def test_a_server_that_asks_for_an_hour_is_not_waited_for() -> None:
    busy = fails(503, "closed", Retry_After="3600")
    with chat_server(lambda body, number: busy) as server, pytest.raises(ModelError, match=r"503: closed, .*wait 3600 s; give"):
        model(server).generate([Request((RED,), "a", (1,))], DRAWN)
    assert len(server.bodies) == 1


def test_waits_grow_and_are_drawn_from_the_question(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_server, "FIRST_WAIT", 1.0)
    waits = [endpoint_server._wait("a question", number) for number in range(10)]
    assert all(
        longest / 2 <= wait <= longest for wait, longest in zip(waits, (1, 2, 4, 8, 16, 32, 60, 60, 60, 60), strict=True)
    )
    assert waits == [endpoint_server._wait("a question", number) for number in range(10)]
    assert len({endpoint_server._wait(f"question {i}", 0) for i in range(20)}) == 20


def test_nobody_there_is_told_before_anything_is_asked() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with pytest.raises(ModelError, match=rf"model.endpoint.url {url}: no connection \(.*refused\) \(tries: 3\)"):
        model(url)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(ModelError, match=r"pip install 'spatial-preference-rewarding\[endpoint\]'"):
        model("http://127.0.0.1:1/v1")


def test_no_questions_are_no_trouble() -> None:
    with chat_server(echo) as server:
        assert model(server).generate([], DRAWN) == []


def test_a_recipe_with_a_server_opens_it_and_needs_no_weights() -> None:
    with chat_server(echo) as server:
        opened = open_model(recipe(server), "cpu")
    assert isinstance(opened, EndpointModel)
    assert opened.identity == "endpoint:some/model@main"
