"""L4dense's tables say what the tissue they were written from says, whichever way they lie."""

import h5py
import numpy as np
import pytest

from segmend.annotations.neurites import (
    L4DENSE_GRID,
    read_axons,
    read_dendrites,
    read_spine_heads,
)
from segmend.annotations.segments_table import read_segments
from segmend.annotations.synapses import read_synapses
from segmend.core.grid import VoxelGrid


@pytest.fixture(params=["matlab", "rows_first"])
def tables(request):
    return request.getfixturevalue(request.param)


def test_agglomerates_are_the_supervoxels_of_their_neurons(tables):
    for neurites, neurons in (
        (read_axons(tables.folder / "axons.hdf5"), tables.truth.axons),
        (read_dendrites(tables.folder / "dendrites.hdf5"), tables.truth.dendrites),
    ):
        assert len(neurites) == len(neurons) > 2
        made = neurites.agglomeration()
        assert made.keys.dtype == made.owners.dtype == np.uint64
        for number, neuron in enumerate(neurons, 1):
            inside = tables.truth.supervoxels[tables.tissue.neurons == neuron]
            np.testing.assert_array_equal(made.supervoxels_of(number), np.unique(inside))


def test_nodes_lie_in_the_segments_they_name_and_edges_link_them(tables):
    skeletons = read_axons(tables.folder / "axons.hdf5").skeletons
    lone = 0
    for row in range(len(skeletons)):
        z, y, x = skeletons.nodes_of(row).T
        np.testing.assert_array_equal(tables.truth.supervoxels[z, y, x], skeletons.segments[row])
        edges = skeletons.edges[row]
        # The stand-in's skeletons are chains: one edge fewer than nodes, none for a lone node.
        expected = np.stack([np.arange(len(z) - 1), np.arange(1, len(z))], axis=1)
        np.testing.assert_array_equal(edges, expected)
        lone += len(z) == 1
    assert lone


def test_classes_come_from_the_attributes(tables):
    axons = read_axons(tables.folder / "axons.hdf5").agglomeration()
    classes = [axons.class_of(i) for i in (1, 2, 3, 4, 5)]
    assert classes == [
        "corticocortical",
        "thalamocortical",
        "inhibitory",
        "other",
        "corticocortical",
    ]


def test_a_category_is_its_attribute_not_its_number(tables, tmp_path):
    path = tmp_path / "axons.hdf5"
    path.write_bytes((tables.folder / "axons.hdf5").read_bytes())
    with h5py.File(path, "r+") as file:
        attributes = file["axons/class"].attrs
        attributes["inhibitory"], attributes["other"] = np.uint8(4), np.uint8(3)
    swapped = read_axons(path).agglomeration()
    assert [swapped.class_of(i) for i in (3, 4)] == ["other", "inhibitory"]


def test_dendrites_of_a_neuron_name_it(tables):
    dendrites = read_dendrites(tables.folder / "dendrites.hdf5")
    somata = dendrites.classes.is_named("soma")
    np.testing.assert_array_equal(dendrites.neuron_ids > 0, somata)


def test_spine_heads_have_the_volume_of_their_voxels(tables):
    heads = read_spine_heads(tables.folder / "dendrites.hdf5")
    assert len(heads)
    for ids, volume in zip(heads.supervoxels, heads.volume_um3, strict=True):
        voxels = np.isin(tables.truth.supervoxels, ids).sum()
        assert volume == pytest.approx(voxels * 28 * 11.24**2 / 1e9, rel=1e-6)


def test_segments_have_a_voxel_inside_and_their_size(tables):
    segments = read_segments(tables.folder / "segments.hdf5")
    ids, counts = np.unique(tables.truth.supervoxels, return_counts=True)
    np.testing.assert_array_equal(segments.voxel_counts, counts[ids > 0])
    assert segments.positions.known.all()
    z, y, x = segments.positions.voxels.T
    np.testing.assert_array_equal(
        tables.truth.supervoxels[z, y, x], np.arange(1, len(segments) + 1)
    )


def test_synapses_are_those_of_the_tissue(tables):
    synapses = read_synapses(tables.folder / "synapses.hdf5")
    spec, truth = tables.tissue.spec, tables.truth
    grid = VoxelGrid(spec.voxel_size, (0, 0, 0), spec.shape)
    points = synapses.places.nm(grid)
    assert len(synapses) == len(tables.tissue.synapses) > 5
    for row, synapse in enumerate(tables.tissue.synapses):
        assert np.all(np.abs(points[row] - synapse.center_nm) <= np.array(spec.voxel_size) / 2)
        axon, dendrite = int(synapses.axon_ids[row]), int(synapses.dendrite_ids[row])
        for number, known, neuron in (
            (axon, truth.axons, synapse.pre_neuron),
            (dendrite, truth.dendrites, synapse.post_neuron),
        ):
            assert (known[number - 1] if number else None) == (neuron if neuron in known else None)
        assert set(synapses.pre_segments[row]) <= set(truth.members[synapse.pre_neuron])
        assert set(synapses.post_segments[row]) <= set(truth.members[synapse.post_neuron])
        on_head = synapses.spine_head_ids[row] > 0
        assert np.isfinite(synapses.asi_area_um2[row]) == on_head
        assert synapses.types.name(row).endswith("Spine") == on_head


