"""A file of json lines read whole: one object a line, or one sentence on why it cannot be read, with the line.

Knows only which keys a line needs; the readers beside it know what they mean.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spr.errors import DataError
from spr.sources import fields

_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Row:
    """One object of a file, and where it stands there, as errors name it."""

    where: str
    values: dict[str, Any]

    def text(self, key: str) -> str:
        """A text with something in it. Raises DataError for anything else."""
        return fields.text(self.values, key, self.where)

    def identity(self, key: str) -> str:
        """An id, a text or a whole number in the file. Raises DataError for anything else."""
        return fields.ident(self.values, key, self.where)


def read_json_lines(path: Path, keys: Sequence[str]) -> tuple[list[Row], str]:
    """Every line of a UTF-8 file that is not blank, and the sha256 of the file's bytes in hex.

    Raises DataError for a file that is missing, empty or one json document, and, with its number, for a line that is not
    text, cut off, no json object or without one of the `keys`.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; name an existing file of json lines") from None
    lines = [(number, line) for number, line in enumerate(raw.removeprefix(_MARK).split(b"\n"), start=1) if line.strip()]
    if not lines:
        raise DataError(f"{path} is empty ({len(raw)} bytes); copy or download it again")
    wanted = f"each line is one object with {', '.join(keys)}"
    rows = []
    for number, line in lines:
        try:
            values = json.loads(line.decode())
        except (ValueError, RecursionError) as error:
            _refuse_document(path, raw, wanted)
            what = "is cut off" if number == lines[-1][0] and not line.rstrip().endswith(b"}") else "is not valid json"
            raise DataError(f"{path}:{number} {what} ({error}); copy or download the file again") from None
        if not isinstance(values, dict):
            _refuse_document(path, raw, wanted)
            raise DataError(f"{path}:{number} holds {type(values).__name__}; {wanted}")
        lacking = [key for key in keys if key not in values]
        if lacking:
            raise DataError(f"{path}:{number} has no {lacking[0]}; {wanted}")
        rows.append(Row(f"{path}:{number}", values))
    return rows, hashlib.sha256(raw).hexdigest()


def holds_json_lines(path: Path) -> bool:
    """Whether an existing file's first two lines that are not blank are json objects of their own."""
    try:
        with path.open("rb") as file:
            lines = [line for line in (file.readline(), file.readline()) if line.strip()]
        return len(lines) == 2 and all(isinstance(json.loads(line), dict) for line in lines)
    except (OSError, ValueError, RecursionError):
        return False


def _refuse_document(path: Path, raw: bytes, wanted: str) -> None:
    try:
        held = json.loads(raw)
    except (ValueError, RecursionError):
        return
    raise DataError(f"{path} is one json document ({type(held).__name__}), not json lines; {wanted}")
