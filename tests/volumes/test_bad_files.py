"""Hostile and broken files: a typed error, in bounded memory and time; never other voxels."""

import gzip
import io
import struct
import tracemalloc
import zlib

import h5py
import nibabel as nib
import numpy as np
import pytest
import tifffile
from PIL import Image

from segmend.core.errors import BadInputError, ReadFailedError, SegmendError
from segmend.volumes.open import open_volume

EM = np.random.default_rng(10).integers(0, 256, (6, 20, 24), dtype=np.uint8)
SIZE = (40, 4, 4)
CASES = {}


def case(name, message):
    """Register a maker of a bad file: (path) -> options of open_volume."""

    def register(make):
        CASES[make.__name__] = (name, make, message)
        return make

    return register


# HDF5


def hdf5(path, make):
    with h5py.File(path, "w") as file:
        make(file)
    return {"key": "a"}


@case("a.h5", "is not a readable HDF5 file")
def hdf5_truncated(path):
    options = hdf5(path, lambda f: f.create_dataset("a", data=EM, chunks=True))
    path.write_bytes(path.read_bytes()[:-200])
    return options


@case("a.h5", "is not a readable HDF5 file")
def hdf5_that_is_text(path):
    path.write_text("not HDF5")
    return {}


@case("a.h5", "no data set in .* named 'a'")
def hdf5_without_the_key(path):
    return hdf5(path, lambda f: f.create_dataset("b", data=EM))


@case("a.h5", "no data set in .* named 'a'")
def hdf5_key_is_a_group(path):
    return hdf5(path, lambda f: f.create_group("a"))


@case("a.h5", "a link into another file")
def hdf5_external_link(path):
    hdf5(path.with_name("other.h5"), lambda f: f.create_dataset("a", data=EM))
    return hdf5(path, lambda f: f.__setitem__("a", h5py.ExternalLink("other.h5", "/a")))


@case("a.h5", "a link into another file")
def hdf5_external_link_on_the_way(path):
    def make(file):
        file["g"] = h5py.ExternalLink("/etc/passwd", "/")
        file["a"] = h5py.SoftLink("/g/a")

    return hdf5(path, make)


@case("a.h5", "more than 16 links")
def hdf5_soft_links_in_a_circle(path):
    def make(file):
        file["a"], file["b"] = h5py.SoftLink("/b"), h5py.SoftLink("/a")

    return hdf5(path, make)


@case("a.h5", "external storage")
def hdf5_external_storage(path):
    return hdf5(
        path,
        lambda f: f.create_dataset("a", (4, 4, 4), "u1", external=[("/etc/passwd", 0, 64)]),
    )


@case("a.h5", "a virtual data set")
def hdf5_virtual(path):
    def make(file):
        layout = h5py.VirtualLayout((4, 4, 4), "u1")
        layout[...] = h5py.VirtualSource("/etc/passwd", "a", (4, 4, 4))
        file.create_virtual_dataset("a", layout)

    return hdf5(path, make)


@case("a.h5", "dtype is complex128")
def hdf5_of_complex_numbers(path):
    return hdf5(path, lambda f: f.create_dataset("a", data=EM.astype(complex)))


@case("a.h5", "cannot be a volume")
def hdf5_of_text(path):
    return hdf5(path, lambda f: f.create_dataset("a", data=["x", "y"]))


@case("a.h5", "one axis each of z, y and x")
def hdf5_of_four_axes(path):
    return hdf5(path, lambda f: f.create_dataset("a", data=EM[None]))


@case("a.h5", "chunks of")
def hdf5_of_huge_chunks(path):
    shape = (2**11, 2**10, 2**9)
    return hdf5(path, lambda f: f.create_dataset("a", shape, "u1", chunks=shape))


@case("a.h5", "unusable 'resolution'")
def hdf5_with_a_voxel_size_of_text(path):
    def make(file):
        file.create_dataset("a", data=EM).attrs["resolution"] = "large"

    return hdf5(path, make)


@case("a.h5", "finite")
def hdf5_with_a_voxel_size_of_nan(path):
    def make(file):
        file.create_dataset("a", data=EM).attrs["resolution"] = [np.nan, 1, 1]

    return hdf5(path, make) | {"voxel_size": None}


@case("a.h5", "decodes|INSUFFICIENT_SPACE")
def hdf5_chunk_that_is_a_bomb(path):
    def make(file):
        data = file.create_dataset("a", (4, 16, 16), "u1", chunks=(4, 16, 16), compression="gzip")
        data.id.write_direct_chunk((0, 0, 0), zlib.compress(bytes(2**26)))

    return hdf5(path, make)


