"""Cell arrays of small data sets, found and read without a call of HDF5 for each.

A cell array of a million lists is a group of a million data sets, and opening one takes HDF5 some
50 us. Written by one program they all look alike, so that their headers are read as one array: the
group's B-tree gives their addresses, the header of the first says at which bytes the extent and the
place of each lie, and every other header must agree with it in all the rest (HDF5 file format
specification, version 3: II.A, III.A.1, III.B, III.C, III.D, IV.A.1.a, IV.A.2).

Only the plainest layout is known: groups and headers as the library writes them by default, plain
numbers, contiguous, unfiltered. What is not exactly that is left to HDF5: `find_cells` says None.
This runs where HDF5 runs, in a child process; a hostile file gives wrong numbers at worst, out of
the file itself, as it would through HDF5.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

SPACE, DTYPE, LAYOUT, TABLE = 0x1, 0x3, 0x8, 0x11
"""Header messages: dataspace, datatype, data layout, symbol table."""

HARMLESS = {0x0, 0x4, 0x5, 0xE, 0x12}
"""Messages that say nothing of where data lie: none, fill values, times of change."""

SHARED = 0x2
"""Flag of a message that is kept elsewhere."""

WIDTHS = 0x0808
"""Addresses and lengths of eight bytes each."""

UNDEFINED = 2**64 - 1
CHUNK = 2**16
"""Headers looked at together."""

NODE_BYTES = 24
"""Smallest node of a tree: no file holds more of them."""

MAX_HEADER = 4096
DIGITS = 9
"""Digits of a cell's number."""

LARGE = 4096
"""Bytes of an average cell from which cells are copied one by one."""


