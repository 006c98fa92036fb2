"""SWC: one line per node, ``id type x y z radius parent``, units known to the caller only.

Source: Cannon, Turner, Pyapali and Wheal, J Neurosci Methods 84 (1998), and the SWC specification
of neuroinformatics.nl; a parent of -1 marks a root.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segmend.core.errors import BadInputError
from segmend.store.atomic import atomic_file, output_errors
from segmend.store.local_file import local_file

MAX_BYTES = 2**29
"""A larger file is refused: about ten million nodes."""

MAX_LINE = 4096
"""Bytes of a line; a longer one is no node."""

ROOT = -1
"""The parent of a node without one."""

_WHOLE = re.compile(rb"-?\d{1,18}")
_NUMBER = re.compile(rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")


@dataclass(frozen=True, slots=True)
class Swc:
    """An SWC file as a value: one or more trees.

    Attributes:
        ids: int64 ``(n,)``, unique, in file order.
        types: int64 ``(n,)``: 1 soma, 2 axon, 3 dendrite, 4 apical dendrite, others as their
            program means them.
        xyz: float64 ``(n, 3)``, ``(x, y, z)`` in the file's unit.
        radius: float64 ``(n,)``, in the file's unit, not negative.
        parents: int64 ``(n,)``, rows of the parents, -1 for roots.
        header: Comment lines, without ``#``.
    """

    ids: NDArray[np.int64]
    types: NDArray[np.int64]
    xyz: NDArray[np.float64]
    radius: NDArray[np.float64]
    parents: NDArray[np.int64]
    header: tuple[str, ...] = ()

    @property
    def roots(self) -> NDArray[np.int64]:
        """Rows of the roots, one for each tree."""
        return np.flatnonzero(self.parents == ROOT)

    def positions_nm(self, unit_nm: float | Sequence[float]) -> NDArray[np.float64]:
        """Where the nodes lie: SWC positions are points, not voxels.

        Args:
            unit_nm: nm per unit of the file: 1 for nm, 1000 for um, or the size of a voxel
                ``(z, y, x)``. A file does not say it.

        Returns:
            float64 ``(n, 3)`` nm, ``(z, y, x)``.

        Raises:
            BadInputError: if the unit is not positive.
        """
        scale = np.asarray(unit_nm, np.float64)
        if scale.shape not in ((), (3,)) or not np.all(np.isfinite(scale) & (scale > 0)):
            raise BadInputError(
                f"a unit of {unit_nm!r} nm is unusable",
                fix="Pass one positive number, or (z, y, x)",
            )
        return self.xyz[:, ::-1] * scale


def read_swc(path: str | Path) -> Swc:
    """Read an SWC file; parents may stand before or after their children.

    Raises:
        ReadFailedError: if the file cannot be read.
        BadInputError: naming the line: for a line without seven plain numbers, ids that occur
            twice, parents that do not occur, a negative radius, or nodes in a circle.
    """
    file = local_file(path)
    if file.size > MAX_BYTES:
        raise BadInputError(f"{path} is too large for SWC", found=f"{file.size} bytes")
    with file.opened() as handle, os.fdopen(os.dup(handle), "rb") as opened:
        data = opened.read(MAX_BYTES + 1)
    return _parse(data, str(path))


def _parse(data: bytes, name: str) -> Swc:
    header: list[str] = []
    rows: list[list[float]] = []
    named: list[tuple[int, int, int]] = []
    lines: list[int] = []
    for number, line in enumerate(data.split(b"\n"), 1):
        words = line.split()
        if not words:
            continue
        if len(line) > MAX_LINE:
            raise _error(name, number, f"it is longer than {MAX_LINE} bytes")
        if words[0].startswith(b"#"):
            header.append(_comment(line, name, number))
            continue
        whole, real = _words(words, name, number)
        named.append(whole)
        rows.append(real)
        lines.append(number)
    ids, types, parent_ids = np.array(named, np.int64).reshape(-1, 3).T
    numbers = np.array(rows, np.float64).reshape(-1, 4)
    parents = _parent_rows(ids, parent_ids, name, lines)
    return Swc(
        np.ascontiguousarray(ids),
        np.ascontiguousarray(types),
        np.ascontiguousarray(numbers[:, :3]),
        np.ascontiguousarray(numbers[:, 3]),
        parents,
        tuple(header),
    )


def _words(words: list[bytes], name: str, number: int) -> tuple[tuple[int, int, int], list[float]]:
    """Id, type and parent of a line; x, y, z and radius."""
    if len(words) != 7:
        raise _error(name, number, f"{len(words)} words, not 7 (id type x y z radius parent)")
    whole = [words[0], words[1], words[6]]
    for word in whole:
        if not _WHOLE.fullmatch(word):
            raise _error(name, number, f"{_shown(word)} is no whole number")
    if whole[0].startswith(b"-"):
        raise _error(name, number, f"the id {_shown(words[0])} is negative")
    real = []
    for word in words[2:6]:
        value = float(word) if len(word) <= 64 and _NUMBER.fullmatch(word) else math.nan
        if not math.isfinite(value):
            raise _error(name, number, f"{_shown(word)} is not a finite number")
        real.append(value)
    if real[3] < 0:
        raise _error(name, number, f"the radius {real[3]} is negative")
    return (int(whole[0]), int(whole[1]), int(whole[2])), real


def _parent_rows(
    ids: NDArray[np.int64], parent_ids: NDArray[np.int64], name: str, lines: list[int]
) -> NDArray[np.int64]:
    """Rows of the parents; every way up must end at a root."""
    row = {int(n): i for i, n in enumerate(ids)}
    if len(row) != len(ids):
        twice = next(i for i, n in enumerate(ids) if row[int(n)] != i)
        again = lines[row[int(ids[twice])]]
        raise _error(name, again, f"the id {ids[twice]} stands in line {lines[twice]} already")
    parents = np.full(len(ids), ROOT, np.int64)
    for i, parent in enumerate(parent_ids.tolist()):
        if parent == ROOT:
            continue
        if parent not in row:
            raise _error(name, lines[i], f"there is no node {parent}, its parent")
        parents[i] = row[parent]
    circle = _in_circle(parents)
    if circle is not None:
        raise _error(name, lines[circle], f"the parents of node {ids[circle]} go round in a circle")
    return parents


def _in_circle(parents: NDArray[np.int64]) -> int | None:
    """A row whose way up never ends, None if there is none."""
    # Twice as far with every step: what has not reached a root after n steps never will.
    up = np.append(parents, ROOT)
    for _ in range(max(1, len(parents)).bit_length()):
        up = up[up]
    left = np.flatnonzero(up[:-1] != ROOT)
    return int(left[0]) if left.size else None


def write_swc(skeleton: Swc, path: str | Path) -> None:
    """Write an SWC file; `read_swc` gives it back. Equal values give equal bytes.

    Raises:
        BadInputError: for a value that could not be read again: arrays of different lengths,
            numbers that are not finite, parents that do not exist, line breaks in the header.
        OutputError: if the place cannot be written.
    """
    count = len(skeleton.ids)
    lengths = {len(a) for a in (skeleton.types, skeleton.xyz, skeleton.radius, skeleton.parents)}
    outside = (skeleton.parents < ROOT) | (skeleton.parents >= count)
    if lengths - {count} or np.any(outside):
        raise BadInputError(
            f"the skeleton for {path} does not hold together",
            found=f"{count} ids, arrays of {sorted(lengths)}, {outside.sum()} wrong parents",
        )
    text = "".join(f"#{line}\n" for line in skeleton.header) + "".join(_lines(skeleton))
    data = text.encode()
    if _parse(data, str(path)).header != skeleton.header:
        raise BadInputError(f"the header for {path} would not come back", found="line breaks in it")
    with atomic_file(path) as temporary, output_errors(path):
        temporary.write_bytes(data)


def _lines(skeleton: Swc) -> list[str]:
    # The last place is for the roots, whose parent is row -1.
    parent_ids = np.append(skeleton.ids, ROOT)[skeleton.parents]
    return [
        f"{number} {kind} {x!r} {y!r} {z!r} {radius!r} {parent}\n"
        for number, kind, (x, y, z), radius, parent in zip(
            skeleton.ids.tolist(),
            skeleton.types.tolist(),
            skeleton.xyz.tolist(),
            skeleton.radius.tolist(),
            parent_ids.tolist(),
            strict=True,
        )
    ]


def _comment(line: bytes, name: str, number: int) -> str:
    try:
        return line.decode().strip("\r").lstrip()[1:]
    except UnicodeDecodeError as error:
        raise _error(name, number, "its comment is no UTF-8") from error


def _shown(word: bytes) -> str:
    return repr(word[:48].decode("ascii", "replace"))


def _error(name: str, number: int, found: str) -> BadInputError:
    return BadInputError(f"line {number} of {name} cannot be read", found=found)
