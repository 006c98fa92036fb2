"""Marks that follow from the arbors alone: mitochondria, glial sheets, haze."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segmend.core.random import keyed_generator
from segmend.synthetic.anatomy import Forest
from segmend.synthetic.growth import MARGIN, STEP
from segmend.synthetic.marks import GLIA, HAZE, MITOCHONDRION, Mark
from segmend.synthetic.paint import NUCLEUS
from segmend.synthetic.spec import TissueSpec

WIDE_ENOUGH = 95.0
"""Smallest radius of a neurite that holds a mitochondrion, nm."""

HAZE_PER_UM3 = 0.35
"""Spots of low contrast per cubic micrometre."""


def place(point: NDArray[np.float64]) -> tuple[float, float, float]:
    """A position as plain numbers."""
    return (float(point[0]), float(point[1]), float(point[2]))


def haze(spec: TissueSpec) -> list[Mark]:
    """Spots where staining or focus failed."""
    rng = keyed_generator("synthetic", spec.seed, "haze")
    count = rng.poisson(HAZE_PER_UM3 * spec.cubic_micrometres)
    return [
        Mark(
            HAZE,
            place(rng.uniform(0, spec.extent)),
            reach=float(rng.uniform(180, 380)),
            size=0.0,
            strength=float(rng.uniform(0.35, 0.75)),
        )
        for _ in range(count)
    ]


def glial_sheets(
    spec: TissueSpec, forest: Forest, neuron: NDArray[np.int64], fragment: NDArray[np.int64]
) -> list[Mark]:
    """Reaches of glia: around its processes it slips between the neurites as thin sheets."""
    rng = keyed_generator("synthetic", spec.seed, "glia")
    glial = np.array([kind == "glia" for kind in forest.kinds])[forest.arbor]
    return [
        Mark(
            GLIA,
            place(forest.nodes[n]),
            reach=float(rng.uniform(260, 420)),
            size=0.0,
            strength=float(rng.uniform(24, 42)),
            u=int(neuron[n]),
            v=int(fragment[n]),
        )
        for n in np.flatnonzero(glial)[::6]
    ]


def mitochondria(spec: TissueSpec, forest: Forest, neuron: NDArray[np.int64]) -> list[Mark]:
    """Mitochondria along the wider stretches of the paths, and around the nuclei of somata."""
    rng = keyed_generator("synthetic", spec.seed, "mitochondria")
    marks: list[Mark] = []
    extent, item, left, gap = np.array(spec.extent), 0, 0, 0.0
    width, shift = 0.0, np.zeros(3)
    for n in range(len(forest.nodes)):
        p = forest.parent[n]
        if p < 0:
            if forest.kinds[forest.arbor[n]] == "soma":
                item = _around_nucleus(rng, forest, n, int(neuron[n]), marks, item)
            continue
        narrow = min(forest.radius[n], forest.radius[p]) < WIDE_ENOUGH
        if narrow or forest.path[n] != forest.path[p] or neuron[n] != neuron[p]:
            left = 0
            continue
        gap -= STEP
        if left == 0:
            if gap > 0:
                continue
            item, left, gap = item + 1, int(rng.integers(4, 22)), float(rng.uniform(300, 1800))
            width = min(float(rng.uniform(0.42, 0.6)) * forest.radius[p], 130.0)
            shift = rng.normal(0, 0.12, 3) * forest.radius[p]
        left -= 1
        if np.all((forest.nodes[n] > -MARGIN / 2) & (forest.nodes[n] < extent + MARGIN / 2)):
            start = forest.nodes[p] + shift
            delta = place(forest.nodes[n] - forest.nodes[p])
            marks.append(
                Mark(
                    MITOCHONDRION,
                    place(start),
                    reach=width,
                    size=width,
                    u=int(neuron[n]),
                    item=item,
                    delta=delta,
                )
            )
    return marks


def _around_nucleus(
    rng: np.random.Generator, forest: Forest, n: int, neuron: int, marks: list[Mark], item: int
) -> int:
    radius = float(forest.radius[n])
    for _ in range(int(40 * (radius / 1000.0) ** 2)):
        out = rng.standard_normal(3)
        out /= np.linalg.norm(out)
        along = np.cross(out, rng.standard_normal(3))
        along *= rng.uniform(150, 450) / np.linalg.norm(along)
        # Half way between the envelope of the nucleus and the cell's membrane.
        centre = forest.nodes[n] + out * radius * (0.5 + 0.5 * NUCLEUS)
        width = min(float(rng.uniform(70, 120)), 0.4 * radius * (1 - NUCLEUS))
        item += 1
        marks.append(
            Mark(
                MITOCHONDRION,
                place(centre),
                reach=width,
                size=width,
                u=neuron,
                item=item,
                delta=place(along),
            )
        )
    return item
