"""Answers judged by another model, behind an OpenAI-compatible server: a step of its own, after the answers are saved.

So it can be repeated, resumed, or done by another judge without asking the model again. The judge is shown words alone.
What it is asked and what its words are worth is the task's matter (`spr.evaluation.ferret_bench`).
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spr.errors import ModelError
from spr.evaluation.ferret_protocol import JUDGE_SYSTEM
from spr.items import Answer
from spr.models.base import Generation
from spr.models.endpoint_answers import REFUSED, refused
from spr.models.endpoint_crew import Crew
from spr.models.endpoint_log import RequestLog
from spr.models.endpoint_server import Refusal, Server
from spr.recipe_evaluation import Judge
from spr.records import Dropped
from spr.seeds import derive_seed

logger = logging.getLogger(__name__)
REFUSED_AT_FIRST = 3
"""A judge that refuses so many questions before it has answered any refuses them all."""


@dataclass(frozen=True, slots=True)
class ToJudge:
    """One answer as the judge is asked about it."""

    item_id: str
    prompt: str


@dataclass(frozen=True, slots=True)
class _Ask:
    """One question to the judge; equal words are asked with an equal seed, whichever side's answer they hold."""

    row: ToJudge
    judge: Judge
    n: int = 1

    def options(self) -> dict[str, Any]:
        options: dict[str, Any] = {"temperature": self.judge.temperature, "max_tokens": self.judge.max_new_tokens}
        return options | ({"seed": derive_seed("judge", self.row.prompt)} if self.judge.temperature > 0 else {})

    def body(self, name: str) -> dict[str, Any]:
        words = [{"role": "system", "content": JUDGE_SYSTEM}, {"role": "user", "content": self.row.prompt}]
        return {"model": name, "messages": words, **self.options()}

    @property
    def key(self) -> str:
        return hashlib.sha256(json.dumps(self.body(self.judge.called), sort_keys=True).encode()).hexdigest()


@dataclass
class JudgeStage:
    """Rows for a judge -> one Answer each, the judge's own words, in the rows' order; `name` is the data set's.

    `texts` is the digest of whatever the rows were made from besides the answers, `section` where the recipe has the judge's
    endpoint. Questions that the server refuses are dropped as `refused`. What was answered is kept at `log`, and not asked
    again. How the server is reached is no part of the output's key.
    """

    name: str
    judge: Judge
    section: str
    texts: str
    log: Path | None = field(default=None, kw_only=True)
    version: int = field(default=1, init=False)
    output: type[Any] = field(default=Answer, init=False)
    served: bool = field(default=True, init=False)
    _reached: tuple[Server, RequestLog] | None = field(default=None, init=False, repr=False)
    _answered: bool = field(default=False, init=False, repr=False)
    _refused: list[str] = field(default_factory=list, init=False, repr=False)
    _notes: dict[str, int] = field(default_factory=dict, init=False, repr=False)

    @property
    def recipe_part(self) -> dict[str, Any]:
        """The judge by its name on the server, how it draws, and what it reads."""
        judge = {"served_name": self.judge.called, **self.judge.model_dump(mode="json", exclude={"endpoint"})}
        return {"judge": judge, "texts": self.texts}

    @property
    def reached(self) -> tuple[Server, RequestLog]:
        """The server, and what it has answered. Raises ModelError before `setup`."""
        if self._reached is None:
            raise ModelError(f"{self.name}: the judge is not reached; call setup first")
        return self._reached

    def setup(self, device: str) -> None:  # noqa: ARG002 (the stage's)
        """Reach the server. Raises ModelError where it cannot be asked: no package, no key, no server, another model."""
        server = Server(self.judge.endpoint, self.judge.called, f"{self.section}.served_name", self.section)
        server.check()
        log = RequestLog(self.log)
        self._reached, self._answered = (server, log), log.knows(self.judge.called)

    def row_id(self, row: ToJudge) -> str:
        """The id of the item whose answer is judged."""
        return row.item_id

    def parent_id(self, row: Answer) -> str:
        """The same."""
        return row.item_id

    def process(self, rows: Sequence[ToJudge]) -> Iterator[Answer | Dropped]:
        """Ask about all rows, `endpoint.concurrency` at a time. Raises what `Server.ask` raises, and ModelError for a judge
        that refuses whatever it is asked; what was answered by then is in the log."""
        found: dict[str, Generation] = {}
        _, log = self.reached
        crew = Crew(self._ask, self.judge.endpoint.concurrency)
        try:
            for row in rows:
                ask = _Ask(row, self.judge)
                known = log.find(ask.key)
                if known is None:
                    crew.give(ask)
                else:
                    found[row.item_id] = known[0]
                    self._count("from_log", 1)
            for row in rows:
                while row.item_id not in found:
                    ask, result = crew.take()
                    found[ask.row.item_id] = self._weighed(result, crew.idle)
                yield self._told(row, found[row.item_id])
        finally:
            crew.stop()

    def notes(self) -> dict[str, int]:
        """`completion_tokens`, `cut_off` reviews that reached max_new_tokens, `from_log` and `retried` ones; then reset."""
        self._count("retried", self.reached[0].take_retried())
        notes, self._notes = self._notes, {}
        return notes

    def _told(self, row: ToJudge, review: Generation) -> Answer | Dropped:
        if review.finish_reason == REFUSED:
            return Dropped(row.item_id, self.name, REFUSED)
        self._count("completion_tokens", review.completion_tokens)
        self._count("cut_off", int(review.finish_reason == "length"))
        return Answer(row.item_id, review.text, review.finish_reason, review.prompt_tokens, review.completion_tokens)

    def _weighed(self, result: Generation | Refusal, idle: bool) -> Generation:
        """Stop where a judge refuses everything. Refusals come faster than answers: while anything is under way, it may still
        be the first one."""
        if isinstance(result, Generation) and result.finish_reason != REFUSED:
            self._answered = True
            return result
        said = str(result) if isinstance(result, Refusal) else "nothing, it filtered the answer"
        if not self._refused:
            logger.warning("%s: the judge refuses a question; it said %s", self.judge.endpoint.url, said)
        self._refused.append(said)
        if idle and not self._answered and len(self._refused) >= REFUSED_AT_FIRST:
            raise ModelError(
                f"{self.section}.url {self.judge.endpoint.url}: the judge refuses whatever it is asked; to the first question "
                f"it said {self._refused[0]}"
            )
        return refused(1)[0]

    def _ask(self, ask: _Ask, stop: threading.Event) -> Generation | Refusal:
        server, log = self.reached
        try:
            (answer,) = server.ask(ask, ask.key, stop)
        except Refusal as refusal:
            return refusal
        if answer.finish_reason != REFUSED:
            about = {"model": self.judge.called, "item_id": ask.row.item_id, "prompt": ask.row.prompt, **ask.options()}
            log.add(ask.key, about, [answer])
        return answer

    def _count(self, note: str, number: int) -> None:
        if number:
            self._notes[note] = self._notes.get(note, 0) + number
