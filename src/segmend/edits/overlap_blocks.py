"""Edits from overlap for volumes larger than memory: the answer of `overlap_edits`, by blocks.

Three passes over the blocks. Memory holds one block and, for the whole volume, a row for each pair
of segment and neuron and each pair of segments that touch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segmend import __version__
from segmend.catalog.dataset import Dataset
from segmend.catalog.labels import segment_ids
from segmend.core.box import Point, Triple, VoxelBox
from segmend.core.ids import Ids
from segmend.edits.block_survey import Compared, Counted, Report, count_blocks, quiet
from segmend.edits.frozen import FrozenEdits, Outcome, freeze
from segmend.edits.operation import EditOp, Identity, operation_hash
from segmend.edits.overlap import SOURCE, OverlapRules, merge_of, split_faults, split_of
from segmend.edits.overlap_table import Overlap
from segmend.segments.contacts import Contact, FaceSums, NearestFaces, found_rows
from segmend.segments.label_reader import Read
from segmend.segments.thickness import ball_reach, thick_labels
from segmend.volumes.align import common_grid


def overlap_edits_by_blocks(
    compared: Compared,
    *,
    rules: OverlapRules,
    identity: Identity,
    counted: Counted | None = None,
    report: Report = quiet,
) -> Iterator[EditOp | Outcome]:
    """Derive what to merge and what to split, as `segmend.edits.overlap.overlap_edits` does.

    Args:
        compared: The two segmentations.
        rules: Thresholds.
        identity: Data set, version and volume of ``automatic``.
        counted: The first pass, if it was made.
        report: Told (pass, blocks done, blocks).

    Yields:
        The same edits for any shape of the blocks, and an outcome for every touching pair and
        every segment of several neurons that is none: merges, then splits, each by segment ids.
        Each edit is clicked in the two voxels of the face that it lies at.

    Raises:
        SegmendError: whatever reading raises.
    """
    counted = counted or count_blocks(compared, report)
    table, faces = counted.overlaps, counted.faces
    splits = {
        one.segment: split_faults(one, rules) for one in table.values() if len(one.neurons) > 1
    }
    sides = _Sides([table[s] for s, fault in splits.items() if fault is None], rules)
    merges = faces.only(faces.sums[:, 0] >= rules.min_contact_faces)
    nearest = NearestFaces(merges, compared.grid.voxel_size)
    _look(compared, nearest, sides, rules, report)
    at = nearest.contacts(compared.grid)
    voxels = nearest.voxels()
    rows, large = found_rows(merges.pairs, faces.pairs)
    for i, (a, b) in enumerate(faces.pairs.tolist()):
        contact = Contact(a, b, int(faces.sums[i, 0]), (0.0, 0.0, 0.0))
        if large[i]:
            z, y, x = at.point_nm[rows[i]].tolist()
            contact = replace(contact, point_nm=(z, y, x))
        made = merge_of(contact, table, rules, identity)
        if isinstance(made, str):
            yield _left_out(made, identity, (a, b))
        else:
            clicks = [compared.grid.centers(side[rows[i]]) for side in voxels]
            yield _clicked(made, clicks)
    contacts = sides.contacts(compared, report)
    for segment, fault in splits.items():
        if fault is not None:
            yield _left_out(fault, identity, (segment,))
            continue
        found, clicks = contacts.get(segment, (None, []))
        made = split_of(table[segment], sides.thick_of(segment), found, rules, identity)
        if isinstance(made, str):
            yield _left_out(made, identity, (segment,))
        else:
            yield _clicked(made, clicks)


def freeze_overlap(
    dataset: Dataset,
    layers: tuple[str, str],
    folder: Path,
    *,
    rules: OverlapRules,
    block: Triple,
    report: Report = quiet,
) -> FrozenEdits:
    """Freeze the overlap edits of a data set, whatever its size.

    Args:
        dataset: The data set.
        layers: Names of the layer to correct and of the true neurons.
        folder: Folder to create.
        rules: Thresholds.
        block: Voxels of a block, ``(z, y, x)``.
        report: Told (pass, blocks done, blocks).

    Raises:
        GridMismatchError: if the layers lie on different grids.
        OutputError: if the folder exists or cannot be written; nothing is left behind.
        SegmendError: whatever reading raises.
    """
    record = dataset.record
    grid = common_grid({one: dataset.labels[one] for one in layers})
    automatic, neurons = (_reader(dataset, one) for one in layers)
    facts = {
        "source": {"kind": SOURCE, "layers": list(layers), "rules": asdict(rules)},
        "versions": {"segmend": __version__, "dataset": dataset.fingerprint()},
        "dataset": record.name,
        "licence": record.licence.name or record.licence.state,
        "citation": record.citation.strip(),
    }
    compared = Compared(automatic, neurons, grid, block)
    identity = Identity(record.name, record.version, dataset.volume)
    found = overlap_edits_by_blocks(compared, rules=rules, identity=identity, report=report)
    return freeze(folder, found, facts=facts)


def _reader(dataset: Dataset, layer: str) -> Read:
    volume, spec = dataset.labels[layer], dataset.spec(layer)
    return lambda box: segment_ids(volume.read_voxels(box).data, spec, source=volume.source)


def _left_out(reason: str, identity: Identity, ids: tuple[int, ...]) -> Outcome:
    kind = "merge" if len(ids) == 2 else "split"
    number = operation_hash(**asdict(identity), kind=kind, ids=ids)  # type: ignore[arg-type]
    return Outcome(number, "dropped", reason, " and ".join(map(str, ids)))


def _clicked(op: EditOp, clicks: list[NDArray[np.float64]]) -> EditOp:
    source, sink = (_point(click) for click in clicks)
    return replace(op, source_points_nm=(source,), sink_points_nm=(sink,))


def _point(values: NDArray[np.float64]) -> Point:
    z, y, x = values.tolist()
    return (z, y, x)


def _look(
    compared: Compared,
    nearest: NearestFaces,
    sides: _Sides,
    rules: OverlapRules,
    report: Report,
) -> None:
    """Second pass: where segments touch, which sides are thick and which of them touch."""
    reach = ball_reach(compared.grid, radius_nm=rules.min_side_radius_nm)
    blocks = compared.blocks()
    for done, block in enumerate(blocks, 1):
        around = compared.around(block, reach, max(reach, 1))
        automatic = compared.automatic(around)
        core = block.shift([-a for a in around.start])
        beyond = compared.around(block, 0, 1).shift([-a for a in around.start])
        nearest.add(np.ascontiguousarray(automatic[beyond.slices]), block.shape, block.start)
        if sides.in_block(automatic[core.slices]):
            labels = sides.labels(automatic, compared.neurons(around))
            thick = thick_labels(
                labels, core, compared.grid.crop(around), radius_nm=rules.min_side_radius_nm
            )
            sides.thick |= thick
            sides.count(labels[beyond.slices], block)
        report("finding contacts and sides", done, len(blocks))


class _Sides:
    """The sides of segments that may be split, numbered from 1 in order of segment and neuron."""

    def __init__(self, overlaps: list[Overlap], rules: OverlapRules) -> None:
        pairs = sorted(
            (one.segment, neuron)
            for one in overlaps
            for neuron, _ in one.sides(rules.min_side_voxels)
        )
        self.pairs: Ids = np.array(pairs, np.uint64).reshape(-1, 2)
        self.segments: Ids = np.unique(self.pairs[:, 0])
        self.thick: set[int] = set()
        self._faces = FaceSums()
        self._touching: list[VoxelBox] = []

    def in_block(self, automatic: Ids) -> bool:
        """Whether any of the segments lies in a block."""
        return bool(np.isin(automatic, self.segments).any())

    def labels(self, automatic: Ids, neurons: Ids) -> Ids:
        """The number of the side of every voxel, 0 where there is none."""
        inside = np.isin(automatic, self.segments)
        keys = np.stack([automatic[inside], neurons[inside]], axis=1)
        unique, back = np.unique(keys, axis=0, return_inverse=True)
        rows, known = found_rows(self.pairs, unique)
        number = np.where(known, rows + 1, 0).astype(np.uint64)
        labels = np.zeros(automatic.shape, np.uint64)
        labels[inside] = number[back.reshape(-1)]
        return labels

    def count(self, labels: Ids, block: VoxelBox) -> None:
        """Count the faces between sides."""
        if len(self._faces.add(np.ascontiguousarray(labels), block.shape, block.start)):
            self._touching.append(block)

    def thick_of(self, segment: int) -> list[int]:
        """The neurons of the thick sides of a segment, by number."""
        rows = np.flatnonzero(self.pairs[:, 0] == np.uint64(segment))
        return [int(self.pairs[row, 1]) for row in rows if int(row) + 1 in self.thick]

    def contacts(
        self, compared: Compared, report: Report
    ) -> dict[int, tuple[Contact, list[NDArray[np.float64]]]]:
        """Third pass: the largest contact of two thick sides of each segment, and its voxels."""
        self._faces.settle()
        chosen = self._faces.only(self._largest())
        nearest = NearestFaces(chosen, compared.grid.voxel_size)
        for done, block in enumerate(self._touching, 1):
            around = compared.around(block, 0, 1)
            labels = self.labels(compared.automatic(around), compared.neurons(around))
            nearest.add(labels, block.shape, block.start)
            report("placing splits", done, len(self._touching))
        low, high = nearest.voxels()
        found = {}
        for i, contact in enumerate(nearest.contacts(compared.grid)):
            segment, a = self.pairs[contact.a - 1].tolist()
            named = replace(contact, a=a, b=int(self.pairs[contact.b - 1, 1]))
            found[segment] = (named, [compared.grid.centers(side[i]) for side in (low, high)])
        return found

    def _largest(self) -> NDArray[np.bool_]:
        """Of pairs of thick sides of a segment the one with most faces, of equals the first."""
        best: dict[int, tuple[int, int]] = {}
        for row, (a, b) in enumerate(self._faces.pairs.tolist()):
            segment, other = int(self.pairs[a - 1, 0]), int(self.pairs[b - 1, 0])
            if segment == other and a in self.thick and b in self.thick:
                faces = int(self._faces.sums[row, 0])
                if segment not in best or faces > best[segment][0]:
                    best[segment] = (faces, row)
        keep = np.zeros(len(self._faces.pairs), bool)
        keep[[row for _, row in best.values()]] = True
        return keep
