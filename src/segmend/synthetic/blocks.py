"""The voxels of any box of a volume, computed from the blueprint alone.

Work is done in cells of about 80 nm on a lattice fixed to the volume: every cell lists the edges
and marks that matter in it, then its voxels look only at those. A voxel's value depends on its cell
and never on the box that was asked for, so that boxes fit together byte for byte.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from segmend.core.box import Triple, VoxelBox
from segmend.core.errors import OutOfBoundsError
from segmend.synthetic.blueprint import Blueprint
from segmend.synthetic.edges import Edges
from segmend.synthetic.marks import Marks
from segmend.synthetic.nearest import REACH, Lists, edge_lists, find_owner, mark_lists
from segmend.synthetic.noise import grain
from segmend.synthetic.paint import (
    Scene,
    class_of,
    look_around,
    shade,
    space_half,
    wrap_in_glia,
)
from segmend.synthetic.warp import BLURRED, LARGEST_SHIFT, MISSING, Sections, bend, hash_seed

CELL_NM = 80.0
"""Width of a cell, nm, rounded to whole voxels."""

WORK_VOXELS = 2**18
"""Voxels worked on at a time, so that memory does not grow with the box."""

STRETCH = 1.3
"""How much the warp can widen a cell."""


@dataclass(frozen=True, slots=True)
class Layers:
    """Voxels of a box, arrays ``(z, y, x)``.

    Attributes:
        em: uint8.
        neurons: uint64, dense.
        automatic: uint64, dense.
        mitochondria: uint64 instances, 0 where none.
        clefts: uint64 instances, 0 where none.
        classes: uint8, common vocabulary.
        fragments: int32 numbers of the pieces that automatic segments and neurons share.
    """

    em: NDArray[np.uint8]
    neurons: NDArray[np.uint64]
    automatic: NDArray[np.uint64]
    mitochondria: NDArray[np.uint64]
    clefts: NDArray[np.uint64]
    classes: NDArray[np.uint8]
    fragments: NDArray[np.int32]


class Canvas(NamedTuple):
    """Arrays to fill for one block; instance numbers, not ids yet."""

    em: NDArray[np.uint8]
    neuron: NDArray[np.int32]
    fragment: NDArray[np.int32]
    mito: NDArray[np.int32]
    cleft: NDArray[np.int32]
    classes: NDArray[np.uint8]


def _blank(shape: Triple) -> Canvas:
    em, classes = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    neuron, fragment, mito, cleft = (np.zeros(shape, np.int32) for _ in range(4))
    return Canvas(em, neuron, fragment, mito, cleft, classes)


class Frame(NamedTuple):
    """Where a block lies and what its looks depend on."""

    first: NDArray[np.int64]
    cell: NDArray[np.int64]
    cells: NDArray[np.int64]
    voxel: NDArray[np.float64]
    seed: np.uint64
    look: np.uint64
    tone: NDArray[np.float64]
    glia: NDArray[np.bool_]


def cell_shape(blueprint: Blueprint) -> Triple:
    """Voxels of a cell per axis."""
    z, y, x = (max(1, round(CELL_NM / size)) for size in blueprint.spec.voxel_size)
    return (z, y, x)


def split_box(blueprint: Blueprint, box: VoxelBox) -> Iterator[VoxelBox]:
    """Cut a box into parts on the lattice of cells, small enough to work on one at a time."""
    cell = cell_shape(blueprint)
    side = max(1, round((WORK_VOXELS / (cell[0] * cell[1] * cell[2])) ** (1 / 3)))
    ranges = []
    for a, b, n in zip(box.start, box.stop, cell, strict=True):
        edges = [a, *range((a // (n * side) + 1) * n * side, b, n * side), b]
        ranges.append(list(itertools.pairwise(edges)))
    for (a, d), (b, e), (c, f) in itertools.product(*ranges):
        yield VoxelBox((a, b, c), (d, e, f))


def render_box(blueprint: Blueprint, box: VoxelBox) -> Layers:
    """The voxels of a box.

    Args:
        blueprint: Of the whole volume.
        box: Voxels of the volume's grid, at least one.

    Raises:
        OutOfBoundsError: if the box is empty or reaches outside the volume.
    """
    whole = blueprint.spec.grid.voxels
    if box.size == 0 or not whole.contains(box):
        raise OutOfBoundsError(
            f"voxels {box.start} to {box.stop} (z, y, x) are not a box of this synthetic volume",
            found=f"it has shape {whole.shape}",
            fix="Ask for at least one voxel, inside it",
        )
    canvas = _blank(box.shape)
    for part in split_box(blueprint, box):
        where = part.shift(tuple(-v for v in box.start)).slices
        drawn, crop = _render_part(blueprint, part)
        for name in Canvas._fields:
            getattr(canvas, name)[where] = getattr(drawn, name)[crop]
    table = blueprint.ids
    return Layers(
        em=canvas.em,
        neurons=table.neurons[canvas.neuron],
        automatic=table.automatic[canvas.fragment],
        mitochondria=canvas.mito.astype(np.uint64),
        clefts=canvas.cleft.astype(np.uint64),
        classes=canvas.classes,
        fragments=canvas.fragment,
    )


def _render_part(blueprint: Blueprint, box: VoxelBox) -> tuple[Canvas, tuple[slice, ...]]:
    """Numbers of the whole cells that a box touches, and where in them the box lies."""
    cell = np.array(cell_shape(blueprint), np.int64)
    first = np.array(box.start) // cell
    cells = -(-np.array(box.stop) // cell) - first
    voxel = np.array(blueprint.spec.voxel_size)
    low, high = first * cell * voxel, (first + cells) * cell * voxel
    edges = blueprint.grid.near(low - LARGEST_SHIFT, high + LARGEST_SHIFT, REACH)
    marks = blueprint.marks.near(low - 2 * LARGEST_SHIFT, high + 2 * LARGEST_SHIFT)
    frame = Frame(
        first * cell,
        cell,
        cells,
        voxel,
        hash_seed(blueprint.spec, "warp"),
        hash_seed(blueprint.spec, "look"),
        blueprint.tone,
        blueprint.glia,
    )
    depth, height, width = (int(n) for n in cells * cell)
    canvas = _blank((depth, height, width))
    centres = _cell_centres(frame)
    half = 0.5 * float(np.linalg.norm(cell * voxel)) * STRETCH
    lists = edge_lists(edges.capsule, centres, half), mark_lists(marks.shape, centres, half)
    _paint(frame, edges, marks, centres, lists, blueprint.sections, canvas)
    return canvas, box.shift(tuple(int(-v) for v in frame.first)).slices


@njit(cache=True, nogil=True)
def _cell_centres(frame: Frame) -> NDArray[np.float64]:
    """Layout positions of the centres of the cells; a section's jitter is left to `STRETCH`."""
    cells, count = frame.cells, 0
    centres = np.empty((cells[0] * cells[1] * cells[2], 3))
    for i in range(cells[0]):
        for j in range(cells[1]):
            for k in range(cells[2]):
                z = (frame.first[0] + (i + 0.5) * frame.cell[0]) * frame.voxel[0]
                y = (frame.first[1] + (j + 0.5) * frame.cell[1]) * frame.voxel[1]
                x = (frame.first[2] + (k + 0.5) * frame.cell[2]) * frame.voxel[2]
                centres[count] = bend(frame.seed, z, y, x)
                count += 1
    return centres


