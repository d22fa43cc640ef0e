"""Records <-> Arrow tables.

A record is stored under a schema derived from its fields, with the record's name and `SCHEMA_VERSION` in the metadata; a
table of another record or version is refused.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, TypeVar

import pyarrow as pa

from spr.errors import DataError

SCHEMA_VERSION = 3
PROTOCOL_KEY = "spr.protocol"
"""In the metadata of predictions: the protocol by which the questions were asked and the answers read."""
Record = TypeVar("Record")


def schema(record: type[Any]) -> pa.Schema:
    """The Arrow schema of a record class, with its name and the schema version in the metadata."""
    hints = _hints(record)
    fields = [pa.field(f.name, _arrow_type(hints[f.name])) for f in dataclasses.fields(record)]
    return pa.schema(fields, metadata={"spr.record": record.__name__, "spr.schema_version": str(SCHEMA_VERSION)})


def to_table(rows: Iterable[Any], record: type[Any]) -> pa.Table:
    """Records of one class -> a table in their order."""
    kept, layout = list(rows), schema(record)
    columns = []
    for one in layout:
        values = [getattr(row, one.name) for row in kept]
        plain = values if pa.types.is_primitive(one.type) or pa.types.is_string(one.type) else [_to_plain(v) for v in values]
        columns.append(pa.array(plain, one.type))
    return pa.Table.from_arrays(columns, schema=layout)


def from_table(table: pa.Table, record: type[Record], where: str = "table") -> list[Record]:
    """A table -> records. Raises DataError when it holds another record or another schema version; `where` names it."""
    metadata: Mapping[bytes, bytes] = table.schema.metadata or {}
    found = (metadata.get(b"spr.record", b"?").decode(), metadata.get(b"spr.schema_version", b"?").decode())
    expected = (record.__name__, str(SCHEMA_VERSION))
    if found != expected:
        raise DataError(
            f"{where} holds {found[0]} rows of schema version {found[1]}; this version of spr reads {expected[0]} "
            f"version {expected[1]}. Make the run again under another --out."
        )
    hints = _hints(record)
    return [record(**{name: _from_plain(value, hints[name]) for name, value in row.items()}) for row in table.to_pylist()]


@cache
def _looked_up(record: typing.Hashable) -> dict[str, Any]:
    return typing.get_type_hints(record)


def _hints(record: Any) -> dict[str, Any]:
    """The types of a record's fields, looked up once: a table of many rows asks for them at every nested one."""
    return _looked_up(record)


def _arrow_type(hint: Any) -> pa.DataType:
    scalars = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
    if hint in scalars:
        return scalars[hint]
    if dataclasses.is_dataclass(hint):
        hints = _hints(hint)
        return pa.struct([pa.field(f.name, _arrow_type(hints[f.name])) for f in dataclasses.fields(hint)])
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _arrow_type(next(a for a in args if a is not type(None)))
    if origin is dict:
        return pa.map_(_arrow_type(args[0]), _arrow_type(args[1]))
    if origin is tuple and args[-1] is Ellipsis:
        return pa.list_(_arrow_type(args[0]))
    if origin is tuple:
        return pa.list_(_arrow_type(args[0]), len(args))
    raise TypeError(f"no Arrow type for {hint}")


def _to_plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {f.name: _to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return list(value.items())
    if isinstance(value, (tuple, list)):
        return [_to_plain(v) for v in value]
    return value


def _from_plain(value: Any, hint: Any) -> Any:
    if value is None or hint in (str, int, float, bool):
        return value
    if dataclasses.is_dataclass(hint):
        hints = _hints(hint)
        return typing.cast(Any, hint)(**{name: _from_plain(v, hints[name]) for name, v in value.items()})
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _from_plain(value, next(a for a in args if a is not type(None)))
    if origin is dict:
        return dict(value)
    inner = args[0] if args else Any
    return tuple(_from_plain(v, inner) for v in value)
