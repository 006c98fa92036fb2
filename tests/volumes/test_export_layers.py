"""Several layers of a box in one HDF5 file."""

import json

import h5py
import numpy as np
import pytest

from segmend.core.box import VoxelBox
from segmend.core.errors import BadInputError, OutputError, ReadFailedError, VerificationError
from segmend.core.random import keyed_generator
from segmend.volumes.drivers.hdf5 import open_hdf5
from segmend.volumes.drivers.memory import from_array
from segmend.volumes.export import layers as module
from segmend.volumes.export.layers import BoxLayer, export_layers

RAW, IDS = "volumes/raw", "volumes/labels/neuron_ids"


@pytest.fixture
def wanted():
    rng = keyed_generator(3, "layers")
    em = rng.integers(0, 256, (70, 40, 90), np.uint8)
    ids = rng.integers(2**60, 2**64, (35, 20, 45), np.uint64)
    return {
        RAW: BoxLayer(from_array(em, (4, 4, 4)), VoxelBox((2, 0, 4), (68, 40, 90)), "image"),
        IDS: BoxLayer(from_array(ids, (8, 8, 8)), VoxelBox((1, 0, 2), (34, 20, 45)), "labels"),
    }


def test_each_layer_keeps_its_voxels_scale_and_place(wanted, tmp_path):
    told = export_layers(wanted, tmp_path / "a.h5")
    for key, layer in wanted.items():
        opened = open_hdf5(tmp_path / "a.h5", key)
        expected = layer.volume.read_voxels(layer.voxels)
        np.testing.assert_array_equal(opened[opened.box], expected.data)
        assert opened.grid == expected.grid
        assert opened.dtype == expected.data.dtype
        with h5py.File(tmp_path / "a.h5") as file:
            assert json.loads(file[key].attrs["segmend_provenance"]) == told[key]
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]
    assert export_layers(wanted, tmp_path / "a.h5") == told


def test_what_is_there_and_something_else_is_left(wanted, tmp_path):
    export_layers({IDS: wanted[IDS]}, tmp_path / "a.h5")
    (tmp_path / "b.h5").write_text("mine")
    for name in ("a.h5", "b.h5"):
        with pytest.raises(OutputError, match="is not this export"):
            export_layers(wanted, tmp_path / name)
    assert (tmp_path / "b.h5").read_text() == "mine"
    with pytest.raises(BadInputError, match=r"ending in \.h5"):
        export_layers(wanted, tmp_path / "a.zarr")


def test_what_was_read_is_kept_when_a_layer_fails(wanted, tmp_path, monkeypatch):
    export, calls = module.export_box, []

    def failing(volume, *arguments, **options):
        calls.append(volume.dtype)
        if volume.dtype == np.uint64 and calls.count(volume.dtype) == 1:
            raise ReadFailedError("the network is gone", reason="connection")
        made = export(volume, *arguments, **options)
        kept.append(made.kept)
        return made

    kept: list[int] = []
    monkeypatch.setattr(module, "export_box", failing)
    with pytest.raises(ReadFailedError):
        export_layers(wanted, tmp_path / "a.h5")
    assert not (tmp_path / "a.h5").exists()
    kept.clear()
    export_layers(wanted, tmp_path / "a.h5")
    assert kept[0] == 1, "the block of the image was not read again"
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]


def test_a_chunk_that_changes_on_the_way_is_noticed(wanted, tmp_path):
    export_layers(wanted, tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5") as one, h5py.File(tmp_path / "b.h5", "w") as two:
        one.copy(RAW, two, name="copy")
        module._compare(one[RAW], two["copy"])
        chunk = two["copy"].id.read_direct_chunk((0, 0, 0))[1]
        two["copy"].id.write_direct_chunk((0, 0, 0), chunk[:-1] + bytes([chunk[-1] ^ 1]))
        with pytest.raises(VerificationError, match="/copy differs"):
            module._compare(one[RAW], two["copy"])
