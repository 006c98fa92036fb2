"""From what a voxel is to what it looks like: grey values of membranes, organelles and sections.

Numbers are nm and grey values 0-255. Membranes are about 7 nm thick with 4-20 nm of extracellular
space between two of them; vesicles 40 nm wide; a postsynaptic density 30-40 nm deep.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from segmend.synthetic.edges import BIG, Edges
from segmend.synthetic.marks import (
    FAINT,
    GLIA,
    HAZE,
    MITOCHONDRION,
    SMUDGE,
    SYNAPSE,
    VESICLE,
    Marks,
    distance_to_mark,
)
from segmend.synthetic.nearest import Owner, Point
from segmend.synthetic.noise import lattice_hash, unit, value_noise

CLEFT_HALF = 12.0
"""Half width of the layer labelled as synaptic cleft, nm."""

MITO_WALL = 15.0
"""Thickness of the double membrane of a mitochondrion, nm."""

NUCLEUS = 0.62
"""Radius of a nucleus as a share of its soma's."""

BACKGROUND, NEURON, CLEFT, MITO, MITO_BOUNDARY = range(5)
"""The common vocabulary of classes."""

_MEMBRANE, _PLASM, _SPACE = 62.0, 166.0, 128.0


class Scene(NamedTuple):
    """What lies at a voxel, and what changes how it looks.

    ``mito``, ``cleft``: instance numbers, 0 for none; ``wall``: distance below the organelle's
    surface; ``density``: how dark a synapse makes it; ``vesicle``: how dark a vesicle makes it;
    ``faint``, ``haze``: share of the membrane's, of all contrast lost; ``smudge``: darkening.
    """

    mito: int
    wall: float
    cleft: int
    density: float
    vesicle: float
    faint: float
    haze: float
    smudge: float


@njit(cache=True, nogil=True)
def wrap_in_glia(
    owner: Owner, marks: Marks, rows: NDArray[np.int64], point: Point, seed: np.uint64
) -> Owner:
    """Widen a membrane into a glial sheet where one reaches it."""
    thickness, mark = 0.0, -1
    for n in range(len(rows)):
        m = rows[n]
        if marks.kind[m] != GLIA or owner.depth > marks.strength[m]:
            continue
        share = distance_to_mark(marks, m, point) / marks.reach[m]
        z, y, x = point
        patchy = 0.5 + 0.7 * value_noise(seed, z / 210.0, y / 210.0, x / 210.0)
        sheet = marks.strength[m] * (1.0 - share * share) * patchy
        if sheet > max(thickness, 5.0):
            thickness, mark = sheet, m
    if mark < 0:
        return owner
    neuron, fragment, other = owner.neuron, owner.fragment, owner.other
    glia, depth = marks.u[mark], owner.depth - thickness
    if neuron == glia:
        depth = owner.depth + thickness
    elif depth >= 0.0:
        other = glia
    else:
        neuron, fragment, other, depth = glia, marks.v[mark], neuron, -depth
    return Owner(neuron, fragment, other, depth, owner.edge, owner.inside, owner.tilt)


@njit(cache=True, nogil=True)
def look_around(owner: Owner, marks: Marks, rows: NDArray[np.int64], point: Point) -> Scene:
    """Gather the marks that touch a voxel."""
    mito, cleft, wall = 0, 0, 0.0
    density = vesicle = faint = haze = smudge = 0.0
    for n in range(len(rows)):
        m = rows[n]
        distance = distance_to_mark(marks, m, point)
        if distance > marks.reach[m]:
            continue
        kind, u, v = marks.kind[m], marks.u[m], marks.v[m]
        share = distance / marks.reach[m]
        weight = (1.0 - share * share) ** 2
        if kind == HAZE:
            haze = max(haze, marks.strength[m] * weight)
        elif kind == SMUDGE and owner.neuron == u:
            smudge = max(smudge, marks.strength[m] * weight)
        elif kind == MITOCHONDRION and owner.neuron == u and owner.depth > 16.0:
            inward = marks.size[m] - distance
            if inward > wall:
                mito, wall = marks.item[m], inward
        elif kind == VESICLE and owner.neuron == u and owner.depth > 20.0:
            ring = (distance - 16.0) / 6.5
            vesicle = max(vesicle, np.exp(-ring * ring))
        elif (owner.neuron == u and owner.other == v) or (owner.neuron == v and owner.other == u):
            if kind == FAINT:
                faint = max(faint, marks.strength[m] * min(1.0, 2.0 * weight))
            elif kind == SYNAPSE:
                if owner.depth < CLEFT_HALF and distance < marks.size[m]:
                    cleft = marks.item[m]
                edge = min(1.0, 2.5 * weight)
                if owner.neuron == v:
                    deep = max(0.0, owner.depth - 14.0) / 24.0
                    density = edge * np.exp(-deep * deep)
                else:
                    density = 0.4 * edge * np.exp(-owner.depth / 14.0)
    if cleft > 0:
        mito = 0
    return Scene(mito, wall, cleft, density, vesicle, faint, haze, smudge)


