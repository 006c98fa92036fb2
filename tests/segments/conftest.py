"""Meshes as servers keep them, written here from Neuroglancer's specification."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import DracoPy
import numpy as np
import pytest

RAW_SHARDS = {
    "@type": "neuroglancer_uint64_sharded_v1",
    "preshift_bits": 0,
    "hash": "identity",
    "minishard_bits": 2,
    "shard_bits": 1,
    "minishard_index_encoding": "raw",
    "data_encoding": "raw",
}


def sphere(radius, center, parts=6):
    """Vertices (x, y, z) on a sphere and faces wound outwards: an octahedron, cut up."""
    corners = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [-1, 0, 0], [0, -1, 0], [0, 0, -1]], float)
    points, faces = [], []
    for signs in np.ndindex(2, 2, 2):
        a, b, c = (corners[i + 3 * s] for i, s in enumerate(signs))
        if sum(signs) % 2:
            b, c = c, b
        first = len(points)
        place = {}
        for i in range(parts + 1):
            for j in range(parts + 1 - i):
                place[i, j] = first + len(place)
                points.append((i * a + j * b + (parts - i - j) * c) / parts)
        for i in range(parts):
            for j in range(parts - i):
                faces.append([place[i + 1, j], place[i, j + 1], place[i, j]])
                if i + j < parts - 1:
                    faces.append([place[i + 1, j], place[i + 1, j + 1], place[i, j + 1]])
    points = np.array(points)
    points *= radius / np.linalg.norm(points, axis=1)[:, None]
    return points + center, np.array(faces)


def cut(points, faces, axis, at):
    """Cut triangles along a plane, so that none crosses it."""
    points, out = points.tolist(), []
    for face in faces.tolist():
        sides = {np.sign(points[v][axis] - at) for v in face}
        if not {-1.0, 1.0} <= sides:
            out.append(face)
            continue
        low, high = [], []
        for v, w in zip(face, face[1:] + face[:1], strict=True):
            (low if points[v][axis] <= at else high).append(v)
            if points[v][axis] == at:
                high.append(v)
            if (points[v][axis] - at) * (points[w][axis] - at) < 0:
                # From the lower end, whichever way the edge is walked: seams must agree.
                p, q = sorted([points[v], points[w]], key=lambda point: point[axis])
                share = (at - p[axis]) / (q[axis] - p[axis])
                new = [a + share * (b - a) for a, b in zip(p, q, strict=True)]
                new[axis] = at
                points.append(new)
                low.append(len(points) - 1)
                high.append(len(points) - 1)
        for polygon in (low, high):
            out += [[polygon[0], *pair] for pair in pairwise(polygon[1:])]
    return np.array(points), np.array(out, int).reshape(-1, 3)


def morton(node):
    return sum((int(node[a]) >> bit & 1) << (3 * bit + a) for bit in range(20) for a in range(3))


@dataclass
class Multires:
    """A folder of multi-resolution meshes in the making; lengths in stored units, (x, y, z)."""

    folder: Path
    bits: int = 10
    chunk: tuple = (256.0, 256.0, 256.0)
    origin: tuple = (0.0, 0.0, 0.0)
    transform: tuple = (1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0)
    scales: tuple = (1.0, 8.0, 32.0)
    multiplier: float = 1.0
    sharding: dict | None = None
    shards: dict = field(default_factory=dict)

    def info(self):
        info = {
            "@type": "neuroglancer_multilod_draco",
            "vertex_quantization_bits": self.bits,
            "transform": list(self.transform),
            "lod_scale_multiplier": self.multiplier,
        }
        return info if self.sharding is None else {**info, "sharding": self.sharding}

    def fragments(self, points, faces, level):
        """Encoded fragments of one level by node."""
        size = np.array(self.chunk) * 2**level
        step = size / 2 if level else size
        stored = points - np.array(self.origin)
        for axis in range(3):
            for k in range(1, int(stored[:, axis].max() / step[axis]) + 1):
                stored, faces = cut(stored, faces, axis, k * step[axis])
        found = {}
        node_of = np.floor(stored[faces].mean(axis=1) / size).astype(int)
        last = 2**self.bits - 1
        for node in sorted(set(map(tuple, node_of.tolist())), key=morton):
            mine = faces[(node_of == node).all(axis=1)]
            whole = np.rint((stored / size - node) * last)
            used, numbered = np.unique(mine, return_inverse=True)
            whole = np.clip(whole[used], 0, last).astype(np.uint32)
            found[node] = DracoPy.encode(whole, numbered.reshape(-1, 3).astype(np.uint32))
        return found

    def encoded(self, levels, offsets=None):
        """Manifest and fragment data of a segment given as (points, faces) by level."""
        fragments = [self.fragments(*mesh, level) for level, mesh in enumerate(levels)]
        n = len(levels)
        offsets = np.zeros((n, 3)) if offsets is None else np.array(offsets)
        manifest = struct.pack("<3f3fI", *self.chunk, *self.origin, n)
        manifest += np.array(self.scales[:n], "<f4").tobytes() + offsets.astype("<f4").tobytes()
        manifest += np.array([len(f) for f in fragments], "<u4").tobytes()
        for found in fragments:
            manifest += np.array(list(found), "<u4").reshape(-1, 3).T.tobytes()
            manifest += np.array([len(data) for data in found.values()], "<u4").tobytes()
        return manifest, b"".join(data for found in fragments for data in found.values())

    def write(self, segment, levels, offsets=None):
        """Write a segment, and the info of the folder (again)."""
        manifest, data = self.encoded(levels, offsets)
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "info").write_text(json.dumps(self.info()))
        if self.sharding is None:
            (self.folder / f"{segment}.index").write_bytes(manifest)
            (self.folder / str(segment)).write_bytes(data)
        else:
            self.shards[segment] = (manifest, data)
            self._write_shards()
        return self

    def _write_shards(self):
        minishards, shards = (1 << self.sharding[f"{k}_bits"] for k in ("minishard", "shard"))
        for shard in range(shards):
            body, index = b"", [b""] * minishards
            entries = [[] for _ in range(minishards)]
            for segment, (manifest, data) in sorted(self.shards.items()):
                if segment // minishards % shards == shard:
                    start = len(body) + len(data)
                    entries[segment % minishards].append((segment, start, len(manifest)))
                    body += data + manifest
            for m, rows in enumerate(entries):
                table, before, end = np.zeros((3, len(rows)), "<u8"), 0, 0
                for i, (segment, start, size) in enumerate(rows):
                    table[:, i] = segment - before, start - end, size
                    before, end = segment, start + size
                index[m] = table.tobytes()
            head, at = b"", len(body)
            for table in index:
                head += struct.pack("<QQ", at, at + len(table))
                at += len(table)
            (self.folder / f"{shard:x}.shard").write_bytes(head + body + b"".join(index))


def legacy_bytes(points, faces):
    return (
        struct.pack("<I", len(points))
        + np.asarray(points, "<f4").tobytes()
        + np.asarray(faces, "<u4").tobytes()
    )


@dataclass
class Legacy:
    """A folder of single-resolution meshes in the making; nm, (x, y, z)."""

    folder: Path

    def write(self, segment, fragments):
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "info").write_text(json.dumps({"@type": "neuroglancer_legacy_mesh"}))
        names = [f"{segment}:0:{i}" for i in range(len(fragments))]
        (self.folder / f"{segment}:0").write_text(json.dumps({"fragments": names}))
        for name, (points, faces) in zip(names, fragments, strict=True):
            (self.folder / name).write_bytes(legacy_bytes(points, faces))
        return self


@pytest.fixture(scope="session")
def make_multires():
    """Makes a folder of multi-resolution meshes: ``make(folder, bits=16).write(7, levels)``."""
    return Multires


@pytest.fixture
def multires(tmp_path):
    """The same in the test's own folder."""
    return lambda **options: Multires(tmp_path / "multires", **options)


@pytest.fixture
def legacy(tmp_path):
    """A folder of single-resolution meshes."""
    return Legacy(tmp_path / "legacy")


@pytest.fixture(scope="session")
def ball():
    """Vertices (x, y, z) and faces of a sphere: ``ball(radius, center, parts)``."""
    return sphere


@pytest.fixture
def raw_shards():
    """Sharding parameters of the simplest kind."""
    return dict(RAW_SHARDS)
