"""Where a stage's rows come from: fixed ranges of rows in memory, or the shards of earlier stages.

Shard i of a stage is made from shard i of its input and nothing else, whoever works on it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from spr.running.files import digest
from spr.running.shards import Manifest, ShardStore


class ShardInput(Protocol):
    """A stage's input, cut into shards."""

    @property
    def shard_size(self) -> int:
        """Rows of the first input, images for a run's data, that a shard is made from."""

    def count(self) -> int:
        """The number of shards."""

    def size(self, index: int) -> int:
        """The number of rows of one shard, without reading them."""

    def digest(self, index: int) -> str | None:
        """A digest of one shard's content; None while it is not there yet."""

    def rows(self, index: int) -> Sequence[Any]:
        """One shard's rows."""


@dataclass(frozen=True, slots=True)
class RowInput:
    """Rows in memory: shard i is rows [i * shard_size, (i + 1) * shard_size)."""

    all_rows: Sequence[Any]
    shard_size: int

    def count(self) -> int:
        """The number of shards; no rows make no shard."""
        return -(-len(self.all_rows) // self.shard_size)

    def size(self, index: int) -> int:
        """The number of rows of one shard."""
        return len(self.rows(index))

    def digest(self, index: int) -> str:
        """Digest of the rows' values: records are frozen, and their repr states every field exactly."""
        return digest("\n".join(map(repr, self.rows(index))).encode())

    def rows(self, index: int) -> Sequence[Any]:
        """One shard's rows."""
        return self.all_rows[index * self.shard_size : (index + 1) * self.shard_size]


@dataclass(frozen=True, slots=True)
class StoreInput:
    """Shard i of one or more earlier stages, laid together by `join`, which takes one list of rows a store.

    The last store decides the number of rows: its rows, or their parents where `join` gathers rows by parent.
    """

    stores: tuple[ShardStore, ...]
    join: Callable[..., Sequence[Any]]
    shard_size: int
    shards: int

    def count(self) -> int:
        """The number of shards, the same for all stages of a run."""
        return self.shards

    def size(self, index: int) -> int:
        """The number of rows of one shard."""
        manifest = self._manifests(index)[-1]
        if manifest is None:
            return 0
        return manifest.parents if len(self.stores) > 1 else manifest.rows_out

    def digest(self, index: int) -> str | None:
        """Digest of the parts' digests, in the order of the stores."""
        manifests = self._manifests(index)
        if any(manifest is None for manifest in manifests):
            return None
        return digest(" ".join(manifest.digest for manifest in manifests if manifest is not None).encode())

    def rows(self, index: int) -> Sequence[Any]:
        """One shard's rows, read and joined."""
        return self.join(*(store.rows(index) for store in self.stores))

    def _manifests(self, index: int) -> list[Manifest | None]:
        return [store.manifest(index) for store in self.stores]


def as_they_are(rows: Sequence[Any]) -> Sequence[Any]:
    """The join of a single store."""
    return rows


def gather(parents: Sequence[Any], children: Sequence[Any], unit: Callable[..., Any]) -> list[Any]:
    """`unit(query, children)` for every parent that has children, by `query_id`, children with k ascending.

    Raises ValueError when a child's parent is missing: the two shards are not of one run.
    """
    ordered = sorted(children, key=lambda child: (child.query_id, child.k))
    by_parent = {query_id: tuple(group) for query_id, group in itertools.groupby(ordered, key=lambda child: child.query_id)}
    known = {parent.query_id for parent in parents}
    strangers = sorted(by_parent.keys() - known)
    if strangers:
        raise ValueError(f"{len(strangers)} rows name queries that their shard does not hold, e.g. {strangers[0]}")
    return [unit(parent, by_parent[parent.query_id]) for parent in parents if parent.query_id in by_parent]
