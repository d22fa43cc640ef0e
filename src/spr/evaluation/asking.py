"""Asking a model greedily, photo by photo: what all evaluation tasks have in common.

A question goes in, a text comes out; what is asked and what an answer is worth is the tasks' matter, so that answers stay
good when they are read another way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from spr import images
from spr.boxes import Size
from spr.errors import ModelError
from spr.items import Answer, Question
from spr.models.base import Generation, GroundingModel, Request, Sampling
from spr.models.identity import directory_digest, identity
from spr.models.opening import answer_each, identity_of, open_model
from spr.recipe_evaluation import Evaluation
from spr.recipe_model import Model
from spr.records import Dropped


@dataclass
class AskStage:
    """Questions -> one greedy Answer each, by the base model or, with `adapter`, the tuned one. `name` is the task's.

    Questions whose image cannot be used are dropped under the reason of `spr.images.ImageFault`, those that a server refuses
    as `refused`. The model is loaded by `setup`; floats depend on the batch size, which is thus part of the output's key.
    Base and tuned are asked by the same backend, `evaluation.backend`; a server's answers are kept at `log`.
    """

    name: str
    model: Model
    evaluation: Evaluation
    image_root: Path
    adapter: Path | None = None
    log: Path | None = field(default=None, kw_only=True)
    version: int = field(default=2, init=False)
    output: type[Any] = field(default=Answer, init=False)
    _policy: GroundingModel | None = field(default=None, init=False, repr=False)
    _notes: dict[str, int] = field(default_factory=dict, init=False, repr=False)
    _last: tuple[str, Size, Image.Image] | None = field(default=None, init=False, repr=False)

    @property
    def recipe_part(self) -> dict[str, Any]:
        """The model by the identity of its weights and of the adapter's, not by its path, and how answers are made.

        Raises RecipeError for a tuned policy that the server has no name for.
        """
        if self.served:
            return {
                "model": self.model.model_dump(mode="json", include={"dialect", "dialect_options"}),
                "identity": identity_of(self.model, self.adapter),
                "max_new_tokens": self.evaluation.max_new_tokens,
            }
        return {
            "model": self.model.model_dump(mode="json", exclude={"name", "revision", "endpoint"}),
            "identity": identity(self.model.name, self.model.revision),
            "adapter": directory_digest(self.adapter) if self.adapter else None,
            "batch_size": self.evaluation.batch_size,
            "max_new_tokens": self.evaluation.max_new_tokens,
        }

    @property
    def policy(self) -> GroundingModel:
        """The loaded model. Raises ModelError before `setup`."""
        if self._policy is None:
            raise ModelError(f"{self.name}: the model is not loaded; call setup first")
        return self._policy

    def setup(self, device: str) -> None:
        """Load the model, and the adapter if there is one, on `device`, or reach their server. Raises ModelError."""
        asked = self.model if self.served else self.model.model_copy(update={"endpoint": None})
        self._policy = open_model(asked, device, self.adapter, self.log)

    def row_id(self, row: Question) -> str:
        """The id of the item that is asked about."""
        return row.item_id

    def parent_id(self, row: Answer) -> str:
        """The same."""
        return row.item_id

    def process(self, rows: Sequence[Question]) -> Iterator[Answer | Dropped]:
        """Questions -> answers, in their order; `evaluation.batch_size` at a time, a server's one after the other."""
        blocks: deque[list[tuple[Question, images.ImageFault | None]]] = deque()

        def ask() -> Iterator[list[Request]]:
            size = 1 if self.served else self.evaluation.batch_size
            for start in range(0, len(rows), size):
                photos = [(row, self._photo(row)) for row in rows[start : start + size]]
                blocks.append([(row, photo if isinstance(photo, images.ImageFault) else None) for row, photo in photos])
                yield [Request((photo,), row.prompt, (0,)) for row, photo in photos if isinstance(photo, Image.Image)]

        greedy = Sampling(0.0, 1.0, self.evaluation.max_new_tokens, self.evaluation.batch_size)
        for answers in answer_each(self.policy, ask(), greedy):
            yield from self._told(blocks.popleft(), (answer for (answer,) in answers))

    @property
    def served(self) -> bool:
        """Whether a server answers, which is asked by one worker: its concurrency is the server's, not a device's."""
        return self.evaluation.backend == "endpoint"

    def notes(self) -> dict[str, int]:
        """`completion_tokens`, `cut_off` answers that reached max_new_tokens, and what the model notes; then reset."""
        notes, self._notes = self._notes, {}
        return notes | self.policy.take_notes()

    def _told(
        self, block: Sequence[tuple[Question, images.ImageFault | None]], answers: Iterator[Generation]
    ) -> Iterator[Answer | Dropped]:
        for row, fault in block:
            if fault is not None:
                yield Dropped(row.item_id, self.name, fault.reason)
                continue
            answer = next(answers)
            if answer.finish_reason == "refused":
                yield Dropped(row.item_id, self.name, "refused")
                continue
            self._count("completion_tokens", answer.completion_tokens)
            self._count("cut_off", int(answer.finish_reason == "length"))
            yield Answer(row.item_id, answer.text, answer.finish_reason, answer.prompt_tokens, answer.completion_tokens)

    def _photo(self, row: Question) -> Image.Image | images.ImageFault:
        """The row's image; the last one is kept, since the questions about one image follow each other."""
        if self._last is None or self._last[:2] != (row.path, row.size):
            try:
                size = None if row.measured else row.size
                self._last = (row.path, row.size, images.load(self.image_root, row.path, size))
            except images.ImageFault as fault:
                return fault
        return self._last[2]

    def _count(self, note: str, number: int) -> None:
        if number:
            self._notes[note] = self._notes.get(note, 0) + number
