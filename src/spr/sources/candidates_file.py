"""A user's own generations: JSONL, one text a line, from any model.

    {"query_id": "...", "text": "a dog [1, 2, 3, 4]", "model": "ferret-7b-v1-3", "finish_reason": "stop"}

`finish_reason` (stop or length) may be left out. A line that does not say this is an error that names the line: texts that
were paid for are not skipped over.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spr.errors import DataError
from spr.records import Dropped

_FINISH_REASONS = ("stop", "length", "imported")


@dataclass(frozen=True, slots=True)
class ImportedText:
    """One text and what wrote it; `finish_reason` is imported where the file does not say how the text ended."""

    text: str
    model: str
    finish_reason: str


@dataclass(frozen=True, slots=True)
class CandidatesFile:
    """A whole file: its texts by query id, each in the order of the file, and the sha256 of its bytes."""

    rows: dict[str, tuple[ImportedText, ...]]
    digest: str

    def unknown(self, known: Collection[str], stage: str = "candidates") -> list[Dropped]:
        """The ids that no query has, once each, as dropped rows."""
        there = set(known)
        return [Dropped(query_id, stage, "unknown_query") for query_id in self.rows if query_id not in there]


def read_candidates_file(path: Path) -> CandidatesFile:
    """Read and check the whole file. Raises DataError that names the line for broken json, missing or unknown keys, wrong
    types and empty ids, and for a file that is missing or holds no rows."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; name an existing JSONL file with query_id, text and model") from None
    rows: dict[str, list[ImportedText]] = {}
    for number, line in enumerate(content.split(b"\n"), start=1):
        if line.strip():
            query_id, row = _row(line, f"{path}:{number}")
            rows.setdefault(query_id, []).append(row)
    if not rows:
        raise DataError(f"{path} holds no rows; each line is one text: query_id, text, model")
    return CandidatesFile({query_id: tuple(found) for query_id, found in rows.items()}, hashlib.sha256(content).hexdigest())


def _row(line: bytes, where: str) -> tuple[str, ImportedText]:
    try:
        row: Any = json.loads(line.decode("utf-8"))
        json.dumps(row, ensure_ascii=False).encode()  # refuses half a surrogate pair, which no file could hold again
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not valid json ({error}); write one object a line") from None
    if not isinstance(row, dict):
        raise DataError(f"{where}: holds {type(row).__name__}; each line is one object with query_id, text and model")
    for key in ("query_id", "text", "model"):
        if key not in row:
            raise DataError(f"{where}: {key} is missing; each line needs query_id, text and model")
    for key, value in row.items():
        if key not in ("query_id", "text", "model", "finish_reason"):
            raise DataError(f"{where}: unknown key {key}; known are query_id, text, model and finish_reason")
        if not isinstance(value, str) or (key in ("query_id", "model") and not value):
            raise DataError(
                f"{where}: {key} is {json.dumps(value)[:80]}; it must be a text{'' if key == 'text' else ', not empty'}"
            )
    reason = row.get("finish_reason", "imported")
    if reason not in _FINISH_REASONS:
        raise DataError(f"{where}: finish_reason is {reason!r}; it must be stop or length")
    return row["query_id"], ImportedText(row["text"], row["model"], reason)
