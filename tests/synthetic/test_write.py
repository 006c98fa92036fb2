"""The file: every layer through two readers, every table as it was."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from segmend.core.errors import OutputError, ReadFailedError, SchemaError
from segmend.synthetic.spec import TissueSpec
from segmend.synthetic.tissue import Tissue
from segmend.synthetic.write import KEYS, read_edits, read_skeletons, read_synapses, write_tissue
from segmend.volumes.drivers.hdf5 import open_hdf5


@pytest.fixture(scope="module")
def file(spec: TissueSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tissue") / "tissue.h5"
    write_tissue(spec, path)
    return path


@pytest.mark.parametrize("layer", sorted(KEYS))
def test_a_layer_reads_back_through_h5py_and_our_driver(
    file: Path, tissue: Tissue, layer: str
) -> None:
    with h5py.File(file) as stored:
        np.testing.assert_array_equal(stored[KEYS[layer]][...], getattr(tissue, layer))
    volume = open_hdf5(file, KEYS[layer])
    assert volume.grid == tissue.spec.grid
    assert volume.dtype == getattr(tissue, layer).dtype
    np.testing.assert_array_equal(volume[volume.box], getattr(tissue, layer))


def test_tables_read_back_as_they_were(file: Path, tissue: Tissue) -> None:
    assert read_edits(file) == tissue.edits
    assert read_synapses(file) == tissue.synapses
    stored = read_skeletons(file)
    assert set(stored) == set(tissue.skeletons)
    for neuron, skeleton in stored.items():
        np.testing.assert_array_equal(skeleton.nodes, tissue.skeletons[neuron].nodes)
        np.testing.assert_array_equal(skeleton.radius, tissue.skeletons[neuron].radius)
        np.testing.assert_array_equal(skeleton.edges, tissue.skeletons[neuron].edges)


def test_a_failed_write_leaves_nothing_behind(spec: TissueSpec, tmp_path: Path) -> None:
    target = tmp_path / "taken"
    target.mkdir()
    with pytest.raises(OutputError, match="taken"):
        write_tissue(TissueSpec(1, (20, 32, 32)), target)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["taken"]
    with pytest.raises(OutputError, match="existing folder"):
        write_tissue(spec, tmp_path / "missing" / "tissue.h5")


def test_a_file_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ReadFailedError, match="no file"):
        read_edits(tmp_path / "absent.h5")
    (tmp_path / "text.h5").write_text("not HDF5")
    with pytest.raises(ReadFailedError, match="HDF5"):
        read_synapses(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["volumes/raw"] = np.zeros((2, 2, 2), np.uint8)
    with pytest.raises(SchemaError, match="synthetic tissue"):
        read_skeletons(tmp_path / "other.h5")
