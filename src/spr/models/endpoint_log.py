"""What a server has answered, one json line a question, so that nobody asks twice what was paid for once.

A line is only ever added, in one write. One that was torn by a kill is no answer and is passed over.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import threading
from pathlib import Path
from typing import Any

from spr.errors import ModelError
from spr.models.base import Generation


class RequestLog:
    """The answers at `path`, by the key of their question; with None nothing is kept. Raises ModelError for a file that
    cannot be read or written. Several threads, and several processes, may add to one file."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._answers: dict[str, list[Generation]] = {}
        self._models: set[str] = set()
        self._torn = False
        if path is not None and path.exists():
            self._read(path)

    def find(self, key: str) -> list[Generation] | None:
        """The answers to a question, or None when it has none yet."""
        return self._answers.get(key)

    def knows(self, model: str) -> bool:
        """Whether the file held an answer of the model that is served by this name."""
        return model in self._models

    def add(self, key: str, asked: dict[str, Any], answers: list[Generation]) -> None:
        """Keep the answers to a question, with what a reader wants to know of it."""
        if self._path is None:
            return
        values = {"key": key, **asked, "answers": [dataclasses.asdict(answer) for answer in answers]}
        with self._lock:
            line = (("\n" if self._torn else "") + json.dumps(values) + "\n").encode()
            self._torn = True
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                with self._path.open("ab", buffering=0) as file:
                    if file.write(line) < len(line):
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                self._torn = False
            except OSError as error:
                raise ModelError(
                    f"{self._path} cannot be written: {error.strerror or error}; make room (or mend the permissions) and give "
                    "the same command again, what is answered is kept"
                ) from None

    def _read(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                for line in file:
                    found = _answered(line)
                    if found is not None:
                        self._answers[found[0]] = found[1]
                        self._models.add(found[2])
                if file.tell():
                    file.seek(-1, os.SEEK_END)
                    self._torn = file.read(1) != b"\n"
        except OSError as error:
            raise ModelError(f"{path} cannot be read: {error.strerror or error}; mend it, or delete it to ask again") from None


def _answered(line: bytes) -> tuple[str, list[Generation], str] | None:
    """The key, the answers and the model of one line; None for one that was torn."""
    try:
        values: Any = json.loads(line)
        return str(values["key"]), [Generation(**answer) for answer in values["answers"]], str(values.get("model"))
    except (ValueError, KeyError, TypeError):
        return None
