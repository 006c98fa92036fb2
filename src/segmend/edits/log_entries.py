"""What logs of other programs have in common: entries of a JSON file, each with its place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from segmend.core.box import Point
from segmend.core.errors import BadInputError, SchemaError
from segmend.core.ids import as_id
from segmend.edits.bodies import Bodies
from segmend.edits.edit_files import json_lines
from segmend.edits.frozen import Outcome
from segmend.edits.neutral import strict_json
from segmend.edits.operation import EditKind, EditOp, Identity, SideIds

MOST_LOG_BYTES = 4 * 2**30
"""Largest log that is one JSON array: it is decoded whole. JSON lines have no limit."""

NOT_TOUCHING = "sides do not touch"
ELSEWHERE = "supervoxel outside the volume"


@dataclass(frozen=True, slots=True)
class BodyEdit:
    """One merge or split of a log, before its place is known.

    Attributes:
        operation_id: Unique in the log.
        kind: What was done.
        sides: Supervoxels of the two sides.
        before_ids: Bodies just before.
        after_ids: Bodies just after.
        timestamp: Seconds since 1970.
        facts: What else the log says; ``missing`` names what it does not say.
        cut: Splits: the supervoxels of each after-id, if the log says it.
        clicks_nm: Where somebody clicked on each side, if the log says it.
    """

    operation_id: str
    kind: EditKind
    sides: tuple[frozenset[int], frozenset[int]]
    before_ids: tuple[int, ...]
    after_ids: tuple[int, ...]
    timestamp: int | None
    facts: dict[str, Any]
    cut: SideIds = ()
    clicks_nm: tuple[Point, Point] | None = None


def placed(
    edit: BodyEdit, bodies: Bodies, *, cluster_id: int, identity: Identity, source: str
) -> EditOp | Outcome:
    """The edit with its place: that of its clicks, else where its sides touch.

    Args:
        edit: The edit.
        bodies: The volume.
        cluster_id: What its rows cluster on.
        identity: Data set, version and volume.
        source: Who says so.
    """
    meeting = bodies.meeting(*edit.sides)
    if meeting is None and edit.clicks_nm is None:
        sizes = " and ".join(str(len(side)) for side in edit.sides)
        return Outcome(edit.operation_id, "failed", NOT_TOUCHING, f"{sizes} supervoxels")
    facts = dict(edit.facts)
    if meeting is not None:
        facts["contact_faces"] = meeting.faces
    if edit.clicks_nm is not None:
        clicks = edit.clicks_nm
        z, y, x = ((a + b) / 2 for a, b in zip(*clicks, strict=True))
        point: Point = (z, y, x)
    else:
        assert meeting is not None
        clicks, point = meeting.clicks_nm, meeting.contact.point_nm
        facts["provenance"] = {"point_nm": "largest contact of the two sides' supervoxels"}
    return EditOp(
        operation_id=edit.operation_id,
        kind=edit.kind,
        before_ids=edit.before_ids,
        after_ids=edit.after_ids,
        point_nm=point,
        cluster_id=cluster_id,
        **asdict(identity),
        source=source,
        timestamp=edit.timestamp,
        facts=facts,
        sides_in="supervoxels" if edit.cut else "neurons",
        cut=edit.cut,
        source_points_nm=(clicks[0],),
        sink_points_nm=(clicks[1],),
    )


def log_entries(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a log, JSON lines or one JSON array, each with where it stands.

    Raises:
        BadInputError: if the file cannot be read or is too large.
        SchemaError: if it is no JSON, or an entry is no object.
    """
    try:
        with path.open("rb") as file:
            start = file.read(4096).lstrip()[:1]
            if start != b"[":
                yield from json_lines(path)
                return
            if path.stat().st_size > MOST_LOG_BYTES:
                raise BadInputError(
                    f"{path} is too large for one JSON array", fix="Write one object per line"
                )
            file.seek(0)
            text = file.read()
    except OSError as error:
        raise BadInputError(f"cannot read {path}", found=str(error)) from error
    try:
        entries = strict_json(text)
    except (BadInputError, UnicodeDecodeError) as error:
        raise SchemaError(f"{path} is no log", found=str(error)) from error
    for number, entry in enumerate(entries):
        where = f"{path}, entry {number}"
        if not isinstance(entry, dict):
            raise SchemaError(f"{where} is no entry of a log", found="it is not an object")
        yield where, entry


def field_id(entry: Mapping[str, Any], name: str, where: str) -> int:
    """An id that an entry must have.

    Raises:
        SchemaError: if it has none, or something else there.
    """
    try:
        found = as_id(entry[name])
    except KeyError as error:
        raise SchemaError(f"{where} is no entry of a log", found=f"it has no '{name}'") from error
    except BadInputError as error:
        raise SchemaError(f"{where} is no entry of a log", found=f"'{name}': {error}") from error
    if found == 0:
        raise SchemaError(f"{where} is no entry of a log", found=f"'{name}' is 0")
    return found


def field_ids(entry: Mapping[str, Any], name: str, where: str) -> tuple[int, ...]:
    """Ids that an entry must have, at least one, ascending.

    Raises:
        SchemaError: if there are none, or something else there, or one twice.
    """
    values = entry.get(name)
    if not isinstance(values, list) or not values:
        raise SchemaError(f"{where} is no entry of a log", found=f"'{name}' lists no ids")
    found = sorted(field_id({name: value}, name, where) for value in values)
    if len(set(found)) != len(found):
        raise SchemaError(f"{where} is no entry of a log", found=f"'{name}' names an id twice")
    return tuple(found)
