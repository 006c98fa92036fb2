"""TIFF: files of many pages (ImageJ, OME-TIFF, BigTIFF, tiled, packed), folders of sections."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.core.box import Triple
from segmend.core.errors import BadInputError, SchemaError, require
from segmend.core.grid import VoxelGrid
from segmend.store.files import FileStore
from segmend.store.local_file import LocalFile, local_file
from segmend.store.store import Request, Store
from segmend.volumes.chunked import Chunk, ChunkedDriver
from segmend.volumes.drivers.tiff_pages import PageForm, Pages, read_pages
from segmend.volumes.drivers.tiff_stated import stack_of
from segmend.volumes.named_axes import find_axes
from segmend.volumes.raw_array import RawArrayDriver, check_fits
from segmend.volumes.sections import Missing, list_sections
from segmend.volumes.stated import Stated, agreed_grid
from segmend.volumes.stored_axes import StoredAxes
from segmend.volumes.volume import Driver, Volume

SUFFIXES = (".tif", ".tiff")


@dataclass(frozen=True, slots=True, eq=False)
class TiffSections:
    """A `segmend.volumes.chunked.ChunkLayout`: each strip or tile is one chunk.

    Attributes:
        grid: Where the voxels lie.
        form: What each section is.
        files: The file of each section; None for one that is absent.
        starts: Byte of each strip or tile, int64 ``(section, segment)``.
        sizes: Its bytes as stored, int64 ``(section, segment)``.
    """

    grid: VoxelGrid
    form: PageForm
    files: tuple[LocalFile | None, ...]
    starts: NDArray[np.int64]
    sizes: NDArray[np.int64]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Stored dtype in the machine's byte order."""
        return self.form.coding.dtype.newbyteorder("=")

    @property
    def chunk_shape(self) -> Triple:
        """A strip or tile of one section."""
        return (1, *self.form.segment)

    @property
    def name(self) -> str:
        """The file, where there is one for all sections."""
        first = self.files[0]
        return first.path.name if first is not None and self.files[-1] is first else ""

    def locate(self, store: Store, chunks: Sequence[Chunk]) -> Sequence[Request | None]:
        """Byte ranges of the files; None for an absent section."""
        del store
        located: list[Request | None] = []
        checked: set[int] = set()
        for chunk in chunks:
            z, y, x = chunk.index
            file, at = self.files[z], y * self.form.segments[1] + x
            if file is None:
                located.append(None)
                continue
            if id(file) not in checked:
                file.check()
                checked.add(id(file))
            start = int(self.starts[z, at])
            located.append(Request(file.path.name, start, start + int(self.sizes[z, at])))
        return located

    def decode(self, data: bytes, chunk: Chunk, out: NDArray[Any]) -> None:
        """Decode a strip or tile and put its wanted voxels into ``out``."""
        out[...] = self.decoded(data, chunk)[chunk.source]

    def identity(self, chunk: Chunk) -> Hashable | None:
        """Of the file, which `locate` has checked."""
        section = chunk.index[0]
        return (self.files[section], int(self.starts[section, 0]), chunk.index)

    def decoded(self, data: bytes, chunk: Chunk) -> NDArray[Any]:
        """A whole strip or tile, as a volume of one section."""
        rows, columns = self.form.segment if self.form.tiled else chunk.shape[1:]
        return self.form.coding.decode(data, (rows, columns))[np.newaxis]

    def view(self, decoded: NDArray[Any]) -> NDArray[Any]:
        """As it is."""
        return decoded


