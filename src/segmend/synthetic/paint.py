"""From what a voxel is to what it looks like: grey values of membranes, organelles and sections.

Numbers are nm and grey values 0-255. Membranes are about 7 nm thick with 4-20 nm of extracellular
space between two of them; vesicles 40 nm wide; a postsynaptic density 30-40 nm deep.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from segmend.synthetic.edges import BIG
from segmend.synthetic.marks import (
    FAINT,
    GLIA,
    HAZE,
    ITEM,
    KIND,
    MITOCHONDRION,
    REACH,
    SIZE,
    SMUDGE,
    STRENGTH,
    VESICLE,
    U,
    V,
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
    owner: Owner,
    shape: NDArray[np.float64],
    role: NDArray[np.int64],
    rows: NDArray[np.int64],
    point: Point,
    seed: np.uint64,
) -> Owner:
    """Widen a membrane into a glial sheet where one reaches it.

    Args:
        owner: What holds the point without glia.
        shape: Of the marks near the block.
        role: Of the same marks.
        rows: The marks that matter in the point's cell.
        point: Layout position, nm.
        seed: Key of the sheets' thickness.
    """
    z, y, x = point
    thickness, mark = 0.0, -1
    for n in range(len(rows)):
        m = rows[n]
        if role[m, KIND] != GLIA or owner.depth > 1.2 * shape[m, STRENGTH]:
            continue
        share = distance_to_mark(shape, m, z, y, x) / shape[m, REACH]
        if share < 1.0:
            patchy = 0.5 + 0.7 * value_noise(seed, z / 210.0, y / 210.0, x / 210.0)
            sheet = shape[m, STRENGTH] * (1.0 - share * share) * patchy
            if sheet > max(thickness, 5.0):
                thickness, mark = sheet, m
    if mark < 0:
        return owner
    neuron, fragment, other = owner.neuron, owner.fragment, owner.other
    glia, depth = role[mark, U], owner.depth - thickness
    if neuron == glia:
        depth = owner.depth + thickness
    elif depth >= 0.0:
        other = glia
    else:
        neuron, fragment, other, depth = glia, role[mark, V], neuron, -depth
    return Owner(neuron, fragment, other, depth, owner.edge, owner.inside, owner.tilt)


@njit(cache=True, nogil=True)
def look_around(
    owner: Owner,
    shape: NDArray[np.float64],
    role: NDArray[np.int64],
    rows: NDArray[np.int64],
    point: Point,
) -> Scene:
    """Gather the marks that touch a voxel; arguments as `wrap_in_glia`."""
    z, y, x = point
    mito, cleft, wall = 0, 0, 0.0
    density = vesicle = faint = haze = smudge = 0.0
    for n in range(len(rows)):
        m = rows[n]
        kind, u, v = role[m, KIND], role[m, U], role[m, V]
        if kind == GLIA or (kind != HAZE and owner.neuron != u and owner.neuron != v):
            continue
        distance, reach = distance_to_mark(shape, m, z, y, x), shape[m, REACH]
        if distance > reach:
            continue
        weight = (1.0 - (distance / reach) ** 2) ** 2
        if kind == HAZE:
            haze = max(haze, shape[m, STRENGTH] * weight)
        elif kind == SMUDGE:
            smudge = max(smudge, shape[m, STRENGTH] * weight)
        elif kind == MITOCHONDRION:
            if owner.depth > 16.0 and shape[m, SIZE] - distance > wall:
                mito, wall = int(role[m, ITEM]), shape[m, SIZE] - distance
        elif kind == VESICLE:
            if owner.depth > 20.0:
                ring = (distance - shape[m, SIZE]) / 6.5
                vesicle = max(vesicle, np.exp(-ring * ring))
        elif owner.other == u or owner.other == v:
            if kind == FAINT:
                faint = max(faint, shape[m, STRENGTH] * min(1.0, 2.0 * weight))
            else:
                if owner.depth < shape[m, STRENGTH] and distance < shape[m, SIZE]:
                    cleft = int(role[m, ITEM])
                density = max(density, min(1.0, 2.5 * weight) * _density(owner, v))
    if cleft > 0:
        mito = 0
    return Scene(mito, wall, cleft, density, vesicle, faint, haze, smudge)


@njit(cache=True, nogil=True)
def _density(owner: Owner, post: int) -> float:
    """How dark a synapse makes its sides: deep behind the cleft, a thin line before it."""
    if owner.neuron == post:
        deep = max(0.0, owner.depth - 14.0) / 24.0
        return np.exp(-deep * deep)
    return 0.4 * np.exp(-owner.depth / 14.0)


@njit(cache=True, nogil=True)
def class_of(scene: Scene, hidden: bool) -> int:
    """Class of a voxel in the common vocabulary; ``hidden``: glia or extracellular space."""
    if scene.cleft > 0:
        return CLEFT
    if scene.mito > 0:
        return MITO_BOUNDARY if scene.wall < MITO_WALL else MITO
    return BACKGROUND if hidden else NEURON


@njit(cache=True, nogil=True)
def space_half(seed: np.uint64, point: Point) -> float:
    """Half width of the extracellular space, nm: tight in most places, wider in some."""
    z, y, x = point
    wide = max(0.0, value_noise(seed, z / 170.0, y / 170.0, x / 170.0))
    return 2.5 + 7.0 * wide * np.sqrt(wide)


@njit(cache=True, nogil=True)
def _tubules(
    place: NDArray[np.float64], pose: NDArray[np.float64], path: int, point: Point, seed: np.uint64
) -> float:
    """Microtubules: dots across a neurite, lines along it, in the frame its path carries."""
    z, y, x = point
    z, y, x = z - place[0], y - place[1], x - place[2]
    a = z * pose[3] + y * pose[4] + x * pose[5]
    b = z * pose[6] + y * pose[7] + x * pose[8]
    i, j = int(np.floor(a / 58.0)), int(np.floor(b / 58.0))
    h = lattice_hash(seed, i, j, path)
    if h & np.uint64(3) != np.uint64(0):
        h2 = lattice_hash(h, j, i, 1)
        u, v = a / 58.0 - i - 0.25 - 0.5 * unit(h), b / 58.0 - j - 0.25 - 0.5 * unit(h2)
        r = 58.0 * np.sqrt(u * u + v * v) / 11.0
        return np.exp(-r * r)
    return 0.0


@njit(cache=True, nogil=True)
def _plasm(
    owner: Owner,
    capsule: NDArray[np.float64],
    pose: NDArray[np.float64],
    path: NDArray[np.int64],
    point: Point,
    seed: np.uint64,
) -> float:
    """Grey value of cytoplasm, or of the nucleus inside a soma, around a mean of 0."""
    z, y, x = point
    fine = value_noise(seed, z / 24.0, y / 24.0, x / 24.0)
    coarse = value_noise(seed, z / 66.0 + 0.3, y / 66.0, x / 66.0)
    e = owner.edge
    radius = capsule[e, 7]
    if capsule[e, 6] == 0.0 and radius > BIG:
        below = radius * NUCLEUS - (owner.inside + radius)
        if below > 0.0:
            clump = max(0.0, value_noise(seed, z / 190.0, y / 190.0, x / 190.0) - 0.15)
            return 12.0 + 7.0 * fine - 75.0 * clump - 70.0 * np.exp(-(((below - 14.0) / 9.0) ** 2))
        return 14.0 * fine + 12.0 * coarse - 60.0 * np.exp(-(((below + 10.0) / 9.0) ** 2))
    return 9.0 * fine + 8.0 * coarse - 30.0 * _tubules(capsule[e], pose[e], path[e], point, seed)


@njit(cache=True, nogil=True)
def _mitochondrion(wall: float, pose: NDArray[np.float64], point: Point, seed: np.uint64) -> float:
    """Grey value of a mitochondrion: outer membrane, pale gap, dark matrix with cristae."""
    z, y, x = point
    along = z * pose[0] + y * pose[1] + x * pose[2]
    bend = value_noise(seed, z / 80.0, y / 80.0, x / 80.0)
    cristae = np.sin(along / 9.0 + 3.0 * bend)
    matrix = 96.0 + 14.0 * cristae * cristae * cristae + 6.0 * bend
    outer, gap = np.exp(-(((wall - 2.0) / 4.5) ** 2)), np.exp(-(((wall - 11.0) / 4.5) ** 2))
    return matrix - 32.0 * outer + 14.0 * gap


@njit(cache=True, nogil=True)
def shade(
    owner: Owner,
    scene: Scene,
    capsule: NDArray[np.float64],
    pose: NDArray[np.float64],
    path: NDArray[np.int64],
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
        capsule: Of each edge.
        pose: Of each edge.
        path: Of each edge.
        point: Layout position, nm.
        seed: Key of the textures.
        tone: Brightness of its cytoplasm relative to others'.
        blur: Extra width of every membrane, nm.
        thickness: Thickness of the section, nm: membranes cut at a slant look wide and pale.
        gap: Half width of the extracellular space here, nm.
    """
    sharp = 1.0 if blur == 0.0 else 0.35
    value = _PLASM + tone + sharp * _plasm(owner, capsule, pose, path, point, seed)
    if scene.mito > 0:
        value = _mitochondrion(scene.wall, pose[owner.edge], point, seed)
    value -= sharp * 48.0 * scene.vesicle + 42.0 * scene.smudge
    slant = 0.3 * thickness * abs(owner.tilt)
    width = np.sqrt(6.5 * 6.5 + slant * slant + blur * blur)
    beside = (owner.depth - gap - 4.0) / width
    pale = np.sqrt(6.5 / width)
    dark = pale * np.exp(-beside * beside)
    if owner.depth < gap + 4.0:
        between = 1.0 - 0.5 * (gap - 2.5) / 7.0 * (1.0 - owner.depth / (gap + 4.0))
        dark = max(dark, between * pale)
    dark *= 1.0 - scene.faint
    value += (_MEMBRANE - value) * min(1.0, dark)
    value += (38.0 - value) * min(1.0, 0.85 * scene.density)
    return _SPACE + (value - _SPACE) * (1.0 - scene.haze)
