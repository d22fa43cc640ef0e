"""Shards on disk: rows in a parquet part, what was dropped beside it, and a json manifest written last.

The manifest is the marker: a part without one, or with another digest than it states, was never finished. Bytes depend
on the rows alone, so that equal rows make equal files.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.metadata
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from spr.errors import DataError
from spr.record_tables import from_table, to_table
from spr.records import Dropped
from spr.running.files import canonical, digest, file_digest, read_json, write_atomic, write_json

_PACKAGES = ("spatial-preference-rewarding", "torch", "transformers", "numpy", "pyarrow", "pillow")


@dataclass(frozen=True, slots=True)
class Origin:
    """What a shard's rows depend on; its digest is the shard key."""

    stage: str
    version: int
    recipe: dict[str, Any]
    shard_size: int
    input: str

    @property
    def key(self) -> str:
        """The shard key: sha256 of all fields."""
        return digest(canonical(dataclasses.asdict(self)))


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is known of a finished shard. `parents` counts the input rows that have output rows, so that
    rows_in = parents + all dropped; `digest` and `dropped_digest` are the sha256 of the two parquet files."""

    shard: int
    key: str
    origin: Origin
    digest: str
    dropped_digest: str
    rows_in: int
    rows_out: int
    parents: int
    dropped: dict[str, int]
    seconds: float
    notes: dict[str, int]
    versions: dict[str, str]


@dataclass(frozen=True, slots=True)
class ShardStore:
    """The shards of one stage: `parts` holds its rows and manifests, `dropped_parts` its dropped rows."""

    parts: Path
    dropped_parts: Path
    record: type[Any]

    def part(self, index: int) -> Path:
        """The parquet file of one shard."""
        return self.parts / f"part-{index:05d}.parquet"

    def dropped_part(self, index: int) -> Path:
        """The parquet file of one shard's dropped rows."""
        return self.dropped_parts / f"part-{index:05d}.parquet"

    def manifest_file(self, index: int) -> Path:
        """The json manifest of one shard."""
        return self.parts / f"part-{index:05d}.json"

    def indices(self) -> list[int]:
        """The shards that have a manifest, ascending; valid or not."""
        return _indices(self.parts)

    def manifest(self, index: int) -> Manifest | None:
        """One shard's manifest, or None when there is none that this version can read."""
        return _read_manifest(self.manifest_file(index))

    def manifests(self) -> list[Manifest]:
        """All readable manifests, in the order of the shards."""
        return read_manifests(self.parts)

    def is_whole(self, manifest: Manifest) -> bool:
        """Whether both files of a shard are there with the bytes the manifest states."""
        return (
            file_digest(self.part(manifest.shard)) == manifest.digest
            and file_digest(self.dropped_part(manifest.shard)) == manifest.dropped_digest
        )

    def finished(self, index: int, key: str) -> bool:
        """Whether a shard was made under this key and lies here whole."""
        manifest = self.manifest(index)
        return manifest is not None and manifest.key == key and self.is_whole(manifest)

    def rows(self, index: int) -> list[Any]:
        """One shard's rows. Raises DataError when the file is broken or of another schema version."""
        return _read(self.part(index), self.record)

    def all_rows(self) -> list[Any]:
        """The rows of all shards, in their order. Raises DataError."""
        return [row for index in self.indices() for row in self.rows(index)]

    def all_dropped(self) -> list[Dropped]:
        """The dropped rows of all shards, in their order. Raises DataError."""
        return [row for index in self.indices() for row in _read(self.dropped_part(index), Dropped)]

    def write(self, index: int, rows: Sequence[Any], dropped: Sequence[Dropped], manifest: Manifest) -> Manifest:
        """Write one shard, the manifest last, with the digests of what was written. Raises DiskError."""
        part, dropped_part = parquet_bytes(rows, self.record), parquet_bytes(dropped, Dropped)
        stated = dataclasses.replace(manifest, digest=digest(part), dropped_digest=digest(dropped_part))
        write_atomic(self.part(index), part)
        write_atomic(self.dropped_part(index), dropped_part)
        write_json(self.manifest_file(index), dataclasses.asdict(stated))
        return stated

    def remove(self, index: int) -> None:
        """Take one shard away, its manifest first."""
        for path in (self.manifest_file(index), self.part(index), self.dropped_part(index)):
            path.unlink(missing_ok=True)


def read_manifests(parts: Path) -> list[Manifest]:
    """All readable manifests of a folder of shards, in their order; no folder, no manifests."""
    found = (_read_manifest(parts / f"part-{index:05d}.json") for index in _indices(parts))
    return [manifest for manifest in found if manifest is not None]


def parquet_bytes(rows: Sequence[Any], record: type[Any], said: Mapping[str, str] | None = None) -> bytes:
    """Records as a parquet file in memory; equal rows give equal bytes. `said` is kept in the schema's metadata."""
    sink = pa.BufferOutputStream()
    table = to_table(rows, record)
    table = table.replace_schema_metadata({**table.schema.metadata, **(said or {})})
    pq.write_table(table, sink, compression="zstd", write_statistics=False, version="2.6")
    return bytes(sink.getvalue())


def reasons(dropped: Sequence[Dropped]) -> dict[str, int]:
    """Dropped rows counted by reason, the reasons in alphabetical order."""
    return dict(sorted(Counter(row.reason for row in dropped).items()))


@functools.cache
def versions() -> dict[str, str]:
    """Versions of what the rows were computed with."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _indices(parts: Path) -> list[int]:
    return sorted(int(path.stem.removeprefix("part-")) for path in parts.glob("part-[0-9]*.json"))


def _read_manifest(path: Path) -> Manifest | None:
    values: Any = read_json(path)
    try:
        return Manifest(**{**values, "origin": Origin(**values["origin"])})
    except (TypeError, KeyError):
        return None


def _read(path: Path, record: type[Any]) -> list[Any]:
    try:
        table = pq.read_table(path, partitioning=None)
    except (OSError, pa.ArrowInvalid) as error:
        first_line = str(error).splitlines()[0]
        raise DataError(f"{path} cannot be read: {first_line}; delete it and give `spr run` again") from None
    return from_table(table, record, str(path))
