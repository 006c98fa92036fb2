"""CREMI's partners, from files that h5py writes as the challenge describes them."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from segmend.annotations.cremi import PARTNERS, read_partners
from segmend.core.errors import OutOfBoundsError, ReadFailedError, SchemaError
from segmend.metrics.segmentation.partners import partner_scores
from segmend.segmentation.partners import partner_pairs
from segmend.volumes.open import open_volume

IDS = [7, 3, 2**63 + 5, 11]
PLACES = [[40.0, 8, 8], [40, 8, 24], [80, 20, 20], [80, 28, 28]]
PAIRS = [[3, 7], [2**63 + 5, 11]]


def write(path: Path, ids=IDS, places=PLACES, pairs=PAIRS, offset=None) -> Path:
    with h5py.File(path, "w") as file:
        file.attrs["file_format"] = "0.2"
        file["annotations/ids"] = np.array(ids, np.uint64)
        file["annotations/locations"] = np.array(places, np.float64).reshape(-1, 3)
        file[PARTNERS] = np.array(pairs, np.uint64).reshape(-1, 2)
        kinds = ["presynaptic_site"] * len(ids)
        file.create_dataset("annotations/types", data=kinds, dtype=h5py.string_dtype())
        if offset is not None:
            file["annotations"].attrs["offset"] = offset
        labels = np.arange(4 * 16 * 16, dtype=np.uint64).reshape(4, 16, 16)
        file["volumes/labels/neuron_ids"] = labels
        file["volumes/labels/neuron_ids"].attrs["resolution"] = (40.0, 4.0, 4.0)
    return path


def test_pairs_find_their_places_whatever_the_order_of_sites(tmp_path: Path) -> None:
    partners = read_partners(write(tmp_path / "a.hdf"))
    assert partners.ids.tolist() == PAIRS
    assert partners.pre_nm.tolist() == [[40, 8, 24], [80, 20, 20]]
    assert partners.post_nm.tolist() == [[40, 8, 8], [80, 28, 28]]


def test_places_count_from_the_offset_of_their_group(tmp_path: Path) -> None:
    partners = read_partners(write(tmp_path / "a.hdf", offset=(400.0, 40.0, 44.0)))
    assert partners.pre_nm[0].tolist() == [440, 48, 68]


def test_a_file_without_pairs_has_none(tmp_path: Path) -> None:
    assert len(read_partners(write(tmp_path / "a.hdf", [], [], []))) == 0


def test_pairs_are_scored_with_the_neurons_they_lie_in(tmp_path: Path) -> None:
    path = write(tmp_path / "a.hdf")
    neurons = open_volume(path, key="volumes/labels/neuron_ids")
    truth = partner_pairs(read_partners(path), neurons)
    assert truth.pre_ids.tolist() == [256 + 2 * 16 + 6, 2 * 256 + 5 * 16 + 5]
    assert partner_scores(truth, truth).f_score == 1
    # The same pair, moved by a voxel: near, but in another neuron.
    moved = write(tmp_path / "b.hdf", places=[[40, 8, 12], [40, 8, 24], *PLACES[2:]])
    found = partner_pairs(read_partners(moved), neurons)
    assert partner_scores(found, truth).f_score == 0.5
    outside = write(tmp_path / "c.hdf", places=[[4000, 8, 12], *PLACES[1:]])
    with pytest.raises(OutOfBoundsError):
        partner_pairs(read_partners(outside), neurons)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ids": [7, 3, 3, 11], "pairs": [[3, 7]]}, "site 3 occurs twice"),
        ({"pairs": [[3, 8]]}, "names site 8, which is not there"),
        ({"ids": IDS[:3]}, "do not belong together"),
        ({"places": [[1, 2, np.nan], *PLACES[1:]]}, "row 1 is"),
        ({"offset": (1.0, 2.0)}, "not 3 numbers"),
        ({"offset": "far"}, "no short row of numbers"),
    ],
)
def test_what_does_not_fit_together_is_named(tmp_path: Path, changes, message) -> None:
    with pytest.raises(SchemaError, match=message):
        read_partners(write(tmp_path / "a.hdf", **changes))


def test_files_without_annotations(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "bare.hdf", "w") as file:
        file["volumes/raw"] = np.zeros((2, 2, 2), np.uint8)
    with pytest.raises(SchemaError, match="there is no '/annotations'"):
        read_partners(tmp_path / "bare.hdf")
    with pytest.raises(ReadFailedError, match="no file"):
        read_partners(tmp_path / "none.hdf")


def test_the_stand_in_of_the_catalogue_has_its_synapses(l4_tissue, tmp_path: Path) -> None:
    from segmend.testing.standins.cremi import CROPPED, VOXEL_SIZE, _annotations

    with h5py.File(tmp_path / "a.hdf", "w") as file:
        _annotations(file, l4_tissue, (40.0, 4.0, 8.0))
    partners = read_partners(tmp_path / "a.hdf")
    corner = np.multiply(CROPPED.start, VOXEL_SIZE) - (40.0, 4.0, 8.0)
    wanted = [np.subtract(synapse.pre_point_nm, corner) for synapse in l4_tissue.synapses]
    np.testing.assert_allclose(partners.pre_nm, wanted)
    assert len(partners) > 0
