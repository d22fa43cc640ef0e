"""A model behind an OpenAI-compatible chat server: vLLM, SGLang, `transformers serve`.

The server has the weights, the processor and the chat template; here are the questions, their order, and the log of what
was answered. So a run that was killed asks only what has no answer yet.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from weakref import WeakValueDictionary

from spr.errors import ModelError, RecipeError
from spr.models import dialects
from spr.models.base import Generation, Request, Sampling
from spr.models.endpoint_answers import REFUSED, refused
from spr.models.endpoint_crew import Crew
from spr.models.endpoint_log import RequestLog
from spr.models.endpoint_requests import Ask, Picture, Place, asks_of, served_identity, served_name
from spr.models.endpoint_server import Refusal, Server
from spr.recipe_model import Model

logger = logging.getLogger(__name__)
AHEAD = 4
"""For each request that may be under way, so many groups of requests are held: their photos lie in memory."""
REFUSED_AT_FIRST = 3
"""A server that refuses so many photos before it has answered anything refuses them all."""
REFUSED_IN_A_ROW = 50
"""So many photos refused one after the other are no fault of theirs."""


@dataclass
class _Group:
    """Requests that are answered together: the number of seeds of each, the answers so far, and the questions left."""

    seeds: list[int]
    left: int
    found: dict[Place, Generation] = field(default_factory=dict)

    def add(self, ask: Ask, answers: list[Generation]) -> None:
        self.found |= zip(ask.places, answers * (len(ask.places) // ask.n), strict=True)
        self.left -= 1

    def answers(self) -> list[list[Generation]]:
        return [[self.found[i, j] for j in range(count)] for i, count in enumerate(self.seeds)]


@dataclass(frozen=True)
class _Question:
    """One question, the key of its answers, and the group that they belong to."""

    ask: Ask
    key: str
    group: _Group


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
        self._answered = self._log.knows(self._server.name)
        self._refused: dict[str, str] = {}
        self._warn = True

    def generate(
        self, requests: Sequence[Request], sampling: Sampling, progress: Callable[[int], None] | None = None
    ) -> list[list[Generation]]:
        """Answer all requests, one list a request with one generation a seed, in order. Raises as `generate_each`."""
        (answers,) = self.generate_each([requests], sampling, progress)
        return answers

    def generate_each(
        self, groups: Iterable[Sequence[Request]], sampling: Sampling, progress: Callable[[int], None] | None = None
    ) -> Iterator[list[list[Generation]]]:
        """Answer group after group, in their order; groups are taken as they are needed, `AHEAD` for each request that may be
        under way, so that the server always has enough to do and the photos of a shard are never all in memory.

        A question that the server will not answer gives `Generation("", "refused", 0, 0)`. Raises ModelError when it refuses
        so many that no photo explains it, and for every fault of `Server.ask`; what was answered by then is in the log.
        """
        told = progress or (lambda _: None)
        crew = Crew(self._ask, self._options.concurrency)
        held: deque[_Group] = deque()
        pictures: WeakValueDictionary[int, Picture] = WeakValueDictionary()
        self._warn = True
        try:
            for requests in groups:
                held.append(self._begin(requests, sampling, pictures, crew, told))
                yield from self._settle(held, AHEAD * self._options.concurrency, crew, told)
            yield from self._settle(held, 0, crew, told)
        finally:
            crew.stop()

    def take_notes(self) -> dict[str, int]:
        """`retried` questions, and how many were answered `from_log`, since the last call; what did not happen is left out."""
        self._notes["retried"] += self._server.take_retried()
        notes, self._notes = {name: count for name, count in self._notes.items() if count}, Counter()
        return notes

    def _begin(
        self,
        requests: Sequence[Request],
        sampling: Sampling,
        pictures: MutableMapping[int, Picture],
        crew: Crew[_Question, list[Generation] | Refusal],
        told: Callable[[int], None],
    ) -> _Group:
        """A group with what the log knows of it; the rest is given to the crew."""
        asks = asks_of(requests, sampling, self._options.samples == "n", not self.dialect.skip_special_tokens, pictures)
        group = _Group([len(request.seeds) for request in requests], len(asks))
        for ask in asks:
            key = ask.key(self.identity)
            known = self._log.find(key)
            if known is None:
                crew.give(_Question(ask, key, group))
            else:
                self._notes["from_log"] += 1
                group.add(ask, known)
                told(len(ask.places))
        return group

    def _settle(
        self,
        held: deque[_Group],
        most: int,
        crew: Crew[_Question, list[Generation] | Refusal],
        told: Callable[[int], None],
    ) -> Iterator[list[list[Generation]]]:
        """Take what is answered, waiting while more than `most` groups are held; the answers of the first ones."""
        while crew.ready or len(held) > most or (held and not held[0].left):
            if not held[0].left:
                yield held.popleft().answers()
                continue
            question, result = crew.take()
            ask = question.ask
            self._weigh(ask, result, crew.idle)
            question.group.add(ask, refused(ask.n) if isinstance(result, Refusal) else result)
            told(len(ask.places))

    def _weigh(self, ask: Ask, result: list[Generation] | Refusal, idle: bool) -> None:
        """Stop where a server refuses one photo after the other: no photo explains that, and each query would be lost.

        Refusals come faster than answers: while anything is under way, it may still be the first answer.
        """
        if not isinstance(result, Refusal) and any(answer.finish_reason != REFUSED for answer in result):
            self._answered = True
            self._refused.clear()
            return
        said = result if isinstance(result, Refusal) else "nothing, it filtered the answer"
        if self._warn:
            self._warn = False
            logger.warning("%s: the server refuses a question, whose query is dropped; it said %s", self._options.url, said)
        self._refused.setdefault(ask.pictures[0].digest, str(said))
        if len(self._refused) >= REFUSED_IN_A_ROW or (idle and not self._answered and len(self._refused) >= REFUSED_AT_FIRST):
            raise ModelError(
                f"the server at {self._options.url} refuses one photo after the other ({len(self._refused)} in a row); to the "
                f"first it said {next(iter(self._refused.values()))}"
            )

    def _ask(self, question: _Question, stop: threading.Event) -> list[Generation] | Refusal:
        ask = question.ask
        try:
            answers = self._server.ask(ask, question.key, stop)
        except Refusal as refusal:
            return refusal
        if all(answer.finish_reason != REFUSED for answer in answers):
            about = {"model": self._server.name, "prompt": ask.prompt, "images": len(ask.pictures), **ask.options()}
            self._log.add(question.key, about, answers)
        return answers
