"""Voxels: determinism, independence of blocks, and what the grey values must show."""

from __future__ import annotations

import hashlib
import math
import subprocess
import sys

import cc3d
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from segmend.core.box import VoxelBox
from segmend.core.errors import BadInputError, OutOfBoundsError
from segmend.core.ids import relabel_dense
from segmend.synthetic.blocks import render_box
from segmend.synthetic.design import draw_blueprint
from segmend.synthetic.spec import TissueSpec
from segmend.synthetic.tissue import LAYERS, Tissue, generate

SMALL = TissueSpec(seed=3, shape=(24, 50, 45))


def digest(tissue: Tissue) -> str:
    text = hashlib.sha256()
    for layer in LAYERS:
        text.update(getattr(tissue, layer).tobytes())
    text.update(repr((tissue.edits, tissue.synapses, sorted(tissue.kinds.items()))).encode())
    for skeleton in tissue.skeletons.values():
        text.update(skeleton.nodes.tobytes() + skeleton.edges.tobytes())
    return text.hexdigest()


def test_the_same_seed_gives_the_same_bytes_in_another_process() -> None:
    code = (
        "import sys; sys.path.insert(0, 'tests/synthetic'); from test_tissue import *;"
        "print(digest(generate(SMALL)))"
    )
    root = __file__.rsplit("/tests/", 1)[0]
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root
    )
    assert other.stdout.strip() == digest(generate(SMALL))


def test_another_seed_gives_other_tissue() -> None:
    other = TissueSpec(seed=4, shape=SMALL.shape)
    mine, theirs = generate(SMALL), generate(other)
    assert not set(np.unique(mine.neurons)) & set(np.unique(theirs.neurons))
    assert np.corrcoef(mine.em.ravel(), theirs.em.ravel())[0, 1] < 0.5


