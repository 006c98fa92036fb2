"""Merges and splits of agglomerates from the update actions of a webKnossos annotation.

The file is the answer of a tracing store to ``GET /tracings/annotation/ID/updateActionLog``: an
array of ``{"version": n, "value": [{"name": ..., "value": {...}}, ...]}``. Two actions are edits
(webKnossos, ``EditableMappingUpdateActions.scala``):

    mergeAgglomerate  agglomerateId1, agglomerateId2, and both segments
    splitAgglomerate  agglomerateId, and both segments: one edge of the agglomerate graph goes

The segments are ``segmentId1`` and ``segmentId2`` (since webKnossos #7742), or the voxels
``segmentPosition1`` and ``segmentPosition2``, ``(x, y, z)`` at full resolution; ``actionTimestamp``
is in ms. The ids of what a split leaves are not logged, nor is which segment went with which side.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from segmend.core.box import Point
from segmend.core.errors import BadInputError, SchemaError
from segmend.core.grid import VoxelGrid
from segmend.core.ids import id_strings
from segmend.edits.bodies import Bodies
from segmend.edits.frozen import Outcome
from segmend.edits.log_entries import ELSEWHERE, BodyEdit, field_id, log_entries, placed
from segmend.edits.operation import EditKind, EditOp, Identity

SOURCE = "webKnossos update actions"
EDITS = ("mergeAgglomerate", "splitAgglomerate")

REVERTED = "reverted"
WITHIN = "within one agglomerate"
NO_SEGMENTS = "names no segments"
OTHER_SEGMENT = "inconsistent: segment at position"


@dataclass(frozen=True, slots=True)
class _Action:
    """An edit as it was logged; several splits of one cut are one.

    Attributes:
        number: Version of the annotation and place in it.
        name: Of `EDITS`.
        values: What each action says.
        where: File and entry.
    """

    number: str
    name: str
    values: tuple[Mapping[str, Any], ...]
    where: str


def webknossos_edits(
    path: Path, bodies: Bodies, grid: VoxelGrid, identity: Identity
) -> Iterator[EditOp | Outcome]:
    """Read a log and place it on a volume.

    Args:
        path: The update action log.
        bodies: The volume's supervoxels (webKnossos calls them segments).
        grid: Of full resolution: what positions count in.
        identity: Data set, version and volume of the edits.

    Yields:
        For every merge, and every cut (the splits that follow each other in one version and act on
        one agglomerate), an edit or what became of it, in order.

    Raises:
        BadInputError: if the file cannot be read or holds edits of several layers.
        SchemaError: if an entry is none; the message names file, place and field.
    """
    versions = _versions(path)
    dropped = _reverted(versions)
    tracings = set()
    for version, (where, actions) in sorted(versions.items()):
        for action in _edits(version, actions, where):
            tracings |= {str(value.get("actionTracingId", "")) for value in action.values}
            if len(tracings) > 1:
                raise BadInputError(
                    f"{path} holds edits of several layers",
                    found=f"actionTracingId: {', '.join(sorted(tracings))}",
                    fix="Write one log for each layer",
                )
            if version in dropped:
                detail = f"by version {dropped[version]}"
                yield Outcome(action.number, "dropped", REVERTED, detail)
                continue
            edit = _body_edit(action, bodies, grid)
            if isinstance(edit, Outcome):
                yield edit
            else:
                base = edit.before_ids[0]
                yield placed(edit, bodies, cluster_id=base, identity=identity, source=SOURCE)


def _versions(path: Path) -> dict[int, tuple[str, list[Any]]]:
    versions: dict[int, tuple[str, list[Any]]] = {}
    for where, entry in log_entries(path):
        version, actions = entry.get("version"), entry.get("value")
        if not isinstance(version, int) or isinstance(version, bool) or version < 0:
            raise SchemaError(f"{where} is no entry of a log", found=f"'version' is {version!r}")
        if version in versions:
            raise SchemaError(f"{where} is no entry of a log", found=f"{version} comes twice")
        if not isinstance(actions, list):
            raise SchemaError(f"{where} is no entry of a log", found="'value' lists no actions")
        for action in actions:
            named = isinstance(action, dict) and isinstance(action.get("name"), str)
            if not named or not isinstance(action.get("value"), dict):
                raise SchemaError(
                    f"{where} is no entry of a log",
                    found=f"an action without name and value: {str(action)[:80]}",
                )
        versions[version] = (where, actions)
    return versions


def _reverted(versions: Mapping[int, tuple[str, list[Any]]]) -> dict[int, int]:
    """Versions that a later one took back, each with the first that did."""
    dropped: dict[int, int] = {}
    for version, (where, actions) in sorted(versions.items()):
        for action in actions:
            if action["name"] != "revertToVersion":
                continue
            source = action["value"].get("sourceVersion")
            if not isinstance(source, int):
                raise SchemaError(
                    f"{where} is no entry of a log", found=f"'sourceVersion' is {source!r}"
                )
            for taken in versions:
                if source < taken < version:
                    dropped.setdefault(taken, version)
    return dropped


def _edits(version: int, actions: list[Any], where: str) -> Iterator[_Action]:
    place = 0
    runs = groupby(
        (a for a in actions if a["name"] in EDITS),
        key=lambda a: (a["name"], str(a["value"].get("agglomerateId"))),
    )
    for (name, _), run in runs:
        values = [action["value"] for action in run]
        parts = [values] if name == "splitAgglomerate" else [[value] for value in values]
        for part in parts:
            yield _Action(f"{version}.{place}", name, tuple(part), where)
            place += 1


def _body_edit(action: _Action, bodies: Bodies, grid: VoxelGrid) -> BodyEdit | Outcome:
    ends = []
    for value in action.values:
        for side in ("1", "2"):
            found = _end(value, side, action, bodies, grid)
            if isinstance(found, Outcome):
                return found
            ends.append(found)
    first, second = ends[::2], ends[1::2]
    kind: EditKind = "merge" if action.name == EDITS[0] else "split"
    sides = (frozenset(one for one, _ in first), frozenset(one for one, _ in second))
    if sides[0] & sides[1]:
        return Outcome(action.number, "dropped", "within one segment", str(min(sides[0])))
    segments = (min(sides[0]), min(sides[1]))
    before, missing = _before(action, segments)
    if len(before) == 2 and before[0] == before[1]:
        return Outcome(action.number, "dropped", WITHIN, str(before[0]))
    clicks = None
    if first[0][1] is not None and second[0][1] is not None:
        clicks = (first[0][1], second[0][1])
    else:
        missing.append("segmentPosition")
    return BodyEdit(
        action.number,
        kind,
        sides,
        tuple(sorted(before)),
        before[:1] if kind == "merge" else tuple(sorted(segments)),
        _time(action, missing),
        _facts(action, sides, missing),
        clicks_nm=clicks,
    )


def _before(action: _Action, segments: tuple[int, int]) -> tuple[tuple[int, ...], list[str]]:
    """The agglomerates before, and what stands in for an id that is not logged: the segment."""
    if action.name == EDITS[0]:
        names: tuple[str, ...] = ("agglomerateId1", "agglomerateId2")
        missing: list[str] = []
    else:
        names, missing = ("agglomerateId",), ["after_ids"]
    before = []
    for name, segment in zip(names, segments, strict=False):
        logged = action.values[0].get(name) is not None
        before.append(field_id(action.values[0], name, action.where) if logged else segment)
        missing += [] if logged else [name]
    return tuple(before), missing


def _end(
    value: Mapping[str, Any], side: str, action: _Action, bodies: Bodies, grid: VoxelGrid
) -> tuple[int, Point | None] | Outcome:
    """The supervoxel of one side of an action, and where it was clicked if that was logged."""
    position = _position(value, f"segmentPosition{side}", action.where, grid)
    name = f"segmentId{side}"
    stated = None if value.get(name) is None else field_id(value, name, action.where)
    if stated is None and position is None:
        return Outcome(action.number, "failed", NO_SEGMENTS, f"neither id nor position {side}")
    seen = stated if position is None else bodies.supervoxel_at(position)
    if seen is None or seen not in bodies.body_of:
        detail = f"segment {stated}" if position is None else f"position {position} nm (z, y, x)"
        return Outcome(action.number, "failed", ELSEWHERE, detail)
    if stated is not None and seen != stated:
        return Outcome(action.number, "failed", OTHER_SEGMENT, f"{seen} there, {stated} logged")
    return seen, position


def _position(value: Mapping[str, Any], name: str, where: str, grid: VoxelGrid) -> Point | None:
    """The centre of a voxel ``(x, y, z)`` of the whole data set, nm."""
    voxel = value.get(name)
    if voxel is None:
        return None
    if (
        not isinstance(voxel, list)
        or len(voxel) != 3
        or not all(isinstance(v, int) and not isinstance(v, bool) for v in voxel)
    ):
        raise SchemaError(f"{where} is no entry of a log", found=f"'{name}' is {voxel!r}")
    z, y, x = ((np.array(voxel[::-1]) + 0.5) * grid.voxel_size).tolist()
    return (z, y, x)


def _time(action: _Action, missing: list[str]) -> int | None:
    time_ms = action.values[0].get("actionTimestamp")
    if time_ms is None:
        missing.append("timestamp")
        return None
    if not isinstance(time_ms, int) or isinstance(time_ms, bool) or time_ms < 10**11:
        raise SchemaError(
            f"{action.where} is no entry of a log", found=f"'actionTimestamp' is {time_ms!r} ms"
        )
    return time_ms // 1000


def _facts(
    action: _Action, sides: tuple[frozenset[int], frozenset[int]], missing: list[str]
) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "segments": [id_strings(sorted(side)) for side in sides],
        "missing": missing,
    }
    author = action.values[0].get("actionAuthorId")
    if author is not None:
        facts["user"] = str(author)
    return facts
