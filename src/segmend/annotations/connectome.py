"""Counts of synapses between axons and their targets: published, counted again, compared."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from segmend.annotations.neurites import Axons, Dendrites
from segmend.annotations.synapses import Synapses
from segmend.core.errors import BadInputError
from segmend.core.ids import Ids, as_ids
from segmend.store.local_file import local_file

if TYPE_CHECKING:
    from scipy.sparse import csr_array

MAX_BYTES = 2**30
"""A larger file is refused: 7,000 axons and 5,000 targets take 70 MB."""

MAX_NAME = 200
"""Characters of a class name."""

MAX_COUNT_DIGITS = 6


@dataclass(frozen=True, slots=True, eq=False)
class Connectome:
    """How many synapses each axon makes onto each target.

    Attributes:
        axon_classes: Class of the axon of each row.
        target_types: Type of the target of each column.
        counts: Sparse int64 matrix, rows are axons.
    """

    axon_classes: tuple[str, ...]
    target_types: tuple[str, ...]
    counts: csr_array

    def by_class(self) -> dict[tuple[str, str], int]:
        """Synapses by axon class and target type, those without any included."""
        rows, row_of = np.unique(np.array(self.axon_classes, str), return_inverse=True)
        columns, column_of = np.unique(np.array(self.target_types, str), return_inverse=True)
        matrix = self.counts.tocoo()
        total = np.zeros((len(rows), len(columns)), np.int64)
        np.add.at(total, (row_of[matrix.row], column_of[matrix.col]), matrix.data)
        return {
            (str(a), str(b)): int(total[i, j])
            for i, a in enumerate(rows)
            for j, b in enumerate(columns)
        }


@dataclass(frozen=True, slots=True)
class Recount:
    """A connectome counted from synapses, and the synapses that could not count.

    Attributes:
        connectome: The counts.
        counted: Synapses in it.
        without_axon: Synapses whose axon is not reconstructed or not among the rows.
        without_target: Synapses with such an axon whose target is not reconstructed or not among
            the columns.
    """

    connectome: Connectome
    counted: int
    without_axon: int
    without_target: int


@dataclass(frozen=True, slots=True)
class ClassDifference:
    """Synapses from one class of axons onto one type of target, where two connectomes differ."""

    axon_class: str
    target_type: str
    published: int
    recounted: int


@dataclass(frozen=True, slots=True)
class CellDifference:
    """One axon and target, by row and column from 0, where two connectomes differ."""

    row: int
    column: int
    published: int
    recounted: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """Where two connectomes differ.

    Attributes:
        classes: Sums by class that differ, sorted.
        cells: Axon-target pairs that differ; None where rows and columns cannot be paired.
        unpaired: Why they cannot be, empty if they can.
    """

    classes: tuple[ClassDifference, ...]
    cells: tuple[CellDifference, ...] | None
    unpaired: str

    @property
    def equal(self) -> bool:
        """Whether every axon-target pair has the same count in both."""
        return self.cells == ()


def read_connectome(path: str | Path) -> Connectome:
    """Read ``connectome.csv``: target types in the first row, axon classes in the first column.

    Raises:
        ReadFailedError: if the file cannot be read.
        BadInputError: naming line and column: for a line of another length, a cell that is no
            count, or a class without a name.
    """
    from scipy.sparse import csr_array

    name, lines = str(path), _lines(path)
    types = tuple(next(lines, [])[1:])
    if not types:
        raise BadInputError(f"line 1 of {name} cannot be read", found="it names no target types")
    _check_names(types, name, 1)
    classes: list[str] = []
    starts, columns, counts = [0], [], []
    for row, line in enumerate(lines, 2):
        if len(line) != len(types) + 1:
            found = f"{len(line)} cells, the first line has {len(types) + 1}"
            raise BadInputError(f"line {row} of {name} cannot be read", found=found)
        _check_names(line[:1], name, row)
        classes.append(line[0])
        for column, text in enumerate(line[1:]):
            if text != "0":
                columns.append(column)
                counts.append(_count(text, name, row, column))
        starts.append(len(columns))
    matrix = csr_array(
        (np.array(counts, np.int64), np.array(columns, np.int64), np.array(starts, np.int64)),
        shape=(len(classes), len(types)),
    )
    return Connectome(tuple(classes), types, matrix)


def recount(
    synapses: Synapses,
    axons: Axons,
    dendrites: Dendrites,
    *,
    axon_ids: Sequence[int] | Ids | None = None,
    dendrite_ids: Sequence[int] | Ids | None = None,
) -> Recount:
    """Count synapses between axons and targets.

    Args:
        synapses: The synapses.
        axons: All axons, for their classes.
        dendrites: All targets, for their types.
        axon_ids: Axons of the rows, in order; default all of them.
        dendrite_ids: Targets of the columns, in order; default all of them.

    Raises:
        BadInputError: if an id occurs twice or does not exist.
    """
    from scipy.sparse import coo_array

    rows, row_ids = _places("axon", axon_ids, len(axons), synapses.axon_ids)
    columns, column_ids = _places("dendrite", dendrite_ids, len(dendrites), synapses.dendrite_ids)
    from_axon = rows >= 0
    counted = from_axon & (columns >= 0)
    ones = np.ones(int(counted.sum()), np.int64)
    shape = (len(row_ids), len(column_ids))
    matrix = coo_array((ones, (rows[counted], columns[counted])), shape=shape).tocsr()
    connectome = Connectome(
        tuple(axons.classes.name(int(i) - 1) for i in row_ids),
        tuple(dendrites.classes.name(int(i) - 1) for i in column_ids),
        matrix,
    )
    missed = int((from_axon & (columns < 0)).sum())
    return Recount(connectome, len(ones), int((~from_axon).sum()), missed)


def compare(published: Connectome, recounted: Connectome) -> Comparison:
    """Where two connectomes differ. Upper and lower case of class names do not count."""
    theirs, ours = _folded(published), _folded(recounted)
    sums = theirs.by_class(), ours.by_class()
    classes = tuple(
        ClassDifference(*key, sums[0].get(key, 0), sums[1].get(key, 0))
        for key in sorted(set(sums[0]) | set(sums[1]))
        if sums[0].get(key, 0) != sums[1].get(key, 0)
    )
    unpaired = _unpaired(theirs, ours)
    if unpaired:
        return Comparison(classes, None, unpaired)
    return Comparison(classes, _cell_differences(published.counts, recounted.counts), "")


def _cell_differences(published: csr_array, recounted: csr_array) -> tuple[CellDifference, ...]:
    width = published.shape[1]
    cells = [_cells(published), _cells(recounted)]
    places = sorted(set(cells[0]) | set(cells[1]))
    both = ((at, cells[0].get(at, 0), cells[1].get(at, 0)) for at in places)
    return tuple(CellDifference(at // width, at % width, a, b) for at, a, b in both if a != b)


def _cells(counts: csr_array) -> dict[int, int]:
    """Counts by row times width plus column."""
    matrix = counts.tocoo()
    places = matrix.row.astype(np.int64) * counts.shape[1] + matrix.col
    return dict(zip(places.tolist(), matrix.data.tolist(), strict=True))


def _unpaired(published: Connectome, recounted: Connectome) -> str:
    """Why rows and columns of two connectomes are not the same axons and targets."""
    for what, theirs, ours in (
        ("rows", published.axon_classes, recounted.axon_classes),
        ("columns", published.target_types, recounted.target_types),
    ):
        if len(theirs) != len(ours):
            return f"{len(theirs)} published {what}, {len(ours)} recounted: say which they are"
        for at, (a, b) in enumerate(zip(theirs, ours, strict=True)):
            if a != b:
                return f"of the {what}, number {at + 1} is published as '{a}', recounted as '{b}'"
    return ""


def _folded(connectome: Connectome) -> Connectome:
    return Connectome(
        tuple(name.casefold() for name in connectome.axon_classes),
        tuple(name.casefold() for name in connectome.target_types),
        connectome.counts,
    )


def _places(
    what: str, chosen: Sequence[int] | Ids | None, count: int, ids: Ids
) -> tuple[NDArray[np.int64], Ids]:
    """Row or column of each synapse, -1 for none, and the ids of all rows or columns."""
    wanted = np.arange(1, count + 1, dtype=np.uint64) if chosen is None else as_ids(chosen)
    place = np.full(count + 1, -1, np.int64)
    for name, values, low in ((f"{what}_ids", wanted, 1), (f"a synapse's {what}", ids, 0)):
        if values.size and not low <= int(values.min()) <= int(values.max()) <= count:
            raise BadInputError(
                f"{name} must be of {low} to {count}", found=f"{values.min()} to {values.max()}"
            )
    if len(np.unique(wanted)) != len(wanted):
        raise BadInputError(f"{what}_ids names one of them twice")
    place[wanted.astype(np.int64)] = np.arange(len(wanted))
    return place[ids.astype(np.int64)], wanted


def _lines(path: str | Path) -> Any:
    """The lines of a CSV file, split into cells."""
    file = local_file(path)
    if file.size > MAX_BYTES:
        raise BadInputError(f"{path} is too large for a connectome", found=f"{file.size} bytes")
    with file.opened() as handle, os.fdopen(os.dup(handle), "rb") as opened:
        data = opened.read(MAX_BYTES + 1)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInputError(f"{path} is no text in UTF-8", found=str(error)) from error
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        yield from reader
    except csv.Error as error:
        raise BadInputError(
            f"line {reader.line_num} of {path} cannot be read", found=str(error)
        ) from error


def _check_names(names: Sequence[str], name: str, row: int) -> None:
    for column, text in enumerate(names):
        if not text.strip() or len(text) > MAX_NAME or text.strip().isdigit():
            raise BadInputError(
                f"line {row} of {name} cannot be read",
                found=f"{text[:40]!r} (cell {column + 1}) is no name of a class",
                fix="The first line names target types, the first column axon classes",
            )


def _count(text: str, name: str, row: int, column: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_COUNT_DIGITS):
        raise BadInputError(
            f"line {row} of {name} cannot be read",
            found=f"{text[:40]!r} (cell {column + 2}) is no number of synapses",
        )
    return int(text)
