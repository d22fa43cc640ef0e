"""What flows between the stages: frozen dataclasses, and their exact form in Arrow.

Every row carries the ids of its parents. Boxes are float xyxy pixels of the original image. A record is stored under a
schema derived from its fields, with the record's name and `SCHEMA_VERSION` in the metadata; a file of another record
or version is refused.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pyarrow as pa

from spr.boxes import Box, Size
from spr.errors import DataError

SCHEMA_VERSION = 2


@dataclass(frozen=True, slots=True)
class SceneObject:
    """One annotated object: its id in the source, its category name and its box."""

    annotation_id: str
    category: str
    box: Box


@dataclass(frozen=True, slots=True)
class Scene:
    """One annotated image. `path` is relative to the source's image root; pixels are never stored."""

    image_id: str
    path: str
    width: int
    height: int
    objects: tuple[SceneObject, ...]

    @property
    def size(self) -> Size:
        """(width, height) in pixels."""
        return (self.width, self.height)


@dataclass(frozen=True, slots=True)
class RegionQuery:
    """A region to describe, and the annotated objects inside it (the ground truth A of the localization score)."""

    query_id: str
    image_id: str
    path: str
    width: int
    height: int
    region: Box
    objects: tuple[SceneObject, ...]

    @property
    def size(self) -> Size:
        """(width, height) in pixels."""
        return (self.width, self.height)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One description of a query's region. `seed` is -1 where the text was imported, `finish_reason` is
    stop | length | imported, `model` the identity of what wrote it."""

    query_id: str
    k: int
    variant: str
    seed: int
    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    model: str


@dataclass(frozen=True, slots=True)
class Mention:
    """One box in a text, or one attempt at a box.

    `span` is the half-open character range of the box mark-up alone (inside `[[a;b]]` the part of this one box);
    `phrase` the words the model tied to it, if any. `status` is ok | unreadable; an unreadable mention has box None
    and a `reason`, an ok one reason "".
    """

    phrase: str | None
    box: Box | None
    status: str
    reason: str
    span: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Detection:
    """One box that an open-vocabulary detector found for a phrase of a text; `score` in 0..1."""

    phrase: str
    box: Box
    score: float


@dataclass(frozen=True, slots=True)
class ScoredCandidate:
    """A candidate with its mentions, what a detector found for its phrases inside the region (nothing without a detector), and
    its scores; `detail` holds every part that made them, by name."""

    query_id: str
    k: int
    variant: str
    seed: int
    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    model: str
    mentions: tuple[Mention, ...]
    semantic_crop: float
    semantic_local: float
    semantic: float
    localization: float
    composite: float
    detections: tuple[Detection, ...] = ()
    detail: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class QueryCandidates:
    """A query with all its candidates, k ascending: the unit that scoring works on. Joined in memory, never stored."""

    query: RegionQuery
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class QueryScores:
    """A query with all its scored candidates, k ascending: the unit that pairing works on. Never stored."""

    query: RegionQuery
    candidates: tuple[ScoredCandidate, ...]


@dataclass(frozen=True, slots=True)
class PreferencePair:
    """Chosen (refined) and rejected answers to the plain region question of one query.

    `prompt` is that question in the model's own words. Scores are given before refinement (`chosen_score`) and after it
    (`refined_score`); `margin` is what the ranking saw: chosen_score - rejected_score, or refined_score - rejected_score
    where the rejected is the chosen itself, unrefined. `refined` counts the boxes that were moved to a ground-truth box,
    `stripped` the mentions that lost their box. `objects` is the ground truth.
    """

    pair_id: str
    query_id: str
    image_id: str
    path: str
    width: int
    height: int
    region: Box
    objects: tuple[SceneObject, ...]
    prompt: str
    chosen: str
    chosen_unrefined: str
    rejected: str
    chosen_k: int
    rejected_k: int
    chosen_score: float
    refined_score: float
    rejected_score: float
    chosen_localization: float
    refined_localization: float
    rejected_localization: float
    margin: float
    refined: int
    stripped: int
    model: str

    @property
    def size(self) -> Size:
        """(width, height) in pixels."""
        return (self.width, self.height)


@dataclass(frozen=True, slots=True)
class RecItem:
    """One referring expression and the one box it names. `path` is relative to the task's image root."""

    item_id: str
    path: str
    width: int
    height: int
    expression: str
    box: Box

    @property
    def size(self) -> Size:
        """(width, height) in pixels."""
        return (self.width, self.height)


