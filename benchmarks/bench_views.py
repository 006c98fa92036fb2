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
import os
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
from scipy.ndimage import map_coordinates
from table import Line, show, timed
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print rows as JSON")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of real volumes")
    parser.add_argument("--repeat", type=int, default=15)
    asked = parser.parse_args()
    show(every_job(asked.data, asked.repeat), as_json=asked.json)


def every_job(data: Path, repeat: int) -> Iterator[Line]:
    labels, grid = mouse_labels(data)
    yield from mesh_rows(labels, grid, repeat)
    yield from geometry_rows(labels, grid, repeat)
    yield from slice_rows(labels, grid, repeat)
    yield from sample_rows(data, repeat)


def mouse_labels(data: Path) -> tuple[np.ndarray, VoxelGrid]:
    with h5py.File(data / "mouse512" / "mouse512.h5") as file:
        labels = file["labels"][128:384, 128:384, 128:384]
        size = tuple(float(v) for v in file["labels"].attrs["resolution"])
    return labels, VoxelGrid(size, (0, 0, 0), labels.shape)


def beside(
    job: str, ours: Job, peers: dict[str, Job], *, goals: dict[str, float], repeat: int
) -> list[Line]:
    """One line per peer; goals by the peer's name."""
    mine, *theirs = timed(repeat, ours, *peers.values())
    return [
        Line(job, mine, name, ms, goals.get(name)) for name, ms in zip(peers, theirs, strict=True)
    ]


def largest(labels: np.ndarray, rank: int) -> int:
    ids, counts = np.unique(labels[labels > 0], return_counts=True)
    return int(ids[np.argsort(-counts)[rank]])


def mesh_rows(labels: np.ndarray, grid: VoxelGrid, repeat: int) -> list[Line]:
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
    goals = {"VTK flying edges": 1.0}
    return beside(name, lambda: mesh_from_mask(mask, grid), peers, goals=goals, repeat=few)


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


def geometry_rows(labels: np.ndarray, grid: VoxelGrid, repeat: int) -> list[Line]:
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
        rows += beside(name, ours, peers, goals={"VTK offscreen": 8.0}, repeat=few)
        rows.append(thread_row(ours, repeat))
    return rows


def thread_row(job: Job, repeat: int) -> Line:
    """The same job from one and from two threads, alternately: time of one drawing."""
    share: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(max(repeat // 3, 3)):
        for threads, times in share.items():
            with ThreadPoolExecutor(threads) as pool:
                start = time.perf_counter()
                list(pool.map(lambda _: job(), range(8)))
                times.append(1e3 * (time.perf_counter() - start) / 8)
    one, two = (statistics.median(share[n]) for n in (1, 2))
    cores = len(os.sched_getaffinity(0))
    return Line(f"  from two threads, {cores} core(s)", two, "ours, one thread", one, 1.8)


def slice_rows(labels: np.ndarray, grid: VoxelGrid, repeat: int) -> list[Line]:
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
        *beside(
            "oblique plane and 2 masks, slab of 3",
            lambda: cut_plane(site, axes, block),
            {"scipy map_coordinates": scipy_plane},
            goals={"scipy map_coordinates": 15.0},
            repeat=repeat,
        ),
        *beside(
            "best plane of 51",
            lambda: best_plane(codes, center, size, 16.0),
            {"scipy vectorised": scipy_search},
            goals={"scipy vectorised": 100.0},
            repeat=repeat,
        ),
    ]


def sample_rows(data: Path, repeat: int) -> list[Line]:
    """Whole rows of real pairs that touch, from volumes in memory, and their steps."""
    lines = []
    for rows in (fly_rows(data, 2 * repeat), mouse_rows(data, repeat)):
        whole = rows.steps.pop("whole row")
        note = f"{1e3 / whole:.0f}/s; goal 25/s; memory of a worker, goal 1536 MB"
        lines.append(Line(f"whole row, {rows.name}", whole, peak_mb=rows.peak_mb, note=note))
        lines += [Line(f"  {step}", ms) for step, ms in rows.steps.items()]
    return lines


if __name__ == "__main__":
    main()
