"""Views of one site beside their peers, in one process and one thread.

    python benchmarks/bench_views.py [--json] [--data FOLDER] [--repeat N]

Geometry is timed against VTK's offscreen renderer (the extra `bench`), slices and the search for
the best plane against scipy. Times are medians; each pair of jobs is run alternately, so that other
load on the machine falls on both. The published pipeline is no package: reference 3c quotes its
figures.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from scipy.ndimage import map_coordinates

from segmend.core.grid import VoxelGrid
from segmend.render.frame import draw, encode_geometry
from segmend.render.labels import SideBlock
from segmend.render.planes import (
    INNER,
    SEARCH_SIZE,
    best_plane,
    plane_axes,
    search_normals,
)
from segmend.render.site import Layers, ViewStyle, render_candidate
from segmend.render.slices import EmSite, cut_plane
from segmend.samples.candidate import Candidate
from segmend.segments.mesh import Mesh, mesh_from_mask
from segmend.volumes.drivers.memory import from_array

DATA = Path(__file__).parents[2] / "shared" / "data"
Job = Callable[[], object]
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print rows as JSON")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of real volumes")
    parser.add_argument("--repeat", type=int, default=15)
    asked = parser.parse_args()
    labels, grid = mouse_labels(asked.data)
    rows = [
        *mesh_rows(labels, grid, asked.repeat),
        *geometry_rows(labels, grid, asked.repeat),
        *slice_rows(labels, grid, asked.repeat),
        *sample_rows(asked.data, asked.repeat),
    ]
    if asked.json:
        print(json.dumps(rows, indent=1))
        return
    print(
        f"{'job':58} {'ours ms':>8} {'peer':>22} {'peer ms':>8} {'ratio':>7} {'goal':>7}  peak MB"
    )
    for row in rows:
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.1f}x"
        peer = "" if row["peer_ms"] is None else f"{row['peer_ms']:.2f}"
        print(
            f"{row['job']:62} {row['ours_ms']:8.2f} {row['peer'] or '':>22} {peer:>8} {ratio:>7} "
            f"{row['goal']:>8} {row['peak_mb']:8.0f}"
        )


def mouse_labels(data: Path) -> tuple[np.ndarray, VoxelGrid]:
    with h5py.File(data / "mouse512" / "mouse512.h5") as file:
        labels = file["labels"][128:384, 128:384, 128:384]
        size = tuple(float(v) for v in file["labels"].attrs["resolution"])
    return labels, VoxelGrid(size, (0, 0, 0), labels.shape)


def timed(
    job: str, ours: Job, peer: tuple[str, Job] | None, goal: str, repeat: int
) -> dict[str, Any]:
    ours()
    if peer:
        peer[1]()
    mine, theirs = [], []
    for _ in range(repeat):
        mine.append(seconds(ours))
        if peer:
            theirs.append(seconds(peer[1]))
    ours_ms = 1e3 * statistics.median(mine)
    peer_ms = 1e3 * statistics.median(theirs) if peer else None
    return {
        "job": job,
        "ours_ms": ours_ms,
        "peer": peer[0] if peer else None,
        "peer_ms": peer_ms,
        "ratio": peer_ms / ours_ms if peer_ms else None,
        "goal": goal,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def seconds(job: Job) -> float:
    start = time.perf_counter()
    job()
    return time.perf_counter() - start


def largest(labels: np.ndarray, rank: int) -> int:
    ids, counts = np.unique(labels[labels > 0], return_counts=True)
    return int(ids[np.argsort(-counts)[rank]])


def mesh_rows(labels: np.ndarray, grid: VoxelGrid, repeat: int) -> list[Row]:
    import zmesh

    mask = labels == largest(labels, 0)

    def peer() -> object:
        mesher = zmesh.Mesher(grid.voxel_size)
        mesher.mesh(mask)
        return mesher.get(1, normals=True)

    faces = len(mesh_from_mask(mask, grid).faces)
    name = f"mesh one label in 256^3, with normals ({faces // 1000}k triangles)"
    few = max(repeat // 3, 3)
    return [timed(name, lambda: mesh_from_mask(mask, grid), ("zmesh", peer), "18.6 ms", few)]


def pair_of(labels: np.ndarray, grid: VoxelGrid, triangles: int) -> list[Mesh]:
    """Two real meshes of about so many triangles together: the middle of a large pair."""
    wanted = [labels == largest(labels, rank) for rank in (0, 1)]
    for width in range(32, 257, 8):
        part = tuple(slice(128 - width // 2, 128 + width // 2) for _ in range(3))
        local = VoxelGrid(grid.voxel_size, (0, 0, 0), (width,) * 3)
        meshes = [mesh_from_mask(mask[part], local) for mask in wanted]
        if sum(len(m.faces) for m in meshes) >= triangles:
            break
    return meshes


def geometry_rows(labels: np.ndarray, grid: VoxelGrid, repeat: int) -> list[Row]:
    rows = []
    for triangles in (100_000, 500_000):
        meshes = pair_of(labels, grid, triangles)
        points = np.concatenate([m.positions() for m in meshes if len(m.vertices)])
        center = tuple(((points.min(0) + points.max(0)) / 2).tolist())
        extent = float(np.ptp(points, axis=0).max() / 2.4)
        count = sum(len(m.faces) for m in meshes)

        def ours(meshes=meshes, center=center, extent=extent) -> object:  # type: ignore[no-untyped-def]
            frame = draw(meshes, center_nm=center, half_extent_nm=extent)
            return encode_geometry(frame, "metric")

        peer = None
        if importlib.util.find_spec("vtk"):
            from vtk_views import VtkViews

            peer = ("VTK offscreen", VtkViews(meshes, center, extent).render)
        name = f"geometry (3,7,224,224) of a pair, {count // 1000}k triangles"
        rows.append(timed(name, ours, peer, "8x VTK", repeat))
    return rows


def slice_rows(labels: np.ndarray, grid: VoxelGrid, repeat: int) -> list[Row]:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, labels.shape).astype(np.uint8)
    codes = (labels == largest(labels, 0)) + np.uint8(2) * (labels == largest(labels, 1))
    volume = from_array(image, grid.voxel_size)
    sides = SideBlock(codes.astype(np.uint8), grid.voxels, grid)
    site = EmSite(volume, sides, grid.box.center, 16.0)
    axes, block = plane_axes(search_normals()[5]), volume.read_voxels(grid.voxels)
    size, center = np.array(grid.voxel_size), np.array(grid.shape) / 2
    masks = [(codes == side).astype(np.uint8) for side in (1, 2)]

    def scipy_plane() -> object:
        at = (np.arange(224) - 111.5) * 16.0
        row, column, normal = (np.array(d[::-1]) for d in (axes.row, axes.column, axes.normal))
        slab = np.array([-1, 0, 1]) * size.min()
        points = slab[:, None, None, None] * normal + at[:, None, None] * row + at[:, None] * column
        voxels = np.moveaxis(points / size + center - 0.5, -1, 0)
        em = map_coordinates(image, voxels, order=1).mean(0)
        return em, [map_coordinates(m, voxels, order=0).any(0) for m in masks]

    planes = [plane_axes(n) for n in search_normals()]
    at = (np.arange(SEARCH_SIZE) - (SEARCH_SIZE - 1) / 2) * INNER * 224 * 16.0 / SEARCH_SIZE

    def scipy_search() -> object:
        rows = np.array([p.row[::-1] for p in planes])[:, None, None]
        columns = np.array([p.column[::-1] for p in planes])[:, None, None]
        points = at[:, None, None] * rows + at[:, None] * columns
        voxels = np.moveaxis(points / size + center - 0.5, -1, 0)
        areas = [map_coordinates(m, voxels, order=0).sum((1, 2), dtype=int) for m in masks]
        return int(np.argmax(sum(np.log(np.maximum(a, 1)) for a in areas)))

    return [
        timed(
            "oblique plane and 2 masks, slab of 3",
            lambda: cut_plane(site, axes, block, (0, 0, 0)),
            ("scipy map_coordinates", scipy_plane),
            "15x",
            repeat,
        ),
        timed(
            "best plane of 51",
            lambda: best_plane(codes, center, size, 16.0),
            ("scipy vectorised", scipy_search),
            "100x",
            repeat,
        ),
    ]


def sample_rows(data: Path, repeat: int) -> list[Row]:
    """Whole rows of real pairs that touch, from volumes in memory."""
    with h5py.File(data / "fib25" / "fib25.h5") as file:
        image, labels = file["volumes/raw"][:], file["volumes/labels/automatic"][:]
    layers = Layers(from_array(image, (10.0,) * 3), from_array(labels, (10.0,) * 3))
    candidates = touching_pairs(labels, 20)
    style = ViewStyle(em_pixel_size_nm=5.0)
    render_candidate(candidates[0], layers, style)
    times = [
        seconds(lambda c=c: render_candidate(c, layers, style))  # type: ignore[misc]
        for _ in range(max(repeat // 5, 1))
        for c in candidates
    ]
    return [
        {
            "job": "whole FIB-25 row (read, mesh, 3 views, 4 slices; no encoding)",
            "ours_ms": 1e3 * statistics.median(times),
            "peer": None,
            "peer_ms": None,
            "ratio": None,
            "goal": "40 ms",
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
    ]


def touching_pairs(labels: np.ndarray, count: int) -> list[Candidate]:
    first, second = labels[:, :, :-1], labels[:, :, 1:]
    met = np.argwhere((first != second) & (first > 0) & (second > 0))
    rng = np.random.default_rng(0)
    found = []
    for z, y, x in rng.permutation(met)[:count].tolist():
        ids = (int(first[z, y, x]), int(second[z, y, x]))
        at = (10 * z + 5.0, 10 * y + 5.0, 10 * x + 5.0)
        found.append(
            Candidate(
                "merge_edit",
                "fib25",
                "v1",
                "one",
                "fly",
                "bench",
                "",
                at,
                ids,
                (),
                False,
                at,
                500.0,
                1,
            )
        )
    return found


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
