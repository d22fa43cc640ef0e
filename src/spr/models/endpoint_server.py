"""One OpenAI-compatible server: connected to, asked, asked again when it stumbles. Everything that it can do wrong becomes one
sentence, or a refusal of one question.

The client's own retries are off: they take a reply without an answer for an answer, and cannot be counted or stopped.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from spr.errors import ModelError
from spr.models.base import Generation
from spr.models.endpoint_answers import Garbage, TooFew, answers_of, asked_wait, names_of, sentence
from spr.recipe_model import Endpoint
from spr.seeds import derive_random

if TYPE_CHECKING:
    from openai import OpenAI

logger = logging.getLogger(__name__)
FIRST_WAIT = 1.0
"""Seconds before the second try; each further wait is twice as long, up to `LONGEST_WAIT`."""
LONGEST_WAIT = 60.0
LONGEST_ASKED_WAIT = 600.0
"""A server that asks for a longer pause than this many seconds is left for another day."""
_SECONDS_BETWEEN_WARNINGS = 10.0
_DENIED = (401, 403)
_PASSING = (408, 409, 425, 429)
_OF_THE_QUESTION = (400, 413, 415, 422)
_LEAST_KEY = 8
"""A shorter key guards little, and could be a word of an answer."""
_NAMES_SHOWN = 10
Reply = TypeVar("Reply")


class Asked(Protocol):
    """One question to a server, for `n` answers."""

    @property
    def n(self) -> int:
        """How many answers to ask for."""

    def body(self, name: str) -> dict[str, Any]:
        """The request as the chat API takes it, for the model that is served by `name`."""


class Refusal(Exception):
    """The server will not answer this one question; the message is its own sentence."""


class _Passing(Exception):
    """A fault that may be gone at the next try; `wait` is how many seconds the server asks for."""

    def __init__(self, fault: str, wait: float | None = None) -> None:
        super().__init__(fault)
        self.wait = wait


class _Status(Exception):
    """A reply that is no success: its code and, as the message, the code with what the server said."""

    def __init__(self, code: int, said: str, wait: float | None) -> None:
        super().__init__(said)
        self.code = code
        self.wait = wait


class Server:
    """A connection to the server of `options`, for the model it serves by `name`; `name_key` is where the recipe says so, and
    `section` where it has the options.

    Raises ModelError where the openai package, or the key that the recipe names, is missing: then nothing is asked.
    """

    def __init__(self, options: Endpoint, name: str, name_key: str, section: str = "model.endpoint") -> None:
        self.name = name
        self._options = options
        self._name_key = name_key
        self._section = section
        self._key = _key(options.api_key_env, section)
        self._client = _client(options, self._key, section)
        self._names: tuple[str, ...] = ()
        self._lock = threading.Lock()
        self._retried = 0
        self._warned = float("-inf")

    def check(self) -> None:
        """Ask once which models are served. Raises ModelError when nobody is there, the key is refused, or others are served.

        A server that does not tell is asked all the same, and so is one that does not list a path or NAME@COMMIT: hub models
        alone are listed by some.
        """
        self._names = names_of(self._persist(self._list, self.name, threading.Event()))
        is_listed = not Path(self.name).is_absolute() and not self.name.startswith((".", "~")) and "@" not in self.name
        if self._names and self.name not in self._names and is_listed:
            raise self._unknown("")

    def ask(self, ask: Asked, key: str, stop: threading.Event) -> list[Generation]:
        """The `ask.n` answers to one question; waits between tries are cut short by `stop`.

        `key` is the question's own, from which the waits are drawn. Raises Refusal for a question that the server will not
        answer, ModelError for everything else.
        """
        return self._persist(lambda: self._complete(ask), key, stop)

    def take_retried(self) -> int:
        """How many tries after a first one there were since the last call."""
        with self._lock:
            retried, self._retried = self._retried, 0
        return retried

    def _persist(self, once: Callable[[], Reply], salt: str, stop: threading.Event) -> Reply:
        tries = self._options.retries + 1
        for number in range(tries):
            try:
                return once()
            except _Passing as error:
                fault, asked = str(error), error.wait
            if asked is not None and asked > LONGEST_ASKED_WAIT:
                raise ModelError(
                    f"{self._section}.url {self._options.url}: {fault}, and the server asks to wait {asked:.0f} s; give the "
                    "same command again then, what is answered is kept"
                )
            if number + 1 == tries:
                break
            wait = _wait(salt, number) if asked is None else asked
            self._note_retry(f"{fault}; try {number + 2} of {tries} in {wait:.1f} s")
            if stop.wait(wait):
                break
        raise ModelError(
            f"{self._section}.url {self._options.url}: {fault} (tries: {number + 1}); see that the server is up and well, then "
            "give the same command again, what is answered is kept"
        )

    def _note_retry(self, line: str) -> None:
        """Count a retry, and say why now and then: a server that is away is waited for in the open."""
        with self._lock:
            self._retried += 1
            now = time.monotonic()
            if now - self._warned < _SECONDS_BETWEEN_WARNINGS:
                return
            self._warned = now
        logger.warning("%s: %s", self._options.url, line)

    def _complete(self, ask: Asked) -> list[Generation]:
        body = ask.body(self.name)
        model, messages = body.pop("model"), cast(Any, body.pop("messages"))
        create = self._client.chat.completions.with_raw_response.create
        try:
            text = self._send(
                lambda: create(model=model, messages=messages, extra_body=body, extra_headers=self._headers()).text
            )
            return answers_of(text, ask.n)
        except _Status as status:
            raise self._judge(status) from None
        except Garbage as fault:
            raise _Passing(f"{sentence(str(fault), self._key)}: {sentence(text, self._key)[:120]}") from None
        except TooFew as few:
            raise ModelError(
                f"{self._section}.samples is n, but the server at {self._options.url} gave {few.count} of {ask.n} answers; set "
                f"{self._section}.samples: ask"
            ) from None

    def _list(self) -> str:
        """The reply to /models, empty where there is none: not every server can tell what it serves."""
        list_models = self._client.models.with_raw_response.list
        try:
            return self._send(lambda: list_models(extra_headers=self._headers()).text)
        except _Status as status:
            if status.code in _PASSING:
                raise self._judge(status) from None
            return ""

    def _send(self, request: Callable[[], str]) -> str:
        """The reply's text, without the key. Raises _Status for one that is no success, _Passing where there is none,
        ModelError for the key."""
        from openai import APIConnectionError, APIStatusError, APITimeoutError

        try:
            text = _within(self._options.timeout, request)
            return text.replace(self._key, "***") if self._key and len(self._key) >= _LEAST_KEY else text
        except (APITimeoutError, TimeoutError):
            raise _Passing(f"no answer within {self._section}.timeout {self._options.timeout:g} s") from None
        except APIConnectionError as error:
            raise _Passing(f"no connection ({sentence(str(error.__cause__ or error), self._key)})") from None
        except APIStatusError as error:
            elsewhere = error.response.headers.get("location", "")
            said = f"{error.status_code}: {sentence(error.response.text or elsewhere, self._key) or 'no word'}"
            if error.status_code in _DENIED:
                raise self._denied(said) from None
            raise _Status(error.status_code, said, asked_wait(error.response.headers.get("retry-after"))) from None

    def _judge(self, status: _Status) -> Exception:
        if status.code >= 500 or status.code in _PASSING:
            return _Passing(f"the server answered {status}", status.wait)
        if status.code == 404:
            return self._unknown(f" ({status})")
        if status.code in _OF_THE_QUESTION:
            return Refusal(str(status))
        return ModelError(
            f"{self._section}.url {self._options.url}: the server answered {status}; no photo is at fault, so mend it there, "
            "then give the same command again, what is answered is kept"
        )

    def _headers(self) -> dict[str, Any]:
        """Without a key no key is sent, also none that lies in the environment for somebody else."""
        from openai import Omit

        return {} if self._key else {"Authorization": Omit()}

    def _denied(self, said: str) -> ModelError:
        at, variable = f"the server at {self._options.url}", self._options.api_key_env
        if variable is None:
            return ModelError(
                f"{self._section}.api_key_env is null, but {at} wants a key ({said}); name the environment "
                "variable that holds it"
            )
        return ModelError(
            f"{self._section}.api_key_env is {variable}, but {at} refuses the key in it ({said}); put a valid one there"
        )

    def _unknown(self, said: str) -> ModelError:
        names = ", ".join(sentence(name, self._key) for name in self._names[:_NAMES_SHOWN])
        names += ", ..." if len(self._names) > _NAMES_SHOWN else ""
        known = (
            f"it serves {names}; set {self._name_key} to one of them"
            if names
            else (f"it lists no models; mend {self._name_key}, and see that {self._section}.url ends in /v1")
        )
        return ModelError(f"the server at {self._options.url} knows no model {self.name}{said}: {known}")


def _within(seconds: float, request: Callable[[], str]) -> str:
    """What a request gives, or its fault. Raises TimeoutError after so many seconds in all: the client's own limit holds for
    each piece of a reply, and a server may send it byte by byte. Nobody waits for the thread that is left behind."""
    came: queue.SimpleQueue[str | Exception] = queue.SimpleQueue()

    def work() -> None:
        try:
            came.put(request())
        except Exception as error:
            came.put(error)

    threading.Thread(target=work, daemon=True, name="spr request").start()
    try:
        reply = came.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(reply, Exception):
        raise reply
    return reply


def _wait(salt: str, number: int) -> float:
    """Seconds before the next try, half of it drawn from the question: many that failed at once do not come back at once."""
    longest = min(FIRST_WAIT * 2.0**number, LONGEST_WAIT)
    return longest * (0.5 + 0.5 * derive_random("retry", salt, number).random())


def _key(variable: str | None, section: str) -> str | None:
    """The key in the environment variable that the recipe names. Raises ModelError where there is none."""
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ModelError(f"{section}.api_key_env is {variable}, but this environment variable is not set; put the key there")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ModelError(f"{section}.api_key_env is {variable}, but what it holds is no key: no key has blanks or accents")
    return key


def _client(options: Endpoint, key: str | None, section: str) -> OpenAI:
    try:
        from openai import DefaultHttpxClient, OpenAI
    except ImportError:
        raise ModelError(f"{section} needs the openai package; pip install 'spatial-preference-rewarding[endpoint]'") from None
    # Whatever is left out here the client would take from variables that are meant for another server.
    client = OpenAI(
        base_url=options.url,
        api_key=key or "none",
        organization="",
        project="",
        timeout=options.timeout,
        max_retries=0,
        http_client=DefaultHttpxClient(follow_redirects=False),
    )
    client._custom_headers = {}  # Those of OPENAI_CUSTOM_HEADERS, which no argument replaces.
    return client
