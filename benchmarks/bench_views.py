"""Views of one site beside their peers, in one process and one thread.

    python benchmarks/bench_views.py [--json] [--data FOLDER] [--repeat N]

Meshes are timed against VTK's flying edges and zmesh, geometry against VTK's offscreen renderer and
Embree (the extra `bench`), slices and the search for the best plane against scipy. Times are
medians; jobs and peers run alternately, so that other load on the machine falls on all. The
published pipeline is no package: reference 3c quotes its figures. For one core run it under
``taskset -c 1``; for the gain of a second thread without.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from scipy.ndimage import map_coordinates
from view_rows import fly_rows, mouse_rows

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
from segmend.render.slices import EmSite, ImageBlock, cut_plane
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
        f"{'job':62} {'ours ms':>8} {'peer':>22} {'peer ms':>8} {'ratio':>7} {'goal':>8}  peak MB"
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
    job: str, ours: Job, peers: dict[str, Job], *, goal: str, repeat: int
) -> list[dict[str, Any]]:
    """One row per peer; without peers one row of our own time."""
    mine: list[float] = []
    theirs: dict[str, list[float]] = {name: [] for name in peers}
    for turn in range(repeat + 1):
        took = seconds(ours)
        others = {name: seconds(peer) for name, peer in peers.items()}
        # The first turn compiles and fills caches.
        if turn:
            mine.append(took)
            for name, took in others.items():
                theirs[name].append(took)
    ours_ms = 1e3 * statistics.median(mine)
    rows = [(name, 1e3 * statistics.median(times)) for name, times in theirs.items()]
    return [row_of(job, ours_ms, name, ms, goal) for name, ms in rows or [(None, None)]]


def row_of(job: str, ours_ms: float, peer: str | None, peer_ms: float | None, goal: str) -> Row:
    return {
        "job": job,
        "ours_ms": ours_ms,
        "peer": peer,
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

    def with_zmesh() -> object:
        mesher = zmesh.Mesher(grid.voxel_size)
        mesher.mesh(mask)
        return mesher.get(1, normals=True)

    peers: dict[str, Job] = {"zmesh": with_zmesh}
    if importlib.util.find_spec("vtk"):
        from vtk_views import flying_edges

        peers = {"VTK flying edges": flying_edges(mask, grid.voxel_size), **peers}
    faces = len(mesh_from_mask(mask, grid).faces)
    name = f"mesh one label in 256^3, with normals ({faces // 1000}k triangles)"
    few = max(repeat // 3, 3)
    return timed(name, lambda: mesh_from_mask(mask, grid), peers, goal="faster", repeat=few)


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

        peers: dict[str, Job] = {}
        if importlib.util.find_spec("vtk"):
            from vtk_views import VtkViews

            peers["VTK offscreen"] = VtkViews(meshes, center, extent).render
        if importlib.util.find_spec("embreex"):
            from views_oracle import Scene, embree

            scene = Scene("", meshes, center, extent)
            peers["trimesh + Embree"] = lambda scene=scene: embree(scene)  # type: ignore[misc]
        name = f"geometry (3,7,224,224) of a pair, {count // 1000}k triangles"
        few = max(repeat // 3, 3) if triangles > 100_000 else repeat
        rows += timed(name, ours, peers, goal="8x VTK", repeat=few)
        rows.append(thread_row(ours, repeat))
    return rows


def thread_row(job: Job, repeat: int) -> Row:
    """The same job from one and from two threads, alternately: time of one drawing."""
    share: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(max(repeat // 3, 3)):
        for threads, times in share.items():
            with ThreadPoolExecutor(threads) as pool:
                times.append(
                    seconds(lambda pool=pool: list(pool.map(lambda _: job(), range(8)))) / 8
                )  # type: ignore[misc]
    one, two = (1e3 * statistics.median(share[n]) for n in (1, 2))
    cores = len(os.sched_getaffinity(0))
    return row_of(f"  from two threads, {cores} core(s)", two, "ours, one thread", one, "1.8x")


def slice_rows(labels: np.ndarray, grid: VoxelGrid, repeat: int) -> list[Row]:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, labels.shape).astype(np.uint8)
    codes = (labels == largest(labels, 0)) + np.uint8(2) * (labels == largest(labels, 1))
    volume = from_array(image, grid.voxel_size)
    sides = SideBlock(codes.astype(np.uint8), grid.voxels, grid)
    site = EmSite(volume, sides, grid.box.center, 16.0)
    axes = plane_axes(search_normals()[5])
    block = ImageBlock.of(volume.read_voxels(grid.voxels), (0, 0, 0))
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
        *timed(
            "oblique plane and 2 masks, slab of 3",
            lambda: cut_plane(site, axes, block),
            {"scipy map_coordinates": scipy_plane},
            goal="15x",
            repeat=repeat,
        ),
        *timed(
            "best plane of 51",
            lambda: best_plane(codes, center, size, 16.0),
            {"scipy vectorised": scipy_search},
            goal="100x",
            repeat=repeat,
        ),
    ]


def sample_rows(data: Path, repeat: int) -> list[Row]:
    """Whole rows of real pairs that touch, from volumes in memory, and their steps."""
    rows = []
    for name, times in (fly_rows(data, 2 * repeat), mouse_rows(data, repeat)):
        whole = f"whole row, {name}: {1e3 / times['whole row']:.0f}/s"
        rows.append(row_of(whole, times["whole row"], None, None, "25/s"))
        rows += [row_of(f"  {k}", v, None, None, "") for k, v in times.items() if k != "whole row"]
    return rows


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
