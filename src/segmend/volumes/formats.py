"""The file formats of volumes: one table."""

from __future__ import annotations

from dataclasses import dataclass

from segmend.core.registry import Registry


@dataclass(frozen=True, slots=True)
class VolumeFormat:
    """A file format: how to know it, and who opens it.

    Attributes:
        module: Module of its driver, below ``segmend.volumes.drivers``.
        function: Function that opens it.
        options: What that function takes besides the place.
        suffixes: Suffixes of its files, or of the sections in its folders.
        magic: Bytes with which its files start.
        schemes: Words that may stand before ``://``.
        markers: Files that its folders hold.
        remote: Whether it is read where it lies, by http(s), s3 or gs.
    """

    module: str
    function: str
    options: frozenset[str]
    suffixes: tuple[str, ...] = ()
    magic: tuple[bytes, ...] = ()
    schemes: tuple[str, ...] = ()
    markers: tuple[str, ...] = ()
    remote: bool = False


_PLACED = frozenset({"voxel_size", "offset", "absent"})
_ARRAY = _PLACED | {"axes", "channel"}

FORMATS: Registry[VolumeFormat] = Registry("volume format")
"""By name."""

for _name, _format in {
    "precomputed": VolumeFormat(
        "precomputed",
        "open_precomputed",
        frozenset({"channel", "absent"}),
        schemes=("precomputed",),
        markers=("info",),
        remote=True,
    ),
    "zarr": VolumeFormat(
        "zarr",
        "open_zarr",
        _ARRAY - {"channel"} | {"key", "multiscale", "origin", "take"},
        schemes=("zarr", "zarr2", "zarr3"),
        markers=("zarr.json", ".zarray", ".zgroup"),
        remote=True,
    ),
    "n5": VolumeFormat(
        "n5",
        "open_n5",
        _ARRAY - {"channel"} | {"key", "take"},
        schemes=("n5",),
        markers=("attributes.json",),
        remote=True,
    ),
    "graphene": VolumeFormat(
        "graphene",
        "open_graphene",
        frozenset({"absent", "agglomerate", "timestamp"}),
        schemes=("graphene",),
        remote=True,
    ),
    "hdf5": VolumeFormat(
        "hdf5",
        "open_hdf5",
        _ARRAY | {"key"},
        suffixes=(".h5", ".hdf5", ".hdf", ".he5"),
        magic=(b"\x89HDF\r\n\x1a\n",),
    ),
    "hdf5-cubes": VolumeFormat(
        "hdf5_cubes",
        "open_hdf5_cubes",
        _PLACED
        | {"axes", "key", "cube_shape", "grid_shape", "dtype", "shape", "absent_cubes", "name"},
        suffixes=(".h5", ".hdf5"),
    ),
    "tiff": VolumeFormat(
        "tiff",
        "open_tiff",
        _PLACED | {"channel", "unit", "missing"},
        suffixes=(".tif", ".tiff"),
        magic=(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    ),
    "png": VolumeFormat(
        "png_stack", "open_png_stack", _PLACED | {"missing", "rgb_ids"}, suffixes=(".png",)
    ),
    "nifti": VolumeFormat("nifti", "open_nifti", _ARRAY | {"unit"}, suffixes=(".nii", ".nii.gz")),
    "numpy": VolumeFormat(
        "numpy_file",
        "open_numpy",
        _ARRAY | {"key"},
        suffixes=(".npy", ".npz"),
        magic=(b"\x93NUMPY",),
    ),
}.items():
    FORMATS.add(_name, _format)

STACKS = ("png", "tiff", "hdf5-cubes")
"""Formats whose volumes may be folders full of files with their suffixes."""
