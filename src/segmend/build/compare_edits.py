"""How far the edits of one plan are from those of another: real from injected, for example."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.stats import ks_2samp

from segmend.build.settings import PlanSettings
from segmend.build.sources import open_source
from segmend.build.survey import FoundEdits, found_edits
from segmend.core.grid import VoxelGrid
from segmend.edits.operation import EditKind, EditOp
from segmend.metrics.bootstrap import Interval, cluster_bootstrap
from segmend.metrics.classification import auroc, auroc_resampled

MEASURES = {
    "smaller side": "um3",
    "larger side": "um3",
    "contact": "um2",
    "next edit": "um",
}
"""What is measured of an edit, and in which unit; ``next edit``: distance to the nearest of its
kind in the volume."""


@dataclass(frozen=True, slots=True)
class Measured:
    """The edits of one plan, measured.

    Attributes:
        values: For each kind and measure float64 ``(n,)``, NaN where it cannot be told.
        clusters: For each kind the neuron of each edit, with its volume.
        species: Edits by species.
        excluded: What was left out, by reason.
    """

    values: dict[tuple[EditKind, str], NDArray[np.float64]]
    clusters: dict[EditKind, list[str]]
    species: Counter[str]
    excluded: Counter[str]


@dataclass(frozen=True, slots=True)
class Difference:
    """One measure of one kind in two plans.

    Attributes:
        kind: Merges or splits.
        measure: Of `MEASURES`.
        counts: Edits that have it, in the first and in the second.
        medians: And their medians.
        ks: Kolmogorov-Smirnov statistic, 0 to 1; NaN where a plan has no such edits.
        p: Its two-sided p-value, as if edits were independent: they are not, so it is too small.
        auroc: Chance that an edit of the second is larger than one of the first; 0.5: alike.
        interval: 95 % of ``auroc``, resampling neurons.
    """

    kind: EditKind
    measure: str
    counts: tuple[int, int]
    medians: tuple[float, float]
    ks: float
    p: float
    auroc: float
    interval: Interval | None

    @property
    def told_apart(self) -> bool | None:
        """Whether the interval leaves 0.5 out; None where there is none."""
        if self.interval is None or self.interval.reason:
            return None
        return not self.interval.low <= 0.5 <= self.interval.high


def measure_edits(settings: PlanSettings, folder: Path) -> Measured:
    """Find the edits of a plan and measure them.

    Args:
        settings: The plan.
        folder: Where its paths start.

    Raises:
        NoSamplesError: if a source has no edits.
        SegmendError: whatever opening a volume raises.
    """
    rows: dict[EditKind, list[list[float]]] = {kind: [] for kind in get_args(EditKind)}
    clusters: dict[EditKind, list[str]] = {kind: [] for kind in get_args(EditKind)}
    species: Counter[str] = Counter()
    excluded: Counter[str] = Counter()
    for source in settings.sources:
        one = open_source(source, settings, folder)
        found = found_edits(one, settings)
        species[one.dataset.record.species] += len(found.edits.ops)
        excluded.update(found.edits.excluded)
        for kind in rows:
            ops = found.edits.of_kind(kind)
            rows[kind] += _rows(ops, found, one.grid)
            clusters[kind] += [f"{one.name}:{op.cluster_id}" for op in ops]
    values = {
        (kind, measure): np.array([row[i] for row in rows[kind]], np.float64)
        for kind in rows
        for i, measure in enumerate(MEASURES)
    }
    return Measured(values, clusters, species, excluded)


def compare(first: Measured, second: Measured, *, seed: int = 0) -> list[Difference]:
    """Compare two plans' edits, kind by kind and measure by measure.

    Args:
        first: For example real edits.
        second: For example injected ones.
        seed: Of the resamples.
    """
    return [
        _difference(kind, measure, first, second, seed=seed)
        for kind in get_args(EditKind)
        for measure in MEASURES
    ]


def _rows(ops: tuple[EditOp, ...], found: FoundEdits, grid: VoxelGrid) -> list[list[float]]:
    """For each edit the values of `MEASURES`."""
    table = found.overlaps(grid)
    z, y, x = np.array(grid.voxel_size) / 1000
    voxel, face = z * y * x, (z * y + y * x + z * x) / 3
    apart = _next(np.array([op.point_nm for op in ops]).reshape(-1, 3)) / 1000
    rows = []
    for op, distance in zip(ops, apart.tolist(), strict=True):
        if op.kind == "merge":
            sizes = [table[segment].voxels for segment in op.before_ids]
        else:
            shares = dict(table[op.before_ids[0]].neurons)
            sizes = sorted(shares[side] for side in op.after_ids if side in shares)[-2:]
        smaller, larger = sorted(sizes) if len(sizes) == 2 else (np.nan, np.nan)
        faces = op.facts.get("contact_faces", np.nan)
        rows.append([smaller * voxel, larger * voxel, faces * face, distance])
    return rows


def _next(points: NDArray[np.float64]) -> NDArray[np.float64]:
    if len(points) < 2:
        return np.full(len(points), np.nan)
    distances: NDArray[np.float64] = cKDTree(points).query(points, k=2)[0][:, 1]
    return distances


def _difference(
    kind: EditKind, measure: str, first: Measured, second: Measured, *, seed: int
) -> Difference:
    known, clusters = [], []
    for name, one in (("a", first), ("b", second)):
        values = one.values[kind, measure]
        told = np.isfinite(values)
        known.append(values[told])
        pairs = zip(one.clusters[kind], told.tolist(), strict=True)
        clusters += [f"{name}:{cluster}" for cluster, kept in pairs if kept]
    a, b = known
    counts = (len(a), len(b))
    if not all(counts):
        medians = tuple(float(np.median(v)) if len(v) else np.nan for v in known)
        return Difference(
            kind, measure, counts, (medians[0], medians[1]), np.nan, np.nan, np.nan, None
        )
    test = ks_2samp(a, b)
    labels, scores = np.repeat([0, 1], counts), np.concatenate([a, b])
    interval = cluster_bootstrap(
        lambda weights: auroc_resampled(labels, scores, weights), clusters, seed=seed
    )
    return Difference(
        kind,
        measure,
        counts,
        (float(np.median(a)), float(np.median(b))),
        float(test.statistic),
        float(test.pvalue),
        auroc(labels, scores),
        interval,
    )
