"""Our views beside Embree's and VTK's, pixel by pixel, on the same meshes.

    python benchmarks/views_oracle.py [--json] [--data FOLDER]

Embree casts one ray through every pixel centre and mesh; VTK draws with OpenGL (its normals have
8 bits: they can agree to about 0.01). Compared are the masks (intersection over union, all pixels)
and, on visible pixels away from silhouette edges, depth (share of the view cube) and unit normals
(length of the difference). An edge is where the 3 x 3 pixels around do not all show one segment at
depths that a surface tilted by at most 80 degrees can have. Where A and B lie at one depth, either
may be in front, and their normals are opposite: these pixels are left out of the normals. So are
pixels of which the oracle's depth differs by more than 1e-4: it sees another triangle there. They
are counted as *other*. With Embree these are pixels whose centre lies exactly on a triangle's edge.

The exit status is 1 unless Embree agrees: every IoU at least 0.9995, at most 1 in 1,000 pixels
other, all normals of the rest within 1e-3. Needs the extra ``bench``.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import trimesh
from bench_views import DATA, mouse_labels, pair_of
from scipy.ndimage import maximum_filter, minimum_filter
from trimesh.ray.ray_pyembree import RayMeshIntersector
from view_rows import touching_pairs
from vtk_views import VtkViews

from segmend.core.grid import VoxelGrid
from segmend.core.sample import IMAGE_SIZE, channel
from segmend.render.camera import CAMERAS, HALF_DEPTH, Camera
from segmend.render.frame import Frame, draw
from segmend.segments.mesh import Mesh, mesh_from_mask

STEEP = np.tan(np.radians(80)) / (2 * HALF_DEPTH)
"""Depth between neighbouring pixels of a surface tilted by 80 degrees, share of the view cube."""

SAME_DEPTH = 1e-5
"""Depths closer than this are a tie."""

ANOTHER = 1e-4
"""Depths further apart than this belong to different triangles."""

Row = dict[str, Any]


class Scene(NamedTuple):
    """Two meshes and where they are looked at: centre (z, y, x) and half-extent, nm."""

    name: str
    meshes: list[Mesh]
    center: tuple[float, float, float]
    extent: float


class Seen(NamedTuple):
    """What an oracle sees: masks (2, 3, h, w), nearest depth (3, h, w), normals (3, 3, h, w)."""

    masks: np.ndarray
    depth: np.ndarray
    normals: np.ndarray


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print rows as JSON")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of real volumes")
    asked = parser.parse_args()
    rows = []
    for scene in scenes(asked.data):
        frame = draw(scene.meshes, center_nm=scene.center, half_extent_nm=scene.extent)
        tied = ties(scene)
        for name, oracle in (("Embree", embree), ("VTK", vtk_seen)):
            row = compared(frame, oracle(scene), tied)
            rows.append({"scene": scene.name, "oracle": name, **row})
    print(json.dumps(rows, indent=1) if asked.json else table(rows))
    exact = [r for r in rows if r["oracle"] == "Embree"]
    good = all(min(r["iou_a"], r["iou_b"]) >= 0.9995 for r in exact)
    return 0 if good and all(max(r["other"], r["normal_max"]) < 1e-3 for r in exact) else 1


def scenes(data: Path) -> Iterator[Scene]:
    balls = [ball((0, 0, -90), 220), ball((60, 40, 90), 220)]
    yield Scene("two interlocked balls", balls, (0.0, 0.0, 0.0), 500.0)
    labels, grid = mouse_labels(data)
    for triangles in (100_000, 500_000):
        meshes = pair_of(labels, grid, triangles)
        points = np.concatenate([m.positions() for m in meshes])
        z, y, x = ((points.min(0) + points.max(0)) / 2).tolist()
        extent = float(np.ptp(points, axis=0).max() / 2.4)
        yield Scene(f"mouse cortex, {triangles // 1000}k triangles", meshes, (z, y, x), extent)
    with h5py.File(data / "fib25" / "fib25.h5") as file:
        fly = file["volumes/labels/automatic"][:]
    candidate = touching_pairs(fly, (10.0,) * 3, 500.0, 1)[0]
    whole = VoxelGrid((10.0,) * 3, (0, 0, 0), fly.shape)
    meshes = [mesh_from_mask(fly == s, whole) for s in candidate.segments]
    yield Scene("FIB-25 pair", meshes, candidate.render_center_nm, candidate.view_extent_nm)


def ball(center: tuple[float, ...], radius: float) -> Mesh:
    solid = trimesh.creation.icosphere(subdivisions=5)
    normals = solid.vertices[:, ::-1].astype(np.float32)
    points = (solid.vertices[:, ::-1] * radius + center).astype(np.float32)
    return Mesh(points, solid.faces.astype(np.uint32), normals)


def embree(scene: Scene) -> Seen:
    """One ray through every pixel centre, for each mesh alone; the nearer hit wins."""
    shape = (len(CAMERAS), IMAGE_SIZE, IMAGE_SIZE)
    depths, normals = np.full((2, *shape), np.inf), np.zeros((2, 3, *shape))
    for m, mesh in enumerate(scene.meshes):
        points = (mesh.positions() - scene.center)[:, ::-1]
        solid = trimesh.Trimesh(points, mesh.faces.astype(np.int64), process=False)
        rays = RayMeshIntersector(solid, scale_to_box=False)
        for v, camera in enumerate(CAMERAS.values()):
            depths[m, v], normals[m, :, v] = cast(rays, mesh, points, camera, scene.extent)
    nearer = np.argmin(depths, axis=0)
    depth = depths.min(axis=0)
    chosen = np.where(nearer == 0, normals[0], normals[1]).swapaxes(0, 1)
    seen = np.isfinite(depths)
    return Seen(seen, np.where(np.isfinite(depth), depth, 0), chosen)


def cast(
    rays: RayMeshIntersector, mesh: Mesh, points: np.ndarray, camera: Camera, extent: float
) -> tuple[np.ndarray, np.ndarray]:
    """Depth (infinity where nothing) and normal x, y, z of one mesh in one view."""
    right, up, forward = (axis(a) for a in (camera.right, camera.up, camera.forward))
    at = (np.arange(IMAGE_SIZE) + 0.5) * 2 * extent / IMAGE_SIZE - extent
    columns, rows = np.meshgrid(at, -at)
    origins = columns[..., None] * right + rows[..., None] * up - 1.2 * extent * forward
    origins = origins.reshape(-1, 3)
    face = rays.intersects_first(origins, np.tile(forward, (len(origins), 1)))
    hit = np.flatnonzero(face >= 0)
    corners = mesh.faces[face[hit]].astype(np.int64)
    a, b, c = (points[corners[:, i]] for i in range(3))
    across = np.cross(b - a, c - a)
    away = ((a - origins[hit]) * across).sum(1) / (across @ forward)
    place = origins[hit] + away[:, None] * forward
    weights = trimesh.triangles.points_to_barycentric(np.stack([a, b, c], axis=1), place)
    normal = np.einsum("ij,ijk->ik", weights, mesh.normals[corners][..., ::-1].astype(float))
    within = away <= 2.4 * extent
    depth, out = np.full(len(origins), np.inf), np.zeros((3, len(origins)))
    depth[hit[within]] = away[within] / (2.4 * extent)
    normal /= np.linalg.norm(normal, axis=1)[:, None]
    out[:, hit[within]] = normal[within].T
    return depth.reshape(columns.shape), out.reshape(3, *columns.shape)


def axis(signed: tuple[int, int]) -> np.ndarray:
    out = np.zeros(3)
    out[signed[0]] = signed[1]
    return out


def vtk_seen(scene: Scene) -> Seen:
    out = VtkViews(scene.meshes, scene.center, scene.extent).render(np.float32)
    masks = out[:, [channel("mask_a"), channel("mask_b")]].swapaxes(0, 1) > 0
    normals = out[:, channel("normal_x") : channel("normal_z") + 1]
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    normals = normals / np.maximum(length, 1e-6)
    depth = out[:, channel("depth")]
    return Seen(masks, depth, normals)


def ties(scene: Scene) -> np.ndarray:
    """Where both meshes lie at one depth."""
    place = {"center_nm": scene.center, "half_extent_nm": scene.extent}
    a, b = (draw([mesh], **place) for mesh in scene.meshes)
    return a.cover_a & b.cover_a & (np.abs(a.depth - b.depth) < SAME_DEPTH)


def compared(frame: Frame, seen: Seen, tied: np.ndarray) -> Row:
    covers = (frame.cover_a, frame.cover_b)
    iou = [float((c & m).sum() / (c | m).sum()) for c, m in zip(covers, seen.masks, strict=True)]
    around = (1, 3, 3)
    one = minimum_filter(frame.owner, around) == maximum_filter(frame.owner, around)
    range_ = maximum_filter(frame.depth, around) - minimum_filter(frame.depth, around)
    visible = (frame.owner >= 0) & seen.masks.any(0)
    inner = visible & one & (range_ <= 2 * STEEP)
    error = np.abs(frame.depth - seen.depth)
    same = inner & (error <= ANOTHER)
    apart = np.linalg.norm(frame.normals - seen.normals, axis=1)[same & ~tied]
    return {
        "iou_a": iou[0],
        "iou_b": iou[1],
        "compared": float(inner.sum() / visible.sum()),
        "tied": float((inner & tied).sum() / inner.sum()),
        "other": float((inner & ~same).sum() / inner.sum()),
        "depth_mean": float(error[same].mean()),
        "depth_max": float(error[same].max()),
        "normal_mean": float(apart.mean()),
        "normal_max": float(apart.max()),
    }


def table(rows: list[Row]) -> str:
    head = f"{'scene':29} {'oracle':7} {'IoU A':>7} {'IoU B':>7} {'compared':>8} {'tied':>6} "
    head += f"{'other':>6} {'depth mean':>11} {'max':>8} {'normal mean':>12} {'max':>8}"
    lines = [
        f"{r['scene']:29} {r['oracle']:7} {r['iou_a']:7.5f} {r['iou_b']:7.5f} {r['compared']:8.1%} "
        f"{r['tied']:6.2%} {r['other']:6.3%} {r['depth_mean']:11.1e} {r['depth_max']:8.1e} "
        f"{r['normal_mean']:12.1e} {r['normal_max']:8.1e}"
        for r in rows
    ]
    return "\n".join([head, *lines])


if __name__ == "__main__":
    sys.exit(main())
