"""L4dense2019 as a data set: tables, tracings, and supervoxels mapped to neurites on reading."""

import shutil
from dataclasses import replace

import h5py
import msgspec
import numpy as np
import pytest

import segmend as sg
from segmend.annotations.agglomeration import stack
from segmend.annotations.neurites import Axons
from segmend.catalog.agglomerated import stacked_neurites
from segmend.catalog.checking import check_records
from segmend.catalog.fetching import fetch_files
from segmend.catalog.located_synapses import located_synapses
from segmend.catalog.record import load_record
from segmend.core.errors import ReadFailedError, SchemaError, UnknownNameError
from segmend.testing.servers import range_server
from segmend.testing.standins import l4dense, write_standin
from segmend.testing.standins.toml import to_toml


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    file = write_standin("l4dense2019", tmp_path_factory.mktemp("l4dense"))
    record, place = load_record(str(file))
    fetch_files(record, place, box=sg.Box(*record.default_box_nm))
    return sg.open(str(file))


def whole(volume):
    return volume.read(volume.box).data


def test_every_table_and_folder_of_the_record_opens(dataset):
    truth, opened = l4dense.truth(), dataset.annotations
    assert set(opened) == {*l4dense.TABLES, *l4dense.TRACINGS, "spine-heads", "synem-interfaces"}
    assert isinstance(opened["axons"], Axons)
    assert len(opened["axons"]) == len(truth.axons)
    assert len(opened["dendrites"]) == len(truth.dendrites)
    assert len(opened["synapses"]) == len(l4dense.masked_tissue().synapses)
    assert len(opened["segments"]) == truth.supervoxels.max()
    assert opened["axons"] is dataset.annotations["axons"], "a table is read once"
    assert list(opened["connectem-cubes"]) == ["cube-1.nml", "cube-2.nml", "cube-3.nml"]
    assert list(opened["synem-interfaces"]) == ["test-1.hdf5", "training-1.hdf5", "training-2.hdf5"]
    with pytest.raises(UnknownNameError, match="axons"):
        opened["axon"]


def test_supervoxels_are_mapped_to_neurites_on_reading(dataset):
    neurites = dataset.labels["neurites"]
    assert neurites.dtype == np.uint64
    np.testing.assert_array_equal(whole(neurites), l4dense.layer_arrays()["neurites"])
    axons = dataset.annotations["axons"].agglomeration()
    supervoxels = whole(dataset.labels["supervoxels"])
    found = whole(neurites)
    is_axon = (found > 0) & (found <= len(axons))
    np.testing.assert_array_equal(np.where(is_axon, found, 0), axons.relabel(supervoxels))


def test_mapping_on_reading_equals_the_published_mapped_segmentation(dataset):
    names = dataset.layers["neurites"].agglomerates
    lowest = stacked_neurites(dataset.annotations, names).with_lowest_supervoxels()
    ours = lowest.relabel(whole(dataset.labels["supervoxels"]), keep_others=True)
    np.testing.assert_array_equal(ours, whole(dataset.labels["neurons"]))


def test_synapses_are_pairs_of_the_supervoxels_at_their_positions(dataset):
    volume = dataset.labels["supervoxels"]
    found, left_out = located_synapses(
        dataset.annotations, whole(volume).astype(np.uint64), volume.grid, whole=volume.grid
    )
    made, truth = l4dense.masked_tissue().synapses, l4dense.truth()
    neurites = (*truth.axons, *truth.dendrites)
    paired = [s for s in made if s.pre_neuron in truth.axons and s.post_neuron in truth.dendrites]
    assert [(neurites[s.pre_neuron - 1], neurites[s.post_neuron - 1]) for s in found] == [
        (s.pre_neuron, s.post_neuron) for s in paired
    ]
    assert left_out == {"partner not reconstructed": len(made) - len(paired)}
    for synapse in found:
        for point, segment in (
            (synapse.pre_point_nm, synapse.pre_segment),
            (synapse.post_point_nm, synapse.post_segment),
        ):
            at = volume.grid.voxel_at(point)
            assert truth.supervoxels[at] == segment


def test_synapses_of_a_part_are_those_whose_cleft_lies_in_it(dataset):
    volume = dataset.labels["supervoxels"]
    everywhere, _ = located_synapses(
        dataset.annotations, whole(volume).astype(np.uint64), volume.grid, whole=volume.grid
    )
    first = everywhere[0]
    voxels = volume.grid.to_voxels(sg.Box.around(first.center_nm, size=600))
    box = volume.grid.to_box(volume.grid.voxels.intersect(voxels))
    part, _ = located_synapses(
        dataset.annotations,
        volume.read(box).data.astype(np.uint64),
        volume.grid.crop(volume.grid.to_voxels(box)),
        whole=volume.grid,
    )
    assert first in part
    assert set(part) <= set(everywhere)


def test_a_position_outside_the_listed_segments_is_a_named_reason(dataset):
    volume = dataset.labels["supervoxels"]
    wrong = np.ones(volume.grid.shape, np.uint64) * np.uint64(10**9)
    found, left_out = located_synapses(dataset.annotations, wrong, volume.grid, whole=volume.grid)
    assert not found
    assert left_out["position in none of its segments"] > 0


