"""NIfTI-1 and NIfTI-2 files: ``.nii``, ``.nii.gz``.

The affine is honoured: axes are permuted and turned so that the volume is ``(z, y, x)``, ascending
in the file's own space. Source of the layout: nifti1.h and nifti2.h (https://nifti.nimh.nih.gov).
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from segmend.core.errors import SchemaError
from segmend.store.local_file import LocalFile, local_file
from segmend.volumes.inflated import Inflated, could_hold, read_start
from segmend.volumes.named_axes import find_axes
from segmend.volumes.placement import nm_per_unit
from segmend.volumes.raw_array import Bytes, RawArrayDriver, check_fits
from segmend.volumes.stated import Stated, agreed_grid
from segmend.volumes.stored_axes import StoredAxes
from segmend.volumes.volume import Volume

OBLIQUE = 1e-3
"""Share of a voxel's edge that may point along another axis: float32 rounding, no rotation."""

UNITS = {1: "m", 2: "mm", 3: "um"}
"""Codes of lengths in the low three bits of ``xyzt_units``."""

ORDERS: tuple[Literal["<", ">"], ...] = ("<", ">")

DTYPES = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
}  # fmt: skip
"""Codes of ``datatype`` that a volume can hold."""

NIFTI1 = np.dtype([
    ("sizeof_hdr", "i4"), ("unused1", "V36"), ("dim", "i2", 8), ("unused2", "V14"),
    ("datatype", "i2"), ("bitpix", "i2"), ("unused3", "V2"), ("pixdim", "f4", 8),
    ("vox_offset", "f4"), ("scl_slope", "f4"), ("scl_inter", "f4"), ("unused4", "V3"),
    ("xyzt_units", "u1"), ("unused5", "V128"), ("qform_code", "i2"), ("sform_code", "i2"),
    ("quatern", "f4", 3), ("qoffset", "f4", 3), ("srow", "f4", (3, 4)), ("unused6", "V16"),
    ("magic", "S4"),
])  # fmt: skip
NIFTI2 = np.dtype([
    ("sizeof_hdr", "i4"), ("magic", "S8"), ("datatype", "i2"), ("bitpix", "i2"), ("dim", "i8", 8),
    ("unused1", "V24"), ("pixdim", "f8", 8), ("vox_offset", "i8"), ("scl_slope", "f8"),
    ("scl_inter", "f8"), ("unused2", "V152"), ("qform_code", "i4"), ("sform_code", "i4"),
    ("quatern", "f8", 3), ("qoffset", "f8", 3), ("srow", "f8", (3, 4)), ("unused3", "V4"),
    ("xyzt_units", "i4"), ("unused4", "V36"),
])  # fmt: skip