@dataclass(frozen=True, slots=True)
class Prediction:
    """One answer of one model to one item of an evaluation task.

    `cluster` is what the bootstrap resamples (the image); `payload` holds the task's own numbers, e.g. counts.
    """

    task: str
    item_id: str
    cluster: str
    answer: str
    box: Box | None
    status: str
    iou: float
    payload: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Dropped:
    """A row that went no further: the id it had in the stage's input, the stage, and one short reason."""

    row_id: str
    stage: str
    reason: str


Record = TypeVar("Record")


def schema(record: type[Any]) -> pa.Schema:
    """The Arrow schema of a record class, with its name and the schema version in the metadata."""
    hints = typing.get_type_hints(record)
    fields = [pa.field(f.name, _arrow_type(hints[f.name])) for f in dataclasses.fields(record)]
    return pa.schema(fields, metadata={"spr.record": record.__name__, "spr.schema_version": str(SCHEMA_VERSION)})


def to_table(rows: Iterable[Any], record: type[Any]) -> pa.Table:
    """Records of one class -> a table in their order."""
    plain = [_to_plain(row) for row in rows]
    return pa.Table.from_pylist(plain, schema=schema(record))


def from_table(table: pa.Table, record: type[Record], where: str = "table") -> list[Record]:
    """A table -> records. Raises DataError when it holds another record or another schema version; `where` names it."""
    metadata: Mapping[bytes, bytes] = table.schema.metadata or {}
    found = (metadata.get(b"spr.record", b"?").decode(), metadata.get(b"spr.schema_version", b"?").decode())
    expected = (record.__name__, str(SCHEMA_VERSION))
    if found != expected:
        raise DataError(
            f"{where} holds {found[0]} rows of schema version {found[1]}; this version of spr reads {expected[0]} "
            f"version {expected[1]}. Make the run again under another --out."
        )
    hints = typing.get_type_hints(record)
    return [record(**{name: _from_plain(value, hints[name]) for name, value in row.items()}) for row in table.to_pylist()]


def _arrow_type(hint: Any) -> pa.DataType:
    scalars = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    if hint in scalars:
        return scalars[hint]
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        return pa.struct([pa.field(f.name, _arrow_type(hints[f.name])) for f in dataclasses.fields(hint)])
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _arrow_type(next(a for a in args if a is not type(None)))
    if origin is dict:
        return pa.map_(_arrow_type(args[0]), _arrow_type(args[1]))
    if origin is tuple and args[-1] is Ellipsis:
        return pa.list_(_arrow_type(args[0]))
    if origin is tuple:
        return pa.list_(_arrow_type(args[0]), len(args))
    raise TypeError(f"no Arrow type for {hint}")


def _to_plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {f.name: _to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return list(value.items())
    if isinstance(value, (tuple, list)):
        return [_to_plain(v) for v in value]
    return value


def _from_plain(value: Any, hint: Any) -> Any:
    if value is None or hint in (str, int, float, bool):
        return value
    if dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        return typing.cast(Any, hint)(**{name: _from_plain(v, hints[name]) for name, v in value.items()})
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _from_plain(value, next(a for a in args if a is not type(None)))
    if origin is dict:
        return dict(value)
    inner = args[0] if args else Any
    return tuple(_from_plain(v, inner) for v in value)
