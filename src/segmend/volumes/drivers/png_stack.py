"""PNG stacks: a folder with one grey image, or ids as colours, per section."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.core.box import Triple
from segmend.core.errors import BadInputError, SchemaError
from segmend.core.grid import VoxelGrid
from segmend.store.files import FileStore
from segmend.store.local_file import LocalFile, local_file
from segmend.store.store import Request, Store
from segmend.volumes.chunked import Chunk, ChunkedDriver
from segmend.volumes.codecs.png_file import (
    HEADER_BYTES,
    PngHeader,
    RgbIds,
    decode_section,
    parse_header,
    section_dtype,
)
from segmend.volumes.sections import Missing, list_sections
from segmend.volumes.stated import Stated, agreed_grid
from segmend.volumes.volume import Volume


@dataclass(frozen=True, slots=True)
class PngSections:
    """A `segmend.volumes.chunked.ChunkLayout`: each section is one chunk.

    Attributes:
        dtype: Dtype as read.
        grid: Where the voxels lie.
        header: What every section is.
        files: The file of each section; None for one that is absent.
        rgb_ids: Which colour is the highest byte of an id, for ids stored as RGB.
    """

    dtype: np.dtype[Any]
    grid: VoxelGrid
    header: PngHeader
    files: tuple[LocalFile | None, ...]
    rgb_ids: RgbIds | None

    @property
    def chunk_shape(self) -> Triple:
        """One section."""
        return (1, self.header.height, self.header.width)

    @property
    def name(self) -> str:
        """Nothing: the store is the folder."""
        return ""

    def locate(self, store: Store, chunks: Sequence[Chunk]) -> Sequence[Request | None]:
        """The files; None for a section that is absent."""
        del store
        located: list[Request | None] = []
        for chunk in chunks:
            file = self.files[chunk.index[0]]
            if file is not None:
                file.check()
            located.append(None if file is None else Request(file.path.name))
        return located

    def decode(self, data: bytes, chunk: Chunk, out: NDArray[Any]) -> None:
        """Decode a section and put its wanted voxels into ``out``."""
        out[...] = self.decoded(data, chunk)[chunk.source]

    def identity(self, chunk: Chunk) -> Hashable | None:
        """Of the file, which `locate` has checked."""
        return (self.files[chunk.index[0]], self.rgb_ids)

    def decoded(self, data: bytes, chunk: Chunk) -> NDArray[Any]:
        """A whole section, as a volume of one."""
        del chunk
        return decode_section(data, self.header, self.rgb_ids)[np.newaxis]

    def view(self, decoded: NDArray[Any]) -> NDArray[Any]:
        """As it is."""
        return decoded


def open_png_stack(
    folder: str | Path,
    *,
    voxel_size: Sequence[float] | None = None,
    offset: Sequence[float] | None = None,
    missing: Missing = "error",
    rgb_ids: RgbIds | None = None,
    absent: int | None = None,
) -> Volume:
    """Open a folder of PNG sections as a volume.

    Sections are ordered by the last number in their names; all must be of one size and depth.

    Args:
        folder: The folder.
        voxel_size: nm per voxel ``(z, y, x)``; PNG files never say it.
        offset: Corner of the first voxel, nm ``(z, y, x)``.
        missing: What a gap in the numbers means: an error, or a section that is certified absent.
        rgb_ids: For ids stored as 24-bit colours: which colour is the highest byte.
        absent: What absent sections count as in bare arrays.

    Raises:
        ReadFailedError: if the folder is missing or empty.
        SchemaError: for gaps, and for sections of several sizes or that are not grey.
    """
    if rgb_ids not in (None, "red-first", "blue-first"):
        raise BadInputError(f"rgb_ids='{rgb_ids}' is neither 'red-first' nor 'blue-first'")
    files = list_sections(folder, [".png"], missing=missing)
    header: PngHeader | None = None
    first = next(path for path in files if path is not None)
    for path in files:
        if path is None:
            continue
        with path.open("rb") as file:
            found = parse_header(file.read(HEADER_BYTES), str(path))
        if header not in (None, found):
            raise SchemaError(
                f"{path} does not fit its stack",
                found=f"{found}, {first.name} is {header}",
                fix="All sections of a stack have one size and depth",
            )
        header = found
    assert header is not None
    where = str(first.parent)
    dtype = section_dtype(header, rgb_ids, str(first))
    shape = (len(files), header.height, header.width)
    caller = Stated(voxel_size, offset)
    grid = agreed_grid(where, shape, file=Stated(), caller=caller)
    sections = tuple(None if path is None else local_file(path) for path in files)
    layout = PngSections(dtype, grid, header, sections, rgb_ids)
    return Volume(ChunkedDriver(FileStore(first.parent), layout), absent=absent)