@dataclass(frozen=True, slots=True)
class NiftiHeader:
    """The fields of a header that matter for a volume.

    Attributes:
        shape: Voxels along i, j, k and further axes, as the header has them, i the fastest.
        dtype: Stored dtype, with its byte order.
        start: Byte of the first voxel.
        edges: What one step along i, j and k is in the file's space, ``(3, 3)``, columns i, j, k.
        origin: Centre of the first voxel in that space, ``(x, y, z)``; None if it has no place.
        unit: Its unit of length, or None if it does not say.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    start: int
    edges: NDArray[np.float64]
    origin: NDArray[np.float64] | None
    unit: str | None


def open_nifti(
    path: str | Path,
    *,
    voxel_size: Sequence[float] | None = None,
    offset: Sequence[float] | None = None,
    axes: str | None = None,
    unit: str | None = None,
    channel: int | None = None,
    absent: int | None = None,
) -> Volume:
    """Open a NIfTI file as a volume.

    A ``.nii.gz`` file is inflated into a temporary file on the first read of each process.

    Args:
        path: A ``.nii`` or ``.nii.gz`` file.
        voxel_size: nm per voxel ``(z, y, x)``, where the file states no unit.
        offset: Corner of the first voxel, nm ``(z, y, x)``, where the file has no place in space.
        axes: Names of the stored axes, slowest first (``"zyx"`` is the usual i = x), in place of
            what the affine says; the voxels are then taken as stored, and the place is the
            caller's, as is the voxel size where given. For files whose affine is wrong.
        unit: Unit of the file's lengths, in place of what it says (EM volumes often say mm and
            mean nm).
        channel: Which element of the fourth axis, where it is longer than 1.
        absent: As everywhere; such a file stores every voxel.

    Raises:
        ReadFailedError: if the file is missing or damaged.
        SchemaError: if it is no NIfTI file, is oblique, scales its values, cannot be a volume, or
            is shorter than its header says.
        BadInputError: if the file and the caller disagree.
    """
    file = local_file(path)
    where = str(file.path)
    packed = file.path.suffix == ".gz"
    header = _parse(where, _start(file, packed))
    names, flipped = (axes, (False, False, False)) if axes else _orientation(where, header)
    take = {} if channel is None else {"c": channel}
    shape = header.shape[::-1]
    at = find_axes(shape, "c" * (len(shape) - 3) + names, take=take, where=where)
    stored = StoredAxes(at, shape, flipped)
    stated = _stated(where, header, names, unit)
    if axes:
        stated = Stated(None if voxel_size else stated.voxel_size)
    grid = agreed_grid(where, stored.shape, file=stated, caller=Stated(voxel_size, offset))
    content = _content(where, file, packed, stored, header)
    driver = RawArrayDriver(content, header.start, header.dtype, stored, grid, where)
    return Volume(driver, absent=absent)


def _start(file: LocalFile, packed: bool) -> bytes:
    if packed:
        return read_start(file, None, NIFTI2.itemsize)
    with file.opened() as handle:
        return os.pread(handle, NIFTI2.itemsize, 0)


def _content(
    where: str, file: LocalFile, packed: bool, stored: StoredAxes, header: NiftiHeader
) -> Bytes:
    """Who has the voxels, after checking that they can all be there."""
    size = header.start + math.prod(stored.sizes) * header.dtype.itemsize
    if not packed:
        check_fits(where, stored, header.dtype, start=header.start, size=file.size)
        return file
    if not could_hold(file, size):
        raise SchemaError(
            f"{where} is shorter than its header says",
            found=f"{file.size} bytes cannot inflate to the {size} of shape {header.shape}",
            fix="The file is truncated or its header is wrong: get it again",
        )
    return Inflated(file, None, size)


def _parse(where: str, start: bytes) -> NiftiHeader:
    raw = _fields(where, start)
    shape = _shape(where, raw["dim"])
    code, first = int(raw["datatype"]), float(raw["vox_offset"])
    if code not in DTYPES:
        raise SchemaError(
            f"{where} cannot be a volume",
            found=f"its datatype has code {code}",
            fix="A volume holds integers, or float32 for predictions",
        )
    order = raw.dtype["datatype"].str[0]
    dtype = np.dtype(order + DTYPES[code])
    if not first.is_integer() or not NIFTI1.itemsize <= first < 2**48:
        raise SchemaError(f"{where} has an unusable header", found=f"vox_offset {first}")
    slope, inter = float(raw["scl_slope"]), float(raw["scl_inter"])
    if math.isfinite(slope) and slope != 0 and (slope, inter) != (1.0, 0.0):
        raise SchemaError(
            f"{where} scales its values",
            found=f"scl_slope {slope}, scl_inter {inter}",
            fix="Rescale it once, explicitly, and store that: ids would not survive",
        )
    edges, origin = _affine(raw)
    unit = UNITS.get(int(raw["xyzt_units"]) & 7)
    return NiftiHeader(shape, dtype, int(first), edges, origin, unit)


def _fields(where: str, start: bytes) -> Any:
    """The header as a NumPy record, whatever its version and byte order."""
    for layout, magic in ((NIFTI1, b"n+1"), (NIFTI2, b"n+2")):
        for order in ORDERS:
            if len(start) < layout.itemsize:
                continue
            raw = np.frombuffer(start, layout.newbyteorder(order), count=1)[0]
            if raw["sizeof_hdr"] == layout.itemsize and bytes(raw["magic"])[:3] == magic:
                return raw
    raise SchemaError(
        f"{where} is not a NIfTI file",
        found=f"its header of {len(start)} bytes has no magic 'n+1' or 'n+2'",
        fix="Pairs of .hdr and .img are not read: join them with nibabel",
    )


def _shape(where: str, dim: NDArray[Any]) -> tuple[int, ...]:
    """Lengths along i, j, k and, where it is longer than 1, one more axis."""
    count = int(dim[0])
    sizes = [int(n) for n in dim[1 : count + 1]] if 1 <= count <= 7 else []
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes.pop()
    sizes += [1] * (3 - len(sizes)) if sizes else []
    if not 3 <= len(sizes) <= 4 or min(sizes) < 1:
        raise SchemaError(
            f"{where} cannot be a volume",
            found=f"its header has dim {dim.tolist()}",
            fix="Three axes, or four of which one element is taken with channel=",
        )
    return tuple(sizes)


def _affine(raw: Any) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Steps and origin by method 3, 2 or 1 of the format, in this order of preference."""
    pixdim = raw["pixdim"].astype(np.float64)
    if raw["sform_code"] > 0:
        rows = raw["srow"].astype(np.float64)
        return rows[:, :3], rows[:, 3]
    if raw["qform_code"] > 0:
        b, c, d = (float(v) for v in raw["quatern"])
        a = math.sqrt(max(0.0, 1.0 - (b * b + c * c + d * d)))
        turn = np.array([
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ])  # fmt: skip
        sign = np.array([1.0, 1.0, -1.0 if pixdim[0] < 0 else 1.0])
        return turn * (pixdim[1:4] * sign), raw["qoffset"].astype(np.float64)
    return np.diag(pixdim[1:4]), None


