"""The complete blueprint of a volume: what happens where neurites touch, checked in voxels."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from segmend.core.box import VoxelBox
from segmend.core.random import keyed_generator
from segmend.synthetic.blocks import Layers, render_box
from segmend.synthetic.blueprint import Blueprint, bare_blueprint, name
from segmend.synthetic.contacts import find_contacts
from segmend.synthetic.junctions import (
    DECOYS,
    Chosen,
    Junction,
    MergeTree,
    SynapseSite,
    faint_mark,
    junctions,
    merge_candidates,
    synapse_mark,
    synaptic_candidates,
    vesicle_marks,
)
from segmend.synthetic.marks import SMUDGE, Mark, mark_table
from segmend.synthetic.organelles import place
from segmend.synthetic.spec import TissueSpec
from segmend.synthetic.warp import to_volume

LOOK_NM = 80.0
"""Half width of the box in which a junction is checked, nm."""

LEAST_FACES = 20
"""Faces of voxels that two fragments must share near a false merge."""

LEAST_VOXELS = 12
"""Voxels that a synapse must have in its cleft and in each partner nearby."""

BESIDE_NM = 45.0
"""How far from the middle of a cleft its partners' points lie, about."""


@functools.lru_cache(maxsize=4)
def draw_blueprint(spec: TissueSpec) -> Blueprint:
    """The blueprint of a volume; a pure function of the spec."""
    bare, marks = bare_blueprint(spec)
    found = junctions(find_contacts(spec, bare.grid, bare.marks), bare.grid.edges)
    chosen = Chosen()
    synapses = _choose_synapses(bare, found, chosen)
    tree = MergeTree(bare.owner)
    merges, decoys = _choose_merges(bare, found, chosen, tree)
    segment = tree.segment()
    rng = keyed_generator("synthetic", spec.seed, "flaws")
    for number, synapse in enumerate(synapses):
        junction = synapse.junction
        marks += [synapse_mark(spec, junction, number + 1), *vesicle_marks(spec, junction)]
    marks += [faint_mark(junction, rng, 0.62, 0.97) for junction in merges]
    marks += [faint_mark(junction, rng, 0.35, 0.85) for junction in decoys]
    marks += _smudges(bare, rng)
    return dataclasses.replace(
        bare,
        marks=mark_table(marks),
        ids=name(spec, len(bare.kinds), segment),
        segment=segment,
        merges=tuple(merges),
        synapses=tuple(synapses),
    )


def look_at(blueprint: Blueprint, junction: Junction) -> tuple[Layers, VoxelBox] | None:
    """The voxels around a junction; None if they are not all inside the volume."""
    spec = blueprint.spec
    centre = to_volume(spec, blueprint.sections, junction.point[None])[0]
    middle = np.floor(centre / spec.voxel_size).astype(int)
    half = [max(2, round(LOOK_NM / size)) for size in spec.voxel_size]
    low = tuple(int(m - h) for m, h in zip(middle, half, strict=True))
    high = tuple(int(m + h + 1) for m, h in zip(middle, half, strict=True))
    box = VoxelBox((low[0], low[1], low[2]), (high[0], high[1], high[2]))
    if not spec.grid.voxels.contains(box):
        return None
    return render_box(blueprint, box), box


def _choose_synapses(bare: Blueprint, found: list[Junction], chosen: Chosen) -> list[SynapseSite]:
    """Synapses up to the rate aimed at, each with both partners beside the middle of its cleft."""
    wanted = round(bare.spec.synapses * bare.spec.cubic_micrometres)
    kept: list[SynapseSite] = []
    for junction in synaptic_candidates(found, bare.kinds):
        if len(kept) >= wanted:
            break
        site = _check_synapse(bare, junction) if chosen.free(junction) else None
        if site is not None:
            chosen.add(junction)
            kept.append(site)
    return kept


def _check_synapse(bare: Blueprint, junction: Junction) -> SynapseSite | None:
    """Draw a synapse alone and look for its cleft and both partners; None if one is missing."""
    alone = dataclasses.replace(bare, marks=mark_table([synapse_mark(bare.spec, junction, 1)]))
    seen = look_at(alone, junction)
    if seen is None:
        return None
    layers, box = seen
    grid = bare.spec.grid.crop(box)
    centres = grid.centers(np.moveaxis(np.indices(box.shape), 0, -1))
    away = np.linalg.norm(centres - grid.box.center, axis=-1)
    spots, fragments = [], []
    partners = [layers.neurons == bare.ids.neurons[n] for n in junction.neurons]
    for there, wish in ((layers.clefts > 0, 0.0), *((p, BESIDE_NM) for p in partners)):
        there = there & ((layers.clefts > 0) == (wish == 0.0))
        if np.count_nonzero(there) < LEAST_VOXELS:
            return None
        best = int(np.argmin(np.where(there, np.abs(away - wish), np.inf)))
        z, y, x = centres.reshape(-1, 3)[best].tolist()
        spots.append((z, y, x))
        fragments.append(int(layers.fragments.reshape(-1)[best]))
    return SynapseSite(junction, (fragments[1], fragments[2]), *spots)


def _choose_merges(
    bare: Blueprint, found: list[Junction], chosen: Chosen, tree: MergeTree
) -> tuple[list[Junction], list[Junction]]:
    """False merges up to the rate aimed at, and as many faint membranes that are none."""
    wanted = round(bare.spec.false_merges * bare.spec.cubic_micrometres)
    merges: list[Junction] = []
    decoys: list[Junction] = []
    for junction in merge_candidates(found, bare.kinds, bare.cuts):
        full = len(merges) >= wanted
        if full and len(decoys) >= DECOYS * wanted:
            break
        if not chosen.free(junction):
            continue
        if _faces(bare, junction) < LEAST_FACES:
            continue
        if not full and tree.unite(*junction.fragments):
            merges.append(junction)
            chosen.add(junction)
        elif full:
            decoys.append(junction)
            chosen.add(junction)
    return merges, decoys


def _faces(bare: Blueprint, junction: Junction) -> int:
    """Faces that two fragments share around a junction; 0 at the volume's edge."""
    seen = look_at(bare, junction)
    if seen is None:
        return 0
    a, b = junction.fragments
    total = 0
    for axis in range(3):
        low = np.moveaxis(seen[0].fragments, axis, 0)[:-1]
        high = np.moveaxis(seen[0].fragments, axis, 0)[1:]
        total += int(np.count_nonzero((low == a) & (high == b) | (low == b) & (high == a)))
    return total


def _smudges(bare: Blueprint, rng: np.random.Generator) -> list[Mark]:
    """Dark smudges in necks: in most that are cut, and in as many that are not."""
    cut = [n for n, why in bare.cuts.cause.items() if why == "thin neck"]
    spared = list(bare.cuts.spared[: len(cut)])
    marks = []
    for nodes, low, high in ((cut, 0.3, 1.0), (spared, 0.0, 0.8)):
        for n in nodes:
            parent = bare.forest.nodes[bare.forest.parent[n]]
            marks.append(
                Mark(
                    SMUDGE,
                    place(parent),
                    reach=float(rng.uniform(90, 140)),
                    size=0.0,
                    strength=float(rng.uniform(low, high)),
                    u=int(bare.neuron[n]),
                )
            )
    return marks
