"""What a model is, in one short text: so that other weights under the same path make other shards.

Reads files only; loads no model and no torch.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import BinaryIO

from spr.errors import ModelError

_TEXTS = frozenset({".json", ".txt", ".jinja", ".model", ".py", ".tiktoken"})
_WEIGHTS = frozenset({".safetensors", ".bin", ".pt", ".pth", ".gguf"})
WHOLE_BELOW = 64 * 2**20
"""Weight files below this many bytes are read whole; larger ones by sample."""
_BLOCK = 64 * 2**10
_BLOCKS = 256


def identity(name: str, revision: str | None = None) -> str:
    """The identity of a model: `<folder>@sha256:<16 digits>` of a directory's content, `<name>@<revision>` for a hub name.

    A hub name without a revision is `<name>@main`: its weights can change unseen, so runs to be repeated pin a revision.
    Raises ModelError for a directory that holds no model files.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return f"{path.resolve().name}@sha256:{directory_digest(path)[:16]}"
    return f"{name}@{revision or 'main'}"


def check_directory(where: str, name: str) -> None:
    """Refuse what is plainly a path and no directory of a model, before anything is computed for it; a hub name has one slash
    at most. `where` names the recipe's key and its value. Raises ModelError."""
    path = Path(name).expanduser()
    if path.is_file():
        raise ModelError(f"{where} is a file; name the directory that holds the whole model, or a model on the hub")
    if path.is_dir() and not (path / "config.json").is_file():
        raise ModelError(
            f"{where} is a directory without config.json; name one that holds a model's config, tokenizer and weights"
        )
    if not path.exists() and (path.is_absolute() or name.startswith(".") or len(path.parts) > 2):
        raise ModelError(f"{where} does not exist; name a directory that holds a model, or a model on the hub")


def directory_digest(path: Path) -> str:
    """Sha256 over a model directory's configs, tokenizer files, templates, code and weights, with their relative names.

    Hidden files and folders, pictures and papers do not count, nor does where the directory lies. Raises ModelError when
    nothing is left to digest.
    """
    total, found = hashlib.sha256(), False
    for file in sorted(path.rglob("*"), key=lambda item: item.relative_to(path).as_posix()):
        relative = file.relative_to(path)
        if file.suffix not in _TEXTS | _WEIGHTS or not file.is_file() or any(part.startswith(".") for part in relative.parts):
            continue
        found = True
        total.update(f"{relative.as_posix()}\0{_file_digest(file)}\n".encode())
    if not found:
        raise ModelError(f"{path} holds no model files; name a directory with config.json and weights, or a model on the hub")
    return total.hexdigest()


def _file_digest(file: Path) -> str:
    size = file.stat().st_size
    with file.open("rb") as stream:
        if file.suffix in _TEXTS or size < WHOLE_BELOW:
            return hashlib.file_digest(stream, "sha256").hexdigest()
        return _sampled_digest(stream, size)


def _sampled_digest(stream: BinaryIO, size: int) -> str:
    """Size and 256 evenly spaced blocks of 64 KiB, first and last included: a merged adapter changes every layer, so its
    change is seen, while a file of many gigabytes is not read through."""
    digest = hashlib.sha256(f"{size}\n".encode())
    for block in range(_BLOCKS):
        stream.seek((size - _BLOCK) * block // (_BLOCKS - 1))
        digest.update(stream.read(_BLOCK))
    return digest.hexdigest()
