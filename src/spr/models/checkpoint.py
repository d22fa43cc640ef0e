"""A published checkpoint's weight files, read one at a time; and a new directory that appears whole or not at all.

Safetensors, or pickles by torch's loader of bare weights; plain pickle is never read. Not here: what the tensors are.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from spr.errors import ModelError

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Shard:
    """One file of weights."""

    path: Path

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes by name, without reading the values where the format allows it. Raises ModelError."""
        with _readable(self.path):
            if self.path.suffix != ".safetensors":
                return {name: tuple(value.shape) for name, value in self._unpickled().items()}
            with safe_open(self.path, "pt") as file:
                return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 (no dict)

    def tensors(self, names: Collection[str] | None = None) -> dict[str, Tensor]:
        """The tensors by name, all of them or those named. Raises ModelError."""
        with _readable(self.path):
            if self.path.suffix != ".safetensors":
                return {name: value for name, value in self._unpickled().items() if names is None or name in names}
            with safe_open(self.path, "pt") as file:
                return {name: file.get_tensor(name) for name in file.keys() if names is None or name in names}  # noqa: SIM118

    def _unpickled(self) -> dict[str, Tensor]:
        loaded: dict[str, Tensor] = torch.load(self.path, map_location="cpu", weights_only=True, mmap=True)
        return loaded


def shards(folder: Path) -> list[Shard]:
    """The weight files of a checkpoint in the order of their names. Raises ModelError where there are none, or where one
    that the index names is missing."""
    for stem, suffix in (("model", "safetensors"), ("pytorch_model", "bin")):
        index = folder / f"{stem}.{suffix}.index.json"
        if index.is_file():
            files = [folder / name for name in sorted(set(read_json_file(index)["weight_map"].values()))]
            if lost := [file.name for file in files if not file.is_file()]:
                raise ModelError(f"{folder} lacks {_some(lost)}, which {index.name} names; complete the download")
            return [Shard(file) for file in files]
        if (folder / f"{stem}.{suffix}").is_file():
            return [Shard(folder / f"{stem}.{suffix}")]
    raise ModelError(f"{folder} holds no weights (model.safetensors or pytorch_model.bin, whole or with an index)")


def check_names(where: Path, found: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse tensors that are not those expected: missing ones, others besides, other shapes. Raises ModelError."""
    if lost := sorted(expected.keys() - found.keys()):
        raise ModelError(f"{where} lacks {len(lost)} tensors of the model: {_some(lost)}; complete the checkpoint")
    if more := sorted(found.keys() - expected.keys()):
        raise ModelError(f"{where} holds {len(more)} tensors that the model has not: {_some(more)}; name another checkpoint")
    if other := [name for name, shape in expected.items() if found[name] != shape]:
        first = f"{other[0]} is {list(found[other[0]])} instead of {list(expected[other[0]])}"
        raise ModelError(f"{where} holds {len(other)} tensors of another shape: {first}; name the checkpoint of this config")


def read_json_file(path: Path) -> Any:
    """The values of a json file of the checkpoint. Raises ModelError."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}; complete the download") from error


@contextmanager
def new_directory(out: Path) -> Iterator[Path]:
    """A directory to write into, which becomes `out` at the end, and is gone after a fault. Raises ModelError for an `out`
    that is not empty, and where it cannot be written."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ModelError(f"{out} is not empty; name a new directory")
    partial = out.with_name(out.name + ".partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        partial.rename(out)
    except OSError as error:
        raise ModelError(f"{out} cannot be written: {error.strerror or error}; make room, or mend the permissions") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError, UnpicklingError, RuntimeError, ValueError, AttributeError) as error:
        said = " ".join(str(error).split())[:200]
        raise ModelError(f"{path} is no file of weights that can be read: {said}; download it again") from error


def _some(names: Collection[str]) -> str:
    shown = ", ".join(list(names)[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"