def _orientation(where: str, header: NiftiHeader) -> tuple[str, tuple[bool, bool, bool]]:
    """Names of the stored axes, slowest first, and which of z, y and x run backwards."""
    edges = header.edges
    rows = [int(row) for row in np.abs(edges).argmax(0)]
    main = np.array([edges[row, column] for column, row in enumerate(rows)])
    off = np.abs(edges).sum(0) - np.abs(main)
    if not np.isfinite(edges).all() or (off > OBLIQUE * np.abs(main)).any() or len(set(rows)) < 3:
        raise SchemaError(
            f"{where} is oblique",
            found=f"its affine is {np.round(edges, 6).tolist()}",
            fix="Resample it along its axes, or pass axes='zyx' to take the voxels as stored",
        )
    letters = ["xyz"[row] for row in rows]
    backwards = {letter for letter, step in zip(letters, main, strict=True) if step < 0}
    z, y, x = (name in backwards for name in "zyx")
    return "".join(reversed(letters)), (z, y, x)


def _stated(where: str, header: NiftiHeader, names: str, unit: str | None) -> Stated:
    """What the file says, in nm; nothing where it has no unit."""
    if (unit or header.unit) is None:
        return Stated()
    scale = nm_per_unit(unit or header.unit, where)
    letters = names[::-1]  # of i, j, k
    size, corner = [], []
    for name in "zyx":
        column, row = letters.index(name), "xyz".index(name)
        step = float(np.abs(header.edges[:, column]).max())
        size.append(step * scale)
        if header.origin is not None:
            last = min(0.0, header.edges[row, column]) * (header.shape[column] - 1)
            # The affine gives centres of voxels; a grid starts at a corner.
            corner.append((float(header.origin[row]) + last - step / 2) * scale)
    return Stated(size, corner or None)