@settings(max_examples=12, deadline=None)
@given(st.data())
def test_any_box_equals_the_same_part_of_the_whole(data: st.DataObject) -> None:
    whole = generate(SMALL)
    start = [data.draw(st.integers(0, n - 1)) for n in SMALL.shape]
    stop = [data.draw(st.integers(a + 1, n)) for a, n in zip(start, SMALL.shape, strict=True)]
    box = VoxelBox((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
    layers = render_box(draw_blueprint(SMALL), box)
    for layer in LAYERS:
        np.testing.assert_array_equal(getattr(layers, layer), getattr(whole, layer)[box.slices])


@pytest.mark.parametrize(
    "box",
    [
        VoxelBox((0, 0, 0), (25, 50, 45)),
        VoxelBox((-1, 0, 0), (2, 2, 2)),
        VoxelBox((3, 3, 3), (3, 5, 5)),
    ],
)
def test_a_box_outside_the_volume_is_an_error(box: VoxelBox) -> None:
    with pytest.raises(OutOfBoundsError, match=r"synthetic volume"):
        render_box(draw_blueprint(SMALL), box)


def test_every_voxel_has_a_neuron_and_a_segment(tissue: Tissue) -> None:
    assert tissue.neurons.min() > 0
    assert tissue.automatic.min() > 0
    assert tissue.neurons.dtype == tissue.automatic.dtype == np.uint64


def test_ids_are_distinct_and_do_not_fit_into_floats(tissue: Tissue) -> None:
    neurons, segments = np.unique(tissue.neurons), np.unique(tissue.automatic)
    assert min(neurons[0], segments[0]) > 2**53
    assert not set(neurons.tolist()) & set(segments.tolist())
    assert set(neurons.tolist()) == set(tissue.kinds) == set(tissue.skeletons)
    roots = [r for e in tissue.edits for r in e.after_roots]
    assert len(set(roots)) == len(roots)
    assert not set(roots) & (set(neurons.tolist()) | set(segments.tolist()))


def test_neurons_hang_together_but_for_scraps(tissue: Tissue) -> None:
    dense, _ = relabel_dense(tissue.neurons)
    parts, count = cc3d.connected_components(
        dense.astype(np.uint32), connectivity=26, return_N=True
    )
    size = np.bincount(parts.ravel(), minlength=count + 1)
    owner = np.zeros(count + 1, np.int64)
    owner[parts.ravel()] = dense.ravel()
    largest = np.zeros(dense.max() + 1, np.int64)
    np.maximum.at(largest, owner, size)
    assert largest.sum() > 0.98 * dense.size


def test_classes_agree_with_the_layers(tissue: Tissue) -> None:
    classes, glia = tissue.classes, np.isin(tissue.neurons, np.array(tissue.glia_ids, np.uint64))
    np.testing.assert_array_equal(classes == 2, tissue.clefts > 0)
    np.testing.assert_array_equal((classes == 3) | (classes == 4), tissue.mitochondria > 0)
    assert not np.any(glia & (classes == 1))
    share = np.bincount(classes.ravel(), minlength=5) / classes.size
    assert share[1] > 0.6
    assert np.all(share[2:] > 0.0003)
    assert 0.02 < share[0] < 0.35


def test_a_mitochondrion_lies_in_one_neuron(tissue: Tissue) -> None:
    inside = tissue.mitochondria > 0
    pairs = np.unique(np.stack([tissue.mitochondria[inside], tissue.neurons[inside]]), axis=1)
    assert len(np.unique(pairs[0])) == pairs.shape[1]


def test_membranes_are_darker_than_cytoplasm(tissue: Tissue) -> None:
    dense, _ = relabel_dense(tissue.neurons)
    border = np.zeros(dense.shape, bool)
    border[:, 1:] |= dense[:, 1:] != dense[:, :-1]
    border[:, :, 1:] |= dense[:, :, 1:] != dense[:, :, :-1]
    deep = ndimage.distance_transform_edt(~border, sampling=tissue.spec.voxel_size) > 50
    seen = tissue.em.max(axis=(1, 2)) > 0
    plain = (tissue.classes == 1) & deep & seen[:, None, None]
    membrane = border & seen[:, None, None]
    assert tissue.em[membrane].mean() < tissue.em[plain].mean() - 40


def test_mitochondria_are_darker_than_cytoplasm(tissue: Tissue) -> None:
    assert tissue.em[tissue.classes == 3].mean() < tissue.em[tissue.classes == 1].mean() - 25


def test_nothing_is_cut_where_no_errors_are_wanted() -> None:
    clean = generate(TissueSpec(5, (30, 60, 60), false_splits=0, false_merges=0, synapses=0))
    assert clean.edits == ()
    assert clean.synapses == ()
    assert not clean.clefts.any()
    pairs = np.unique(np.stack([clean.neurons.ravel(), clean.automatic.ravel()]), axis=1)
    assert len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]


@pytest.mark.parametrize("voxel_size", [(50.0, 5.0, 5.0), (8.0, 8.0, 8.0), (30.0, 20.0, 16.0)])
def test_other_voxel_sizes_work(voxel_size: tuple[float, float, float]) -> None:
    shape = tuple(math.ceil(420 / v) for v in voxel_size)
    spec = TissueSpec(2, (shape[0], shape[1], shape[2]), voxel_size)
    small = generate(spec)
    assert small.neurons.min() > 0
    assert 60 < small.em.mean() < 200


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"shape": (0, 64, 64)}, "shape"),
        ({"shape": (64, -1, 64)}, "shape"),
        ({"shape": (64, 64)}, "shape"),
        ({"shape": (64.5, 64, 64)}, "shape"),
        ({"shape": (8, 8, 8)}, "too small"),
        ({"voxel_size": (math.nan, 10, 10)}, "voxel_size"),
        ({"voxel_size": (math.inf, 10, 10)}, "voxel_size"),
        ({"voxel_size": (20, 10, 0)}, "voxel_size"),
        ({"voxel_size": (500, 500, 500)}, "voxel_size"),
        ({"seed": -1}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"false_splits": -1.0}, "false_splits"),
        ({"synapses": math.nan}, "synapses"),
    ],
)
def test_a_spec_that_describes_no_tissue_is_refused(changed: dict, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        TissueSpec(**{"seed": 1, **changed})