@njit(cache=True, nogil=True)
def space_half(seed: np.uint64, point: Point) -> float:
    """Half width of the extracellular space, nm: tight in most places, wider in some."""
    z, y, x = point
    return 2.5 + 7.0 * max(0.0, value_noise(seed, z / 170.0, y / 170.0, x / 170.0)) ** 1.5


@njit(cache=True, nogil=True)
def _tubules(edges: Edges, e: int, point: Point, seed: np.uint64) -> float:
    """Microtubules: dots across a neurite, lines along it, in the frame its path carries."""
    z, y, x = point
    z, y, x = z - edges.start[e, 0], y - edges.start[e, 1], x - edges.start[e, 2]
    a = z * edges.side[e, 0] + y * edges.side[e, 1] + x * edges.side[e, 2]
    b = z * edges.up[e, 0] + y * edges.up[e, 1] + x * edges.up[e, 2]
    i, j = int(np.floor(a / 58.0)), int(np.floor(b / 58.0))
    h = lattice_hash(seed, i, j, edges.path[e])
    if h & np.uint64(3) != np.uint64(0):
        h2 = lattice_hash(h, j, i, 1)
        u, v = a / 58.0 - i - 0.25 - 0.5 * unit(h), b / 58.0 - j - 0.25 - 0.5 * unit(h2)
        r = 58.0 * np.sqrt(u * u + v * v) / 11.0
        return np.exp(-r * r)
    return 0.0


@njit(cache=True, nogil=True)
def _plasm(owner: Owner, edges: Edges, point: Point, seed: np.uint64) -> float:
    """Grey value of cytoplasm, or of the nucleus inside a soma, around a mean of 0."""
    z, y, x = point
    fine = value_noise(seed, z / 24.0, y / 24.0, x / 24.0)
    coarse = value_noise(seed, z / 66.0 + 0.3, y / 66.0, x / 66.0)
    e = owner.edge
    if edges.inverse[e] == 0.0 and edges.radius[e] > BIG:
        below = edges.radius[e] * NUCLEUS - (owner.inside + edges.radius[e])
        if below > 0.0:
            clump = max(0.0, value_noise(seed, z / 190.0, y / 190.0, x / 190.0) - 0.15)
            return 12.0 + 7.0 * fine - 75.0 * clump - 70.0 * np.exp(-(((below - 14.0) / 9.0) ** 2))
        return 14.0 * fine + 12.0 * coarse - 60.0 * np.exp(-(((below + 10.0) / 9.0) ** 2))
    return 9.0 * fine + 8.0 * coarse - 30.0 * _tubules(edges, e, point, seed)


@njit(cache=True, nogil=True)
def _mitochondrion(
    scene: Scene, owner: Owner, edges: Edges, point: Point, seed: np.uint64
) -> float:
    """Grey value of a mitochondrion: outer membrane, pale gap, dark matrix with cristae."""
    if scene.wall < 7.0:
        return 72.0
    if scene.wall < MITO_WALL:
        return 112.0
    z, y, x = point
    e = owner.edge
    along = z * edges.heading[e, 0] + y * edges.heading[e, 1] + x * edges.heading[e, 2]
    bend = value_noise(seed, z / 80.0, y / 80.0, x / 80.0)
    cristae = np.sin(along / 9.0 + 3.0 * bend)
    return 96.0 + 14.0 * cristae * cristae * cristae + 6.0 * bend


@njit(cache=True, nogil=True)
def shade(
    owner: Owner,
    scene: Scene,
    edges: Edges,
    point: Point,
    seed: np.uint64,
    tone: float,
    blur: float,
    thickness: float,
    gap: float,
) -> float:
    """Grey value of a voxel before its section's staining and noise.

    Args:
        owner: What holds it.
        scene: What lies there.
        edges: Edge table that ``owner.edge`` refers to.
        point: Layout position, nm.
        seed: Key of the textures.
        tone: Brightness of its cytoplasm relative to others'.
        blur: Extra width of every membrane, nm.
        thickness: Thickness of the section, nm: membranes cut at a slant look wide and pale.
        gap: Half width of the extracellular space here, nm.
    """
    sharp = 1.0 if blur == 0.0 else 0.35
    value = _PLASM + tone + sharp * _plasm(owner, edges, point, seed)
    if scene.mito > 0:
        value = _mitochondrion(scene, owner, edges, point, seed)
    value -= sharp * 48.0 * scene.vesicle + 42.0 * scene.smudge
    slant = 0.3 * thickness * abs(owner.tilt)
    width = np.sqrt(6.5 * 6.5 + slant * slant + blur * blur)
    beside = (owner.depth - gap - 4.0) / width
    dark = np.exp(-beside * beside) * (6.5 / width) ** 0.5
    if owner.depth < gap + 4.0:
        between = 1.0 - 0.5 * (gap - 2.5) / 7.0 * (1.0 - owner.depth / (gap + 4.0))
        dark = max(dark, between * (6.5 / width) ** 0.5)
    dark *= 1.0 - scene.faint
    value += (_MEMBRANE - value) * min(1.0, dark)
    value += (38.0 - value) * min(1.0, 0.85 * scene.density)
    return _SPACE + (value - _SPACE) * (1.0 - scene.haze)
