"""What of a recipe may be shown to everyone: files, folders and servers by their names alone, never where they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from spr.recipe_model import Model

SERVER = "(a server)"
"""Stands for the address of one: whose machines answered is nobody's business, and need not be reachable."""


def public(value: Any) -> Any:
    """A recipe's values (dicts, sequences, texts, numbers, paths) as plain ones: a path by its last name, a text that is one
    too, an address as `SERVER`. Names on the hub stay."""
    if isinstance(value, Mapping):
        return {name: public(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [public(one) for one in value]
    if isinstance(value, Path):
        return value.name or str(value)
    return _text(value) if isinstance(value, str) else value


def hub_name(model: Model) -> str | None:
    """The base's name on the hub; None for one in a folder."""
    is_name = model.name.count("/") == 1 and not _is_place(model.name)
    return model.name if is_name else None


def _text(value: str) -> str:
    if urlsplit(value).scheme in ("http", "https"):
        return SERVER
    return Path(value).expanduser().resolve().name if _is_place(value) else value


def _is_place(value: str) -> bool:
    """Whether a text names a file or a folder of this machine."""
    if value.startswith(("/", "~", "./", "../")):
        return True
    return "/" in value and len(value) < 1024 and "\n" not in value and Path(value).exists()
