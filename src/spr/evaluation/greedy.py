"""Asking a model greedily, image by image: what the evaluation stages have in common.

Knows how to get one answer a row; what is asked and what an answer is worth is the tasks' matter.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from PIL import Image

from spr import images
from spr.boxes import Size
from spr.errors import ModelError
from spr.models.base import Generation, GroundingModel, Request, Sampling
from spr.models.identity import directory_digest, identity
from spr.models.opening import answer_each, identity_of, open_model
from spr.recipe import Evaluation
from spr.recipe_model import Model
from spr.records import Dropped, Prediction


class Item(Protocol):
    """What every item says of its image; the path is relative to the task's image root, the size is (width, height)."""

    @property
    def path(self) -> str:
        """The image's path."""

    @property
    def size(self) -> Size:
        """The image's size in pixels."""


AnyItem = TypeVar("AnyItem", bound=Item)


@dataclass
class GreedyStage(ABC, Generic[AnyItem]):
    """An evaluation stage: items of one task -> one Prediction each, by the base model or, with `adapter`, the tuned one.

    A task gives `name`, `prompt`, `predict` and `row_id`. Items whose image cannot be used are dropped under the reason of
    `spr.images.ImageFault`, those that a server refuses as `refused`. The model is loaded by `setup`; floats depend on the
    batch size, which is thus part of the output's key. Base and tuned are asked by the same backend, `evaluation.backend`; a
    server's answers are kept at `log`.
    """

    model: Model
    evaluation: Evaluation
    image_root: Path
    adapter: Path | None = None
    log: Path | None = field(default=None, kw_only=True)
    version: int = field(default=1, init=False)
    output: type[Any] = field(default=Prediction, init=False)
    name: str = field(default="", init=False)
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

    @abstractmethod
    def prompt(self, row: AnyItem) -> str:
        """The question about one item."""

    @abstractmethod
    def predict(self, row: AnyItem, answer: Generation) -> Prediction:
        """What the answer to one item is worth."""

    @abstractmethod
    def row_id(self, row: AnyItem) -> str:
        """The id of an item."""

    def parent_id(self, row: Prediction) -> str:
        """The item's id."""
        return row.item_id

    def process(self, rows: Sequence[AnyItem]) -> Iterator[Prediction | Dropped]:
        """Items -> predictions, in their order; `evaluation.batch_size` questions at a time, a server's one after the other."""
        blocks: deque[list[tuple[AnyItem, images.ImageFault | None]]] = deque()

        def ask() -> Iterator[list[Request]]:
            size = 1 if self.served else self.evaluation.batch_size
            for start in range(0, len(rows), size):
                photos = [(row, self._photo(row)) for row in rows[start : start + size]]
                blocks.append([(row, photo if isinstance(photo, images.ImageFault) else None) for row, photo in photos])
                yield [Request((photo,), self.prompt(row), (0,)) for row, photo in photos if isinstance(photo, Image.Image)]

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
        self, block: Sequence[tuple[AnyItem, images.ImageFault | None]], answers: Iterator[Generation]
    ) -> Iterator[Prediction | Dropped]:
        for row, fault in block:
            if fault is not None:
                yield Dropped(self.row_id(row), self.name, fault.reason)
                continue
            answer = next(answers)
            if answer.finish_reason == "refused":
                yield Dropped(self.row_id(row), self.name, "refused")
                continue
            self._count("completion_tokens", answer.completion_tokens)
            self._count("cut_off", int(answer.finish_reason == "length"))
            yield self.predict(row, answer)

    def _photo(self, row: AnyItem) -> Image.Image | images.ImageFault:
        """The row's image; the last one is kept, since the items of one image follow each other."""
        if self._last is None or self._last[:2] != (row.path, row.size):
            try:
                self._last = (row.path, row.size, images.load(self.image_root, row.path, row.size))
            except images.ImageFault as fault:
                return fault
        return self._last[2]

    def _count(self, note: str, number: int) -> None:
        if number:
            self._notes[note] = self._notes.get(note, 0) + number