@case("a.h5", "it decodes to 100 bytes, not to 1024")
def hdf5_chunk_that_is_too_short(path):
    def make(file):
        data = file.create_dataset("a", (4, 16, 16), "u1", chunks=(4, 16, 16), compression="gzip")
        data.id.write_direct_chunk((0, 0, 0), zlib.compress(bytes(100)))

    return hdf5(path, make)


@case("a.h5", "its checksum is")
def hdf5_chunk_with_a_wrong_checksum(path):
    def make(file):
        data = file.create_dataset("a", (2, 4, 4), "u1", chunks=(2, 4, 4), fletcher32=True)
        data.id.write_direct_chunk((0, 0, 0), bytes(range(36)))

    return hdf5(path, make)


# TIFF


@case("a.tif", "not a readable TIFF")
def tiff_of_nothing(path):
    path.write_bytes(b"II*\0")
    return {}


@case("a.tif", "chain of pages breaks|shorter than|not a readable TIFF")
def tiff_truncated(path):
    tifffile.imwrite(path, EM, photometric="minisblack")
    path.write_bytes(path.read_bytes()[:-500])
    return {}


@case("a.tif", "loop of pages|chain of pages breaks")
def tiff_whose_pages_bite_their_tail(path):
    tifffile.imwrite(path, EM[0], photometric="minisblack", metadata=None)
    data = bytearray(path.read_bytes())
    (first,) = struct.unpack_from("<I", data, 4)
    (tags,) = struct.unpack_from("<H", data, first)
    struct.pack_into("<I", data, first + 2 + 12 * tags, first)
    path.write_bytes(data)
    return {}


@case("a.tif", "its pages differ")
def tiff_of_pages_of_several_shapes(path):
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(EM[0], photometric="minisblack")
        tiff.write(EM[1, :5], photometric="minisblack")
    return {}


@case("a.tif", "3 samples per pixel")
def tiff_of_colours(path):
    tifffile.imwrite(path, np.zeros((4, 8, 8, 3), np.uint8), photometric="rgb")
    return {}


@case("a.tif", "compression 7")
def tiff_of_lossy_pixels(path):
    tifffile.imwrite(path, EM[0], photometric="minisblack", compression="jpeg")
    return {}


def patched(path, tag, value, array=EM[:1], **form):
    """A TIFF file in which one number of the first page is a lie."""
    tifffile.imwrite(path, array, photometric="minisblack", metadata=None, **form)
    data = bytearray(path.read_bytes())
    (first,) = struct.unpack_from("<I", data, 4)
    (tags,) = struct.unpack_from("<H", data, first)
    for at in range(first + 2, first + 2 + 12 * tags, 12):
        if struct.unpack_from("<H", data, at)[0] == tag:
            struct.pack_into("<HII", data, at + 2, 4, 1, value)
    path.write_bytes(data)
    return {}


@case("a.tif", "strips or tiles|shorter|not a readable")
def tiff_of_impossible_width(path):
    return patched(path, 256, 2**31)


@case("a.tif", "strips or tiles|shorter|not a readable")
def tiff_of_impossible_height(path):
    return patched(path, 257, 2**30)


@case("a.tif", "shorter than its directories say")
def tiff_whose_strip_lies_outside(path):
    return patched(path, 273, 2**31)


@case("a.tif", "decode|deflate|INSUFFICIENT|BAD_DATA")
def tiff_strip_that_is_a_bomb(path):
    tifffile.imwrite(path, np.zeros((4096, 4096), np.uint8), compression="zlib", metadata=None)
    return patched_copy(path)


def patched_copy(path):
    data = bytearray(path.read_bytes())
    (first,) = struct.unpack_from("<I", data, 4)
    (tags,) = struct.unpack_from("<H", data, first)
    for at in range(first + 2, first + 2 + 12 * tags, 12):
        if struct.unpack_from("<H", data, at)[0] in (256, 257, 278):
            struct.pack_into("<HII", data, at + 2, 4, 1, 16)
    path.write_bytes(data)
    return {}


@case("a.tif", "declares entities")
def tiff_with_entities_in_its_ome_xml(path):
    text = '<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "aaaa">]><OME>&a;</OME>'
    tifffile.imwrite(path, EM, photometric="minisblack", description=text, metadata=None)
    return {}