class _OtherError(Exception):
    """The file is laid out in a way that is not known here."""


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Where the cells of a cell array lie, in the order of their numbers.

    Attributes:
        file: All bytes of the file.
        dtype: Of every cell, in the machine's byte order.
        dims: Extent of each, int64 ``(n, ndim)``.
        places: First byte of each, int64.
        sizes: Bytes of each, int64.
    """

    file: Bytes
    dtype: np.dtype[Any]
    dims: NDArray[np.int64]
    places: NDArray[np.int64]
    sizes: NDArray[np.int64]

    def read(self, start: int, stop: int) -> bytes:
        """The bytes of some cells, one after the other."""
        places, sizes = self.places[start:stop], self.sizes[start:stop]
        total = int(sizes.sum())
        if total > LARGE * len(sizes):
            spans = zip(places.tolist(), (places + sizes).tolist(), strict=True)
            return b"".join(self.file[a:b].tobytes() for a, b in spans)
        width = self.dtype.itemsize
        if total == 0 or (places % width).any():
            return self.file[_spans(places, sizes)].tobytes()
        items = self.file[: len(self.file) // width * width].view(self.dtype)
        return items[_spans(places // width, sizes // width)].tobytes()


@dataclass(frozen=True, slots=True)
class Start:
    """What HDF5 says of a cell array before its cells are looked at.

    Attributes:
        base: First byte of the HDF5 file in its file (the size of its user block).
        header: Address of the group's header.
        dtype: Of the first cell, or its field.
        rank: Axes of the first cell, or its field.
        field: Name of a data set in each cell, where cells are groups; empty where they are data
            sets.
    """

    base: int
    header: int
    dtype: np.dtype[Any]
    rank: int
    field: str = ""


def find_cells(path: str, start: Start) -> Cells | None:
    """The cells of a group; None if HDF5 has to say.

    Args:
        path: The file.
        start: Of a group whose members are 1 to n, all of them plain data sets, or groups that
            hold one of the field's name.
    """
    try:
        return _find(np.memmap(path, np.uint8, "r"), start)
    except (_OtherError, IndexError, struct.error, OSError, ValueError):
        return None


def _find(file: Bytes, start: Start) -> Cells:
    base, dtype = start.base, start.dtype
    if dtype.kind not in "iuf" or not dtype.isnative or start.rank not in (1, 2):
        raise _OtherError
    superblock = file[base : base + 18].tobytes()
    version, widths, leaf_k = struct.unpack_from("<8xB4xHxH", superblock)
    if version > 1 or widths != WIDTHS:
        raise _OtherError
    messages = _messages(file, base + start.header)
    tree, heap = struct.unpack_from("<QQ", _one(messages, TABLE))
    names, headers = _symbols(file, _nodes(file, base + tree, base), 2 * leaf_k)
    order = _numbered(file, base + heap, base, names)
    if not len(order):
        raise _OtherError
    headers = headers[order] + base
    if start.field:
        headers = _fields(file, headers, start.field, base, 2 * leaf_k)
    dims, places, sizes = _extents(file, headers, start.rank)
    stored = np.prod(dims, axis=1) * dtype.itemsize
    written = places != UNDEFINED
    there = places[written].astype(np.int64) + base
    if (stored != sizes).any() or (sizes[~written] > 0).any() or (there < 0).any():
        raise _OtherError
    if (there + sizes[written] > len(file)).any():
        raise _OtherError
    starts = np.zeros(len(places), np.int64)
    starts[written] = there
    return Cells(file, dtype, dims, starts, sizes)


def _messages(file: Bytes, address: int) -> list[tuple[int, int, bytes]]:
    """Type, flags and content of the messages of a header of version 1; all lie in one block."""
    version, count, _, size = struct.unpack_from("<BxHII", file[address : address + 16].tobytes())
    if version != 1 or size > MAX_HEADER:
        raise _OtherError
    block = file[address + 16 : address + 16 + size].tobytes()
    found, at = [], 0
    for _ in range(count):
        kind, length, flags = struct.unpack_from("<HHB", block, at)
        found.append((kind, flags, block[at + 8 : at + 8 + length]))
        at += 8 + length
    if at > len(block):
        raise _OtherError
    return found


def _one(messages: list[tuple[int, int, bytes]], kind: int) -> bytes:
    found = [content for k, flags, content in messages if k == kind and not flags & SHARED]
    if len(found) != 1:
        raise _OtherError
    return found[0]


def _nodes(file: Bytes, root: int, base: int) -> NDArray[np.int64]:
    """Addresses of the symbol table nodes, by walking the B-tree level by level."""
    level_of, found = None, np.array([root], np.int64)
    while level_of != 0:
        children = []
        for address in found.tolist():
            head = file[address : address + 24].tobytes()
            signature, kind, level, used = struct.unpack_from("<4sBBH", head)
            if signature != b"TREE" or kind or level_of not in (None, level + 1):
                raise _OtherError
            body = file[address + 24 : address + 24 + 16 * used].tobytes()
            children.append(np.frombuffer(body, "<i8")[1::2])
            if len(children[-1]) != used:
                raise _OtherError
        level_of = level
        found = np.concatenate([np.empty(0, np.int64), *children]) + base
        if len(found) > len(file) // NODE_BYTES:
            raise _OtherError
    return found


def _symbols(
    file: Bytes, nodes: NDArray[np.int64], most: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Name in the heap and header of every entry of the symbol table nodes."""
    heads = file[nodes[:, None] + np.arange(8)]
    counts = heads[:, 6:].copy().view("<u2").reshape(-1).astype(np.int64)
    if (heads[:, :5] != np.frombuffer(b"SNOD\x01", np.uint8)).any() or (counts > most).any():
        raise _OtherError
    starts = np.repeat(nodes + 8, counts)
    within = np.arange(len(starts)) - np.repeat(np.cumsum(counts) - counts, counts)
    entries = starts + 40 * within
    # Offset of the name, address of the header, and what is cached: 2 stands for a soft link.
    fields = file[entries[:, None] + np.arange(20)]
    if (fields[:, 16:].copy().view("<u4") > 1).any():
        raise _OtherError
    names, headers = fields[:, :16].copy().view("<i8").T
    return names, headers


def _fields(
    file: Bytes, groups: NDArray[np.int64], field: str, base: int, most: int
) -> NDArray[np.int64]:
    """Headers of the data set of one name in every group; small groups, all made alike."""
    tables = _alike(file, groups, *_group_template(file, int(groups[0]))).astype(np.int64) + base
    trees, heaps = tables.T
    # A small group is a tree of one leaf with one node of symbols.
    heads = file[trees[:, None] + np.arange(40)]
    if (heads[:, :8] != np.frombuffer(b"TREE\0\0\1\0", np.uint8)).any():
        raise _OtherError
    nodes = heads[:, 32:].copy().view("<i8").reshape(-1) + base
    counts = file[nodes[:, None] + np.arange(6, 8)].view("<u2").reshape(-1)
    if not counts[0] or (counts != counts[0]).any():
        raise _OtherError
    names, headers = _symbols(file, nodes, most)
    start = file[heaps[:, None] + np.arange(32)]
    if (start[:, :4] != np.frombuffer(b"HEAP", np.uint8)).any():
        raise _OtherError
    wanted = np.frombuffer(f"{field}\0".encode(), np.uint8)
    begin = np.repeat(start[:, 24:].copy().view("<i8").reshape(-1) + base, counts[0])
    letters = file[(begin + names)[:, None] + np.arange(len(wanted))]
    found = (letters == wanted).all(axis=1).reshape(len(groups), -1)
    if (found.sum(axis=1) != 1).any():
        raise _OtherError
    return headers[found.reshape(-1)] + base


