"""One call opens any format, and says how it knew."""

import h5py
import nibabel as nib
import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

import segmend as sg
from segmend.core.errors import BadInputError, ReadFailedError, UnknownNameError
from segmend.volumes.formats import FORMATS
from segmend.volumes.open import infer, open_volume

EM = np.random.default_rng(9).integers(0, 256, (6, 20, 24), dtype=np.uint8)
SIZE = (40, 4, 4)


def write_hdf5(path):
    with h5py.File(path, "w") as file:
        file["em"] = EM


def write_sections(path):
    path.mkdir()
    for z, section in enumerate(EM):
        Image.fromarray(section).save(path / f"{z}.png")


def write_tiffs(path):
    path.mkdir()
    for z, section in enumerate(EM):
        tifffile.imwrite(path / f"{z}.tif", section)


def write_zarr(path, version):
    array = zarr.create_array(path, shape=EM.shape, dtype=EM.dtype, zarr_format=version)
    array[...] = EM


def write_nifti(path):
    nib.save(nib.Nifti1Image(EM.T, np.eye(4)), path)


WRITERS = [
    ("em.h5", write_hdf5, "hdf5", "its name ends in .h5"),
    ("em.dat", write_hdf5, "hdf5", "it starts with the bytes of hdf5"),
    ("em.TIF", lambda p: tifffile.imwrite(p, EM), "tiff", "its name ends in .tif"),
    ("em.stack", lambda p: tifffile.imwrite(p, EM), "tiff", "it starts with the bytes of tiff"),
    ("em.npy", lambda p: np.save(p, EM), "numpy", "its name ends in .npy"),
    ("em.npz", lambda p: np.savez(p, em=EM), "numpy", "its name ends in .npz"),
    ("pngs", write_sections, "png", "its files end in .png"),
    ("tiffs", write_tiffs, "tiff", "its files end in .tif or .tiff"),
    ("em2.zarr", lambda p: write_zarr(p, 2), "zarr", "it holds a file .zarray"),
    ("em3", lambda p: write_zarr(p, 3), "zarr", "it holds a file zarr.json"),
    ("em.nii.gz", write_nifti, "nifti", "its name ends in .nii.gz"),
]


@pytest.mark.parametrize(("name", "write", "kind", "because"), WRITERS, ids=[w[0] for w in WRITERS])
def test_every_format_opens_from_its_place_alone(tmp_path, name, write, kind, because):
    write(tmp_path / name)
    found = infer(tmp_path / name)
    assert (found.format, found.because) == (kind, because)
    options = {"unit": "nm"} if kind == "nifti" else {"voxel_size": SIZE}
    axes = {"axes": "zyx"} if kind in ("zarr", "nifti") else {}
    for place in (tmp_path / name, f"file://{tmp_path / name}"):
        volume = open_volume(place, **options, **axes)
        np.testing.assert_array_equal(volume.read(volume.box).data, EM)


def test_it_is_in_the_public_names():
    assert sg.open_volume is open_volume


def test_a_word_before_the_place_names_the_format(tmp_path):
    write_zarr(tmp_path / "em", 2)
    for word in ("zarr", "zarr2"):
        found = infer(f"{word}://{tmp_path / 'em'}")
        assert (found.format, found.place) == ("zarr", str(tmp_path / "em"))
        assert found.because == f"it starts with {word}://"
    assert infer("precomputed://gs://bucket/seg").place == "gs://bucket/seg"
    assert infer("graphene://https://s.org/segmentation/table/t").format == "graphene"


def test_the_caller_may_name_the_format(tmp_path):
    write_hdf5(tmp_path / "em.npy")
    volume = open_volume(tmp_path / "em.npy", driver="hdf5", voxel_size=SIZE)
    np.testing.assert_array_equal(volume[volume.box], EM)
    with pytest.raises(UnknownNameError, match=r"volume format named 'hdf4'.*Did you mean 'hdf5'"):
        open_volume(tmp_path / "em.npy", driver="hdf4")


def test_cubes_open_by_name(tmp_path):
    for x in range(2):
        with h5py.File(tmp_path / f"x{x}y0z0.hdf5", "w") as file:
            file["data"] = EM[..., 12 * x : 12 * x + 12]
    volume = open_volume(
        tmp_path,
        key="data",
        voxel_size=SIZE,
        cube_shape=(6, 20, 12),
        grid_shape=(1, 1, 2),
        dtype="u1",
        driver="hdf5-cubes",
    )
    np.testing.assert_array_equal(volume[volume.box], EM)


def test_what_a_format_cannot_do_without_is_named(tmp_path):
    write_hdf5(tmp_path / "x0y0z0.hdf5")
    with pytest.raises(BadInputError, match=r"without key, cube_shape.*its files end in \.h5"):
        open_volume(tmp_path)
    write_sections(tmp_path / "pngs")
    with pytest.raises(BadInputError, match="how large its voxels are"):
        open_volume(tmp_path / "pngs")


def test_options_a_format_does_not_take_are_refused_with_the_reason(tmp_path):
    np.save(tmp_path / "em.npy", EM)
    with pytest.raises(
        BadInputError, match=r"no option unit.*read as numpy, because its name ends"
    ):
        open_volume(tmp_path / "em.npy", voxel_size=SIZE, unit="nm")


def test_what_cannot_be_told_lists_what_was_tried(tmp_path):
    (tmp_path / "em.raw").write_bytes(b"\0" * 100)
    with pytest.raises(BadInputError, match=r"suffixes .*\.h5.*starting with b'.x00"):
        open_volume(tmp_path / "em.raw")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInputError, match=r"none of the files .*zarr\.json.*Pass driver="):
        open_volume(tmp_path / "empty")
    with pytest.raises(ReadFailedError, match="no file or folder"):
        open_volume(tmp_path / "nowhere")


def test_a_folder_that_could_be_two_formats_is_not_guessed(tmp_path):
    write_sections(tmp_path / "both")
    tifffile.imwrite(tmp_path / "both" / "0.tif", EM[0])
    with pytest.raises(BadInputError, match=r"could be png.*; tiff|could be tiff.*; png"):
        open_volume(tmp_path / "both", voxel_size=SIZE)
    write_zarr(tmp_path / "marked", 2)
    (tmp_path / "marked" / "info").write_text("{}")
    with pytest.raises(BadInputError, match=r"could be precomputed.*; zarr"):
        infer(tmp_path / "marked")


@pytest.mark.parametrize("url", ["https://h.org/em.h5", "s3://b/em.tif", "gs://b/em.nii.gz?x=1"])
def test_single_files_behind_urls_are_to_be_downloaded_first(url):
    with pytest.raises(BadInputError, match="segmend fetch"):
        open_volume(url)


def test_every_format_names_a_function_that_takes_its_options():
    import importlib
    import inspect

    for known in FORMATS.values():
        module = importlib.import_module(f"segmend.volumes.drivers.{known.module}")
        parameters = list(inspect.signature(getattr(module, known.function)).parameters)
        keywords = {name for name in known.options if name != "key"}
        assert keywords <= set(parameters[1:])
        assert ("key" in known.options) == (parameters[1] in ("key", "path"))
