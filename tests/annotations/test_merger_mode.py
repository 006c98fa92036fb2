"""Trees to supervoxels and back: nothing lost, spans as short as scipy's."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.spatial.distance import cdist

from segmend.annotations.annotation import Annotation, Node, Parameters, Tree
from segmend.annotations.merger_mode import (
    SEGMENT,
    agglomerate,
    locate,
    node_segments,
    skeleton_trees,
    spanning_trees,
)
from segmend.annotations.neurites import read_axons
from segmend.annotations.nml import read_nml, write_nml
from segmend.annotations.segments_table import read_segments
from segmend.core.errors import BadInputError
from segmend.core.grid import VoxelGrid


@pytest.fixture
def axons(matlab):
    return read_axons(matlab.folder / "axons.hdf5")


@pytest.fixture
def segments(matlab):
    return read_segments(matlab.folder / "segments.hdf5")


@pytest.fixture
def grid(matlab):
    return VoxelGrid(matlab.tissue.spec.voxel_size, (0, 0, 0), matlab.tissue.spec.shape)


@pytest.fixture
def lookup(matlab, grid):
    """The supervoxel at points, from the segmentation itself."""

    def at(points):
        z, y, x = np.floor(grid.continuous(points)).astype(int).T
        return matlab.truth.supervoxels[z, y, x].astype(np.uint64)

    return at


def same(ours, theirs):
    return [x.tolist() for x in ours.supervoxels] == [x.tolist() for x in theirs.supervoxels]


def test_agglomerates_become_trees_and_come_back_from_a_file(axons, segments, grid, tmp_path):
    before = axons.agglomeration()
    write_nml(spanning_trees(before, segments, grid), tmp_path / "a.nml")
    after = agglomerate(read_nml(tmp_path / "a.nml"))
    np.testing.assert_array_equal(after.ids, before.ids)
    assert same(after, before)


def test_segments_looked_up_at_the_nodes_are_those_of_the_tracing(axons, grid, lookup, tmp_path):
    """A tracing names no segments: they are where its nodes lie."""
    traced = skeleton_trees(axons.skeletons, grid)
    bare = replace(
        traced,
        trees=tuple(
            replace(t, nodes=tuple(replace(n, attributes={}) for n in t.nodes))
            for t in traced.trees
        ),
    )
    write_nml(bare, tmp_path / "tracing.nml")
    with pytest.raises(BadInputError, match="names no segment"):
        agglomerate(read_nml(tmp_path / "tracing.nml"))
    located = locate(read_nml(tmp_path / "tracing.nml"), lookup)
    assert located == traced
    assert same(agglomerate(located), axons.agglomeration())


def test_published_skeletons_keep_their_edges(axons, grid):
    annotation = skeleton_trees(axons.skeletons, grid, rows=[4, 2])
    assert [tree.id for tree in annotation.trees] == [5, 3]
    for tree, row in zip(annotation.trees, (4, 2), strict=True):
        first = tree.nodes[0].id
        edges = [(e.source - first, e.target - first) for e in tree.edges]
        assert edges == [tuple(edge) for edge in axons.skeletons.edges[row].tolist()]
        np.testing.assert_array_equal(node_segments(tree), axons.skeletons.segments[row])


def test_spans_are_as_short_as_scipys(axons, segments, grid):
    before = axons.agglomeration()
    for tree, supervoxels in zip(
        spanning_trees(before, segments, grid).trees, before.supervoxels, strict=True
    ):
        points = segments.positions.nm(grid)[supervoxels.astype(int) - 1]
        far = cdist(points, points)
        rows = {node.id: row for row, node in enumerate(tree.nodes)}
        links = [(rows[e.source], rows[e.target]) for e in tree.edges]
        assert len(links) == len(points) - 1
        total = sum(far[a, b] for a, b in links)
        assert total == pytest.approx(minimum_spanning_tree(far).sum())


def test_a_node_outside_every_segment_adds_none(grid):
    nodes = (Node(1, (0, 0, 0), attributes={SEGMENT: "0"}),)
    found = agglomerate(Annotation(trees=(Tree(4, nodes=nodes), Tree(2))))
    assert found.ids.tolist() == [2, 4]
    assert len(found.keys) == 0


def trees(*texts):
    """One tree per text, one node per tree."""
    return Annotation(
        parameters=Parameters(scale_xyz=(1, 1, 1)),
        trees=tuple(
            Tree(i, nodes=(Node(i, (0, 0, 0), attributes={SEGMENT: text}),))
            for i, text in enumerate(texts, 1)
        ),
    )


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["5", "5"], "supervoxel 5 belongs to neurites 1 and 2"),
        (["-5"], "whole number"),
        (["5.0"], "whole number"),
        ([str(2**64)], "uint64"),
    ],
)
def test_what_names_no_segments_is_refused(texts, message):
    with pytest.raises(BadInputError, match=message):
        agglomerate(trees(*texts))


def test_a_lookup_must_answer_for_every_node():
    with pytest.raises(BadInputError, match=r"tree 1"):
        locate(trees("1"), lambda _: np.zeros(2, np.uint64))


def test_a_supervoxel_without_a_position_is_named(axons, segments, grid):
    short = replace(segments, voxel_counts=segments.voxel_counts[:3])
    with pytest.raises(BadInputError, match="has no position"):
        spanning_trees(axons.agglomeration(), short, grid)
