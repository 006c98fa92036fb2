"""The neutral form of an edit: one Arrow row, or one JSON line, whoever recorded it.

docs/edits.md describes both for people who write such files themselves.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, get_args

import msgspec
import numpy as np
import pyarrow as pa

from segmend.core.box import Point
from segmend.core.errors import BadInputError, SchemaError
from segmend.core.ids import as_id
from segmend.edits.operation import EditKind, EditOp, SideIds, SideLayer

_encode = msgspec.json.Encoder(order="sorted").encode
IDS = pa.list_(pa.field("element", pa.uint64(), nullable=False))
POINT = pa.list_(pa.field("element", pa.float64(), nullable=False), 3)
POINTS = pa.list_(pa.field("element", POINT, nullable=False))
"""Types of columns: ids, a point ``(z, y, x)`` nm, points."""

EDIT_SCHEMA = pa.schema(
    [
        pa.field("operation_id", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("before_ids", IDS, nullable=False),
        pa.field("after_ids", IDS, nullable=False),
        pa.field("point_nm", POINT, nullable=False),
        pa.field("source_points_nm", POINTS, nullable=False),
        pa.field("sink_points_nm", POINTS, nullable=False),
        pa.field("cluster_id", pa.uint64(), nullable=False),
        pa.field("dataset", pa.string(), nullable=False),
        pa.field("version", pa.string(), nullable=False),
        pa.field("volume", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("timestamp", pa.int64(), nullable=True),
        pa.field("sides_in", pa.string(), nullable=False),
        pa.field("cut", pa.list_(pa.field("element", IDS, nullable=False)), nullable=False),
        pa.field("facts", pa.string(), nullable=False),
    ]
)
"""Columns of an edit; points are ``(z, y, x)`` nm, ``facts`` is JSON."""

MOST_SECONDS = 10**11
"""Times from here on are milliseconds, not seconds (the year 5138)."""


def edit_row(op: EditOp) -> dict[str, Any]:
    """An edit as an Arrow row of `EDIT_SCHEMA`."""
    return {
        "operation_id": op.operation_id,
        "kind": op.kind,
        "before_ids": op.before_ids,
        "after_ids": op.after_ids,
        "point_nm": op.point_nm,
        "source_points_nm": op.source_points_nm,
        "sink_points_nm": op.sink_points_nm,
        "cluster_id": op.cluster_id,
        "dataset": op.dataset,
        "version": op.version,
        "volume": op.volume,
        "source": op.source,
        "timestamp": op.timestamp,
        "sides_in": op.sides_in,
        "cut": op.cut,
        "facts": _encode(op.facts).decode(),
    }


def edit_table(rows: Sequence[dict[str, Any]]) -> pa.Table:
    """Rows as `edit_row` makes them, as an Arrow table."""
    columns = [[row[name] for row in rows] for name in EDIT_SCHEMA.names]
    arrays = [
        _lists(column, field.type) if field.type in _LISTS else pa.array(column, field.type)
        for column, field in zip(columns, EDIT_SCHEMA, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=EDIT_SCHEMA)


_LISTS: tuple[Any, ...] = (IDS, POINTS)


def _lists(column: list[Any], kind: Any) -> Any:
    """A column of lists; Arrow takes three times as long to look into every one of them."""
    ends: Any = pa.array(np.cumsum([0, *map(len, column)], dtype=np.int32))
    values: Any = list(chain.from_iterable(column))
    flat: Any
    if kind == IDS:
        flat = pa.array(np.array(values, np.uint64))
    else:
        numbers: Any = pa.array(np.array(list(chain.from_iterable(values)), np.float64))
        flat = pa.FixedSizeListArray.from_arrays(numbers, type=POINT)  # type: ignore[call-overload]
    return pa.ListArray.from_arrays(ends, flat, type=kind)


class _Line(msgspec.Struct):
    """A row as it is written in JSON; its fields are in the order of their names."""

    after_ids: list[str]
    before_ids: list[str]
    cluster_id: str
    cut: list[list[str]]
    dataset: str
    facts: msgspec.Raw
    kind: str
    operation_id: str
    point_nm: Point
    sides_in: str
    sink_points_nm: tuple[Point, ...]
    source: str
    source_points_nm: tuple[Point, ...]
    timestamp: int | None
    version: str
    volume: str


def edit_json(row: dict[str, Any]) -> str:
    """A row of `edit_row` as one JSON line; ids are decimal strings, ``facts`` an object."""
    line = _Line(
        list(map(str, row["after_ids"])),
        list(map(str, row["before_ids"])),
        str(row["cluster_id"]),
        [list(map(str, side)) for side in row["cut"]],
        row["dataset"],
        msgspec.Raw(row["facts"].encode()),
        row["kind"],
        row["operation_id"],
        row["point_nm"],
        row["sides_in"],
        row["sink_points_nm"],
        row["source"],
        row["source_points_nm"],
        row["timestamp"],
        row["version"],
        row["volume"],
    )
    return _encode(line).decode()


def edit_of_row(row: dict[str, Any], *, where: str) -> EditOp:
    """An edit from an Arrow row or a decoded JSON line.

    Args:
        row: Its fields; ids may be decimal strings, ``facts`` JSON or an object.
        where: What errors name: file and row.

    Raises:
        SchemaError: if a field is missing, unknown, or holds what it cannot.
    """
    names = set(EDIT_SCHEMA.names)
    if set(row) != names:
        raise SchemaError(
            f"{where} is no edit",
            found=f"missing {sorted(names - set(row))}, unknown {sorted(set(row) - names)}",
            fix="docs/edits.md lists the fields",
        )
    values = {name: _parsed(name, row[name], where) for name in EDIT_SCHEMA.names}
    try:
        op = EditOp(**values)
        _check_counts(op)
        _check_order(op, row["after_ids"])
    except BadInputError as error:
        raise SchemaError(f"{where} is no edit", found=str(error)) from error
    return op


def _parsed(name: str, value: Any, where: str) -> Any:
    try:
        return _PARSERS[name](value)
    except (BadInputError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise SchemaError(f"{where} is no edit", found=f"column '{name}': {error}") from error


def _check_counts(op: EditOp) -> None:
    counts = (len(op.before_ids), len(op.after_ids))
    good = counts == (2, 1) if op.kind == "merge" else counts[0] == 1 and counts[1] >= 2
    if not good:
        raise BadInputError(f"a {op.kind} cannot turn {counts[0]} segments into {counts[1]}")


def _check_order(op: EditOp, after: Any) -> None:
    if op.cut and list(op.after_ids) != [as_id(one) for one in after]:
        raise BadInputError("'after_ids' must ascend where a 'cut' says what goes with each")


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise BadInputError(f"{value!r} is not a line of text")
    return value


def _one_of(value: Any, known: tuple[Any, ...]) -> Any:
    if value not in known:
        raise BadInputError(f"{value!r} is none of {', '.join(known)}")
    return value


def _ids(values: Any) -> tuple[int, ...]:
    ids = tuple(sorted(as_id(v) for v in values))
    if len(set(ids)) != len(ids) or 0 in ids:
        raise BadInputError(f"ids must differ and 0 is none, got {ids}")
    return ids


def _point(values: Any) -> Point:
    if len(values) != 3 or not all(map(_is_number, values)):
        raise BadInputError(f"a point is three numbers (z, y, x) in nm, got {values!r}")
    z, y, x = (float(v) for v in values)
    if not all(math.isfinite(v) for v in (z, y, x)):
        raise BadInputError(f"a point must be finite, got {(z, y, x)}")
    return (z, y, x)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _points(values: Any) -> tuple[Point, ...]:
    return tuple(_point(value) for value in values)


def _cut(sides: Any) -> SideIds:
    return tuple(_ids(side) for side in sides)


def _time(value: Any) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadInputError(f"a time is whole seconds since 1970 or null, got {value!r}")
    if not 0 <= value < MOST_SECONDS:
        raise BadInputError(f"a time is seconds since 1970, got {value}: are these milliseconds?")
    return value


def _facts(value: Any) -> dict[str, Any]:
    facts = strict_json(value) if isinstance(value, str) else value
    if not isinstance(facts, dict):
        raise BadInputError(f"facts must be an object, got {type(facts).__name__}")
    _check_numbers(facts)
    return facts


def _check_numbers(value: Any) -> None:
    """Refuse numbers of JSON that could not be written again: longer than 64 bits, or infinite."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            _check_numbers(one)
    elif isinstance(value, float) and not math.isfinite(value):
        raise BadInputError("a number is beyond a float")
    elif isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise BadInputError(f"a number has {value.bit_length()} bits, at most 64 are kept")


def strict_json(text: str | bytes) -> Any:
    """Decode JSON that someone else wrote.

    Raises:
        BadInputError: for what JSON has not (NaN, a key twice in one object), and text that is none
            or is nested too deeply.
    """
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"it is not JSON: {error}") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadInputError("an object names a key twice")
    return found


def _no_constant(name: str) -> Any:
    raise BadInputError(f"JSON has no {name}")


_PARSERS: dict[str, Callable[[Any], Any]] = {
    "operation_id": _text,
    "kind": lambda value: _one_of(value, get_args(EditKind)),
    "before_ids": _ids,
    "after_ids": _ids,
    "point_nm": _point,
    "source_points_nm": _points,
    "sink_points_nm": _points,
    "cluster_id": as_id,
    "dataset": _text,
    "version": _text,
    "volume": _text,
    "source": _text,
    "timestamp": _time,
    "sides_in": lambda value: _one_of(value, get_args(SideLayer)),
    "cut": _cut,
    "facts": _facts,
}
