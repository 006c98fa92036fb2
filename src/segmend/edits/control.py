"""A control as a server's tables and segmentation give it: something that needs no edit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
import pyarrow as pa

from segmend.core.box import Point
from segmend.core.ids import id_strings
from segmend.edits.neutral import IDS, POINT, POINTS

ControlKind = Literal["adjacent_control", "junction_control", "synapse_control"]

CONTROL_SCHEMA = pa.schema(
    [
        pa.field("kind", pa.string(), nullable=False),
        pa.field("source_id", pa.string(), nullable=False),
        pa.field("root_ids", IDS, nullable=False),
        pa.field("points_nm", POINTS, nullable=False),
        pa.field("point_nm", POINT, nullable=False),
        pa.field("cutout_timestamp", pa.int64(), nullable=False),
        pa.field("facts", pa.string(), nullable=False),
    ]
)
"""Columns of a control; points are ``(z, y, x)`` nm, ``facts`` is JSON."""

_OUTCOME_FIELDS: list[Any] = [
    *(pa.field(name, pa.string(), nullable=False) for name in ("kind", "subject")),
    *(pa.field(name, pa.string(), nullable=False) for name in ("outcome", "reason")),
    pa.field("number", pa.int64(), nullable=False),
    pa.field("detail", pa.string(), nullable=False),
]
CONTROL_OUTCOME_SCHEMA = pa.schema(_OUTCOME_FIELDS)
"""What gave no control: ``number`` of them around one ``subject``, an operation or a root."""

_encode = msgspec.json.Encoder(order="sorted").encode


@dataclass(frozen=True, slots=True)
class Control:
    """One control.

    Attributes:
        kind: Its sample type.
        source_id: The operation that it lies beside; the synapse; the root of the neuron.
        root_ids: Base and neighbour; pre- and postsynaptic root; the neuron.
        points_nm: A point in each of them, ``(z, y, x)`` nm.
        point_nm: Where: their contact; the cleft; the annotated point of the neuron.
        cutout_timestamp: When the root ids held, whole seconds since 1970.
        facts: What else is known (contact faces, scores), JSON-able, for metadata.
    """

    kind: ControlKind
    source_id: str
    root_ids: tuple[int, ...]
    points_nm: tuple[Point, ...]
    point_nm: Point
    cutout_timestamp: int
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ControlOutcome:
    """What gave no control.

    Attributes:
        kind: The sample type.
        subject: The operation or root that was asked about.
        outcome: ``dropped`` by a rule, or ``failed``.
        reason: The rule, or why it failed.
        number: How many things it speaks of: neighbours, synapses; 1 where the subject itself
            failed or has none.
        detail: The evidence.
    """

    kind: ControlKind
    subject: str
    outcome: Literal["dropped", "failed"]
    reason: str
    number: int = 1
    detail: str = ""


def control_json(control: Control) -> str:
    """A control as one JSON line; ids are decimal strings."""
    return _encode(
        {
            "kind": control.kind,
            "source_id": control.source_id,
            "root_ids": id_strings(control.root_ids),
            "points_nm": control.points_nm,
            "point_nm": control.point_nm,
            "cutout_timestamp": control.cutout_timestamp,
            "facts": control.facts,
        }
    ).decode()


def control_table(controls: Sequence[Control]) -> pa.Table:
    """Controls as `CONTROL_SCHEMA`."""
    rows = [[getattr(one, name) for one in controls] for name in CONTROL_SCHEMA.names[:-1]]
    columns = [*rows, [_encode(one.facts).decode() for one in controls]]
    arrays = [pa.array(c, f.type) for c, f in zip(columns, CONTROL_SCHEMA, strict=True)]
    return pa.Table.from_arrays(arrays, schema=CONTROL_SCHEMA)


def control_of_row(row: dict[str, Any]) -> Control:
    """A control from a row of `CONTROL_SCHEMA`."""
    points = tuple((z, y, x) for z, y, x in row["points_nm"])
    z, y, x = row["point_nm"]
    return Control(
        kind=row["kind"],
        source_id=row["source_id"],
        root_ids=tuple(row["root_ids"]),
        points_nm=points,
        point_nm=(z, y, x),
        cutout_timestamp=row["cutout_timestamp"],
        facts=json.loads(row["facts"]),
    )


def control_outcome_table(rows: Sequence[ControlOutcome]) -> pa.Table:
    """Outcomes as `CONTROL_OUTCOME_SCHEMA`."""
    columns = {n: [getattr(row, n) for row in rows] for n in CONTROL_OUTCOME_SCHEMA.names}
    return pa.table(columns, schema=CONTROL_OUTCOME_SCHEMA)