@case("a.tif", "its images lie in other files")
def tiff_of_ome_in_several_files(path):
    text = (
        '<?xml version="1.0"?><OME><Image><Pixels DimensionOrder="XYZCT" SizeX="24" SizeY="20" '
        'SizeZ="6" SizeC="1" SizeT="1"><TiffData><UUID FileName="../b.tif">u</UUID></TiffData>'
        "</Pixels></Image></OME>"
    )
    tifffile.imwrite(path, EM, photometric="minisblack", description=text, metadata=None)
    return {}


# NIfTI


def nifti(path, *, affine=None, **fields):
    image = nib.Nifti1Image(EM.T, np.eye(4) if affine is None else affine)
    data = bytearray(image.to_bytes())
    for at, (kind, *values) in fields.items():
        struct.pack_into(f"<{kind}", data, int(at[1:]), *values)
    path.write_bytes(gzip.compress(bytes(data)) if path.suffix == ".gz" else data)
    return {"unit": "nm", "voxel_size": None}


@case("a.nii", "shorter than its header says")
def nifti_of_impossible_shape(path):
    return nifti(path, _40=("8h", 3, 32767, 32767, 32767, 1, 1, 1, 1))


@case("a.nii.gz", "shorter than its header says")
def packed_nifti_of_impossible_shape(path):
    return nifti(path, _40=("8h", 3, 32767, 32767, 32767, 1, 1, 1, 1))


@case("a.nii", "has dim")
def nifti_of_negative_shape(path):
    return nifti(path, _40=("8h", 3, -5, 20, 6, 1, 1, 1, 1))


@case("a.nii", "has dim")
def nifti_of_too_many_axes(path):
    return nifti(path, _40=("8h", 99, 5, 20, 6, 1, 1, 1, 1))


@case("a.nii", "vox_offset")
def nifti_that_starts_nowhere(path):
    return nifti(path, _108=("f", float("nan")))


@case("a.nii", "scales its values")
def nifti_that_scales(path):
    return nifti(path, _112=("2f", 0.5, 3.0))


@case("a.nii", "is oblique")
def nifti_that_is_oblique(path):
    affine = np.eye(4)
    affine[:2, :2] = [[0.8, -0.6], [0.6, 0.8]]
    return nifti(path, affine=affine)


@case("a.nii", "is oblique")
def nifti_with_an_affine_of_nan(path):
    return nifti(path, _280=("f", float("nan")))


@case("a.nii", "datatype has code 64")
def nifti_of_doubles(path):
    return nifti(path, _70=("2h", 64, 64))


@case("a.nii", "no magic")
def nifti_in_two_files(path):
    return nifti(path, _344=("4s", b"ni1\0"))


@case("a.nii.gz", "cannot inflate")
def packed_nifti_truncated(path):
    options = nifti(path)
    path.write_bytes(path.read_bytes()[:-30])
    return options


@case("a.nii.gz", "cannot inflate")
def packed_nifti_damaged(path):
    options = nifti(path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    return options


@case("a.nii.gz", "inflates to more than")
def packed_nifti_that_is_a_bomb(path):
    image = nib.Nifti1Image(EM.T, np.eye(4)).to_bytes()
    path.write_bytes(gzip.compress(image + bytes(2**27)))
    return {"unit": "nm", "voxel_size": None}


# NumPy


def npy(path, header, body=b""):
    text = header.encode().ljust(117) + b"\n"
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + body)
    return {}


@case("a.npy", "shorter than its header says")
def npy_of_impossible_shape(path):
    return npy(
        path, "{'descr': '<u8', 'fortran_order': False, 'shape': (4294967296, 4294967296, 8)}"
    )


@case("a.npy", "its shape is")
def npy_of_negative_shape(path):
    return npy(path, "{'descr': '<u8', 'fortran_order': False, 'shape': (-4, 4, 8)}", bytes(64))


@case("a.npy", "its dtype is object")
def npy_of_pickles(path):
    np.save(path, np.array([[[{"a": 1}]]]), allow_pickle=True)
    return {}


@case("a.npy", "not a readable NumPy file")
def npy_whose_header_is_code(path):
    return npy(path, "__import__('os').system('true')")


@case("a.npy", "not a readable NumPy file")
def npy_of_nothing(path):
    path.write_bytes(b"")
    return {}


@case("a.npz", "not a readable .npz")
def npz_that_is_no_archive(path):
    path.write_bytes(b"PK\3\4" + bytes(100))
    return {}


@case("a.npz", "cannot inflate")
def npz_whose_member_is_damaged(path):
    np.savez_compressed(path, em=EM)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    return {}


