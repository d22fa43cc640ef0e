"""A json file read whole, with the digest of its bytes, or one sentence on why it cannot be read.

Knows nothing of what the json holds; the readers beside it do.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from spr.errors import DataError


def read_json(path: Path) -> tuple[Any, str]:
    """The content of a UTF-8 json file, and the sha256 of its bytes in hex.

    Raises DataError for a file that is missing, empty, not text, cut off or not json; a broken one is named with the byte
    where reading stopped.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; name an existing json file") from None
    if not raw.strip():
        raise DataError(f"{path} is empty ({len(raw)} bytes); copy or download it again")
    digest = hashlib.sha256(raw).hexdigest()
    text = _decode(raw, path)
    del raw  # The annotations of a large data set weigh gigabytes; one copy at a time is enough.
    try:
        return json.loads(text), digest
    except json.JSONDecodeError as error:
        raise DataError(_fault(path, text, error)) from None
    except (RecursionError, ValueError) as error:
        raise DataError(f"{path} is no annotation file: {error}") from None


def is_text(value: Any) -> bool:
    """Whether a value of the json is a text with something in it that files and tables can hold."""
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        return False
    return not any("\ud800" <= char <= "\udfff" for char in value)


def _decode(raw: bytes, path: Path) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        cut_off = error.start >= len(raw) - 3 and raw.lstrip()[:1] in (b"{", b"[")
        what = "is cut off inside a character" if cut_off else "is not UTF-8 text: it cannot be read"
        raise DataError(f"{path} {what} at byte {error.start} of {len(raw)}; copy or download it again") from None


def _fault(path: Path, text: str, error: json.JSONDecodeError) -> str:
    at, total = len(text[: error.pos].encode()), len(text.encode())
    cut_off = not text[error.pos :].strip() or text.rstrip()[-1] not in "}]"
    what = "is cut off: its json breaks off" if cut_off else "is not valid json: reading stops"
    return f"{path} {what} at byte {at} of {total} ({error.msg}); copy or download it again"
