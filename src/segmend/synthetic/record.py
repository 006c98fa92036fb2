"""The true history of a volume: every error of its automatic segmentation, undone one by one."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from segmend.core.box import Point
from segmend.core.random import keyed_generator
from segmend.synthetic.blueprint import Blueprint, draw_ids
from segmend.synthetic.history import Cause, TrueEdit
from segmend.synthetic.junctions import Junction
from segmend.synthetic.survey import Pair, Survey
from segmend.synthetic.warp import to_volume

FIRST_TIMESTAMP = 1_600_000_000
"""Seconds since 1970 of the beginning of every history (13 September 2020)."""

PAUSE = 900.0
"""Mean seconds between two edits."""


@dataclass(slots=True)
class _Server:
    """Root ids as an edit server keeps them: every operation gives new ones.

    Attributes:
        root: Root id of every fragment.
        fresh: Ids not given out yet, last first.
    """

    root: dict[int, int]
    fresh: list[int]
    time: int
    rng: np.random.Generator
    edits: list[TrueEdit] = field(default_factory=list)

    def tick(self) -> int:
        """The time of the next edit."""
        self.time += 1 + int(self.rng.exponential(PAUSE))
        return self.time

    def replace(self, old: int, new: int) -> None:
        """Give every fragment of a root a new root."""
        for fragment, root in self.root.items():
            if root == old:
                self.root[fragment] = new


def true_history(blueprint: Blueprint, survey: Survey) -> tuple[TrueEdit, ...]:
    """The log that turns the automatic segmentation into the neurons.

    First every false merge is split: of the two neurons of a split edit, the fragment of the first
    is taken off the rest, and ``after_roots[i]`` holds the side of ``neurons[i]``. Then the
    fragments of each neuron are merged, wherever they share a face inside the volume.
    """
    faces = survey.faces()
    present = [int(n) for n in np.flatnonzero(survey.voxels)]
    automatic = blueprint.ids.automatic
    named = len(blueprint.kinds) + int(blueprint.segment.max()) + 1
    needed = named + 2 * len(blueprint.merges) + len(present)
    fresh = [int(v) for v in draw_ids(blueprint.spec, needed)[named:]][::-1]
    rng = keyed_generator("synthetic", blueprint.spec.seed, "history")
    server = _Server({n: int(automatic[n]) for n in present}, fresh, FIRST_TIMESTAMP, rng)
    for junction, leaf in _peeling(blueprint, rng):
        _split(server, blueprint, junction, leaf, faces)
    for pair, cause, site in _spanning(blueprint, faces, rng):
        _merge(server, blueprint, pair, cause, nearest_face(blueprint, faces[pair], site))
    return tuple(server.edits)


def _peeling(blueprint: Blueprint, rng: np.random.Generator) -> list[tuple[Junction, int]]:
    """False merges in an order in which each split takes a single fragment off its segment."""
    left = [blueprint.merges[int(n)] for n in rng.permutation(len(blueprint.merges))]
    order = []
    while left:
        degree: dict[int, int] = {}
        for junction in left:
            for fragment in junction.fragments:
                degree[fragment] = degree.get(fragment, 0) + 1
        junction = next(j for j in left if min(degree[f] for f in j.fragments) == 1)
        leaf = next(f for f in junction.fragments if degree[f] == 1)
        left.remove(junction)
        order.append((junction, leaf))
    return order


def _split(
    server: _Server,
    blueprint: Blueprint,
    junction: Junction,
    leaf: int,
    faces: dict[Pair, NDArray[np.int64]],
) -> None:
    a, b = sorted(junction.fragments)
    rest = b if leaf == a else a
    before = server.root[leaf]
    off, kept = sorted((server.fresh.pop(), server.fresh.pop()))
    server.replace(before, kept)
    server.root[leaf] = off
    owner, ids = blueprint.owner, blueprint.ids
    server.edits.append(
        TrueEdit(
            kind="split",
            segments=(int(ids.automatic[leaf]),),
            before_roots=(before,),
            after_roots=(off, kept),
            neurons=(int(ids.neurons[owner[leaf]]), int(ids.neurons[owner[rest]])),
            point_nm=nearest_face(blueprint, faces[a, b], junction.point),
            timestamp=server.tick(),
            cause="touching membranes",
        )
    )


def _merge(server: _Server, blueprint: Blueprint, pair: Pair, cause: Cause, point: Point) -> None:
    before = sorted(server.root[n] for n in pair)
    after, ids = server.fresh.pop(), blueprint.ids
    for root in before:
        server.replace(root, after)
    first, second = sorted(int(ids.automatic[n]) for n in pair)
    server.edits.append(
        TrueEdit(
            kind="merge",
            segments=(first, second),
            before_roots=(before[0], before[1]),
            after_roots=(after,),
            neurons=(int(ids.neurons[blueprint.owner[pair[0]]]),),
            point_nm=point,
            timestamp=server.tick(),
            cause=cause,
        )
    )


def _spanning(
    blueprint: Blueprint, faces: dict[Pair, NDArray[np.int64]], rng: np.random.Generator
) -> list[tuple[Pair, Cause, NDArray[np.float64] | None]]:
    """Pairs of touching fragments that join each neuron: cuts, then detours around lost ones."""
    forest, cuts, owner = blueprint.forest, blueprint.cuts, blueprint.owner
    planned: list[tuple[Pair, Cause, NDArray[np.float64] | None]] = []
    why: dict[int, Cause] = {}
    for node, cause in sorted(cuts.cause.items()):
        parent = int(forest.parent[node])
        a, b = sorted((int(cuts.fragment[node]), int(cuts.fragment[parent])))
        planned.append(((a, b), cause, forest.nodes[parent]))
        why[a] = why[b] = cause
    inside = [pair for pair in faces if owner[pair[0]] == owner[pair[1]]]
    detours = sorted(inside, key=lambda pair: (-len(faces[pair]), pair))
    planned += [(pair, why[pair[0]], None) for pair in detours if pair[0] in why]
    group = {n: n for pair in inside for n in pair}
    tree = []
    for pair, cause, site in planned:
        if pair in faces and group[pair[0]] != group[pair[1]]:
            old, new = group[pair[0]], group[pair[1]]
            group = {n: new if g == old else g for n, g in group.items()}
            tree.append((pair, cause, site))
    return [tree[int(n)] for n in rng.permutation(len(tree))]


def nearest_face(
    blueprint: Blueprint, faces: NDArray[np.int64], site: NDArray[np.float64] | None
) -> Point:
    """Centre of the face nearest to a site of layout space, or to the faces' centroid, nm."""
    size = np.array(blueprint.spec.voxel_size)
    centre = (faces[:, :3] + 0.5) * size
    rows = np.arange(len(faces))
    centre[rows, faces[:, 3]] = (faces[rows, faces[:, 3]] + 1) * size[faces[:, 3]]
    if site is None:
        goal = centre.mean(axis=0)
    else:
        goal = to_volume(blueprint.spec, blueprint.sections, site[None])[0]
    z, y, x = centre[int(np.argmin(((centre - goal) ** 2).sum(axis=1)))].tolist()
    return (z, y, x)
