"""A server's key: from the environment alone, sent to the named server, and said and written nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest
from one_question import DRAWN, ONE, answers, lists, recipe

from chat_server import Reply, chat_server, fails, says
from spr.errors import ModelError
from spr.models.endpoint import EndpointModel

KEY = "sk-s3cret-0123"
VARIABLE = "SPR_TEST_ENDPOINT_KEY"


def test_the_key_of_the_named_variable_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, f" {KEY}\n")
    with chat_server(answers) as server:
        EndpointModel(recipe(server.url, api_key_env=VARIABLE)).generate(ONE, DRAWN)
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"


def test_the_key_is_sent_whatever_headers_lie_around(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, KEY)
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "Authorization: Bearer another\nX-Other: another")
    with chat_server(answers) as server:
        EndpointModel(recipe(server.url, api_key_env=VARIABLE)).generate(ONE, DRAWN)
    assert server.headers[0]["authorization"] == f"Bearer {KEY}"
    assert "another" not in str(server.headers)


def test_without_a_named_variable_no_key_is_sent_whoevers_lies_around(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(variable, KEY)
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", f"X-Other-Secret: {KEY}\nAuthorization: Bearer {KEY}")
    with chat_server(answers) as server:
        EndpointModel(recipe(server.url)).generate(ONE, DRAWN)
    assert KEY not in str(server.headers)
    assert "authorization" not in server.headers[0]


@pytest.mark.parametrize(
    ("value", "fault"), [(None, "is not set"), ("  ", "is not set"), ("a key", "blanks"), ("schlüssel", "accents")]
)
def test_a_variable_without_a_key_is_told_before_anything_is_asked(
    value: str | None, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(VARIABLE, value)
    with chat_server(answers) as server, pytest.raises(ModelError, match=f"api_key_env is {VARIABLE}, but .*{fault}"):
        EndpointModel(recipe(server.url, api_key_env=VARIABLE))
    assert (server.listed, server.bodies) == (0, [])


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("at", ["models", "chat"])
def test_a_refused_key_stops_at_once_and_is_said_by_nobody(
    status: int, at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(VARIABLE, KEY)
    echoes = fails(status, f"wrong key {KEY} in Authorization: Bearer {KEY}")
    with (
        chat_server(lambda body, number: echoes, echoes if at == "models" else None) as server,
        pytest.raises(ModelError) as stopped,
    ):
        EndpointModel(recipe(server.url, api_key_env=VARIABLE, retries=5), log=tmp_path / "log").generate(ONE, DRAWN)
    assert f"api_key_env is {VARIABLE}, but the server at {server.url} refuses the key in it ({status}: wrong key ***" in str(
        stopped.value
    )
    assert len(server.bodies) == (1 if at == "chat" else 0)
    assert KEY not in str(stopped.value) + caplog.text
    assert not (tmp_path / "log").exists()


def test_a_server_that_wants_a_key_names_where_to_put_it() -> None:
    with (
        chat_server(answers, fails(401, "no key")) as server,
        pytest.raises(ModelError, match=r"api_key_env is null, but the server at .* wants a key \(401: no key\); name the"),
    ):
        EndpointModel(recipe(server.url))


@pytest.mark.parametrize("reply", [Reply(500, KEY), Reply(200, KEY), fails(402, KEY), fails(404, KEY), fails(429, KEY)])
def test_no_fault_says_the_key(reply: Reply, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv(VARIABLE, KEY)
    reply.headers["Retry-After"] = "0"
    with chat_server(lambda body, number: reply) as server, pytest.raises(ModelError, match=r"\*\*\*") as stopped:
        EndpointModel(recipe(server.url, api_key_env=VARIABLE, retries=1)).generate(ONE, DRAWN)
    assert KEY not in str(stopped.value) + caplog.text


def test_a_key_that_a_server_repeats_is_in_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, KEY)
    with chat_server(lambda body, number: says(f"you sent {KEY} : a dog")) as server:
        asked = EndpointModel(recipe(server.url, api_key_env=VARIABLE), log=tmp_path / "log")
        ((answer,),) = asked.generate(ONE, DRAWN)
    assert answer.text == "you sent *** : a dog"
    assert KEY not in (tmp_path / "log").read_text()


def test_no_reason_of_an_answers_end_says_a_key_however_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "dog")
    with (
        chat_server(lambda body, number: says("a", finish_reason="by a dog")) as server,
        pytest.raises(ModelError, match=r"ended by by a \*\*\*: ") as stopped,
    ):
        EndpointModel(recipe(server.url, api_key_env=VARIABLE)).generate(ONE, DRAWN)
    assert "dog" not in str(stopped.value)


@pytest.mark.parametrize("key", ["12345678", "sk-s3cret"])
def test_a_key_of_eight_characters_is_no_word(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, key)
    with chat_server(lambda body, number: says(f"a {key}")) as server:
        ((answer,),) = EndpointModel(recipe(server.url, api_key_env=VARIABLE)).generate(ONE, DRAWN)
    assert answer.text == "a ***"


def test_a_key_that_is_a_word_stays_in_the_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "dog")
    with chat_server(answers) as server:
        ((answer,),) = EndpointModel(recipe(server.url, api_key_env=VARIABLE)).generate(ONE, DRAWN)
    assert answer.text == "a dog"


@pytest.mark.parametrize("name", [f"echo {KEY}", "echo" * 50_000])
def test_names_of_models_are_said_without_the_key_and_no_longer_than_a_sentence(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, KEY)
    with chat_server(answers, lists(name)) as server, pytest.raises(ModelError, match="it serves echo") as stopped:
        EndpointModel(recipe(server.url, api_key_env=VARIABLE))
    assert KEY not in str(stopped.value)
    assert len(str(stopped.value)) < 600


def test_the_key_is_in_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, KEY)
    with chat_server(answers) as server:
        asked = EndpointModel(recipe(server.url, api_key_env=VARIABLE), log=tmp_path / "log")
        asked.generate(ONE, DRAWN)
    assert KEY not in (tmp_path / "log").read_text() + asked.identity
