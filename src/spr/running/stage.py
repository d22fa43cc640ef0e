"""The contract of a stage: what the runner knows of it, and all it knows.

A stage is pure in its rows. It may read images; it keeps no global random state; seeds come from content.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol, TypeVar

from spr.records import Dropped

In = TypeVar("In", contravariant=True)
Out = TypeVar("Out")


class Stage(Protocol[In, Out]):
    """One step from rows to rows.

    `output` is the record class its rows are stored as. `recipe_part` is everything of the recipe that changes the
    output, as plain json values; together with `name`, `version`, the shard size and the digest of the input it makes
    the shard key.
    """

    name: str
    version: int
    output: type[Any]

    @property
    def recipe_part(self) -> dict[str, Any]:
        """What of the recipe, and of the models, changes the output."""

    def setup(self, device: str) -> None:
        """Load models, once a worker. `device` is cpu, cuda:0, ..."""

    def process(self, rows: Sequence[In]) -> Iterable[Out | Dropped]:
        """Turn one shard's input rows into output rows, in the order of the input."""

    def row_id(self, row: In) -> str:
        """The id of an input row, as `Dropped.row_id` and `parent_id` name it."""

    def parent_id(self, row: Out) -> str:
        """The id of the input row an output row came from."""

    def notes(self) -> dict[str, int]:
        """Counts worth a line in the manifest since the last call (tokens, truncations, halved batches), then reset."""
