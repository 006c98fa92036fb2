"""HDF5 files as MATLAB writes them: orientation, categories, cell arrays, counting from one.

What holds for all of L4dense's tables (reference: the group's exporters of 2019-10-09):

- MATLAB stores columns first, so that its N x 3 matrix is ``(3, N)`` here; files written by others
  hold ``(N, 3)``. Both are read; all matrices of a file must agree.
- A cell array is a group with members ``"1"``, ``"2"``, ... A categorical is an array of one-based
  codes whose attributes say which name has which code.
- Everything counts from one, and 0 means none. Ids stay as they are; coordinates and the numbers
  of nodes count from zero once they have left this package.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.annotations.columns import Categories, Lists, Places
from segmend.core.errors import ReadFailedError, SchemaError, require
from segmend.core.ids import Ids
from segmend.store.local_file import LocalFile, local_file
from segmend.store.sandbox import sandbox

CHILD = "segmend.annotations.hdf5_child"
UNFIT = "UnfitError: "
"""How the child's answer starts where a whole file is not what it should be."""

SECONDS = 120.0
PIECE_BYTES = 2**26
"""Bytes of an array that are asked for at a time."""

CELLS = 100_000
"""Cells that are asked for at a time."""

EXACT = 2**53
"""Up to here a double holds every whole number."""

MAX_CODE = 255
"""Codes of categories are uint8."""

MAX_COORDINATE = 2**31
"""No volume is as wide."""

MAX_TABLE_BYTES = 2**33
"""A larger table is refused: L4dense has about 0.2 GB of positions."""


