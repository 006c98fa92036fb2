"""Types of trees against the tissue: TypeEM's segments, and the targets of inhibitory axons."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from segmend.annotations.annotation import Annotation, Group, Node, Tree
from segmend.annotations.columns import Places
from segmend.annotations.merger_mode import SEGMENT, locate
from segmend.annotations.names import words
from segmend.annotations.segments_table import Segments, read_segments
from segmend.annotations.tracings import read_tracings
from segmend.annotations.typed_trees import (
    NEURITE_TYPES,
    TARGET_TYPES,
    inhibitory_targets,
    segment_types,
    tree_type,
)
from segmend.core.errors import BadInputError
from segmend.core.grid import VoxelGrid
from segmend.testing.standins.l4dense_tracings import (
    CUBES,
    inhibitory_axons,
    neurite_type,
    target_type,
    write_tracings,
)


@pytest.fixture(scope="module")
def located(matlab, tmp_path_factory):
    """Tracings of a folder, with the segment of every node."""
    grid = VoxelGrid(matlab.tissue.spec.voxel_size, (0, 0, 0), matlab.tissue.spec.shape)

    def at(points):
        z, y, x = np.floor(grid.continuous(points)).astype(int).T
        return matlab.truth.supervoxels[z, y, x].astype(np.uint64)

    def read(name):
        folder = tmp_path_factory.mktemp(name)
        write_tracings(name, folder, matlab.tissue, matlab.truth)
        return {file: locate(made, at) for file, made in read_tracings(folder).items()}

    return {name: read(name) for name in ("typeem-cubes", "inhibitory-axons")}


def test_segments_have_the_types_of_the_tissue(matlab, located):
    segments = read_segments(matlab.folder / "segments.hdf5")
    grid = VoxelGrid(matlab.tissue.spec.voxel_size, (0, 0, 0), matlab.tissue.spec.shape)
    made = segment_types(located["typeem-cubes"], segments=segments, grid=grid)
    assert made.conflicts == {}
    assert made.table.schema.field("segment_id").type == pa.uint64()
    truth = matlab.truth
    expected = set()
    for number, box in enumerate(CUBES, 1):
        there = set(np.unique(truth.supervoxels[box.slices]).tolist()) - {0}
        file = f"cube-{number}.nml"
        for neuron, members in truth.members.items():
            kind = neurite_type(matlab.tissue, truth, neuron)
            expected |= {(file, s, kind) for s in members if s in there}
        expected |= {(file, s, "spinehead") for s in truth.heads if s in there}
    rows = made.table.to_pylist()
    assert {(r["file"], r["segment_id"], r["type"]) for r in rows} == expected
    assert {kind for _, _, kind in expected} == {"axon", "dendrite", "astrocyte", "spinehead"}
    for row in rows[::40]:
        z, y, x = np.floor(grid.continuous(np.array([row["point_nm"]]))).astype(int)[0]
        assert truth.supervoxels[z, y, x] == row["segment_id"]
        assert row["voxels"] == (truth.supervoxels == row["segment_id"]).sum()


def test_inhibitory_axons_and_the_types_of_their_targets(matlab, located):
    tissue, truth = matlab.tissue, matlab.truth
    table = inhibitory_targets(located["inhibitory-axons"]).to_pylist()
    for number, axon in enumerate(inhibitory_axons(tissue, truth), 1):
        mine = [row for row in table if row["file"] == f"axon-{number}.nml"]
        assert mine[0]["type"] == "axon"
        assert mine[0]["segment_ids"] == sorted(truth.members[axon])
        onto = [
            s for s in tissue.synapses if s.pre_neuron == axon and s.post_neuron in truth.dendrites
        ]
        wanted = [target_type(tissue, truth, s).replace(" ", "") for s in onto]
        assert [row["type"] for row in mine[1:]] == wanted
        for row, synapse in zip(mine[1:], onto, strict=True):
            assert set(row["segment_ids"]) <= set(truth.members[synapse.post_neuron])


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("axon 0012", "axon"),
        ("Axons", "axon"),
        ("spineHead_3", "spinehead"),
        ("Spine Heads", "spinehead"),
        ("spinehead12", "spinehead"),
        ("glia_1", "glia"),
        ("astrocyte", "astrocyte"),
        ("DENDRITE 2", "dendrite"),
    ],
)
def test_a_name_says_a_type_however_it_is_spelt(name, kind):
    assert tree_type(Tree(1, name), (), NEURITE_TYPES) == kind


def test_a_group_says_it_where_the_name_does_not():
    tree = Tree(1, "explorative 12", group=3)
    assert tree_type(tree, ("tile", "axons"), NEURITE_TYPES) == "axon"
    assert tree_type(tree, ("glia", "axons"), NEURITE_TYPES) == "glia"
    groups = (Group(1, "axons", (Group(3, "part two"),)),)
    node = Node(1, (0.0, 0.0, 0.0), attributes={SEGMENT: "4"})
    annotation = Annotation(trees=(replace(tree, nodes=(node,)),), groups=groups)
    assert segment_types({"a.nml": annotation}).table["type"].to_pylist() == ["axon"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        (None, "nothing says what tree 7 is"),
        ("taxonomy 3", "nothing says what tree 7 is"),
        ("myelin 3", "Known types: axon, dendrite"),
        ("axon or dendrite", "'axon or dendrite' says axon and dendrite"),
    ],
)
def test_an_unknown_or_double_type_is_refused_with_its_file(name, says):
    with pytest.raises(BadInputError, match=says) as caught:
        segment_types({"cube-9.nml": Annotation(trees=(Tree(7, name),))})
    assert "cube-9.nml" in str(caught.value)


def node(number, segment):
    return Node(number, (0.0, 0.0, 0.0), attributes={SEGMENT: str(segment)})


def test_a_spine_head_is_part_of_its_dendrite_and_nothing_else_is_two_things():
    trees = (
        Tree(1, "dendrite", nodes=(node(1, 5), node(2, 6), node(3, 0))),
        Tree(2, "spine head", nodes=(node(4, 6),)),
        Tree(3, "axon", nodes=(node(5, 5), node(6, 9))),
    )
    made = segment_types({"a.nml": Annotation(trees=trees)})
    rows = [(r["segment_id"], r["type"]) for r in made.table.to_pylist()]
    assert sorted(rows) == [(6, "dendrite"), (6, "spinehead"), (9, "axon")]
    assert made.conflicts == {("a.nml", 5): ("dendrite", "axon")}


def test_segments_beyond_the_table_and_files_without_one_axon_are_refused():
    tracing = {"a.nml": Annotation(trees=(Tree(1, "axon", nodes=(node(1, 9),)),))}
    few = Segments(Places(np.zeros((3, 3), np.int64), np.ones(3, np.bool_)), np.ones(3, np.int64))
    with pytest.raises(BadInputError, match="segment 9 was traced"):
        segment_types(tracing, segments=few, grid=VoxelGrid((1, 1, 1), (0, 0, 0), (9, 9, 9)))
    with pytest.raises(BadInputError, match="need the grid"):
        segment_types(tracing, segments=few)
    twice = replace(
        tracing["a.nml"], trees=(*tracing["a.nml"].trees, Tree(2, "axon 2", nodes=(node(2, 3),)))
    )
    with pytest.raises(BadInputError, match=r"trees \[1, 2\] are axons"):
        inhibitory_targets({"a.nml": twice})
    with pytest.raises(BadInputError, match="no tree is an axon"):
        inhibitory_targets({"a.nml": Annotation(trees=(Tree(1, "soma", nodes=(node(1, 3),)),))})
    assert TARGET_TYPES[0] == "axon"


def test_words_of_names():
    assert words("spineHead_012 part-two XYZAxon") == [
        "spine", "head", "part", "two", "xyz", "axon"
    ]  # fmt: skip
