"""The log: replaying it on the automatic segmentation gives the neurons."""

from __future__ import annotations

import itertools

import numpy as np

from segmend.core.errors import BadInputError
from segmend.synthetic.history import TrueEdit
from segmend.synthetic.tissue import Tissue

Piece = tuple[int, int]
"""Automatic segment and neuron: what no edit ever divides."""


def pieces(tissue: Tissue) -> dict[Piece, int]:
    """Voxels of every piece."""
    pairs, count = np.unique(
        np.stack([tissue.automatic.ravel(), tissue.neurons.ravel()]), axis=1, return_counts=True
    )
    return {(int(a), int(n)): int(c) for (a, n), c in zip(pairs.T, count, strict=True)}


def replay(tissue: Tissue) -> dict[Piece, int]:
    """Root of every piece after the log, from nothing but the log and the two segmentations."""
    root = {piece: piece[0] for piece in pieces(tissue)}
    for edit in tissue.edits:
        assert edit.before_roots == tuple(sorted(edit.before_roots))
        assert edit.after_roots == tuple(sorted(edit.after_roots))
        if edit.kind == "merge":
            (after,) = edit.after_roots
            touched = [p for p, r in root.items() if r in edit.before_roots]
            root.update(dict.fromkeys(touched, after))
        else:
            undo(root, edit)
    return root


def undo(root: dict[Piece, int], edit: TrueEdit) -> None:
    (segment,) = edit.segments
    (before,) = edit.before_roots
    off, kept = edit.after_roots
    touched = [p for p, r in root.items() if r == before]
    if (segment, edit.neurons[0]) not in touched or (segment, edit.neurons[1]) not in touched:
        raise BadInputError(f"{edit} names a side that its root does not hold")
    root.update(dict.fromkeys(touched, kept))
    root[segment, edit.neurons[0]] = off


def test_replaying_the_log_never_leaves_two_neurons_under_one_root(tissue: Tissue) -> None:
    root = replay(tissue)
    neuron_of: dict[int, set[int]] = {}
    for (_, neuron), final in root.items():
        neuron_of.setdefault(final, set()).add(neuron)
    assert all(len(neurons) == 1 for neurons in neuron_of.values())


def test_replaying_the_log_joins_every_neuron_whose_pieces_touch(tissue: Tissue) -> None:
    root = replay(tissue)
    every: dict[int, set[int]] = {}
    for (_, neuron), final in root.items():
        every.setdefault(neuron, set()).add(final)
    parted = {neuron for neuron, roots in every.items() if len(roots) > 1}
    assert len(parted) <= 0.02 * len(every)
    for axis in range(3):
        low = [slice(None)] * 3
        high = [slice(None)] * 3
        low[axis], high[axis] = slice(None, -1), slice(1, None)
        a, b = tuple(low), tuple(high)
        same = (tissue.neurons[a] == tissue.neurons[b]) & (
            tissue.automatic[a] != tissue.automatic[b]
        )
        faces = np.stack(
            [x[same] for x in (tissue.automatic[a], tissue.automatic[b], tissue.neurons[a])]
        )
        for first, second, neuron in np.unique(faces, axis=1).T.tolist():
            assert root[first, neuron] == root[second, neuron]


def test_splits_come_first_and_time_only_moves_forward(tissue: Tissue) -> None:
    kinds = [edit.kind for edit in tissue.edits]
    assert kinds == sorted(kinds, reverse=True)
    times = [edit.timestamp for edit in tissue.edits]
    assert all(a < b for a, b in itertools.pairwise(times))


def test_every_point_lies_on_the_interface_of_the_named_sides(tissue: Tissue) -> None:
    grid = tissue.spec.grid
    assert {edit.kind for edit in tissue.edits} == {"merge", "split"}
    for edit in tissue.edits:
        there = np.array(grid.voxel_at(edit.point_nm))
        off_centre = np.abs(grid.centers(there) - np.array(edit.point_nm))
        axis = int(np.argmax(off_centre / np.array(grid.voxel_size)))
        before = there.copy()
        before[axis] -= 1
        sides = {
            (int(tissue.automatic[tuple(v)]), int(tissue.neurons[tuple(v)]))
            for v in (there, before)
        }
        if edit.kind == "merge":
            assert {s for s, _ in sides} == set(edit.segments)
            assert {n for _, n in sides} == set(edit.neurons)
            assert len(edit.segments) == 2
        else:
            assert {s for s, _ in sides} == set(edit.segments)
            assert {n for _, n in sides} == set(edit.neurons)
            assert len(edit.neurons) == 2


def test_both_sides_of_most_errors_are_large_and_most_segments_are_pure(tissue: Tissue) -> None:
    size = pieces(tissue)
    small = 0
    for edit in tissue.edits:
        keys = [(s, n) for s in edit.segments for n in edit.neurons]
        small += min(size[k] for k in keys) < 1000
    assert small <= 0.15 * len(tissue.edits)
    owners: dict[int, int] = {}
    for segment, _ in size:
        owners[segment] = owners.get(segment, 0) + 1
    assert sum(n == 1 for n in owners.values()) > 0.8 * len(owners)


def test_the_rates_asked_for_are_nearly_reached(tissue: Tissue) -> None:
    volume, spec = tissue.spec.cubic_micrometres, tissue.spec
    merges = sum(edit.kind == "merge" for edit in tissue.edits)
    splits = len(tissue.edits) - merges
    assert 0.6 * spec.false_splits * volume < merges < 1.3 * spec.false_splits * volume
    assert 0.6 * spec.false_merges * volume < splits < 1.3 * spec.false_merges * volume
    assert len(tissue.synapses) > 0.6 * spec.synapses * volume


def test_neurites_branch(tissue: Tissue) -> None:
    branches = 0
    for neuron, skeleton in tissue.skeletons.items():
        degree = np.bincount(skeleton.edges.ravel(), minlength=len(skeleton.nodes))
        branches += int((degree >= 3).sum()) * (tissue.kinds[neuron] != "glia")
    assert branches >= 30


def test_skeletons_run_inside_their_neurons(tissue: Tissue) -> None:
    right = total = 0
    for neuron, skeleton in tissue.skeletons.items():
        for node in skeleton.nodes:
            voxel = tissue.spec.grid.voxel_at(node)
            right += int(tissue.neurons[voxel]) == neuron
            total += 1
    assert right > 0.95 * total
