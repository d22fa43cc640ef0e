"""A model behind an OpenAI-compatible chat server: vLLM, SGLang, `transformers serve`.

The server has the weights, the processor and the chat template; here are the questions, their order, and the log of what
was answered. So a run that was killed asks only what has no answer yet.
"""

from __future__ import annotations

import queue
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from spr.errors import ModelError, RecipeError
from spr.models import dialects
from spr.models.base import Generation, Request, Sampling
from spr.models.endpoint_answers import REFUSED, refused
from spr.models.endpoint_log import RequestLog
from spr.models.endpoint_requests import Ask, Place, asks_of, served_identity, served_name
from spr.models.endpoint_server import Refusal, Server
from spr.recipe_model import Model


class EndpointModel:
    """A `GroundingModel` whose answers come from `model.endpoint`: the base model, or with `adapter` the tuned one, which the
    server must have under `tuned_name`. Answers are kept at `log`, and found there.

    The server is spoken to at once. Raises RecipeError for a tuned policy without a name, ModelError for a server that is not
    there, wants another key or serves another model, and where openai is not installed.
    """

    def __init__(self, model: Model, adapter: Path | None = None, log: Path | None = None) -> None:
        if model.endpoint is None:
            raise RecipeError("model.endpoint is missing; name the server's url")
        self.dialect = dialects.of(model)
        self.identity = served_identity(model, adapter)
        self._options = model.endpoint
        self._server = Server(
            model.endpoint, served_name(model, adapter), f"model.endpoint.{'tuned_name' if adapter else 'served_name'}"
        )
        self._server.check()
        self._log = RequestLog(log)
        self._notes: Counter[str] = Counter()

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, progress: Callable[[int], None] | None = None
    ) -> list[list[Generation]]:
        """Answer all requests, one list a request with one generation a seed, in order.

        A question that the server will not answer gives `Generation("", "refused", 0, 0)`. Raises ModelError when it refuses
        all of them, which no photo explains, and for every fault of `Server.ask`; what was answered by then is in the log.
        """
        keeps_special = not self.dialect.skip_special_tokens
        asks = asks_of(requests, sampling, self._options.samples == "n", keeps_special)
        found: dict[Place, Generation] = {}
        refusals: list[str] = []
        for ask, result in self._answers(asks):
            if isinstance(result, Refusal):
                refusals.append(str(result))
            answers = refused(ask.n) if isinstance(result, Refusal) else result
            found |= zip(ask.places, answers * (len(ask.places) // ask.n), strict=True)
            if progress is not None:
                progress(len(ask.places))
        if found and all(answer.finish_reason == REFUSED for answer in found.values()):
            said = refusals[0] if refusals else "nothing, it filtered the answer"
            raise ModelError(
                f"the server at {self._options.url} refuses every question of a shard; to the first it said {said}"
            )
        return [[found[i, j] for j in range(len(request.seeds))] for i, request in enumerate(requests)]

    def take_notes(self) -> dict[str, int]:
        """`retried` questions, and how many were answered `from_log`, since the last call; what did not happen is left out."""
        self._notes["retried"] += self._server.take_retried()
        notes, self._notes = {name: count for name, count in self._notes.items() if count}, Counter()
        return notes

    def _answers(self, asks: Sequence[Ask]) -> Iterator[tuple[Ask, list[Generation] | Refusal]]:
        """Each question with its answers: first those of the log, then the server's as they come."""
        todo: list[tuple[Ask, str]] = []
        for ask in asks:
            key = ask.key(self.identity)
            known = self._log.find(key)
            if known is None:
                todo.append((ask, key))
            else:
                self._notes["from_log"] += 1
                yield ask, known
        yield from self._asked(todo)

    def _asked(self, todo: Sequence[tuple[Ask, str]]) -> Iterator[tuple[Ask, list[Generation] | Refusal]]:
        """Ask with `concurrency` requests under way; the first fault ends it, and is raised.

        The threads are daemons and put their answers into the log themselves: nobody waits for a server that hangs, neither
        at a fault nor at Ctrl-C, and what it still answers is kept.
        """
        waiting: queue.SimpleQueue[tuple[Ask, str]] = queue.SimpleQueue()
        results: queue.SimpleQueue[tuple[Ask, Any]] = queue.SimpleQueue()
        stop = threading.Event()
        for item in todo:
            waiting.put(item)

        def work() -> None:
            while not stop.is_set():
                try:
                    ask, key = waiting.get_nowait()
                except queue.Empty:
                    return
                try:
                    results.put((ask, self._ask(ask, key, stop)))
                except Refusal as refusal:
                    results.put((ask, refusal))
                except Exception as error:
                    results.put((ask, error))
                    stop.set()

        for _ in range(min(self._options.concurrency, len(todo))):
            threading.Thread(target=work, daemon=True, name="spr endpoint").start()
        try:
            for _ in todo:
                ask, result = results.get()
                if isinstance(result, Exception) and not isinstance(result, Refusal):
                    raise result
                yield ask, result
        finally:
            stop.set()

    def _ask(self, ask: Ask, key: str, stop: threading.Event) -> list[Generation]:
        answers = self._server.ask(ask, key, stop)
        if all(answer.finish_reason != REFUSED for answer in answers):
            about = {"model": self._server.name, "prompt": ask.prompt, "images": len(ask.pictures), **ask.options()}
            self._log.add(key, about, answers)
        return answers
