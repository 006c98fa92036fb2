"""NIfTI: nibabel writes, and says where each voxel lies; we must agree."""

import itertools

import nibabel as nib
import numpy as np
import pytest

from segmend.core.box import VoxelBox
from segmend.core.errors import BadInputError, SchemaError
from segmend.testing.drivers import DriverContract
from segmend.volumes.drivers.nifti import open_nifti

ARRAY = np.random.default_rng(5).integers(0, 2**16, (7, 9, 11), dtype=np.uint16)  # i, j, k
AFFINE = np.diag([0.008, 0.008, 0.03, 1.0])
AFFINE[:3, 3] = (1.0, -2.0, 3.0)


def save(path, array, affine=AFFINE, *, kind=nib.Nifti1Image, unit="mm", **fields):
    image = kind(array, affine)
    image.header.set_xyzt_units(unit)
    for name, value in fields.items():
        image.header[name] = value
    nib.save(image, path)
    return path


class TestContract(DriverContract):
    @pytest.fixture(params=[(".nii", 1), (".nii", 2), (".nii.gz", 1), (".nii.gz", 2)])
    def volume(self, request, tmp_path):
        suffix, version = request.param
        kind = nib.Nifti1Image if version == 1 else nib.Nifti2Image
        return open_nifti(save(tmp_path / f"v{suffix}", ARRAY, kind=kind))

    @pytest.fixture
    def expected(self):
        return ARRAY.T


class TestFlipped(DriverContract):
    @pytest.fixture(params=[".nii", ".nii.gz"])
    def volume(self, request, tmp_path):
        affine = np.zeros((4, 4))
        affine[2, 0], affine[0, 1], affine[1, 2], affine[3, 3] = -0.03, 0.004, -0.005, 1
        return open_nifti(save(tmp_path / f"v{request.param}", ARRAY, affine))

    @pytest.fixture
    def expected(self):
        return np.flip(ARRAY.transpose(0, 2, 1), (0, 1))


@pytest.mark.parametrize("form", ["sform", "qform"])
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_every_voxel_lies_where_nibabel_says(tmp_path, form, order):
    signs = np.array([1, -1, -1]) if sum(order[:2]) % 2 else np.array([-1, 1, 1])
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    for column, row in enumerate(order):
        affine[row, column] = signs[row] * (0.004, 0.005, 0.03)[row]
    affine[:3, 3] = (1.5, -2.25, 0.75)
    image = nib.Nifti1Image(ARRAY, None)
    image.header.set_xyzt_units("mm")
    (image.set_sform if form == "sform" else image.set_qform)(affine, 1)
    (image.set_qform if form == "sform" else image.set_sform)(None, 0)
    nib.save(image, tmp_path / "v.nii")
    volume = open_nifti(tmp_path / "v.nii")
    data = volume[volume.box]
    said = nib.load(tmp_path / "v.nii").affine
    for index in [(0, 0, 0), (6, 8, 10), (2, 3, 4)]:
        centre_xyz_nm = (said @ [*index, 1])[:3] * 1e6
        z, y, x = volume.grid.voxel_at(centre_xyz_nm[::-1])
        assert data[z, y, x] == ARRAY[index]
        np.testing.assert_allclose(
            volume.grid.centers(np.array([z, y, x])), centre_xyz_nm[::-1], atol=0.5
        )


def test_the_result_equals_nibabels_canonical_orientation(tmp_path):
    affine = np.diag([-0.008, -0.008, 0.03, 1.0])
    path = save(tmp_path / "v.nii.gz", ARRAY, affine)
    canonical = nib.as_closest_canonical(nib.load(path))
    volume = open_nifti(path)
    np.testing.assert_array_equal(volume[volume.box], np.asarray(canonical.dataobj).T)


def test_units_are_honoured_and_never_guessed(tmp_path):
    affine = np.diag([4.0, 5.0, 30.0, 1.0])
    micron = open_nifti(save(tmp_path / "a.nii", ARRAY, affine, unit="micron"))
    assert micron.grid.voxel_size == (30_000, 5_000, 4_000)
    path = save(tmp_path / "b.nii", ARRAY, affine, unit="unknown")
    with pytest.raises(SchemaError, match="how large its voxels are"):
        open_nifti(path)
    assert open_nifti(path, unit="nm").grid.voxel_size == (30, 5, 4)
    assert open_nifti(path, voxel_size=(30, 5, 4)).grid.offset == (0, 0, 0)
    with pytest.raises(BadInputError, match="disagree about the voxel size"):
        open_nifti(tmp_path / "a.nii", voxel_size=(30, 5, 4))


def test_a_file_said_to_be_transposed_is_taken_as_stored(tmp_path):
    path = save(tmp_path / "v.nii", ARRAY, unit="mm")
    volume = open_nifti(path, axes="xyz", offset=(1, 2, 3))
    np.testing.assert_array_equal(volume[volume.box], ARRAY)
    assert volume.grid.offset == (1, 2, 3)
    said = open_nifti(path, axes="xyz", voxel_size=(30, 8, 8))  # the affine is what is wrong
    assert said.grid.voxel_size == (30, 8, 8)


def test_one_element_of_a_fourth_axis_is_chosen(tmp_path):
    four = np.stack([ARRAY, ARRAY + 1], -1)
    path = save(tmp_path / "v.nii", four)
    volume = open_nifti(path, channel=1)
    np.testing.assert_array_equal(volume[volume.box], (ARRAY + 1).T)
    with pytest.raises(BadInputError, match="axis 'c' of length 2"):
        open_nifti(path)


def test_small_boxes_of_packed_files_inflate_once(tmp_path, monkeypatch):
    path = save(tmp_path / "v.nii.gz", ARRAY)
    volume = open_nifti(path)
    np.testing.assert_array_equal(
        volume.read_voxels(VoxelBox((0, 0, 0), (1, 1, 1))).data, ARRAY.T[:1, :1, :1]
    )
    monkeypatch.setattr("segmend.volumes.inflated.open_stream", None)
    np.testing.assert_array_equal(volume[volume.box], ARRAY.T)
