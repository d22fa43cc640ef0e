"""Files that are whole or absent: temporary name, fsync, rename, fsync of the directory.

Nothing here knows what the bytes mean.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from spr.errors import SprError

TEMPORARY_SUFFIX = ".tmp"


class DiskError(SprError):
    """A file cannot be written: the disk is full, a quota or a file size limit is reached, a folder is read-only."""


def write_atomic(path: Path, data: bytes) -> None:
    """Put `data` at `path`, whole or not at all, and let it survive a power cut. Raises DiskError; leaves no half file."""
    temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_directory(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise _disk_error(path, error) from None
        raise


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """For writers of other libraries: what keeps them from writing `path` is raised as DiskError."""
    try:
        yield
    except OSError as error:
        raise _disk_error(path, error) from None


def _disk_error(path: Path, error: OSError) -> DiskError:
    return DiskError(
        f"{path} cannot be written: {error.strerror or error}; make room (or mend the permissions) and give the same "
        "command again, what is finished is kept"
    )


def write_json(path: Path, values: Any) -> None:
    """Put plain values at `path` as indented json, keys in their order; NaN and infinity become null. Raises DiskError."""
    text = json.dumps(_finite(values), indent=2, ensure_ascii=False, allow_nan=False)
    write_atomic(path, (text + "\n").encode())


def _finite(values: Any) -> Any:
    if isinstance(values, dict):
        return {key: _finite(value) for key, value in values.items()}
    if isinstance(values, (list, tuple)):
        return [_finite(value) for value in values]
    return None if isinstance(values, float) and not math.isfinite(values) else values


def read_json(path: Path) -> Any | None:
    """The values of a json file, or None when it is missing or not whole."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None


def canonical(values: Any) -> bytes:
    """Plain json values as the one byte string that equal values share."""
    return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def digest(data: bytes) -> str:
    """The sha256 of some bytes, in hex."""
    return hashlib.sha256(data).hexdigest()


def file_digest(path: Path) -> str | None:
    """The sha256 of a file in hex, or None when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def clear_temporary(root: Path) -> None:
    """Remove what writers that were killed left below `root`. Only the holder of the run's lock may do it."""
    for path in root.rglob(f"*{TEMPORARY_SUFFIX}"):
        if path.is_file():
            path.unlink(missing_ok=True)


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
