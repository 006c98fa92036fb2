"""NumPy files: ``.npy``, read where the array lies, and members of ``.npz``."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from segmend.core.errors import BadInputError, ReadFailedError, SchemaError
from segmend.core.registry import unknown_name
from segmend.store.local_file import LocalFile, local_file
from segmend.volumes.inflated import Inflated, could_hold, read_start
from segmend.volumes.named_axes import find_axes
from segmend.volumes.raw_array import Bytes, RawArrayDriver, check_fits
from segmend.volumes.stated import Stated, agreed_grid, stored_dtype
from segmend.volumes.stored_axes import StoredAxes
from segmend.volumes.volume import Volume

HEADER_BYTES = 2**16
"""A header of a plain array takes some 128 bytes; a longer one is refused."""

MAX_MEMBERS = 10_000
"""Members of an archive that is still read."""


def open_numpy(
    path: str | Path,
    key: str | None = None,
    *,
    voxel_size: Sequence[float] | None = None,
    offset: Sequence[float] | None = None,
    axes: str | None = None,
    channel: int | None = None,
    absent: int | None = None,
) -> Volume:
    """Open a NumPy file as a volume. Nothing is unpickled, ever.

    Args:
        path: A ``.npy`` or ``.npz`` file.
        key: The array in an ``.npz`` file; may be left out if it is the only one.
        voxel_size: nm per voxel ``(z, y, x)``; NumPy files never say it.
        offset: Corner of the first voxel, nm ``(z, y, x)``.
        axes: Axes of the array as NumPy sees it (default ``"zyx"``), whatever its memory order.
        channel: Which channel, where ``axes`` has a ``c``.
        absent: As everywhere; such a file stores every voxel.

    Raises:
        ReadFailedError: if the file is missing or damaged.
        UnknownNameError: if there is no such array.
        SchemaError: if it cannot be a volume, or is shorter than its header says.
        BadInputError: if the arguments do not fit the file.
    """
    file = local_file(path)
    where, size = str(file.path), file.size
    content: Bytes = file
    if file.path.suffix == ".npz":
        content, size, name = _member(file, key)
        where = f"{where}:{name}"
    elif key is not None:
        raise BadInputError(f"{where} takes no key", found=f"key='{key}'")
    dtype, shape, fortran, header = _header(where, _start(content, size))
    names = axes or "zyx"
    if fortran:
        shape, names = shape[::-1], names[::-1]
    take = {} if channel is None else {"c": channel}
    stored = StoredAxes(find_axes(shape, names, take=take, where=where), shape)
    check_fits(where, stored, dtype, start=header, size=size)
    caller = Stated(voxel_size, offset)
    grid = agreed_grid(where, stored.shape, file=Stated(), caller=caller)
    return Volume(RawArrayDriver(content, header, dtype, stored, grid, where), absent=absent)


def _member(file: LocalFile, key: str | None) -> tuple[Bytes, int, str]:
    """One array of an archive: who has its bytes, how many, and its name."""
    try:
        with zipfile.ZipFile(file.path) as archive:
            members = {m.filename.removesuffix(".npy"): m for m in archive.infolist()}
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        found = str(error)
        raise ReadFailedError(f"{file.path} is not a readable .npz file", found=found) from error
    if len(members) > MAX_MEMBERS:
        raise SchemaError(f"{file.path} has {len(members)} members", fix=f"At most {MAX_MEMBERS}")
    if key is None and len(members) != 1:
        raise BadInputError(f"{file.path} needs a key", found=f"its arrays: {', '.join(members)}")
    name = next(iter(members)) if key is None else key
    if name not in members:
        raise unknown_name(f"array in {file.path}", name, dict.fromkeys(members))
    member = members[name]
    if not could_hold(file, member.file_size):
        raise SchemaError(
            f"{file.path}:{name} claims more than it can hold",
            found=f"{member.file_size} bytes from {file.size}",
        )
    return Inflated(file, member.filename, member.file_size), member.file_size, name


def _start(content: Bytes, size: int) -> bytes:
    if isinstance(content, Inflated):
        return read_start(content.file, content.member, min(HEADER_BYTES, size))
    with content.opened() as handle:
        return os.pread(handle, HEADER_BYTES, 0)


def _header(where: str, start: bytes) -> tuple[np.dtype[Any], tuple[int, ...], bool, int]:
    """Dtype, shape, whether the first axis is the fastest, and where the array starts."""
    stream = io.BytesIO(start)
    try:
        read = _READ_HEADER[npy.read_magic(stream)]
        shape, fortran, dtype = read(stream, max_header_size=HEADER_BYTES)
    except (
        ValueError,
        KeyError,
        TypeError,
        EOFError,
        SyntaxError,
        RecursionError,
        MemoryError,
    ) as error:
        raise SchemaError(
            f"{where} is not a readable NumPy file", found=f"{error}"[:300]
        ) from error
    if any(n < 1 for n in shape):
        raise SchemaError(f"{where} cannot be a volume", found=f"its shape is {shape}")
    native = stored_dtype(where, dtype)
    return (native if dtype.kind == "b" else dtype), shape, fortran, stream.tell()


_READ_HEADER = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
