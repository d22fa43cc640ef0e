"""Answers that are there already, word for word: json lines of any tool, or what a run of spr has written.

    {"item_id": "COCO_train2014_000000000001_12-0", "answer": "a dog [120, 340, 510, 802]"}
    {"item_id": "COCO_train2014_000000000001_12-0", "box": [77, 163.5, 327, 385]}

A box is xyxy pixels of the original image, or null where none was found; other keys of a line are not looked at. A run's
own files are a predictions.parquet, or the part-*.parquet of its answers, one of them or their folder. What the answers are
worth is not known here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from spr.boxes import Box
from spr.errors import DataError
from spr.items import Answer
from spr.record_tables import PROTOCOL_KEY, SCHEMA_VERSION, schema
from spr.records import Prediction
from spr.sources.fields import shown
from spr.sources.json_lines import Row, read_json_lines

NO_NUMBERS: Box = (float("nan"),) * 4
"""A box that was given and cannot be read."""
_PARQUET = b"PAR1"
_COLUMNS = ("task", "item_id", "answer", "box", "status", "payload")
_WANTED = "each line is one object with item_id and answer, or item_id and box"


@dataclass(frozen=True, slots=True)
class Given:
    """One answer as the file gives it: a text, or four numbers in its place, which may be reversed or not finite. `where` is
    its place in the file, as errors name it."""

    item_id: str
    text: str
    box: Box | None
    finish_reason: str
    where: str

    @property
    def answer(self) -> Answer:
        """The text as a model's answer."""
        return Answer(self.item_id, self.text, self.finish_reason)


@dataclass(frozen=True, slots=True)
class PredictionsFile:
    """A whole file: its answers by item, in its order. `digest` is the sha256 of its bytes, of a folder that of its parts'
    digests. `protocol` is the one that it was scored by, None where the file does not say; `of_run` holds for parquet."""

    path: Path
    rows: dict[str, Given]
    digest: str
    protocol: str | None
    of_run: bool


def read_predictions(path: Path, task: str) -> PredictionsFile:
    """Read and check the answers of one data set of `task`; the predictions of the phrases of one sentence are one answer.

    Raises DataError for a file that is missing, empty, cut off or of another kind, for predictions of another task, for two
    answers to one item, also equal ones, and, with its line, for json that is not as promised above.
    """
    if path.is_dir() or _starts_as_parquet(path):
        return _read_parquet(path, task)
    rows, digest = read_json_lines(path, ("item_id",))
    return PredictionsFile(path, _once(_of_line(row) for row in rows), digest, None, of_run=False)


def _starts_as_parquet(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(_PARQUET)) == _PARQUET
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; name a file of predictions: json lines or parquet") from None


def _once(rows: Iterable[Given]) -> dict[str, Given]:
    found: dict[str, Given] = {}
    for row in rows:
        if row.item_id in found:
            raise DataError(
                f"{row.where} answers {row.item_id} again, after {found[row.item_id].where}; an item has one answer, mend the "
                "file"
            )
        found[row.item_id] = row
    return found


def _of_line(row: Row) -> Given:
    item_id, values = row.identity("item_id"), row.values
    if ("answer" in values) == ("box" in values):
        held = "both answer and box" if "box" in values else "no answer"
        raise DataError(f"{row.where} has {held}; {_WANTED}")
    if "box" in values:
        box = None if values["box"] is None else _box(values["box"], row.where)
        return Given(item_id, "", box, "stop", row.where)
    text = values["answer"]
    if not isinstance(text, str) or not _is_writable(text):
        raise DataError(f"{row.where} has answer {shown(text)}; it must be a text, which may be empty")
    return Given(item_id, text, None, "stop", row.where)


def _box(value: Any, where: str) -> Box:
    if not isinstance(value, list) or len(value) != 4 or any(type(number) not in (int, float) for number in value):
        raise DataError(f"{where} has box {shown(value)}; it must be four numbers [x0, y0, x1, y1], or null for no box")
    try:
        x0, y0, x1, y1 = map(float, value)
    except OverflowError:  # A whole number that no float can hold.
        return NO_NUMBERS
    return (x0, y0, x1, y1)


