"""The run directory: its paths, its version, its recipe and its lock.

It knows nothing of stages; what lies in a shard is the business of `spr.running.shards`.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from spr._version import __version__
from spr.errors import ResumeError
from spr.recipe import Recipe, check_recipe
from spr.running.files import DiskError, clear_temporary, read_json, write_json
from spr.running.ranks import leads

LAYOUT = 1
"""Version of the directory's layout; a directory of another layout is refused."""
_FIRST_FILES = frozenset({"lock", "run.json.tmp", "rounds"})
"""All that may lie where a run begins: what one leaves that was killed before its first file was whole, and rounds that were
laid there to go on from."""
_LOCK_TRIES = 3


@dataclass(frozen=True, slots=True)
class RunDir:
    """One run on disk. Creating the value touches nothing."""

    path: Path

    @property
    def recipe_file(self) -> Path:
        """The resolved recipe that the files in this directory were made by."""
        return self.path / "recipe.json"

    @property
    def policy(self) -> Path:
        """Where training keeps its adapter, log and checkpoints."""
        return self.path / "policy"

    @property
    def metrics_file(self) -> Path:
        """The result of the run in numbers."""
        return self.path / "metrics.json"

    @property
    def writing_file(self) -> Path:
        """How the candidates' texts write boxes."""
        return self.path / "writing.json"

    @property
    def exists(self) -> bool:
        """Whether a run was begun here."""
        return (self.path / "run.json").is_file()

    def evaluation(self, task: str, side: str) -> Path:
        """Where the predictions of one task lie; `side` is base or tuned."""
        return self.path / "eval" / task / side

    def check(self) -> None:
        """Raise ResumeError when this is no run directory, or one of another layout."""
        if not self.exists:
            raise ResumeError(
                f"{self.path} is no run directory; name the --out of a run that was begun, or begin one with `spr run`"
            )
        self._check_layout()

    def prepare(self) -> None:
        """Make the directory, or check that a run of this layout lies here. Raises ResumeError, DiskError."""
        if self.exists:
            self._check_layout()
            return
        if self.path.exists() and not (self.path.is_dir() and {p.name for p in self.path.iterdir()} <= _FIRST_FILES):
            raise ResumeError(f"{self.path} exists and is no run directory; name another --out")
        write_json(self.path / "run.json", {"layout": LAYOUT, "spr": __version__})

    def _check_layout(self) -> None:
        state = read_json(self.path / "run.json")
        layout = state.get("layout") if isinstance(state, dict) else None
        if layout != LAYOUT:
            maker = state.get("spr", "unknown") if isinstance(state, dict) else "unknown"
            raise ResumeError(
                f"{self.path} was made by spr {maker} with layout version {layout}; this spr {__version__} reads version "
                f"{LAYOUT}. Go on with that version of spr, or name another --out"
            )

    def recipe_values(self) -> dict[str, Any] | None:
        """The recipe as plain values, or None when none was written yet."""
        values = read_json(self.recipe_file)
        return values if isinstance(values, dict) else None

    def recipe(self) -> Recipe:
        """The recipe of this run. Raises ResumeError when there is none, RecipeError when this version cannot read it."""
        values = self.recipe_values()
        if values is None:
            raise ResumeError(f"{self.recipe_file} is missing or broken; give the command again with the recipe itself")
        return check_recipe(values, str(self.recipe_file))

    def write_recipe(self, recipe: Recipe) -> None:
        """Write the resolved recipe. Raises DiskError."""
        write_json(self.recipe_file, recipe.model_dump(mode="json"))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the directory alone; temporary files of killed writers go. Raises ResumeError when another run holds it.

        The lock is the kernel's (flock), so it ends with its process, however that ends. Of several processes that are one
        training the leading one holds it for all.
        """
        if not leads():
            yield
            return
        with _open_lock(self.path / "lock") as file:
            if not _acquire(file):
                raise ResumeError(f"{self.path} is in use by {_owner(file)}; wait until it ends, or name another --out")
            _sign(file)
            clear_temporary(self.path)
            try:
                yield
            finally:
                file.truncate(0)

    def user(self) -> str | None:
        """Who works in the directory at this moment, e.g. `process 12 on host a since ...`; None when nobody does."""
        try:
            with (self.path / "lock").open(encoding="utf-8") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    return _owner(file)
        except OSError:
            return None
        return None


def changed_keys(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """Every key in which two plain recipes differ, as `score.weight: 0.8 -> 0.5`, in the order of the new one."""
    changes: list[str] = []
    for key in [*new, *(k for k in old if k not in new)]:
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            changes += changed_keys(before, after, f"{prefix}{key}.")
        elif before != after:
            changes.append(f"{prefix}{key}: {_short(before)} -> {_short(after)}")
    return changes


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def _open_lock(path: Path) -> TextIO:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a+", encoding="utf-8")
    except OSError as error:
        raise DiskError(f"{path} cannot be opened: {error.strerror}; name an --out that can be written") from None


def _acquire(file: TextIO) -> bool:
    # `user` holds a shared lock for an instant; a second try tells it from a run.
    for attempt in range(_LOCK_TRIES):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(0.05 * (attempt + 1))
    return False


def _sign(file: TextIO) -> None:
    owner = {"pid": os.getpid(), "host": socket.gethostname(), "since": datetime.now(UTC).isoformat(timespec="seconds")}
    try:
        file.truncate(0)
        file.write(json.dumps(owner))
        file.flush()
    except OSError as error:
        raise DiskError(f"{file.name} cannot be written: {error.strerror}; make room and give the same command again") from None


def _owner(file: TextIO) -> str:
    file.seek(0)
    try:
        owner = json.loads(file.read())
        return f"process {owner['pid']} on host {owner['host']} since {owner['since']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
