"""Tracings with the segment of every node: whole neurons leave the segmentation, boxes are lazy."""

from dataclasses import replace

import msgspec
import numpy as np
import pyarrow as pa
import pytest

import segmend as sg
from segmend.annotations.annotation import Annotation, Node, Parameters, Tree
from segmend.annotations.merger_mode import SEGMENT
from segmend.catalog.fetching import fetch_files
from segmend.catalog.located_tracings import LocatedTracings, locate_tracing
from segmend.catalog.lookup import find_segments
from segmend.catalog.record import load_record
from segmend.core.errors import BadInputError, ReadFailedError
from segmend.core.grid import VoxelGrid
from segmend.testing.standins import l4dense, write_standin
from segmend.volumes.drivers.memory import from_array


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    file = write_standin("l4dense2019", tmp_path_factory.mktemp("l4dense"))
    record, place = load_record(str(file))
    fetch_files(record, place, box=sg.Box(*record.default_box_nm), layers=["supervoxels"])
    return sg.open(str(file))


def tracing(*xyz, **attributes):
    nodes = tuple(Node(n, place, attributes=attributes) for n, place in enumerate(xyz, 1))
    return Annotation(
        parameters=Parameters(scale_xyz=(11.24, 11.24, 28.0)), trees=(Tree(3, nodes=nodes),)
    )


@pytest.mark.parametrize(
    ("name", "neurons"),
    [
        ("manual-neurons", l4dense.truth().dendrites[:2]),
        ("connectem-neurites", (*l4dense.truth().axons[:3], *l4dense.truth().dendrites[:3])),
    ],
)
def test_every_node_lies_in_a_supervoxel_of_its_neuron_or_outside(dataset, name, neurons):
    tracings = LocatedTracings(dataset.annotations[name], dataset.labels["supervoxels"])
    assert len(tracings) == len(neurons)
    for number, neuron in enumerate(neurons, 1):
        table = tracings[f"{name}-{number}.nml"].to_table()
        assert table.schema.field("segment_id").type == pa.uint64()
        rows = table.to_pylist()
        inside = [r for r in rows if r["how"] == "located"]
        assert {r["segment_id"] for r in inside} == set(l4dense.truth().members[neuron])
        beyond = [(r["how"], r["segment_id"]) for r in rows if r["how"] != "located"]
        assert beyond == ([("absent", None), ("outside", None)] if name == "manual-neurons" else [])


def test_the_annotation_says_the_segments_that_are_known(dataset):
    name = "manual-neurons-1.nml"
    made = LocatedTracings(dataset.annotations["manual-neurons"], dataset.labels["supervoxels"])
    located = made[name]
    (tree,) = located.annotation.trees
    said = [node.attributes.get(SEGMENT) for node in tree.nodes]
    assert said[-2:] == [None, None]
    assert said[:-2] == [str(s) for s in located.segments[:-2].tolist()]
    assert tree.edges == dataset.annotations["manual-neurons"][name].trees[0].edges


def test_a_box_asks_about_its_nodes_only_and_reads_only_their_cubes(dataset, tmp_path):
    volume = dataset.labels["supervoxels"]
    annotation = dataset.annotations["manual-neurons"]["manual-neurons-1.nml"]
    everything = locate_tracing(annotation, volume)
    side = np.array(volume.grid.voxel_size) * l4dense.CUBE
    cube = np.floor(everything.points_nm[0] / side)
    box = sg.Box(tuple((cube * side).tolist()), tuple(((cube + 1) * side).tolist()))
    record, _ = load_record(str(dataset.at.folder / "l4dense2019.toml"))
    # Only this cube is there: nodes elsewhere could not be looked up.
    fetch_files(record, tmp_path, box=box, layers=["supervoxels"])
    part = replace(dataset, at=replace(dataset.at, folder=tmp_path)).labels["supervoxels"]
    few = locate_tracing(annotation, part, box=box)
    inside = np.all(np.floor(everything.points_nm / side) == cube, axis=1)
    assert 0 < inside.sum() < len(everything)
    np.testing.assert_array_equal(few.segments, everything.segments[inside])
    np.testing.assert_array_equal(few.node_ids, everything.node_ids[inside])
    with pytest.raises(ReadFailedError, match=r"the cube x\dy\dz\d\.hdf5 .* is not downloaded"):
        locate_tracing(annotation, part)


def test_a_stated_segment_is_not_looked_up(dataset):
    volume = dataset.labels["supervoxels"]
    made = locate_tracing(tracing((1e6, 0.0, 0.0), (20.0, 20.0, 20.0), segmentId="77"), volume)
    assert made.segments.tolist() == [77, 77]
    assert made.to_table()["how"].to_pylist() == ["stated", "stated"]
    with pytest.raises(BadInputError):
        locate_tracing(tracing((0.0, 0.0, 0.0), segmentId="many"), volume)


def test_a_corner_belongs_to_the_voxel_that_starts_there():
    """Voxels of 11.24 nm, as the grid has them: exactly, on both sides of it."""
    shape = (3, 400, 3)
    labels = np.arange(1, 1 + np.prod(shape), dtype=np.uint64).reshape(shape) + np.uint64(2**63)
    grid = VoxelGrid((28, 11.24, 11.24), (28, 0, 0), shape)
    corners = np.array([(56.0, round(11.24 * y, 2), 11.24) for y in range(-1, 401)])
    volume = from_array(labels, grid.voxel_size, offset=grid.offset)
    found = find_segments(volume, corners)
    np.testing.assert_array_equal(found.voxels, [grid.voxel_at(point) for point in corners])
    assert found.outside.tolist() == [True, *[False] * 400, True]
    np.testing.assert_array_equal(found.segments[1:-1], labels[1, :, 1])
    assert find_segments(volume, np.array([[0.0, 1e300, 0.0]])).outside.all()


def test_absent_is_not_no_segment(dataset):
    volume = dataset.labels["supervoxels"]
    holed = absent_cube(dataset)
    made = locate_tracing(tracing((0.0, 0.0, 0.0), (70.0, 100.0, 70.0)), holed)
    rows = made.to_table().to_pylist()
    assert [(r["how"], r["segment_id"]) for r in rows] == [("located", 0), ("absent", None)]
    whole = locate_tracing(tracing((0.0, 0.0, 0.0), (70.0, 100.0, 70.0)), volume)
    assert whole.to_table()["how"].to_pylist() == ["located", "located"]
    assert len(locate_tracing(tracing(), volume)) == 0


def absent_cube(dataset):
    """The supervoxels without the last cube, recorded as never published."""
    layer = dataset.record.layers["supervoxels"]
    options = layer.options | {"absent_cubes": [[1, 2, 1]]}
    layers = {"supervoxels": msgspec.structs.replace(layer, options=options)}
    record = msgspec.structs.replace(dataset.record, layers=dataset.record.layers | layers)
    return replace(dataset, record=record).labels["supervoxels"]