def _is_writable(text: str) -> bool:
    """Whether files can hold a text: half a surrogate pair, which json can spell, is none."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _read_parquet(path: Path, task: str) -> PredictionsFile:
    files = sorted(path.glob("*.parquet")) if path.is_dir() else [path]
    if not files:
        raise DataError(f"{path} holds no parquet files; name predictions.parquet, or the folder of a run's parts")
    rows: list[Given] = []
    digests: list[str] = []
    protocols: list[str | None] = []
    for file in files:
        table, digest = _table(file)
        rows += _of_answers(table, file) if _record(table) is Answer else _of_predictions(table, file, task)
        digests.append(digest)
        protocols.append((table.schema.metadata or {}).get(PROTOCOL_KEY.encode(), b"").decode() or None)
    if not rows:
        raise DataError(f"{path} holds no rows; name a file with answers")
    if len(set(protocols)) > 1:
        raise DataError(f"{path} holds predictions by several protocols; name one of its files")
    whole = digests[0] if path.is_file() else hashlib.sha256(" ".join(digests).encode()).hexdigest()
    return PredictionsFile(path, _once(rows), whole, protocols[0], of_run=True)


def _record(table: pa.Table) -> type[Answer] | type[Prediction] | None:
    name = (table.schema.metadata or {}).get(b"spr.record", b"").decode()
    return Answer if name == "Answer" else Prediction if name == "Prediction" else None


def _table(path: Path) -> tuple[pa.Table, str]:
    try:
        raw = path.read_bytes()
        table = pq.read_table(pa.BufferReader(raw), partitioning=None, use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise DataError(f"{path} cannot be read: {str(error).splitlines()[0]}; copy it again, or make it again") from None
    record = _record(table)
    if record is None:
        raise DataError(f"{path} is parquet, but no answers or predictions of spr; give those of another tool as json lines")
    version = table.schema.metadata.get(b"spr.schema_version", b"?").decode()
    if version != str(SCHEMA_VERSION) or not table.schema.equals(schema(record)):
        raise DataError(
            f"{path} holds rows of schema version {version}, or altered ones; this version of spr reads {SCHEMA_VERSION} as it "
            "writes it: make the predictions again, or give them as json lines"
        )
    return table, hashlib.sha256(raw).hexdigest()


def _of_answers(table: pa.Table, path: Path) -> list[Given]:
    rows = table.select(["item_id", "text", "finish_reason"]).to_pylist()
    return [Given(row["item_id"], row["text"], None, row["finish_reason"], f"{path}: row {n}") for n, row in enumerate(rows)]


def _of_predictions(table: pa.Table, path: Path, task: str) -> Iterator[Given]:
    rows = table.select(list(_COLUMNS)).to_pylist()
    for place, row in enumerate(rows):
        if row["task"] != task:
            raise DataError(f"{path}: row {place} is a prediction of {row['task']}, and --task names {task}; name its own task")
    given = [_of_prediction(row, f"{path}: row {place}") for place, row in enumerate(rows)]
    return _of_phrases(given) if task == "phrase_grounding" else iter(given)


def _of_prediction(row: dict[str, Any], where: str) -> Given:
    """A box that came without a text is one again; one that could not be read then cannot be now."""
    cut_off = dict(row["payload"])["cut_off"] > 0
    boxed = not row["answer"].strip() and row["status"] != "none" and row["task"] == "rec"
    box = (tuple(row["box"]) if row["box"] else NO_NUMBERS) if boxed else None
    return Given(row["item_id"], row["answer"], box, "length" if cut_off else "stop", where)


def _of_phrases(rows: Sequence[Given]) -> Iterator[Given]:
    """Rows `<sentence>#<place>`, which repeat the sentence's answer -> one a sentence."""
    sentences: dict[str, Given] = {}
    for row in _once(rows).values():
        name = row.item_id.rpartition("#")[0]
        first = sentences.setdefault(name, replace(row, item_id=name))
        if not name or first.text != row.text:
            raise DataError(f"{row.where} has item_id {row.item_id} and another answer than {first.where}; mend the file")
    yield from sentences.values()