def test_a_missing_table_says_how_to_get_it(dataset, tmp_path):
    bare = sg.open("l4dense2019", path=tmp_path)
    with pytest.raises(ReadFailedError, match=r"axons\.hdf5.*fetch l4dense2019 --layer axons"):
        bare.annotations["axons"]
    with pytest.raises(ReadFailedError, match="manual-neuron-reconstructions"):
        bare.annotations["manual-neurons"]
    (tmp_path / "l4dense2019" / "manual-neuron-reconstructions").mkdir(parents=True)
    with pytest.raises(ReadFailedError, match="no folder of tracings"):
        bare.annotations["manual-neurons"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"file": "axns"}, "annotation 'axons' lies in the file 'axns'"),
        ({"reader": "l4dense-axon"}, "l4dense-axon"),
    ],
)
def test_a_record_whose_annotations_lead_nowhere_is_refused(dataset, tmp_path, change, says):
    entry = msgspec.structs.replace(dataset.record.annotations["axons"], **change)
    record = msgspec.structs.replace(
        dataset.record, annotations=dataset.record.annotations | {"axons": entry}
    )
    (tmp_path / "own.toml").write_text(to_toml(record))
    with pytest.raises(SchemaError, match=says):
        load_record(str(tmp_path / "own.toml"))


def test_a_layer_can_only_map_to_neurites(dataset):
    layer = msgspec.structs.replace(
        dataset.record.layers["neurites"], agglomerates=("axons", "synapses")
    )
    layers = dataset.record.layers | {"neurites": layer}
    own = replace(dataset, record=msgspec.structs.replace(dataset.record, layers=layers))
    with pytest.raises(SchemaError, match=r"'synapses'.*holds no neurites"):
        whole(own.labels["neurites"])


def test_mapping_reads_no_skeletons(dataset, tmp_path):
    folder = shutil.copytree(dataset.at.folder / "l4dense2019", tmp_path / "l4dense2019").parent
    with h5py.File(folder / "l4dense2019" / "axons.hdf5", "r+") as file:
        del file["axons/skeleton"]
    own = replace(dataset, at=replace(dataset.at, folder=folder))
    np.testing.assert_array_equal(whole(own.labels["neurites"]), l4dense.layer_arrays()["neurites"])
    with pytest.raises(SchemaError, match="skeleton"):
        own.annotations["axons"]


def test_the_fingerprint_covers_what_samples_are_made_of(dataset, tmp_path):
    folder = shutil.copytree(dataset.at.folder / "l4dense2019", tmp_path / "l4dense2019").parent
    own = replace(dataset, at=replace(dataset.at, folder=folder))
    before = own.fingerprint()
    assert before == dataset.fingerprint()
    with h5py.File(folder / "l4dense2019" / "segments.hdf5", "r+") as file:
        file.attrs["note"] = "no sample is made of it"
    assert own.fingerprint() == before
    for name in ("synapses", "dendrites"):
        with h5py.File(folder / "l4dense2019" / f"{name}.hdf5", "r+") as file:
            file.attrs["note"] = "another table"
        assert own.fingerprint() != before
        before = own.fingerprint()


def test_fetching_a_mapped_layer_brings_its_tables(dataset, tmp_path):
    box = sg.Box(*dataset.record.default_box_nm)
    made = fetch_files(dataset.record, tmp_path, layers=["neurites"], box=box)
    names = {f.path.name for f in made}
    assert {"axons.hdf5", "dendrites.hdf5"} <= names
    assert "synapses.hdf5" not in names
    (one,) = fetch_files(dataset.record, tmp_path, layers=["synapses"])
    assert one.path.name == "synapses.hdf5"


def test_folders_are_listed_and_fetched_by_name(dataset, tmp_path):
    published = dataset.at.folder
    with range_server(published) as server:
        files = {
            name: msgspec.structs.replace(
                file, urls=tuple(u.replace(published.as_uri(), server.url) for u in file.urls)
            )
            for name, file in dataset.record.files.items()
        }
        record = msgspec.structs.replace(dataset.record, files=files)
        box = sg.Box(*record.default_box_nm)
        everything = fetch_files(record, tmp_path, box=box)
        assert not [f for f in everything if f.path.suffix == ".nml"], "only by name"
        names = ("typeem-cubes", "synem-interfaces")
        made = fetch_files(record, tmp_path, layers=names)
        assert all(f.fresh for f in made)
        assert not [f for f in fetch_files(record, tmp_path, layers=names) if f.fresh]
        own = replace(dataset, at=replace(dataset.at, folder=tmp_path), record=record)
        for name in names:
            assert list(own.annotations[name]) == list(dataset.annotations[name])
        states = [c for c in check_records([(record, tmp_path)]) if "typeem" in c.what]
        assert [(c.state, c.why) for c in states] == [("alive", "3 files, not recorded")]
    with pytest.raises(ReadFailedError, match=r"cannot list l4dense2019/connectem/.*WebDAV"):
        fetch_files(record, tmp_path, layers=["connectem-cubes"])


def test_stacked_neurites_keep_the_ids_of_the_first(dataset):
    both = stacked_neurites(dataset.annotations, ("axons", "dendrites"))
    parts = [dataset.annotations[name].agglomeration() for name in ("axons", "dendrites")]
    again = stack(parts)
    np.testing.assert_array_equal(both.owners, again.owners)
    assert both is stacked_neurites(dataset.annotations, ("axons", "dendrites"))
