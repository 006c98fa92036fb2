"""SynEM's interfaces: pairs of touching segments, and whether a synapse lies between them.

What is known of the files (reference/datasets.md, B.10): the group's own exporter, in a draft,
writes ``edges``, ``labels``, ``targetTypes`` and the cell array ``interfaces`` at the root, beside
``em`` and ``segmentation``. Between draft and release the other tables moved into a group of their
own (``axonClasses`` became ``axons/class``), so the same columns are also read from the group
``interfaces``, whose voxels are ``interfaces/voxels``. A file with both, or neither, is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from segmend.annotations.arrow import category_column
from segmend.annotations.columns import Categories, Lists
from segmend.annotations.matlab import MatlabFile, open_matlab
from segmend.annotations.names import Split, split_of
from segmend.core.errors import ReadFailedError
from segmend.core.ids import Ids

NONE, FORWARD, BACKWARD = "nosynapse", "pretopostsynapse", "posttopresynapse"
TARGETS = (NONE, "spinehead", "spineneck", "shaft", "soma")

LAYOUTS = {
    "root": {
        "edges": "edges",
        "labels": "labels",
        "types": "targetTypes",
        "voxels": "interfaces",
        "scores": "scores",
    },
    "group": {
        "edges": "interfaces/edges",
        "labels": "interfaces/labels",
        "types": "interfaces/targetTypes",
        "voxels": "interfaces/voxels",
        "scores": "interfaces/scores",
    },
}
"""Keys by layout. ``scores`` may be missing: the draft has none."""

SEGMENTATION = "segmentation"

Layout = Literal["root", "group"]


@dataclass(frozen=True, slots=True, eq=False)
class Interfaces:
    """Interfaces of one file; the one with number ``k`` is row ``k - 1`` of every column.

    Attributes:
        edges: uint64 ``(k, 2)``: the two segments, in the order that ``labels`` speaks of.
        labels: ``nosynapse`` (undecided ones too), ``pretopostsynapse``: the first segment of an
            edge is presynaptic, ``posttopresynapse``: the second is.
        target_types: What the postsynaptic side is: ``spinehead``, ``spineneck``, ``shaft``,
            ``soma``, or ``nosynapse``.
        voxels: Per interface, places in the flat ``(z, y, x)`` segmentation, from 0, uint64.
        scores: float64 ``(k, n)``, None where the file has none.
        shape: Voxels of the segmentation, ``(z, y, x)``.
        layout: Which one the file has, see `LAYOUTS`.
        split: From the file's name; None if it says neither or both.
    """

    edges: Ids
    labels: Categories
    target_types: Categories
    voxels: Lists
    scores: NDArray[np.float64] | None
    shape: tuple[int, ...]
    layout: Layout
    split: Split | None

    def voxels_of(self, row: int) -> NDArray[np.int64]:
        """Voxels of one interface, int64 ``(n, 3)``, ``(z, y, x)`` of the segmentation."""
        found = np.unravel_index(self.voxels[row].astype(np.int64), self.shape)
        return np.stack(found, axis=-1).astype(np.int64)

    def partners(self) -> tuple[Ids, Ids]:
        """Presynaptic and postsynaptic segment of each, uint64; 0 where there is no synapse."""
        forward, backward = (self.labels.is_named(name) for name in (FORWARD, BACKWARD))
        first, second = self.edges[:, 0], self.edges[:, 1]
        none = np.zeros(len(self), np.uint64)
        pre = np.where(forward, first, np.where(backward, second, none))
        return pre, np.where(forward, second, np.where(backward, first, none))

    def to_table(self) -> pa.Table:
        """The interfaces as an Arrow table: ids uint64; what there is not is null."""
        pre, post = self.partners()
        none = pre == 0
        scores: Any = None
        if self.scores is not None:
            scores = pa.FixedSizeListArray.from_arrays(
                pa.array(self.scores.reshape(-1)), self.scores.shape[1]
            )
        rows = len(self)
        return pa.table(
            {
                "interface_id": pa.array(np.arange(1, rows + 1, dtype=np.uint64)),
                "segment_a": pa.array(self.edges[:, 0]),
                "segment_b": pa.array(self.edges[:, 1]),
                "label": category_column(self.labels),
                "pre_segment_id": pa.array(pre, mask=none),
                "post_segment_id": pa.array(post, mask=none),
                "target_type": category_column(self.target_types),
                "voxels": pa.array(self.voxels.sizes),
                "scores": pa.nulls(rows, pa.list_(pa.float64())) if scores is None else scores,
                "split": pa.array([self.split] * rows, pa.string()),
            }
        )

    def __len__(self) -> int:
        return len(self.edges)


def read_interfaces(path: str | Path) -> Interfaces:
    """Read one file of interfaces.

    Raises:
        ReadFailedError: if the file is missing or damaged.
        SchemaError: if it has neither layout or both, a column is missing or of another length, a
            code has no name or one that is not known, an edge names segment 0 or one segment twice,
            an interface occurs twice, or a voxel lies outside the segmentation.
    """
    file = open_matlab(path)
    layout = _layout(file)
    keys = LAYOUTS[layout]
    edges = file.whole(keys["edges"], file.matrix(keys["edges"], 2, "uf"))
    labels = _named(file, keys["labels"], (NONE, FORWARD, BACKWARD))
    types = _named(file, keys["types"], TARGETS)
    voxels = file.lists_of_ids(keys["voxels"])
    scores = _scores(file, keys["scores"], len(edges))
    columns: dict[str, Any] = {"edges": edges, "labels": labels, "types": types, "voxels": voxels}
    file.check_lengths({keys[name]: len(column) for name, column in columns.items()})
    shape = file.shape(SEGMENTATION)
    _check_edges(file, keys["edges"], edges)
    _check_voxels(file, keys["voxels"], voxels, shape)
    voxels = Lists(voxels.values - np.uint64(1), voxels.starts)
    _check_once(file, keys["edges"], edges, voxels)
    return Interfaces(
        edges, labels, types, voxels, scores, shape, layout, split_of(file.file.path.stem)
    )


def read_interface_folder(folder: str | Path) -> dict[str, Interfaces]:
    """Read every file of a folder, by name.

    Raises:
        ReadFailedError: if there is none, or one cannot be read.
        SchemaError: as `read_interfaces`.
    """
    files = sorted(p for p in Path(folder).rglob("*") if p.suffix in (".hdf5", ".h5"))
    if not files:
        raise ReadFailedError(
            f"{folder} holds no interfaces",
            found="no file ends with .hdf5 or .h5",
            fix="Copy the published folder, files and all",
            reason="missing",
            url=str(folder),
        )
    return {file.relative_to(folder).as_posix(): read_interfaces(file) for file in files}


def interface_table(files: Mapping[str, Interfaces]) -> pa.Table:
    """The interfaces of several files as one Arrow table, with the column ``file``.

    Segment ids are those of each file's own segmentation: ``file`` is part of the key.
    """
    tables = [
        made.to_table().add_column(0, "file", pa.array([name] * len(made), pa.string()))
        for name, made in files.items()
    ]
    return pa.concat_tables(tables, promote_options="permissive").unify_dictionaries()


def _layout(file: MatlabFile) -> Layout:
    telling: dict[Layout, list[str]] = {
        "root": ["edges", "labels", "targetTypes"],
        "group": ["interfaces/edges", "interfaces/labels", "interfaces/targetTypes"],
    }
    there = file.present([key for keys in telling.values() for key in keys])
    fitting = [layout for layout, keys in telling.items() if there & set(keys)]
    if len(fitting) == 1:
        return fitting[0]
    found = f"it has {', '.join(sorted(there)) or 'none'} of both layouts"
    raise file.error("/", f"which layout it has cannot be told: {found}")


def _named(file: MatlabFile, key: str, known: tuple[str, ...]) -> Categories:
    column = file.categories(key)
    found = {column.names[int(code)] for code in np.unique(column.codes)}
    for name in sorted(found - set(known)):
        raise file.error(key, f"its category '{name}' is not known: {', '.join(known)}")
    # Every known name has a code, so that asking for one that does not occur is no error.
    names = dict(column.names)
    free = (code for code in range(1, 256) if code not in names)
    names |= {next(free): name for name in known if name not in column.names.values()}
    return Categories(column.codes, dict(sorted(names.items())))


def _scores(file: MatlabFile, key: str, rows: int) -> NDArray[np.float64] | None:
    """One score per interface, or one per direction."""
    if not file.present([key]):
        return None
    shape = file.shape(key)
    # Two scores of one interface are no column of two.
    if len(shape) == 2 and (1 not in shape or math.prod(shape) == 2 * rows > 0):
        scores = file.matrix(key, 2, "f")
    else:
        scores = file.numbers(key, "f").reshape(-1, 1)
    file.check_lengths({key: len(scores), "edges": rows})
    if not np.isfinite(scores).all():
        raise file.error(key, "one of its scores is not finite")
    return scores.astype(np.float64)


def _check_edges(file: MatlabFile, key: str, edges: Ids) -> None:
    for bad, why in (
        ((edges == 0).any(axis=1), "segment 0 is none"),
        (edges[:, 0] == edges[:, 1], "a segment has no interface with itself"),
    ):
        if bad.any():
            row = int(np.argmax(bad))
            raise file.error(key, f"edge {row + 1} is {edges[row].tolist()}: {why}")


def _check_voxels(file: MatlabFile, key: str, voxels: Lists, shape: tuple[int, ...]) -> None:
    if len(shape) != 3:
        raise file.error(SEGMENTATION, f"its shape is {shape}, not (z, y, x)")
    size = math.prod(shape)
    bad = (voxels.values == 0) | (voxels.values > size)
    if bad.any():
        item = int(np.argmax(bad))
        found = f"voxel {voxels.values[item]} of a segmentation of {size}, counted from one"
        raise file.error(f"{key}/{int(voxels.owners[item]) + 1}", found)
    empty = np.flatnonzero(voxels.sizes == 0)
    if empty.size:
        raise file.error(f"{key}/{int(empty[0]) + 1}", "it has no voxel")


def _check_once(file: MatlabFile, key: str, edges: Ids, voxels: Lists) -> None:
    """Two segments can touch at several places, but an interface occurs once."""
    pairs = np.sort(edges, axis=1)
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    same = np.flatnonzero((pairs[order][1:] == pairs[order][:-1]).all(axis=1))
    seen: dict[tuple[int, int, bytes], int] = {}
    for row in np.unique(np.concatenate([order[same], order[same + 1]])).tolist():
        a, b = pairs[row].tolist()
        first = seen.setdefault((a, b, np.sort(voxels[row]).tobytes()), row)
        if first != row:
            raise file.error(key, f"interfaces {first + 1} and {row + 1} are the same: {[a, b]}")
