"""The grid of a volume, from what its file states and what the caller states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from segmend.core.box import Triple, picometres
from segmend.core.errors import BadInputError, SchemaError
from segmend.core.grid import VoxelGrid

NM_PER_UNIT = {
    "picometer": 1e-3, "pm": 1e-3,
    "angstrom": 0.1, "\u00e5": 0.1,
    "nanometer": 1.0, "nanometre": 1.0, "nm": 1.0,
    "micrometer": 1e3, "micrometre": 1e3, "micron": 1e3, "microns": 1e3, "um": 1e3,
    "\u00b5m": 1e3, "\u03bcm": 1e3, "\\u00b5m": 1e3,
    "millimeter": 1e6, "mm": 1e6,
    "centimeter": 1e7, "cm": 1e7,
    "meter": 1e9, "m": 1e9,
}  # fmt: skip
"""nm per unit of length, by lower-case UDUNITS-2 name (OME-Zarr), symbol (N5, OME-TIFF) and
ImageJ's spellings (micro sign, Greek mu, escaped micro sign)."""


@dataclass(frozen=True, slots=True)
class Stated:
    """What one party says of a volume's place in space.

    Attributes:
        voxel_size: nm per voxel ``(z, y, x)``, or None if it says nothing.
        offset: Corner of the first voxel, nm ``(z, y, x)``, or None if it says nothing.
    """

    voxel_size: Sequence[float] | None = None
    offset: Sequence[float] | None = None


def agreed_grid(where: str, shape: Triple, *, file: Stated, caller: Stated) -> VoxelGrid:
    """The grid that file and caller agree on; the offset is 0 where neither states one.

    Args:
        where: File and key, for messages.
        shape: Voxels ``(z, y, x)``.
        file: What the file states.
        caller: What the caller states.

    Raises:
        SchemaError: if neither states a voxel size, or a value is unusable.
        BadInputError: if the two disagree.
    """
    size = _one(where, "voxel size", file.voxel_size, caller.voxel_size)
    offset = _one(where, "offset", file.offset, caller.offset)
    if size is None:
        raise SchemaError(
            f"{where} does not say how large its voxels are",
            found="neither the file nor the caller states a voxel size",
            fix="Pass voxel_size=(z, y, x) in nm (an HDF5 file says it in the attribute "
            "'resolution'); segmend never guesses it",
        )
    try:
        return VoxelGrid(size, (0, 0, 0) if offset is None else offset, shape)
    except BadInputError as error:
        raise SchemaError(f"{where} has no usable place in space", found=str(error)) from error


def stored_dtype(where: str, dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The dtype of a volume whose file stores ``dtype``.

    Returns:
        The same in the machine's byte order; uint8 for bool, which has the same bytes.

    Raises:
        SchemaError: if a volume cannot hold it.
    """
    native = dtype.newbyteorder("=")
    if native == np.bool_:
        return np.dtype(np.uint8)
    if native.kind not in "iu" and native != np.float32:
        raise SchemaError(
            f"{where} cannot be a volume",
            found=f"its dtype is {dtype}",
            fix="A volume holds integers, or float32 for predictions",
        )
    return native


def _one(
    where: str, what: str, file: Sequence[float] | None, caller: Sequence[float] | None
) -> Sequence[float] | None:
    if file is None or caller is None:
        return caller if file is None else file
    if picometres(file) != picometres(caller):
        raise BadInputError(
            f"{where} and the caller disagree about the {what}",
            found=f"the file states {tuple(file)} nm, the caller {tuple(caller)} nm (z, y, x)",
            fix="Leave it out to take the file's, or correct the file",
        )
    return file
