"""What a TIFF file says of its pages, by tifffile; checked before anything is believed."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.core.errors import SchemaError
from segmend.store.local_file import LocalFile
from segmend.volumes.codecs.tiff_segments import CODECS, SegmentCoding
from segmend.volumes.sections import MAX_SECTIONS
from segmend.volumes.stated import stored_dtype

MAX_SEGMENT_BYTES = 2**30
"""A larger strip or tile is refused: every voxel of it costs the whole."""

GREY, PALETTE = 1, 3
"""Values of PhotometricInterpretation that hold numbers; a palette only colours them."""


@dataclass(frozen=True, slots=True)
class PageForm:
    """What all sections of a stack have in common.

    Attributes:
        shape: Rows and columns.
        segment: Rows and columns of a strip or tile.
        tiled: Whether there are tiles, which are whole at the edges, or strips, which are not.
        coding: How they are encoded.
    """

    shape: tuple[int, int]
    segment: tuple[int, int]
    tiled: bool
    coding: SegmentCoding

    @property
    def segments(self) -> tuple[int, int]:
        """Strips or tiles of a page, down and across."""
        (h, w), (a, b) = self.shape, self.segment
        return (-(-h // a), -(-w // b))


@dataclass(frozen=True, slots=True, eq=False)
class Pages:
    """The pages of one file.

    Attributes:
        form: What each of them is.
        starts: Byte of each strip or tile, int64 ``(page, segment)``.
        sizes: Its bytes as stored, int64 ``(page, segment)``.
        imagej: ImageJ's description of the file, where it has one; otherwise empty.
        ome: The OME-XML of the file, where it has one; otherwise empty.
    """

    form: PageForm
    starts: NDArray[np.int64]
    sizes: NDArray[np.int64]
    imagej: dict[str, Any]
    ome: str


def read_pages(file: LocalFile) -> Pages:
    """Read the directories of all pages; no voxel is touched.

    Raises:
        SchemaError: if it is not a TIFF file, its pages differ, or a volume cannot hold them.
    """
    import tifffile

    try:
        with tifffile.TiffFile(file.path) as tiff:
            pages = _chain(tiff, file)
            forms = {_form(page, f"{file.path}, page {i}") for i, page in enumerate(pages)}
            starts, sizes = _table(pages, "dataoffsets"), _table(pages, "databytecounts")
            imagej, ome = dict(tiff.imagej_metadata or {}), tiff.ome_metadata or ""
            imagej |= _imagej_pixel(pages[0]) if imagej else {}
    except _DAMAGE as error:
        if isinstance(error, SchemaError):
            raise
        found = f"{type(error).__name__}: {error}"[:300]
        raise SchemaError(f"{file.path} is not a readable TIFF file", found=found) from error
    if len(forms) != 1:
        raise SchemaError(
            f"{file.path} cannot be a volume",
            found=f"its pages differ: {' and '.join(sorted(str(f) for f in forms))}"[:600],
            fix="All pages must have one size, dtype and encoding; store pyramids elsewhere",
        )
    (form,) = forms
    _check_table(file, form, starts, sizes)
    return Pages(form, starts, sizes, imagej, ome)


_DAMAGE = (
    OSError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RuntimeError,
    struct.error, MemoryError,
)  # fmt: skip
"""What tifffile raises for damaged directories (its own error is a ValueError)."""


def _chain(tiff: Any, file: LocalFile) -> list[Any]:
    """All pages; a chain of directories that bites its tail is refused."""
    pages: list[Any] = []
    seen: set[int] = set()
    for page in tiff.pages:
        page = page.aspage()
        if page.offset in seen or len(pages) >= MAX_SECTIONS:
            raise SchemaError(f"{file.path} is not a readable TIFF file", found="a loop of pages")
        seen.add(page.offset)
        pages.append(page)
    if not pages or _next_page(tiff, pages[-1]):
        # tifffile stops in silence where a directory cannot be read: sections would be lost.
        raise SchemaError(
            f"{file.path} is not a readable TIFF file",
            found=f"its chain of pages breaks after {len(pages)}",
            fix="The file is truncated or damaged: get it again",
        )
    return pages


def _next_page(tiff: Any, page: Any) -> int:
    """Where the directory after a page lies; 0 after the last (TIFF 6.0, section 2)."""
    form, handle = tiff.tiff, tiff.filehandle
    handle.seek(page.offset)
    (tags,) = struct.unpack(form.tagnoformat, handle.read(form.tagnosize))
    handle.seek(page.offset + form.tagnosize + tags * form.tagsize)
    (offset,) = struct.unpack(form.offsetformat, handle.read(form.offsetsize))
    return int(offset)


def _form(page: Any, where: str) -> PageForm:
    reasons = {
        f"compression {int(page.compression)}": page.compression not in CODECS,
        f"{page.samplesperpixel} samples per pixel": page.samplesperpixel != 1,
        f"photometric {int(page.photometric)}": page.photometric not in (GREY, PALETTE),
        f"predictor {int(page.predictor)}": page.predictor not in (1, 2),
        "a dtype of odd bits": page.dtype is None or page.bitspersample % 8 != 0,
        "bits in reverse order": page.fillorder != 1,
        "several planes in a page": page.imagedepth != 1 or page.tiledepth > 1,
        f"{page.imagewidth} x {page.imagelength} pixels": not page.imagewidth * page.imagelength,
    }
    if any(reasons.values()):
        raise SchemaError(
            f"{where} cannot be a section",
            found=", ".join(reason for reason, holds in reasons.items() if holds),
            fix="A section is grey, one number per pixel, raw, LZW, deflate, packbits or zstd",
        )
    shape = (int(page.imagelength), int(page.imagewidth))
    rows = min(int(page.rowsperstrip), shape[0]) if not page.is_tiled else int(page.tilelength)
    segment = (rows, int(page.tilewidth) if page.is_tiled else shape[1])
    dtype = np.dtype(page.dtype).newbyteorder(page.parent.byteorder)
    native = stored_dtype(where, dtype)
    if min(segment) < 1 or segment[0] * segment[1] * dtype.itemsize > MAX_SEGMENT_BYTES:
        raise SchemaError(
            f"{where} cannot be a section", found=f"strips or tiles of {segment} of {dtype}"
        )
    if page.predictor == 2 and native.kind == "f":
        raise SchemaError(f"{where} cannot be a section", found="predictor 2 of floats")
    codec = CODECS[int(page.compression)]
    return PageForm(
        shape, segment, bool(page.is_tiled), SegmentCoding(codec, page.predictor == 2, dtype)
    )


def _table(pages: Sequence[Any], name: str) -> NDArray[np.int64]:
    return np.array([getattr(page, name) for page in pages], np.int64)


def _check_table(
    file: LocalFile, form: PageForm, starts: NDArray[np.int64], sizes: NDArray[np.int64]
) -> None:
    down, across = form.segments
    if starts.shape != sizes.shape or starts.shape[1:] != (down * across,):
        raise SchemaError(
            f"{file.path} is not a readable TIFF file",
            found=f"{starts.shape[1:]} strips or tiles where {down} x {across} are needed",
        )
    if (starts < 1).any() or (sizes < 1).any() or (starts > file.size - sizes).any():
        raise SchemaError(
            f"{file.path} is shorter than its directories say",
            found=f"strips or tiles lie outside its {file.size} bytes",
            fix="The file is truncated: get it again",
        )


def _imagej_pixel(page: Any) -> dict[str, Any]:
    """Pixels per unit along x and y: ImageJ keeps them in the TIFF tags."""
    found = {}
    for name, tag in (("x_resolution", "XResolution"), ("y_resolution", "YResolution")):
        value = page.tags.get(tag)
        if value is not None and len(value.value) == 2 and all(value.value):
            found[name] = value.value[0] / value.value[1]
    return found