def _numbered(file: Bytes, heap: int, base: int, names: NDArray[np.int64]) -> NDArray[np.intp]:
    """The order of the entries by their numbers, which must be 1 to n."""
    signature, size, _, start = struct.unpack_from("<4s4xQQQ", file[heap : heap + 32].tobytes())
    if signature != b"HEAP" or (names < 0).any() or (names >= size).any():
        raise _OtherError
    letters = np.minimum(names[:, None] + np.arange(DIGITS + 1), size - 1)
    text = file[base + start + letters].astype(np.int16)
    numbers = np.zeros(len(names), np.int64)
    ended = np.zeros(len(names), np.bool_)
    for column in text.T:
        ended |= column == 0
        digit = column - ord("0")
        if ((digit < 0) | (digit > 9))[~ended].any() or (digit[(numbers == 0) & ~ended] == 0).any():
            raise _OtherError
        numbers = np.where(ended, numbers, 10 * numbers + digit)
    order = np.argsort(numbers)
    if not ended.all() or (numbers[order] != np.arange(1, len(numbers) + 1)).any():
        raise _OtherError
    return order


def _extents(
    file: Bytes, headers: NDArray[np.int64], rank: int
) -> tuple[NDArray[np.int64], NDArray[np.uint64], NDArray[np.int64]]:
    """Extent, place and bytes of every data set, whose headers must be like the first."""
    values = _alike(file, headers, *_template(file, int(headers[0]), rank))
    extents = values[:, :rank].astype(np.float64)
    # As floats: a product of whole numbers could wrap around into one that fits.
    if (extents > 2**40).any() or (np.prod(extents, axis=1) > len(file)).any():
        raise _OtherError
    sizes = values[:, rank + 1].astype(np.int64)
    return values[:, :rank].astype(np.int64), values[:, rank], sizes


def _alike(
    file: Bytes, headers: NDArray[np.int64], fixed: NDArray[np.int64], varying: NDArray[np.int64]
) -> NDArray[np.uint64]:
    """The numbers at ``varying`` bytes of every header; at ``fixed`` ones all must be the first."""
    wanted = file[int(headers[0]) + fixed]
    parts = []
    for start in range(0, len(headers), CHUNK):
        some = headers[start : start + CHUNK]
        if (file[some[:, None] + fixed] != wanted).any():
            raise _OtherError
        parts.append(file[some[:, None] + varying].view("<u8"))
    return np.concatenate(parts)


def _group_template(file: Bytes, address: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Bytes of a group's header that all must share; those of its tree and its heap."""
    fixed = [0, 2, 3, *range(8, 12)]
    varying: list[int] = []
    at = 16
    for kind, flags, content in _messages(file, address):
        fixed += range(at, at + 5)
        if kind == TABLE and len(content) == 16 and not flags & SHARED:
            varying += range(at + 8, at + 24)
        elif kind not in HARMLESS:
            raise _OtherError
        at += 8 + len(content)
    if len(varying) != 16:
        raise _OtherError
    return np.array(fixed), np.array(varying)


def _template(file: Bytes, address: int, rank: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Bytes of a header that all must share; those of the dims, the place and the size."""
    fixed = [0, 2, 3, *range(8, 12)]
    varying: dict[int, list[int]] = {}
    at = 16
    for kind, flags, content in _messages(file, address):
        body = at + 8
        fixed += range(at, at + 5)
        if kind == DTYPE:
            fixed += range(body, body + len(content))
        elif kind == SPACE:
            head = {1: 8, 2: 4}.get(content[0], 0)
            if not head or content[1] != rank:
                raise _OtherError
            fixed += range(body, body + 3)
            varying[SPACE] = [*range(body + head, body + head + 8 * rank)]
        elif kind == LAYOUT:
            if content[0] not in (3, 4) or content[1] != 1:
                raise _OtherError
            fixed += range(body, body + 2)
            varying[LAYOUT] = [*range(body + 2, body + 18)]
        elif kind not in HARMLESS:
            raise _OtherError
        if flags & SHARED:
            raise _OtherError
        at = body + len(content)
    if set(varying) != {SPACE, LAYOUT}:
        raise _OtherError
    return np.array(fixed), np.array(varying[SPACE] + varying[LAYOUT])


def _spans(places: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """The numbers ``places[i]`` to ``places[i] + sizes[i] - 1`` of every span."""
    ends = np.cumsum(sizes)
    return np.repeat(places - ends + sizes, sizes) + np.arange(int(sizes.sum()))
