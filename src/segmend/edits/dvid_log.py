"""Merges and cleaves from the mutation log of a DVID labelmap, as neuPrint's data sets keep it.

The messages are those of Kafka and of ``GET mutations`` (DVID wiki, "Kafka Messages", and the help
of labelmap at https://emdata.janelia.org/api/help/labelmap): one JSON object each, with ``Action``,
``MutationID``, ``UUID``, ``Timestamp`` and

    merge             Target, Labels            each of Labels becomes part of Target
    cleave            OrigLabel, CleavedLabel,  the supervoxels leave OrigLabel
                      CleavedSupervoxels
    split             Target, NewLabel,         voxels leave Target; every supervoxel that is cut
                      SVSplits                  becomes two: {"old": {"Split": n, "Remain": n}}
    split-supervoxel  Supervoxel, ...           moves nothing between bodies
    renumber          OrigLabel or Target,      another name for a body
                      NewLabel
    ...-complete      MutationID                the mutation ended well

They name no place. It follows from the supervoxels, so the log is replayed on the volume.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from segmend.core.errors import SchemaError
from segmend.core.ids import as_id, id_strings
from segmend.edits.bodies import Bodies
from segmend.edits.frozen import Outcome
from segmend.edits.log_entries import (
    ELSEWHERE,
    BodyEdit,
    field_id,
    field_ids,
    log_entries,
    placed,
)
from segmend.edits.operation import EditOp, Identity

SOURCE = "DVID mutation log"
ENDED = "-complete"

NOT_ENDED = "no message that it is complete"
NO_BODY = "inconsistent: body not there"
ALREADY = "inconsistent: new body is there already"
OTHER_BODY = "inconsistent: supervoxels of another body"
NOTHING_LEFT = "inconsistent: nothing stays behind"
NO_SUPERVOXELS = "names no supervoxels of the volume"
UNKNOWN = "unknown action"

_PLAIN = {"Action", "MutationID", "UUID", "Timestamp", "User", "App"}
"""What any message may say; the others say what was done."""

_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?:\.\d+)? ?(Z|[+-]\d\d:?\d\d)")


def dvid_edits(path: Path, bodies: Bodies, identity: Identity) -> Iterator[EditOp | Outcome]:
    """Replay a log on a volume.

    Args:
        path: The messages, JSON lines or one JSON array, in the order of the server.
        bodies: The volume before the first; it is changed.
        identity: Data set, version and volume of the edits.

    Yields:
        For every mutation its edits (a merge of several labels is several, ``ID.1``, ``ID.2``, ...)
        or what became of it, in order.

    Raises:
        BadInputError: if the file cannot be read.
        SchemaError: if an entry is no message; the message names file, place and field.
    """
    ended: set[int] = set()
    messages: dict[int, tuple[str, dict[str, Any]]] = {}
    for where, entry in log_entries(path):
        action, number = _action(entry, where), field_id(entry, "MutationID", where)
        if action.endswith(ENDED):
            ended.add(number)
            if entry.keys() <= _PLAIN or number in messages:
                continue
            # Some servers log the end alone, with everything that was done.
            entry = {**entry, "Action": action.removesuffix(ENDED)}
        if messages.setdefault(number, (where, entry))[1] != entry:
            raise SchemaError(
                f"{where} is no entry of a log", found=f"mutation {number} was another one earlier"
            )
    edits: list[tuple[BodyEdit | Outcome, int]] = []
    for number, (where, entry) in messages.items():
        if ended and number not in ended:
            edits.append((Outcome(str(number), "failed", NOT_ENDED, where), 0))
        else:
            edits += _replay(entry, where, bodies)
    for edit, base in edits:
        if isinstance(edit, Outcome):
            yield edit
        else:
            final = bodies.body_of[base]
            yield placed(edit, bodies, cluster_id=final, identity=identity, source=SOURCE)


def _action(entry: Mapping[str, Any], where: str) -> str:
    action = entry.get("Action")
    if not isinstance(action, str):
        raise SchemaError(f"{where} is no entry of a log", found=f"its 'Action' is {action!r}")
    return action


def _replay(
    entry: Mapping[str, Any], where: str, bodies: Bodies
) -> Iterator[tuple[BodyEdit | Outcome, int]]:
    """What a message does, each with a supervoxel of its base body."""
    number, action = str(field_id(entry, "MutationID", where)), _action(entry, where)
    if action == "merge":
        labels = field_ids(entry, "Labels", where)
        for i, label in enumerate(labels, 1):
            name = number if len(labels) == 1 else f"{number}.{i}"
            yield _merge(name, entry, where, bodies, label=label)
    elif action in ("cleave", "split"):
        yield _split(number, entry, where, bodies)
    elif action == "renumber":
        old = field_id(entry, "OrigLabel" if "OrigLabel" in entry else "Target", where)
        bodies.move(sorted(bodies.members.get(old, ())), field_id(entry, "NewLabel", where))
        yield Outcome(number, "dropped", "another name for a body", str(old)), 0
    elif action == "split-supervoxel":
        supervoxel = field_id(entry, "Supervoxel", where)
        yield Outcome(number, "dropped", "within one body", f"cuts supervoxel {supervoxel}"), 0
    else:
        yield Outcome(number, "failed", UNKNOWN, action), 0


def _merge(
    name: str, entry: Mapping[str, Any], where: str, bodies: Bodies, *, label: int
) -> tuple[BodyEdit | Outcome, int]:
    target = field_id(entry, "Target", where)
    time, facts = _time(entry, where), _facts(entry, where)
    if label == target:
        return Outcome(name, "dropped", "within one body", f"both sides are {label}"), 0
    for body in (target, label):
        if body not in bodies.members:
            return Outcome(name, "failed", NO_BODY, str(body)), 0
    sides = (frozenset(bodies.members[target]), frozenset(bodies.members[label]))
    before = (min(target, label), max(target, label))
    edit = BodyEdit(name, "merge", sides, before, (target,), time, facts)
    bodies.move(sides[1], target)
    return edit, min(sides[0])


def _split(
    name: str, entry: Mapping[str, Any], where: str, bodies: Bodies
) -> tuple[BodyEdit | Outcome, int]:
    cleave = _action(entry, where) == "cleave"
    body = field_id(entry, "OrigLabel" if cleave else "Target", where)
    new = field_id(entry, "CleavedLabel" if cleave else "NewLabel", where)
    off = set(field_ids(entry, "CleavedSupervoxels", where) if cleave else _cut_off(entry, where))
    time, facts = _time(entry, where), _facts(entry, where)
    fault = _split_fault(bodies, body, new, off)
    if fault is not None:
        return Outcome(name, "failed", *fault), 0
    sides = (frozenset(bodies.members[body] - off), frozenset(off))
    cut = {body: tuple(sorted(sides[0])), new: tuple(sorted(off))}
    after = tuple(sorted(cut))
    edit = BodyEdit(
        name,
        "split",
        sides,
        (body,),
        after,
        time,
        facts,
        cut=tuple(cut[one] for one in after),
    )
    bodies.move(off, new)
    return edit, min(sides[0])


def _split_fault(bodies: Bodies, body: int, new: int, off: set[int]) -> tuple[str, str] | None:
    if body not in bodies.members:
        return NO_BODY, str(body)
    if new in bodies.members:
        return ALREADY, str(new)
    if not off:
        return NO_SUPERVOXELS, ""
    strange = sorted(off - bodies.body_of.keys())
    if strange:
        return ELSEWHERE, f"{len(strange)} of {len(off)}, the first is {strange[0]}"
    others = sorted(off - bodies.members[body])
    if others:
        return OTHER_BODY, f"{others[0]} is in {bodies.body_of[others[0]]}, not in {body}"
    return None if off != bodies.members[body] else (NOTHING_LEFT, f"all of {body}")


def _cut_off(entry: Mapping[str, Any], where: str) -> tuple[int, ...]:
    """The supervoxels that a split made of the part it took away."""
    splits = entry.get("SVSplits")
    if splits is None:
        return ()
    if not isinstance(splits, dict) or not all(isinstance(v, dict) for v in splits.values()):
        raise SchemaError(f"{where} is no entry of a log", found="'SVSplits' is no map of splits")
    return tuple(sorted(field_id(one, "Split", where) for one in splits.values()))


def _time(entry: Mapping[str, Any], where: str) -> int | None:
    """Seconds since 1970 of what Go prints (``2019-11-10 12:34:56.7 -0500 EST m=+1.2``)."""
    text = entry.get("Timestamp")
    if text is None:
        return None
    found = _TIME.match(text) if isinstance(text, str) else None
    try:
        if found is not None:
            return int(datetime.fromisoformat(f"{found[1]}T{found[2]}{found[3]}").timestamp())
    except ValueError:
        pass
    raise SchemaError(f"{where} is no entry of a log", found=f"'Timestamp' is {text!r}")


def _facts(entry: Mapping[str, Any], where: str) -> dict[str, Any]:
    facts: dict[str, Any] = {"mutation_id": str(as_id(entry["MutationID"]))}
    for name in ("UUID", "User", "App"):
        value = entry.get(name, "")
        if not isinstance(value, str):
            raise SchemaError(f"{where} is no entry of a log", found=f"'{name}' is {value!r}")
        if value:
            facts[name.lower()] = value
    if entry["Action"] == "merge" and len(entry["Labels"]) > 1:
        facts["merged_together"] = id_strings(sorted(map(as_id, entry["Labels"])))
    facts["missing"] = ["point_nm", "clicks"] + ([] if "Timestamp" in entry else ["timestamp"])
    return facts
