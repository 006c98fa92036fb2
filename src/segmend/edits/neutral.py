"""The neutral form of an edit: one Arrow row, or one JSON line, whoever recorded it.

docs/edits.md describes both for people who write such files themselves.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, get_args

import msgspec
import pyarrow as pa

from segmend.core.box import Point
from segmend.core.errors import BadInputError, SchemaError
from segmend.core.ids import as_id
from segmend.edits.operation import EditKind, EditOp, SideLayer

_encode = msgspec.json.Encoder(order="sorted").encode
_IDS = pa.list_(pa.field("element", pa.uint64(), nullable=False))
_POINT = pa.list_(pa.field("element", pa.float64(), nullable=False), 3)
_POINTS = pa.list_(pa.field("element", _POINT, nullable=False))

EDIT_SCHEMA = pa.schema(
    [
        pa.field("operation_id", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("before_ids", _IDS, nullable=False),
        pa.field("after_ids", _IDS, nullable=False),
        pa.field("point_nm", _POINT, nullable=False),
        pa.field("source_points_nm", _POINTS, nullable=False),
        pa.field("sink_points_nm", _POINTS, nullable=False),
        pa.field("cluster_id", pa.uint64(), nullable=False),
        pa.field("dataset", pa.string(), nullable=False),
        pa.field("version", pa.string(), nullable=False),
        pa.field("volume", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("timestamp", pa.int64(), nullable=True),
        pa.field("sides_in", pa.string(), nullable=False),
        pa.field("cut", pa.list_(pa.field("element", _IDS, nullable=False)), nullable=False),
        pa.field("facts", pa.string(), nullable=False),
    ]
)
"""Columns of an edit; points are ``(z, y, x)`` nm, ``facts`` is JSON."""


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
    arrays = [pa.array(c, field.type) for c, field in zip(columns, EDIT_SCHEMA, strict=True)]
    return pa.Table.from_arrays(arrays, schema=EDIT_SCHEMA)


def edit_json(row: dict[str, Any]) -> str:
    """A row of `edit_row` as one JSON line; ids are decimal strings, ``facts`` an object."""
    strings = {
        "before_ids": [str(one) for one in row["before_ids"]],
        "after_ids": [str(one) for one in row["after_ids"]],
        "cluster_id": str(row["cluster_id"]),
        "cut": [[str(one) for one in side] for side in row["cut"]],
        "facts": msgspec.Raw(row["facts"].encode()),
    }
    return _encode(row | strings).decode()


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
    try:
        op = EditOp(
            operation_id=_text(row["operation_id"]),
            kind=_one_of(row["kind"], get_args(EditKind)),
            before_ids=_ids(row["before_ids"]),
            after_ids=_ids(row["after_ids"]),
            point_nm=_point(row["point_nm"]),
            cluster_id=as_id(row["cluster_id"]),
            dataset=_text(row["dataset"]),
            version=_text(row["version"]),
            volume=_text(row["volume"]),
            source=_text(row["source"]),
            timestamp=None if row["timestamp"] is None else int(row["timestamp"]),
            facts=_facts(row["facts"]),
            sides_in=_one_of(row["sides_in"], get_args(SideLayer)),
            cut=tuple(_ids(side) for side in row["cut"]),
            source_points_nm=tuple(_point(p) for p in row["source_points_nm"]),
            sink_points_nm=tuple(_point(p) for p in row["sink_points_nm"]),
        )
        _check_counts(op)
    except (BadInputError, TypeError, ValueError) as error:
        raise SchemaError(f"{where} is no edit", found=str(error)) from error
    return op


def _check_counts(op: EditOp) -> None:
    counts = (len(op.before_ids), len(op.after_ids))
    good = counts == (2, 1) if op.kind == "merge" else counts[0] == 1 and counts[1] >= 2
    if not good:
        raise BadInputError(f"a {op.kind} cannot turn {counts[0]} segments into {counts[1]}")


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
    z, y, x = (float(v) for v in values)
    if not all(math.isfinite(v) for v in (z, y, x)):
        raise BadInputError(f"a point must be finite, got {(z, y, x)}")
    return (z, y, x)


def _facts(value: Any) -> dict[str, Any]:
    facts = json.loads(value) if isinstance(value, str) else value
    if not isinstance(facts, dict):
        raise BadInputError(f"facts must be an object, got {type(facts).__name__}")
    return facts