@njit(cache=True, nogil=True)
def _paint(
    frame: Frame,
    edges: Edges,
    marks: Marks,
    centres: NDArray[np.float64],
    lists: tuple[Lists, Lists],
    sections: Sections,
    canvas: Canvas,
) -> None:
    """Fill the canvas cell by cell."""
    (edge_start, edge_rows, near), (mark_start, mark_rows, _) = lists
    scratch = np.empty(len(edges.path) + 1)
    cells, size = frame.cells, frame.cell
    for n in range(len(centres)):
        i, rest = divmod(n, cells[1] * cells[2])
        j, k = divmod(rest, cells[2])
        here = slice(edge_start[n], edge_start[n + 1])
        local = mark_rows[mark_start[n] : mark_start[n + 1]]
        corner = (i * size[0], j * size[1], k * size[2])
        _paint_cell(
            frame,
            edges,
            marks,
            centres[n],
            edge_rows[here],
            near[here],
            local,
            scratch,
            sections,
            canvas,
            corner,
        )


@njit(cache=True, nogil=True)
def _paint_cell(
    frame: Frame,
    edges: Edges,
    marks: Marks,
    centre: NDArray[np.float64],
    rows: NDArray[np.int64],
    near: NDArray[np.float64],
    local: NDArray[np.int64],
    scratch: NDArray[np.float64],
    sections: Sections,
    canvas: Canvas,
    corner: Triple,
) -> None:
    """Fill the voxels of one cell.

    Columns of the tables are named once up here: numba counts a reference each time one is taken
    out of its table, which would cost more than the work on a voxel.
    """
    capsule, neuron, piece, pose, path = edges
    shape, role = marks
    em, neurons, fragments, mito, cleft, classes = canvas
    kind, jitter, gain, offset = sections
    first, size, _, voxel, seed, look, tone, glia = frame
    nothing = Scene(0, 0.0, 0, 0.0, 0.0, 0.0, 0.0, 0.0)
    for z in range(corner[0], corner[0] + size[0]):
        a = first[0] + z
        if a >= len(kind):
            return
        for y in range(corner[1], corner[1] + size[1]):
            b = first[1] + y
            for x in range(corner[2], corner[2] + size[2]):
                c = first[2] + x
                point = bend(
                    seed,
                    (a + 0.5) * voxel[0],
                    (b + 0.5) * voxel[1] + jitter[a, 0],
                    (c + 0.5) * voxel[2] + jitter[a, 1],
                )
                u, v, w = point[0] - centre[0], point[1] - centre[1], point[2] - centre[2]
                off = np.sqrt(u * u + v * v + w * w)
                owner = find_owner(capsule, neuron, piece, rows, near, off, point, seed, scratch)
                scene = nothing
                if len(local) > 0:
                    owner = wrap_in_glia(owner, shape, role, local, point, look)
                    scene = look_around(owner, shape, role, local, point)
                gap = space_half(look, point)
                neurons[z, y, x], fragments[z, y, x] = owner.neuron, owner.fragment
                mito[z, y, x], cleft[z, y, x] = scene.mito, scene.cleft
                hidden = owner.depth < gap or glia[owner.neuron]
                classes[z, y, x] = class_of(scene, hidden)
                if kind[a] == MISSING:
                    em[z, y, x] = 0
                    continue
                blur = 13.0 if kind[a] == BLURRED else 0.0
                value = shade(
                    owner,
                    scene,
                    capsule,
                    pose,
                    path,
                    point,
                    look,
                    tone[owner.neuron],
                    blur,
                    voxel[0],
                    gap,
                )
                value = 128.0 + (value - 128.0) * gain[a] + offset[a]
                value += 6.0 * (grain(look, a, b, c) + grain(look, a, b, c + 1))
                em[z, y, x] = np.uint8(min(255.0, max(0.0, value)))
