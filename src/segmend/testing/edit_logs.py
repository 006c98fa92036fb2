"""Logs of other programs, written from a known history: what DVID and webKnossos would log.

With `write_tissue` they are stand-ins for histories that cannot be fetched offline: the shape of
every message is that of the real program, its content follows from the history.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from segmend.catalog.dataset import Dataset
from segmend.testing.fake_cave_history import History, Operation

UUID = "5c1ab8a2f8b84b7c9c3c2f6d9d1e0a77"
FIRST_NEW_BODY = 2**40

_RECORD = """
name = "{name}"
title = "Stand-in of an agglomerated segmentation"
species = "synthetic"
version = "1"
files.main.path = "tissue.h5"
citation = "None."
grid_origin_nm = [0, 0, 0]
licence = {{ state = "unstated" }}
layers.image = {{ key = "image", doc = "EM" }}
layers.automatic = {{ key = "automatic", doc = "Start", labels = {{ kind = "instance" }} }}
layers.neurons = {{ key = "neurons", doc = "Truth", labels = {{ kind = "instance" }} }}
layers.supervoxels = {{ key = "supervoxels", doc = "Pieces", labels = {{ kind = "instance" }} }}
"""


def write_tissue(folder: Path, tissue: Dataset, history: History, *, name: str = "agglo") -> Path:
    """Write image, supervoxels, first segmentation and truth of a history as a data set.

    Returns:
        Its record, a TOML file.
    """
    grid = history.grid
    arrays = {
        "image": tissue.image.read(tissue.image.box).data,
        "automatic": tissue.segments("automatic"),
        "neurons": tissue.segments("neurons"),
        "supervoxels": history.supervoxels,
    }
    with h5py.File(folder / "tissue.h5", "w") as file:
        for key, array in arrays.items():
            data = file.create_dataset(key, data=array, chunks=True, compression="gzip")
            data.attrs["resolution"] = np.array(grid.voxel_size)
            data.attrs["offset"] = np.array(grid.offset)
    record = folder / f"{name}.toml"
    record.write_text(_RECORD.format(name=name))
    return record


class _Names:
    """Bodies as DVID names them: a merge keeps the target's id, a cleave makes a new one."""

    def __init__(self, history: History, segments: dict[int, int]) -> None:
        self.history, self.body = history, dict(segments)
        self.fresh = FIRST_NEW_BODY

    def supervoxels(self, root: int) -> list[int]:
        return self.history.leaves(root, 1)

    def target_and_label(self, operation: Operation) -> tuple[int, int]:
        """The larger side first, as proofreading tools merge."""
        a, b = sorted(operation.before, key=lambda root: -len(self.supervoxels(root)))
        target, label = self.body[a], self.body[b]
        self.body[operation.after[0]] = target
        return target, label

    def cleaved(self, operation: Operation) -> tuple[int, int, list[int]]:
        old = self.body[operation.before[0]]
        kept, off = sorted(operation.after, key=lambda root: -len(self.supervoxels(root)))
        self.fresh += 1
        self.body[kept], self.body[off] = old, self.fresh
        return old, self.fresh, self.supervoxels(off)


def first_bodies(history: History, automatic: Any) -> dict[int, int]:
    """The segment of each root that was there before the first operation."""
    found = {}
    for piece, (_, roots) in enumerate(history.timeline):
        at = np.unravel_index(int((history.pieces == piece + 1).argmax()), history.pieces.shape)
        found[roots[0]] = int(automatic[at])
    return found


def dvid_messages(history: History, automatic: Any) -> list[dict[str, Any]]:
    """What a DVID labelmap would have sent to Kafka: each mutation and the end of it."""
    names = _Names(history, first_bodies(history, automatic))
    messages: list[dict[str, Any]] = []
    for number, operation in sorted(history.operations.items()):
        time = datetime.fromtimestamp(operation.time_ms / 1000, UTC)
        common = {
            "MutationID": number,
            "UUID": UUID,
            "Timestamp": f"{time:%Y-%m-%d %H:%M:%S.%f} +0000 UTC m=+{number}.5",
        }
        if operation.kind == "merge":
            target, label = names.target_and_label(operation)
            did: dict[str, Any] = {"Action": "merge", "Target": target, "Labels": [label]}
        else:
            old, new, off = names.cleaved(operation)
            did = {
                "Action": "cleave",
                "OrigLabel": old,
                "CleavedLabel": new,
                "CleavedSupervoxels": off,
            }
        messages.append(did | common | {"User": "lab"})
        messages.append({"Action": f"{did['Action']}-complete"} | common)
    return messages


def webknossos_versions(
    history: History, automatic: Any, *, positions: bool
) -> list[dict[str, Any]]:
    """What a webKnossos tracing store would answer, newest first.

    Args:
        history: The history.
        automatic: The segmentation before it.
        positions: Whether actions name voxels, as before webKnossos #7742, or segments.
    """
    names = _Names(history, first_bodies(history, automatic))
    versions = []
    for version, (_, operation) in enumerate(sorted(history.operations.items()), 1):
        if operation.kind == "merge":
            target, label = names.target_and_label(operation)
            ids = {"agglomerateId1": target, "agglomerateId2": label}
        else:
            ids = {"agglomerateId": names.cleaved(operation)[0]}
        value: dict[str, Any] = {"actionTracingId": "volume-1", **ids}
        if positions:
            value |= {
                "segmentPosition1": list(operation.sources[0]),
                "segmentPosition2": list(operation.sinks[0]),
                "mag": [1, 1, 1],
            }
        else:
            a, b = operation.edges[0]
            value |= {"segmentId1": a, "segmentId2": b}
        value |= {"actionTimestamp": operation.time_ms, "actionAuthorId": "5f1"}
        actions = [
            {"name": f"{operation.kind}Agglomerate", "value": value},
            {"name": "updateActiveSegmentId", "value": {"activeSegmentId": 7}},
        ]
        versions.append({"version": version, "value": actions})
    return versions[::-1]


def write_lines(path: Path, entries: Iterable[dict[str, Any]]) -> Path:
    """Write a log as JSON lines."""
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return path