@case("a.npz", "claims more than it can hold")
def npz_that_claims_too_much(path):
    np.savez(path, em=EM)
    data = path.read_bytes()
    size = struct.pack("<I", EM.size + 128)
    at = data.rindex(b"PK\1\2") + 24
    assert data[at : at + 4] == size
    path.write_bytes(data[:at] + struct.pack("<I", 2**31) + data[at + 4 :])
    return {}


# Sections


def sections(path, *images):
    path.mkdir()
    for z, image in enumerate(images):
        if isinstance(image, bytes):
            (path / f"{z}.png").write_bytes(image)
        else:
            image.save(path / f"{z}.png")
    return {}


def png(array):
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, "PNG")
    return stream.getvalue()


@case("a", "does not fit its stack")
def png_of_several_shapes(path):
    return sections(path, png(EM[0]), png(EM[0, :5]))


@case("a", "RGB of 8 bits, not grey")
def png_of_colours(path):
    return sections(path, png(np.zeros((4, 4, 3), np.uint8)))


@case("a", "a palette")
def png_of_a_palette(path):
    return sections(path, Image.fromarray(EM[0]).convert("P", palette=Image.Palette.ADAPTIVE))


@case("a", "at most 89478485|At most 89478485")
def png_of_too_many_pixels(path):
    data = bytearray(png(EM[0]))
    struct.pack_into(">II", data, 16, 60_000, 60_000)
    struct.pack_into(">I", data, 29, zlib.crc32(data[12:29]))
    return sections(path, bytes(data))


@case("a", "ends after|wrong checksum")
def png_truncated(path):
    return sections(path, png(EM[0])[:-40])


@case("a", "is not a PNG file")
def png_that_is_text(path):
    return sections(path, b"hello")


@case("a", "more than one stack")
def png_of_two_stacks(path):
    path.mkdir()
    for name in ("raw_1", "seg_2"):
        (path / f"{name}.png").write_bytes(png(EM[0]))
    return {}


@case("a", "no section number")
def png_without_numbers(path):
    path.mkdir()
    (path / "a.png").write_bytes(png(EM[0]))
    return {}


@case("a", "cannot be a stack")
def png_with_enormous_gaps(path):
    path.mkdir()
    for name in ("1", "99999999999"):
        (path / f"{name}.png").write_bytes(png(EM[0]))
    return {"missing": "absent"}


def read_whole(path, options):
    volume = open_volume(path, **options)
    return volume.read(volume.box)


@pytest.mark.parametrize("named", CASES)
def test_a_bad_file_is_a_typed_error_in_little_memory(tmp_path, named):
    name, make, message = CASES[named]
    path = tmp_path / name
    options = {"voxel_size": SIZE} | make(path)
    tracemalloc.start()
    try:
        with pytest.raises((BadInputError, ReadFailedError), match=message):
            read_whole(path, options)
        assert tracemalloc.get_traced_memory()[1] < 2**26
    finally:
        tracemalloc.stop()


def test_damaged_hdf5_never_ends_this_process_nor_gives_other_voxels(tmp_path):
    """300 seeded bit flips and cuts: an error, or just what was stored, or absent."""
    good = tmp_path / "good.h5"
    with h5py.File(good, "w") as file:
        data = file.create_dataset(
            "volumes/raw", data=EM, chunks=(3, 8, 8), compression="gzip", fletcher32=True
        )
        data.attrs["resolution"] = SIZE
    content = good.read_bytes()
    outcomes = {"error": 0, "same": 0, "absent": 0, "elsewhere": 0}
    for seed in range(300):
        rng = np.random.default_rng(seed)
        data = bytearray(content)
        for at in rng.integers(0, len(data), rng.integers(1, 4)):
            data[at] ^= 1 << int(rng.integers(8))
        path = tmp_path / f"{seed}.h5"
        path.write_bytes(data[: rng.integers(1, len(data))] if seed % 5 == 0 else data)
        try:
            volume = open_volume(path, key="volumes/raw")
            if volume.grid.shape != EM.shape:
                outcomes["elsewhere"] += 1
                continue
            block = volume.read(volume.box)
        except SegmendError:
            outcomes["error"] += 1
            continue
        stored = block.coverage.mask()
        np.testing.assert_array_equal(block.data[stored], EM[stored])
        outcomes["same" if stored.all() else "absent"] += 1
    assert sum(outcomes.values()) == 300
    assert outcomes["error"] > 50
