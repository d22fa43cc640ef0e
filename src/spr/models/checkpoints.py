"""Weights read and written a tensor at a time, so that a model never has to fit into memory twice.

Reads what `save_pretrained` of any version has written: safetensors, or PyTorch's own files read as weights and nothing
else, in one file or in shards. Not here: which tensors a model has.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from spr.errors import ModelError

_T = TypeVar("_T")
_INDICES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_WHOLE = ("model.safetensors", "pytorch_model.bin")
_FAULTS = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    RuntimeError,
    SafetensorError,
    pickle.UnpicklingError,
    EOFError,
)
SHARD = 4 * 2**30
"""Bytes a written file holds at most, unless one tensor is larger."""


@dataclass(frozen=True, slots=True)
class _File:
    """One file of weights, and the ways to a tensor of it and to its shape alone."""

    path: Path
    names: tuple[str, ...]
    tensor: Callable[[str], Tensor]
    shape: Callable[[str], tuple[int, ...]]


class Checkpoint:
    """The tensors of a model directory. `files` has the file of each name; one file is open at a time."""

    def __init__(self, folder: Path) -> None:
        """Reads names only. Raises ModelError for a directory without weights, or whose index cannot be read."""
        self.folder = folder
        self._last: _File | None = None
        self.files = self._files()

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor, without reading it where the file allows that. Raises ModelError as `tensor` does."""
        return self._from(name, lambda file: file.shape(name))

    def tensor(self, name: str) -> Tensor:
        """A tensor by its name. Raises ModelError for a file that is missing, broken, or holds more than weights."""
        return self._from(name, lambda file: file.tensor(name))

    def _from(self, name: str, take: Callable[[_File], _T]) -> _T:
        path = self.files[name]
        if self._last is None or self._last.path != path:
            self._last = None  # lets go of it before the next is opened
            self._last = _opened(path)
        try:
            return take(self._last)
        except _FAULTS as error:
            raise _unreadable(path, error) from error

    def _files(self) -> dict[str, Path]:
        for index in _INDICES:
            if (self.folder / index).is_file():
                try:
                    found = json.loads((self.folder / index).read_bytes())["weight_map"]
                    return {str(name): self.folder / Path(file).name for name, file in found.items()}
                except _FAULTS as error:
                    raise _unreadable(self.folder / index, error) from error
        for whole in _WHOLE:
            if (self.folder / whole).is_file():
                return dict.fromkeys(_opened(self.folder / whole).names, self.folder / whole)
        raise ModelError(f"{self.folder} holds no weights ({' or '.join(_WHOLE)}, or shards with their index)")


def _opened(path: Path) -> _File:
    try:
        if path.suffix == ".safetensors":
            opened: Any = safe_open(path, framework="pt")
            return _File(path, tuple(opened.keys()), opened.get_tensor, lambda name: tuple(opened.get_slice(name).get_shape()))
        # Never plain pickle, which runs what a file says. Files of before PyTorch 1.6 cannot be mapped.
        try:
            values = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError:
            values = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(values, dict) or not all(isinstance(value, Tensor) for value in values.values()):
            raise ValueError("it holds no tensors by name")
        return _File(path, tuple(values), values.__getitem__, lambda name: tuple(values[name].shape))
    except _FAULTS as error:
        raise _unreadable(path, error) from error


def _unreadable(file: Path, error: Exception) -> ModelError:
    said = " ".join(str(error).split())[:200]
    return ModelError(f"{file} cannot be read as weights ({type(error).__name__}: {said}); fetch it again, whole")


def write_shards(folder: Path, sizes: Mapping[str, int], tensors: Iterable[tuple[str, Tensor]], limit: int = SHARD) -> None:
    """Write tensors, which come in the order of `sizes` (bytes by name), as safetensors of up to `limit` bytes each, with
    an index where there are several. Holds one file's tensors in memory. Raises OSError, or SafetensorError for a full disk."""
    shards = _plan(sizes, limit)
    names = [f"model-{number:05d}-of-{len(shards):05d}.safetensors" for number in range(1, len(shards) + 1)]
    if len(shards) == 1:
        names = ["model.safetensors"]
    coming = iter(tensors)
    for file, shard in zip(names, shards, strict=True):
        held = dict(value for _, value in zip(shard, coming, strict=False))
        save_file({name: value.contiguous() for name, value in held.items()}, folder / file, metadata={"format": "pt"})
        del held  # before the next file's come
    if len(shards) > 1:
        where = {name: file for file, shard in zip(names, shards, strict=True) for name in shard}
        index = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": dict(sorted(where.items()))}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")


def _plan(sizes: Mapping[str, int], limit: int) -> list[list[str]]:
    shards: list[list[str]] = [[]]
    held = 0
    for name, size in sizes.items():
        if shards[-1] and held + size > limit:
            shards.append([])
            held = 0
        shards[-1].append(name)
        held += size
    return shards


def listed(names: Iterable[str], most: int = 5) -> str:
    """Names for an error: the first few, and how many there are."""
    found = sorted(names)
    return ", ".join(found[:most]) + (f" ... ({len(found)} in all)" if len(found) > most else "")