@dataclass(slots=True)
class MatlabFile:
    """An HDF5 file of tables, parsed by a child process.

    Attributes:
        file: The file; every request checks that it is unchanged.
        columns_first: Which way its matrices lie, as soon as one has shown it.
        shown_by: The matrix that did.
    """

    file: LocalFile
    columns_first: bool | None = None
    shown_by: str = ""

    def numbers(self, key: str, dtypes: str = "u") -> NDArray[Any]:
        """A column of ``N`` numbers.

        Args:
            key: Its data set.
            dtypes: Kinds that are allowed: ``u`` whole numbers of at least 0, ``f`` floats, ``uf``
                both.

        Raises:
            ReadFailedError: if it cannot be read.
            SchemaError: if it is missing, no column, or of another kind.
        """
        values = self._array(key, dtypes)
        if values.ndim == 2 and 1 in values.shape:
            values = values.reshape(-1)
        if values.ndim != 1:
            raise self.error(key, f"its shape is {values.shape}, not one column")
        return values

    def rows(self, key: str, width: int, dtypes: str = "u") -> NDArray[Any]:
        """A table ``(N, width)`` of a file that others than MATLAB wrote.

        Args:
            key: Its data set.
            width: Its columns.
            dtypes: As for `numbers`.

        Raises:
            ReadFailedError: if it cannot be read.
            SchemaError: if it is missing, or of another shape or kind.
        """
        values = self._array(key, dtypes)
        if values.ndim != 2 or values.shape[1] != width:
            raise self.error(key, f"its shape is {values.shape}, not N x {width}")
        return values

    def vector(self, key: str, name: str, length: int) -> NDArray[np.float64] | None:
        """An attribute of ``length`` numbers; None if there is none of that name.

        Raises:
            SchemaError: if it is something else.
        """
        values = self._ask("vector", key, name=name)["values"]
        if values is None:
            return None
        if len(values) != length or not np.isfinite(values).all():
            raise self.error(key, f"its attribute '{name}' is {values}, not {length} numbers")
        return np.asarray(values, np.float64)

    def ids(self, key: str, *, most: int | None = None, of: str = "") -> Ids:
        """A column of ids, 0 for none.

        Args:
            key: Its data set.
            most: The largest that may occur.
            of: What the ids name, for messages.
        """
        ids = self.whole(key, self.numbers(key, "uf"))
        if most is not None and ids.size and ids.max() > most:
            row = int(np.argmax(ids > most))
            raise self.error(key, f"entry {row + 1} is {ids[row]}, and there are {most} {of}")
        return ids

    def categories(self, key: str) -> Categories:
        """A categorical, with the names its attributes give.

        Raises:
            SchemaError: if a code has no name, or two names share one.
        """
        codes, names = self.numbers(key), self.names(key)
        unknown = sorted(set(np.unique(codes).tolist()) - set(names))
        if unknown:
            raise self.error(
                key, f"code {unknown[0]} has no name; its attributes name {sorted(names)}"
            )
        return Categories(codes.astype(np.uint8), names)

    def names(self, key: str) -> dict[int, str]:
        """Name by code of a categorical, ascending; empty if its attributes name none.

        Raises:
            SchemaError: if two names share a code, or a code is no uint8.
        """
        attributes = self._ask("array", key)["attributes"]
        names = {int(code): str(name) for name, code in attributes.items()}
        if len(names) != len(attributes):
            raise self.error(key, f"two of its categories share a code: {attributes}")
        if names and not 0 <= min(names) <= max(names) <= MAX_CODE:
            raise self.error(key, f"a category has the code {max(names)}: codes are uint8")
        return dict(sorted(names.items()))

    def places(self, key: str) -> Places:
        """An ``N x 3`` array of one-based voxels ``x, y, z``; a row of zeros is none."""
        return self.as_places(key, self.whole(key, self.matrix(key, 3, "uf")))

    def matrix(self, key: str, width: int, dtypes: str = "u") -> NDArray[Any]:
        """An ``N x width`` matrix, whichever way it lies in the file.

        Args:
            key: Its data set.
            width: Its columns.
            dtypes: As for `numbers`.
        """
        return self._matrix(key, self._array(key, dtypes), width)

    def present(self, keys: Sequence[str]) -> set[str]:
        """Which of some keys lead to a group or data set."""
        return set(self._ask("present", "", keys=list(keys))["present"])

    def shape(self, key: str) -> tuple[int, ...]:
        """Shape of a data set, as HDF5 has it."""
        return tuple(self._ask("array", key)["shape"])

    def whole(self, key: str, values: NDArray[Any]) -> Ids:
        """Numbers that MATLAB may have kept as doubles, as uint64.

        Raises:
            SchemaError: if one is not a whole number from 0 to 2**53.
        """
        if values.dtype.kind == "f":
            bad = ~((values >= 0) & (values <= EXACT) & (values == np.floor(values)))
            if bad.any():
                found = f"entry {int(np.argmax(bad)) + 1} is {values[bad][0]}, no whole number"
                raise self.error(key, found)
        return values.astype(np.uint64)

    def lists_of_ids(self, key: str, field: str = "") -> Lists:
        """A cell array of lists of ids, or a field of each cell, as uint64."""
        values, dims = self._cells(key, field, "uf")
        odd = np.flatnonzero((dims[:, 1] >= 0) & (dims != 1).all(axis=1))
        if odd.size:
            number, shape = int(odd[0]) + 1, tuple(dims[odd[0]].tolist())
            raise self.error(f"{key}/{number}", f"its shape is {shape}, not one column")
        return Lists.of_sizes(self.whole(key, values), _elements(dims))

    def lists_of_segments(self, key: str) -> Lists:
        """A cell array of lists of segments.

        Raises:
            SchemaError: if one is 0, which is none.
        """
        lists = self.lists_of_ids(key)
        if not lists.values.all():
            number = int(lists.owners[np.argmin(lists.values)])
            raise self.error(f"{key}/{number + 1}", "it names segment 0, which is none")
        return lists

    def lists_of_matrices(self, key: str, widths: dict[str, int]) -> dict[str, Lists]:
        """Matrices that are fields of each cell: their rows, one matrix after the other.

        Args:
            key: The cell array.
            widths: Columns of each field; the matrices of all fields lie the same way.
        """
        cells = {}
        for name in widths:
            values, dims = self._cells(key, name, "u")
            cells[name] = values, [[n for n in shape if n >= 0] for shape in dims.tolist()]
        # Matrices that can lie only one way decide for square ones before these are read.
        for name, (_, shapes) in cells.items():
            for number, shape in enumerate(shapes, 1):
                if len(shape) == 2 and (shape[0] == widths[name]) != (shape[1] == widths[name]):
                    where = f"{key}/{number}/{name}"
                    self._learn(where, columns_first=shape[0] == widths[name])
        return {name: self._rows(key, name, width, *cells[name]) for name, width in widths.items()}

    def _rows(
        self, key: str, name: str, width: int, values: NDArray[Any], shapes: list[list[int]]
    ) -> Lists:
        flat, done, matrices = values.astype(np.int64), 0, [np.empty((0, width), np.int64)]
        for number, shape in enumerate(shapes, 1):
            size = math.prod(shape)
            matrix = flat[done : done + size].reshape(shape)
            matrices.append(self._matrix(f"{key}/{number}/{name}", matrix, width))
            done += size
        return Lists.of_sizes(np.concatenate(matrices), [len(m) for m in matrices[1:]])

    def check_lengths(self, lengths: dict[str, int]) -> None:
        """Check that columns of one table are equally long.

        Raises:
            SchemaError: naming those that are not.
        """
        if len(set(lengths.values())) > 1:
            found = ", ".join(f"{key} has {n}" for key, n in lengths.items())
            raise SchemaError(
                f"the columns of {self.file.path} do not belong together",
                found=found,
                fix="Get the file again",
            )

    def error(self, key: str, found: str) -> SchemaError:
        """An error at a data set or group."""
        return SchemaError(
            f"{self.file.path}:{key} is not what it should be",
            found=found,
            fix="Compare with docs/annotations.md, which lists what is expected",
        )

    def as_places(self, key: str, rows: NDArray[Any]) -> Places:
        """Rows of one-based voxels ``x, y, z`` as places.

        Raises:
            SchemaError: if a row names only part of a voxel, or a voxel that cannot be.
        """
        known: NDArray[np.bool_] = np.all(rows != 0, axis=1)
        partly = np.any(rows != 0, axis=1) & ~known
        if partly.any():
            row = int(np.argmax(partly))
            raise self.error(key, f"row {row + 1} is {rows[row].tolist()}: voxels count from one")
        # Below 0: above 2**63 before it became int64.
        if rows.size and (rows.max() > MAX_COORDINATE or rows.min() < 0):
            raise self.error(key, f"a coordinate is beyond {MAX_COORDINATE}")
        return Places(rows[:, ::-1].astype(np.int64) - 1, known)

    def _learn(self, key: str, *, columns_first: bool) -> None:
        if self.columns_first is None:
            self.columns_first, self.shown_by = columns_first, key
        elif self.columns_first != columns_first:
            raise self.error(key, f"it lies the other way round than {self.shown_by}")

    def _matrix(self, key: str, values: NDArray[Any], width: int) -> NDArray[Any]:
        """The matrix as ``(N, width)``."""
        shape = values.shape
        if shape == (width,):
            return values.reshape(1, width)
        if len(shape) != 2 or width not in shape:
            raise self.error(key, f"its shape is {shape}, not N x {width} nor {width} x N")
        if shape[0] != shape[1]:
            self._learn(key, columns_first=shape[0] == width)
            return values.T if shape[0] == width else values
        # Square: as the others of the file lie, or else as MATLAB writes.
        return values if self.columns_first is False else values.T

    def _array(self, key: str, dtypes: str) -> NDArray[Any]:
        about = self._ask("array", key)
        shape, dtype = tuple(about["shape"]), self._dtype(key, about["dtype"], dtypes)
        size = math.prod(shape) * dtype.itemsize
        if size > MAX_TABLE_BYTES or not 1 <= len(shape) <= 2:
            raise self.error(key, f"its shape is {shape}")
        out = np.empty(shape, dtype)
        if not size:
            return out
        axis = int(np.argmax(shape))
        step = max(1, PIECE_BYTES * shape[axis] // max(1, size))
        for start in range(0, shape[axis], step):
            stop = min(start + step, shape[axis])
            part = (slice(None),) * axis + (slice(start, stop),)
            data = self._ask("rows", key, axis=axis, start=start, stop=stop)["data"]
            if len(data) != out[part].nbytes:
                raise self._damaged(key, f"{len(data)} bytes came")
            out[part] = np.frombuffer(data, dtype).reshape(out[part].shape)
        return out

    def _cells(self, key: str, name: str, dtypes: str) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """All cells' elements one after the other, and the dims of each, -1 for no second axis."""
        about = self._ask("members", key)
        if about["odd"]:
            raise self.error(
                key, f"its {about['count']} members are not 1 to {about['count']}: {about['odd']}"
            )
        pieces, shapes = [np.empty(0, np.uint8)], [np.empty((0, 2), np.int64)]
        done = total = 0
        while done < about["count"]:
            stop = min(about["count"], done + CELLS)
            answer = self._ask("cells", key, field=name, start=done, stop=stop)
            piece = np.frombuffer(answer["data"], self._dtype(key, answer["dtype"], dtypes))
            dims = np.frombuffer(answer["dims"], np.int64).reshape(-1, 2)
            if not len(dims) or len(piece) != _elements(dims).sum():
                raise self._damaged(key, f"{len(piece)} elements came")
            pieces.append(piece)
            shapes.append(dims)
            done, total = done + len(dims), total + piece.nbytes
            if total > MAX_TABLE_BYTES:
                raise self.error(key, f"its cells hold more than {MAX_TABLE_BYTES} bytes")
        return np.concatenate(pieces), np.concatenate(shapes)

    def _dtype(self, key: str, text: str, kinds: str) -> np.dtype[Any]:
        dtype = np.dtype(text).newbyteorder("=")
        if dtype.kind not in kinds:
            wanted = {
                "u": "whole numbers without sign",
                "f": "floating-point numbers",
                "uf": "whole numbers without sign, or doubles",
            }[kinds]
            raise self.error(key, f"it holds {dtype}, not {wanted}")
        return dtype

    def _ask(self, what: str, key: str, **more: Any) -> dict[str, Any]:
        self.file.check()
        stamp = f"{self.file.size} {self.file.stamp}"
        request = {"do": what, "path": str(self.file.path), "stamp": stamp, "key": key, **more}
        answer = sandbox(CHILD).ask(request, what=f"{self.file.path}:{key}", seconds=SECONDS)
        if "error" not in answer:
            return answer
        found = str(answer["error"])
        if found.startswith(UNFIT):
            raise self.error(key, found.removeprefix(UNFIT))
        raise self._damaged(key, found)

    def _damaged(self, key: str, found: str) -> ReadFailedError:
        return ReadFailedError(
            f"cannot read {self.file.path}:{key}",
            found=found,
            fix="The file is damaged: get it again",
            reason="corrupt",
            url=str(self.file.path),
        )


def _elements(dims: NDArray[np.int64]) -> NDArray[np.int64]:
    """Elements of cells; -1 stands for an axis that there is not."""
    return np.prod(np.where(dims < 0, 1, dims), axis=1)


def open_matlab(path: str | Path) -> MatlabFile:
    """Open an HDF5 file of tables.

    Raises:
        MissingDependencyError: if h5py is not installed.
        ReadFailedError: if there is no such file.
    """
    require("h5py", extra="build")
    return MatlabFile(local_file(path))