def open_tiff(
    path: str | Path,
    *,
    voxel_size: Sequence[float] | None = None,
    offset: Sequence[float] | None = None,
    unit: str | None = None,
    channel: int | None = None,
    missing: Missing = "error",
    absent: int | None = None,
) -> Volume:
    """Open a TIFF file, or a folder of TIFF sections, as a volume.

    The voxel size is stated by OME-XML (all three sizes) or by ImageJ (spacing and unit); the dots
    per inch of other files mean nothing and are not read.

    Args:
        path: A file whose pages are the sections, or a folder of files of one page each, ordered
            by the last number in their names.
        voxel_size: nm per voxel ``(z, y, x)``, where the file does not say it.
        offset: Corner of the first voxel, nm ``(z, y, x)``.
        unit: Unit of the file's lengths, in place of what it says.
        channel: Which channel, where the file has several.
        missing: In a folder, what a gap in the numbers means: an error, or a section that is
            certified absent.
        absent: What absent sections count as in bare arrays.

    Raises:
        ReadFailedError: if the file or folder is missing.
        SchemaError: if it is no TIFF, cannot be a volume, or is shorter than it says.
        BadInputError: if the file and the caller disagree.
    """
    for module in ("tifffile", "imagecodecs"):
        require(module, extra="build")
    if Path(path).is_dir():
        if channel is not None or unit is not None:
            raise BadInputError(f"{path} is a folder of sections: it takes no channel or unit")
        return _open_folder(path, Stated(voxel_size, offset), missing, absent)
    if missing != "error":
        raise BadInputError(f"missing='{missing}' fits a folder of sections, {path} is not one")
    file = local_file(path)
    pages = read_pages(file)
    stack = stack_of(str(file.path), pages, channel, unit)
    where = str(file.path)
    sizes = (*stack.lengths, *pages.form.shape)
    take = {} if stack.channel is None else {"c": stack.channel}
    stored = StoredAxes(find_axes(sizes, stack.names + "yx", take=take, where=where), sizes)
    caller = Stated(voxel_size, offset)
    grid = agreed_grid(where, stored.shape, file=Stated(stack.voxel_size), caller=caller)
    return Volume(_driver(file, pages, stored, grid), absent=absent)


def _open_folder(
    folder: str | Path, caller: Stated, missing: Missing, absent: int | None
) -> Volume:
    files = [
        None if path is None else local_file(path)
        for path in list_sections(folder, SUFFIXES, missing=missing)
    ]
    read = [None if file is None else read_pages(file) for file in files]
    first = next(pages for pages in read if pages is not None)
    for file, pages in zip(files, read, strict=True):
        if file and pages and (pages.form != first.form or len(pages.starts) != 1):
            raise SchemaError(
                f"{file.path} does not fit its stack",
                found=f"{len(pages.starts)} page(s) of {pages.form}, the first is {first.form}",
                fix="All sections of a stack have one page of one size, dtype and encoding",
            )
    nothing = np.zeros(first.starts.shape[1], np.int64)
    starts = np.stack([nothing if pages is None else pages.starts[0] for pages in read])
    sizes = np.stack([nothing if pages is None else pages.sizes[0] for pages in read])
    where = str(Path(folder).absolute())
    grid = agreed_grid(where, (len(files), *first.form.shape), file=Stated(), caller=caller)
    layout = TiffSections(grid, first.form, tuple(files), starts, sizes)
    return Volume(ChunkedDriver(FileStore(Path(where)), layout), absent=absent)


def _driver(file: LocalFile, pages: Pages, stored: StoredAxes, grid: VoxelGrid) -> Driver:
    """Read where it lies if it is one plain array, otherwise by strips or tiles."""
    form, where = pages.form, str(file.path)
    images = math.prod(stored.sizes[:-2])
    # ImageJ writes one directory for all the images of a plain file.
    lone = len(pages.starts) == 1 and bool(pages.imagej)
    if _is_plain(pages) and (lone or len(pages.starts) == images):
        start = int(pages.starts[0, 0])
        check_fits(where, stored, form.coding.dtype, start=start, size=file.size)
        return RawArrayDriver(file, start, form.coding.dtype, stored, grid, where)
    if len(pages.starts) != images:
        raise SchemaError(
            f"{where} contradicts itself",
            found=f"its metadata describe {images} images, it has {len(pages.starts)} pages",
        )
    every = np.arange(images).reshape(stored.sizes[:-2])
    taken: list[int | slice] = [slice(None)] * every.ndim
    for axis, element in stored.axes.fixed:
        taken[axis] = element
    chosen = every[tuple(taken)]
    files = (file,) * len(chosen)
    layout = TiffSections(grid, form, files, pages.starts[chosen], pages.sizes[chosen])
    return ChunkedDriver(FileStore(file.path.parent), layout)


def _is_plain(pages: Pages) -> bool:
    """Whether all pages are one plain array, one after the other."""
    form = pages.form
    if form.coding.codec != "none" or form.coding.differenced or form.tiled:
        return False
    starts, sizes = pages.starts.ravel(), pages.sizes.ravel()
    page = math.prod(form.shape) * form.coding.dtype.itemsize
    whole = bool((pages.sizes.sum(1) == page).all())
    return whole and bool((starts[1:] == starts[:-1] + sizes[:-1]).all())
