"""The one pass over a benchmark that the audit makes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.core.errors import NoSamplesError
from segmend.core.sample import (
    SAMPLE_TYPES,
    SPLITS,
    VIEWS,
    SchemaVersion,
    em_column,
    image_columns,
)
from segmend.evaluate.audit.fingerprints import (
    EM_BYTES,
    GEOMETRY_BYTES,
    Bits,
    em_fingerprint,
    exact,
    geometry_fingerprint,
)
from segmend.evaluate.audit.origins import lineage_marks, operation_marks
from segmend.evaluate.scored_rows import neuron_numbers, numbered
from segmend.shards.checks import parsed_metadata
from segmend.shards.reader import Benchmark
from segmend.shards.repair import NEEDED, repaired_row
from segmend.shards.rows import Row
from segmend.tasks.registry import TASKS
from segmend.tasks.statistics import PROBES, Values, seen_statistics, stored_statistics

SLICES = ("xy", "xz", "yz")
"""EM planes that are compared between rows; ``best`` lies differently in each."""

PICTURES = (*(f"geometry {view}" for view in VIEWS), *(f"em_{plane}" for plane in SLICES))
"""Pictures that are compared between rows."""

_BATCH = 256


@dataclass(slots=True)
class AuditedRows:
    """What the audit knows of every row, in the order of the benchmark.

    Attributes:
        keys: Primary keys.
        splits: Number of the split in `SPLITS`.
        tasks: Name of the classification task of each row; empty where the row lacks what the
            task shows.
        labels: Its label.
        volumes: Number of the volume.
        datasets: Number of the data set.
        clusters: Number of the neuron; rows without one have one of their own.
        centers: Centre of the views, nm, ``(x, y, z)``; NaN where unknown.
        extents: Half-width of the views, nm; NaN where unknown.
        operations: Marks of operations, hashed.
        lineages: Marks of segments and neurons, hashed.
        digests: By picture: digest of each row's, None where there is nothing to compare.
        prints: By ``geometry`` and ``em_*``: fingerprints, uint8 (rows, bytes).
        statistics: By probe: its value for each row, NaN where there is none.
        unseen: Rows whose task shows something that they lack.
    """

    keys: list[str]
    splits: NDArray[np.int64]
    tasks: list[str]
    labels: NDArray[np.float64]
    volumes: NDArray[np.int64]
    datasets: NDArray[np.int64]
    clusters: NDArray[np.int64]
    centers: NDArray[np.float64]
    extents: NDArray[np.float64]
    operations: list[frozenset[int]] = field(default_factory=list)
    lineages: list[frozenset[int]] = field(default_factory=list)
    digests: dict[str, list[bytes | None]] = field(default_factory=dict)
    prints: dict[str, Bits] = field(default_factory=dict)
    statistics: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    unseen: int = 0

    def __len__(self) -> int:
        return len(self.keys)


def audited_rows(
    benchmark: Benchmark, *, progress: Callable[[int, int], None] = lambda *_: None
) -> AuditedRows:
    """Read every row once.

    Raises:
        ReadFailedError: if a row cannot be read.
        SchemaError: if it holds something else than the schema says.
    """
    rows = _empty(benchmark)
    pictures = image_columns(benchmark.version)
    columns = [*dict.fromkeys((*pictures, *NEEDED))]
    for start in range(0, len(rows), _BATCH):
        positions = np.arange(start, min(start + _BATCH, len(rows)))
        for inside, table in benchmark.read_groups(positions, columns):
            for position, row in zip(inside.tolist(), table.to_pylist(), strict=True):
                with benchmark.naming(position):
                    _take(rows, position, row, benchmark.version)
        progress(int(positions[-1]) + 1, len(rows))
    _rank(rows)
    return rows


def _empty(benchmark: Benchmark) -> AuditedRows:
    said = benchmark.sidecar(
        columns=["combined_sample_hash", "split", "species", "dataset", "volume", "cluster_id"]
    )
    n = len(said)
    species, dataset, volume, cluster = (
        said.column(c).to_pylist() for c in ("species", "dataset", "volume", "cluster_id")
    )
    datasets = [d or s for d, s in zip(dataset, species, strict=True)]
    volumes = list(zip(datasets, volume, strict=True))
    nothing: list[bytes | None] = [None] * n
    return AuditedRows(
        keys=[str(key) for key in said.column("combined_sample_hash").to_pylist()],
        splits=np.array([SPLITS.index(s) for s in said.column("split").to_pylist()], np.int64),
        tasks=[""] * n,
        labels=np.full(n, math.nan),
        volumes=numbered(volumes),
        datasets=numbered(datasets),
        clusters=neuron_numbers(cluster, volumes),
        centers=np.full((n, 3), math.nan),
        extents=np.full(n, math.nan),
        operations=[frozenset()] * n,
        lineages=[frozenset()] * n,
        digests={name: list(nothing) for name in PICTURES},
        prints={
            "geometry": np.zeros((n, GEOMETRY_BYTES), np.uint8),
            **{f"em_{plane}": np.zeros((n, EM_BYTES), np.uint8) for plane in SLICES},
        },
        statistics={name: np.full(n, math.nan) for name in PROBES},
    )


def _take(rows: AuditedRows, i: int, row: Row, version: SchemaVersion) -> None:
    pictures = image_columns(version)
    decoded, _ = repaired_row(row, pictures, version)
    metadata = parsed_metadata(row["metadata"])
    place = (int(rows.volumes[i]),)
    rows.operations[i] = frozenset(map(hash, operation_marks(metadata, place)))
    rows.lineages[i] = frozenset(map(hash, lineage_marks(metadata, place)))
    _take_site(rows, i, metadata)
    _take_prints(rows, i, decoded, version)
    sizes = {name: len(_stored(row[name])) for name in pictures if row[name] is not None}
    values = stored_statistics(metadata, sizes) | _seen(rows, i, decoded, row, version)
    for name, value in values.items():
        rows.statistics[name][i] = value


def _stored(value: Any) -> bytes:
    payload: bytes = value["bytes"] if isinstance(value, Mapping) else value
    return payload


def _take_site(rows: AuditedRows, i: int, metadata: Mapping[str, Any]) -> None:
    center = metadata.get("render_center_nm")
    extent = metadata.get("view_extent_nm")  # of published rows: the middle of their range
    if center is not None and extent is not None:
        rows.centers[i] = center
        rows.extents[i] = extent


def _take_prints(
    rows: AuditedRows, i: int, decoded: Mapping[str, Any], version: SchemaVersion
) -> None:
    geometry = decoded["geometry"]
    if geometry is None:
        geometry = decoded.get("geometry_single")
    if geometry is not None:
        for name, view in zip(VIEWS, geometry, strict=True):
            rows.digests[f"geometry {name}"][i] = exact(view)
        rows.prints["geometry"][i] = geometry_fingerprint(geometry)
    for plane in SLICES:
        image = decoded[em_column(plane, version)]
        if image is not None:
            rows.digests[f"em_{plane}"][i] = exact(image[..., 0])
            rows.prints[f"em_{plane}"][i] = em_fingerprint(image)


def _seen(
    rows: AuditedRows, i: int, decoded: Mapping[str, Any], row: Row, version: SchemaVersion
) -> Values:
    kind = SAMPLE_TYPES[row["sample_type"]]
    task = TASKS[kind.label_task]
    try:
        inputs = task.inputs(decoded, version=version)
    except NoSamplesError:
        rows.unseen += 1
        return {}
    rows.tasks[i], rows.labels[i] = task.name, kind.label
    return seen_statistics(inputs, dual=task.dual)


def _rank(rows: AuditedRows) -> None:
    for split in np.unique(rows.splits):
        inside = np.flatnonzero(rows.splits == split)
        rows.statistics["rank"][inside] = np.arange(len(inside))
