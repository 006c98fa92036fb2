"""Multi-resolution Draco meshes, served: only the fragments that a view needs are fetched."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segmend.core.box import Box
from segmend.core.errors import BadInputError
from segmend.core.ids import as_id, as_ids
from segmend.segments.canonical import Triangles, assemble, crop, touching
from segmend.segments.formats.draco import MAX_FACES, decode_draco
from segmend.segments.formats.multires import (
    MAX_MANIFEST,
    Level,
    MultiresInfo,
    level_for,
    manifest_levels,
)
from segmend.segments.mesh import Mesh
from segmend.segments.mesh_source import (
    MeshSource,
    Part,
    Winding,
    check_pixel,
    check_size,
    check_winding,
    damage,
    joined,
    missing,
    not_found,
    too_large,
)
from segmend.store.store import Request, Store
from segmend.volumes.drivers.precomputed_shards import ShardedKeys

REACH_NM = 1.0
"""Fragments this close to a box count as meeting it: float32 manifests round where they lie."""

_JOIN = 2**22
"""Neighbouring fragments are fetched in one request up to this many bytes."""


@dataclass(frozen=True, slots=True)
class MultiresMeshes(MeshSource):
    """Multi-resolution Draco meshes.

    Attributes:
        store: The folder.
        winding: Where stored triangles are counter-clockwise from.
        info: What its ``info`` says.
        shards: Where segments lie in shards; None if each has files of its own.
    """

    store: Store
    winding: Winding
    info: MultiresInfo
    shards: ShardedKeys | None

    @property
    def url(self) -> str:
        """The folder."""
        return self.store.url

    def mesh(self, segment_id: int, box: Box | None = None, pixel_nm: float | None = None) -> Mesh:
        """See `MeshSource.mesh`. Only fragments that meet the box are fetched."""
        check_pixel(pixel_nm)
        segment_id = as_id(segment_id)
        level, key, start = self._find(segment_id, pixel_nm)
        reading = _Reading(self, level, key, start, segment_id)
        bounds = level.bounds(self.info)
        mesh = reading.extended(_meeting(bounds, box))
        if box is None:
            return check_winding(mesh, segment_id)
        # The normals at the rim need all triangles there, also those of the next fragments.
        rim = _extent(mesh, touching(mesh, box))
        if rim is not None:
            mesh = reading.extended(_meeting(bounds, rim))
        return crop(mesh, box)

    def _find(self, segment_id: int, pixel_nm: float | None) -> tuple[Level, str, int]:
        """The level to draw, the object that holds its fragments, and where they start in it."""
        place = self._manifest_place(segment_id)
        manifest = None if place is None else self.store.read(place.key, place.start, place.stop)
        if place is None or (manifest is None and self.shards is None):
            raise not_found(segment_id, self.url)
        where = f"{self.url}/{place.key}"
        if manifest is None:
            raise missing(where, segment_id)
        with damage(where):
            if self.shards is not None:
                manifest = self.shards.unpack(manifest, limit=MAX_MANIFEST)
            levels = manifest_levels(manifest, self.info, f"the manifest of segment {segment_id}")
            level = level_for(levels, pixel_nm)
            if self.shards is None:
                return level, str(segment_id), 0
            # Fragments of all levels lie right before the manifest, in one shard with it.
            start = (place.start or 0) - levels[-1].stop
            if start < 0:
                raise BadInputError(f"the fragments of segment {segment_id} begin before the shard")
            return level, place.key, start

    def _manifest_place(self, segment_id: int) -> Request | None:
        if self.shards is None:
            return Request(f"{segment_id}.index")
        return self.shards.locate(self.store, as_ids([segment_id]))[0]


class _Reading:
    """Fragments of one level of one segment, each fetched once."""

    def __init__(
        self, source: MultiresMeshes, level: Level, key: str, start: int, segment_id: int
    ) -> None:
        self.source, self.level, self.key, self.start = source, level, key, start
        self.segment_id = segment_id
        self.parts: dict[int, Part] = {}
        self.triangles = 0

    def extended(self, wanted: NDArray[np.bool_]) -> Mesh:
        """The mesh of all fragments fetched so far and the wanted ones."""
        ranges = self.level.ranges
        # A node without triangles, whose children have some, has no bytes.
        wanted = wanted & (ranges[:, 1] > ranges[:, 0])
        check_size(int((ranges[wanted, 1] - ranges[wanted, 0]).sum()), self.segment_id)
        unread = [n for n in np.flatnonzero(wanted).tolist() if n not in self.parts]
        runs = _runs(unread, ranges)
        requests = [
            Request(self.key, self.start + int(ranges[r[0], 0]), self.start + int(ranges[r[-1], 1]))
            for r in runs
        ]
        where = f"{self.source.url}/{self.key}"
        for position, data in self.source.store.read_many(requests):
            if data is None:
                raise missing(where, self.segment_id)
            self._decode(runs[position], data, where)
        positions, faces = joined([self.parts[n] for n in sorted(self.parts)])
        if self.source.info.mirrors != (self.source.winding == "inward"):
            faces = faces[:, ::-1]
        with damage(where):
            return assemble(
                Triangles(positions, faces),
                f"segment {self.segment_id}",
                level_of_detail=self.level.number,
            )

    def _decode(self, run: list[int], data: bytes, where: str) -> None:
        first = int(self.level.ranges[run[0], 0])
        for n in run:
            name = f"fragment {n} of level {self.level.number} of segment {self.segment_id}"
            start, stop = (self.level.ranges[n] - first).tolist()
            with damage(where):
                points, faces = decode_draco(data[start:stop], name)
                positions = self.level.positions(n, points, self.source.info, name)
            self.parts[n] = (positions, faces)
            self.triangles += len(faces)
            # A few hundred bytes can hold a million triangles, and a manifest many times those.
            if self.triangles > MAX_FACES:
                raise too_large(self.segment_id, f"more than {MAX_FACES} triangles")


def _meeting(
    bounds: tuple[NDArray[np.float64], NDArray[np.float64]], box: Box | None
) -> NDArray[np.bool_]:
    """Which fragments touch a box."""
    low, high = bounds
    if box is None:
        return np.ones(len(low), np.bool_)
    start, stop = np.array(box.start) - REACH_NM, np.array(box.stop) + REACH_NM
    meets: NDArray[np.bool_] = (low <= stop) & (high >= start)
    return np.logical_and.reduce(meets, axis=1)


def _extent(mesh: Mesh, chosen: NDArray[np.bool_]) -> Box | None:
    """A box around the chosen triangles, or None if there are none."""
    corners = mesh.vertices[mesh.faces[chosen].ravel()].astype(np.float64) + mesh.origin_nm
    if not len(corners):
        return None
    return Box(corners.min(axis=0) - REACH_NM, corners.max(axis=0) + REACH_NM)


def _runs(numbers: list[int], ranges: NDArray[np.int64]) -> list[list[int]]:
    """Fragments that lie behind one another in a file, together."""
    runs: list[list[int]] = []
    for n in numbers:
        joins = runs and ranges[runs[-1][-1], 1] == ranges[n, 0]
        if joins and ranges[n, 1] - ranges[runs[-1][0], 0] <= _JOIN:
            runs[-1].append(n)
        else:
            runs.append([n])
    return runs
