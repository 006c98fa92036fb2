"""Interfaces of a merger mode tracing against the true neurons of the tissue."""

from collections import Counter
from dataclasses import replace

import msgspec
import numpy as np
import pytest

import segmend as sg
from segmend.annotations.annotation import Annotation, Node, Parameters, Tree
from segmend.annotations.merger_mode import SEGMENT, locate, node_segments
from segmend.catalog.fetching import fetch_files
from segmend.catalog.lookup import segments_at
from segmend.catalog.record import load_record
from segmend.core.errors import AbsentVoxelsError, BadInputError, OutOfBoundsError
from segmend.edits.operation import Identity
from segmend.edits.overlap import OverlapRules, overlap_edits
from segmend.edits.traced_interfaces import traced_interfaces
from segmend.samples.context import SampleContext, SampleRules
from segmend.samples.types import adjacent_control, merge_edit
from segmend.segments.contacts import find_contacts
from segmend.testing.standins import l4dense, write_standin
from segmend.testing.standins.l4dense_tracings import CUBES


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    record, place = load_record(str(write_standin("l4dense2019", tmp_path_factory.mktemp("l4"))))
    box = sg.Box(*record.default_box_nm)
    fetch_files(record, place, box=box, layers=["supervoxels"])
    return sg.open(str(place / "l4dense2019.toml"))


@pytest.fixture(scope="module")
def cube(dataset):
    """The first cube of ConnectEM, located, and its supervoxels."""
    volume = dataset.labels["supervoxels"]
    annotation = locate(dataset.annotations["connectem-cubes"]["cube-1.nml"], segments_at(volume))
    block = volume.read_voxels(CUBES[0])
    return annotation, block.data.astype(np.uint64), block.grid


def neuron_of():
    return {s: n for n, members in l4dense.truth().members.items() for s in members}


def test_nodes_are_located_in_the_supervoxels_they_were_written_for(cube):
    truth, (annotation, supervoxels, _) = neuron_of(), cube
    traced = set()
    for tree in annotation.trees:
        neuron = int(tree.name.removeprefix("neurite "))
        segments = node_segments(tree).tolist()
        assert {truth[s] for s in segments} <= {neuron}
        traced |= set(segments)
    kinds = l4dense.masked_tissue().kinds
    there = set(np.unique(supervoxels).tolist()) - {0}
    assert traced == {s for s in there if kinds[truth[s]] != "glia"}


def test_interfaces_within_and_across_neurites_are_those_of_the_tissue(cube):
    truth, (annotation, supervoxels, grid) = neuron_of(), cube
    made = traced_interfaces(annotation, supervoxels, grid)
    kinds = l4dense.masked_tissue().kinds
    expected, left = {}, 0
    for contact in find_contacts(supervoxels, grid):
        a, b = truth[contact.a], truth[contact.b]
        if "glia" in (kinds[a], kinds[b]):
            left += 1
        else:
            expected[contact.a, contact.b] = a == b
    assert {(i.a, i.b): i.continues for i in made.interfaces} == expected
    assert set(expected.values()) == {True, False}
    assert made.excluded == Counter({"supervoxel of no tree": left} if left else {})


def test_painted_neurites_agree_with_the_interfaces(cube):
    annotation, supervoxels, grid = cube
    made = traced_interfaces(annotation, supervoxels, grid)
    for interface in made.interfaces[:50]:
        for segment, tree in zip((interface.a, interface.b), interface.trees, strict=True):
            assert set(np.unique(made.neurites[supervoxels == segment])) == {tree}


def test_merges_and_controls_are_drawn_from_the_interfaces(cube):
    annotation, supervoxels, grid = cube
    made = traced_interfaces(annotation, supervoxels, grid)
    size = OverlapRules(min_segment_voxels=30)
    contacts = find_contacts(supervoxels, grid)
    identity = Identity("l4dense2019", "2019-10-09", "cube-1")
    context = SampleContext(
        *("l4dense2019", "2019-10-09", "cube-1", "mouse"),
        grid=grid,
        automatic=supervoxels,
        neurons=made.neurites,
        contacts=contacts,
        edits=overlap_edits(
            supervoxels, made.neurites, contacts, grid, rules=size, identity=identity
        ),
        synapses=(),
        rules=SampleRules((300, 350), 20.0, size=size),
        seed=1,
    )
    continues = {(i.a, i.b): i.continues for i in made.interfaces}
    for kind, within in ((merge_edit, True), (adjacent_control, False)):
        pairs = [tuple(sorted(c.segments)) for c in kind.candidates(context).candidates]
        assert pairs
        assert {continues[pair] for pair in pairs} == {within}


def test_a_supervoxel_of_two_trees_decides_nothing(cube):
    annotation, supervoxels, grid = cube
    first = traced_interfaces(annotation, supervoxels, grid).interfaces[0]
    other = max(tree.id for tree in annotation.trees) + 1
    node = Node(10**9, (0.0, 0.0, 0.0), attributes={SEGMENT: str(first.a)})
    both = replace(annotation, trees=(*annotation.trees, Tree(other, nodes=(node,))))
    made = traced_interfaces(both, supervoxels, grid)
    assert all(first.a not in (i.a, i.b) for i in made.interfaces)
    assert made.excluded["supervoxel of several trees"] > 0
    assert not made.neurites[supervoxels == first.a].any()


def test_small_contacts_are_counted_apart(cube):
    annotation, supervoxels, grid = cube
    every = traced_interfaces(annotation, supervoxels, grid)
    large = traced_interfaces(annotation, supervoxels, grid, min_faces=20)
    assert {i for i in every.interfaces if i.faces >= 20} == set(large.interfaces)
    assert large.excluded["contact below 20 faces"] > 0


def test_a_tracing_that_was_not_located_is_refused(dataset, cube):
    _, supervoxels, grid = cube
    with pytest.raises(BadInputError, match="names no segment"):
        traced_interfaces(dataset.annotations["connectem-cubes"]["cube-1.nml"], supervoxels, grid)


def test_points_outside_and_absent_voxels_are_errors(dataset):
    volume = dataset.labels["supervoxels"]
    far = Annotation(
        parameters=Parameters(scale_xyz=(11.24, 11.24, 28.0)),
        trees=(Tree(1, nodes=(Node(1, (1e6, 0.0, 0.0)),)),),
    )
    with pytest.raises(OutOfBoundsError, match="1 of 1 points"):
        locate(far, segments_at(volume))
    assert segments_at(volume)(np.empty((0, 3))).shape == (0,)
    layer = dataset.record.layers["supervoxels"]
    options = layer.options | {"absent_cubes": [[1, 2, 1]]}
    layers = {"supervoxels": msgspec.structs.replace(layer, options=options)}
    record = msgspec.structs.replace(dataset.record, layers=dataset.record.layers | layers)
    holed = replace(dataset, record=record).labels["supervoxels"]
    inside = holed.grid.centers(np.array([[0, 0, 0], [70, 100, 70]]))
    with pytest.raises(AbsentVoxelsError, match=r"voxel \(70, 100, 70\)"):
        segments_at(holed)(inside)
    assert segments_at(holed.with_absent(0))(inside).tolist() == [0, 0]