def test_the_arrow_table_has_typed_columns_and_nulls(matlab):
    synapses = read_synapses(matlab.folder / "synapses.hdf5")
    table = synapses.to_table(L4DENSE_GRID)
    types = {f.name: str(f.type) for f in table.schema}
    assert types["axon_id"] == types["synapse_id"] == "uint64"
    assert types["pre_segment_ids"].endswith("<item: uint64>")
    assert types["point_nm"] == "fixed_size_list<item: double>[3]"
    assert table["asi_area_um2"].null_count == int(np.isnan(synapses.asi_area_um2).sum()) > 0
    row = table.slice(2, 1).to_pylist()[0]
    assert row["synapse_id"] == 3
    assert row["type"] == synapses.types.name(2)
    assert row["post_segment_ids"] == synapses.post_segments[2].tolist()
    np.testing.assert_allclose(row["point_nm"], synapses.places.nm(L4DENSE_GRID)[2])


def test_a_synapse_without_a_place_has_none(matlab, tmp_path):
    path = tmp_path / "synapses.hdf5"
    path.write_bytes((matlab.folder / "synapses.hdf5").read_bytes())
    with h5py.File(path, "r+") as file:
        file["synapses/postPosition"][:, 1] = 0
    synapses = read_synapses(path)
    assert not synapses.post_places.known[1]
    assert synapses.to_table(L4DENSE_GRID)["post_point_nm"][1].as_py() is None


def test_counting_starts_at_one_in_the_file_only(tmp_path):
    path = tmp_path / "segments.hdf5"
    with h5py.File(path, "w") as file:
        file["segments/position"] = np.array([[1, 7], [2, 8], [3, 9]], np.uint32)  # x, y, z
        file["segments/voxelCount"] = np.array([5, 6], np.uint32)
    segments = read_segments(path)
    np.testing.assert_array_equal(segments.positions.voxels, [[2, 1, 0], [8, 7, 6]])
    expected = [[2.5 * 28, 1.5 * 11.24, 0.5 * 11.24], [8.5 * 28, 7.5 * 11.24, 6.5 * 11.24]]
    np.testing.assert_allclose(segments.positions.nm(L4DENSE_GRID), expected)


@pytest.mark.parametrize("columns_first", [True, False])
def test_square_matrices_lie_like_the_others_of_their_file(tmp_path, columns_first):
    """Three nodes and two edges could lie either way; the second skeleton shows which."""
    nodes = [np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]]), np.array([[1, 1, 1], [2, 2, 2]])]
    edges = [np.array([[1, 3], [2, 3]]), np.array([[1, 2]])]
    path = tmp_path / "axons.hdf5"
    with h5py.File(path, "w") as file:
        file["axons/class"] = np.array([1, 1], np.uint8)
        file["axons/class"].attrs["other"] = np.uint8(1)
        for i in (1, 2):
            rows = (nodes[i - 1].astype(np.uint32), edges[i - 1].astype(np.uint32))
            ids = np.arange(10 * i, 10 * i + len(rows[0]), dtype=np.uint32)
            file[f"axons/agglomerate/{i}"] = file[f"axons/skeleton/{i}/segIds"] = ids
            for name, matrix in zip(("nodes", "edges"), rows, strict=True):
                file[f"axons/skeleton/{i}/{name}"] = matrix.T if columns_first else matrix
    skeletons = read_axons(path).skeletons
    for row in (0, 1):
        np.testing.assert_array_equal(skeletons.nodes_of(row), nodes[row][:, ::-1] - 1)
        np.testing.assert_array_equal(skeletons.edges[row], edges[row] - 1)


def test_cells_are_in_numeric_order(tmp_path):
    path = tmp_path / "heads.hdf5"
    with h5py.File(path, "w") as file:
        for i in (12, 3, 1, 2, *range(4, 12)):  # by name 10 would come before 2
            file[f"spineHeads/agglomerate/{i}"] = np.array([100 + i] * i, np.uint32)
        file["spineHeads/volume"] = np.ones(12, np.float32)
    heads = read_spine_heads(path)
    assert [ids.tolist() for ids in heads.supervoxels] == [[100 + i] * i for i in range(1, 13)]


def test_large_ids_and_other_widths_are_kept(tmp_path):
    path = tmp_path / "heads.hdf5"
    with h5py.File(path, "w") as file:
        file["spineHeads/agglomerate/1"] = np.array([[2**64 - 1, 2**53 + 1]], ">u8")
        file["spineHeads/volume"] = np.array([0.5], ">f8")
    (ids,) = read_spine_heads(path).supervoxels
    assert ids.tolist() == [2**64 - 1, 2**53 + 1]
