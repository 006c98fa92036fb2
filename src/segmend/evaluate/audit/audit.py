"""The audit of a benchmark: leaks between its splits, and answers that its making gives away."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from segmend.core.errors import ReadFailedError, VerificationError
from segmend.core.sample import IMAGE_SIZE, SPLITS, VIEW_CUBE
from segmend.evaluate.audit.nearness import Nearness, nearness
from segmend.evaluate.audit.origins import shared
from segmend.evaluate.audit.rows import AuditedRows, audited_rows
from segmend.evaluate.audit.strata import within
from segmend.evaluate.audit.twins import Twins, exact_twins, near_twins
from segmend.metrics.bootstrap import cluster_bootstrap
from segmend.metrics.classification import auroc, auroc_resampled
from segmend.shards.layout import AUDIT_FILE
from segmend.shards.leaks import accepted_leaks
from segmend.shards.reader import Benchmark
from segmend.store.atomic import atomic_file
from segmend.tasks.statistics import PROBES, Probe

FORMAT = 1
FAMILY_LEVEL = 0.95
"""Chance that all artefact probes of a task pass where none tells anything."""

_TRAIN, _TEST = SPLITS.index("train"), SPLITS.index("test")
_EXAMPLES = 5

Status = Literal["clean", "leaks", "accepted", "reported"]


class Check(msgspec.Struct, frozen=True):
    """One question that the audit asks.

    Attributes:
        name: Which.
        group: ``leak``, ``artefact``, ``content`` or ``metadata``.
        status: ``clean``; ``leaks``; ``accepted``: it leaks, and the plan says so; ``reported``:
            a figure that decides nothing.
        doc: What was looked for.
        n: Rows concerned.
        of: Rows looked at.
        task: Of probes: the task.
        auroc: Of probes: what the statistic alone scores; None if undefined.
        low: Lower end of its interval; None if there is none.
        high: Upper end.
        note: What else there is to say.
        examples: Primary keys: the row, and the one it shares something with.
    """

    name: str
    group: Literal["leak", "artefact", "content", "metadata"]
    status: Status
    doc: str
    n: int
    of: int
    task: str = ""
    auroc: float | None = None
    low: float | None = None
    high: float | None = None
    note: str = ""
    examples: tuple[tuple[str, str], ...] = ()


class Audit(msgspec.Struct, frozen=True, kw_only=True):
    """What the audit of a benchmark found.

    Attributes:
        format: Of the file.
        benchmark_sha256: Digest of its ``shards.csv``.
        accepted_leaks: What its plan accepts.
        rows: Rows read.
        resamples: Resamples behind each interval.
        family_level: Level that the intervals of the artefact probes of a task have together.
        checks: What was found.
    """

    format: int
    benchmark_sha256: str
    accepted_leaks: tuple[str, ...]
    rows: int
    resamples: int
    family_level: float
    checks: tuple[Check, ...]

    @property
    def leaks(self) -> tuple[Check, ...]:
        """Checks that found something that is not accepted."""
        return tuple(check for check in self.checks if check.status == "leaks")

    def check(self) -> None:
        """Raise what leaks as an error.

        Raises:
            VerificationError: if anything does.
        """
        if self.leaks:
            names = ", ".join(f"{c.task} {c.name}".strip() for c in self.leaks)
            raise VerificationError(
                "the benchmark is complete but not clean",
                found=names,
                fix="docs/audit.md says what each check means and what to do about it",
            )


def audit(
    benchmark: Benchmark,
    *,
    resamples: int = 1000,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Audit:
    """Audit a benchmark, ours or published.

    Args:
        benchmark: The benchmark.
        resamples: Resamples of neurons behind each interval.
        progress: Told rows read and rows in all.

    Raises:
        ReadFailedError: if a row cannot be read.
        SchemaError: if it holds something else than the schema says.
    """
    rows = audited_rows(benchmark, progress=progress)
    accepted = accepted_leaks(benchmark.source)
    return Audit(
        format=FORMAT,
        benchmark_sha256=benchmark.sha256,
        accepted_leaks=accepted,
        rows=len(rows),
        resamples=resamples,
        family_level=FAMILY_LEVEL,
        checks=(*leak_checks(rows, accepted), *probe_checks(rows, resamples=resamples)),
    )


def leak_checks(rows: AuditedRows, accepted: Sequence[str]) -> list[Check]:
    """Everything that two splits may share.

    Args:
        rows: The rows.
        accepted: Leaks that the plan accepts; ``view`` covers pictures of one place too, for a
            slice that is centred on the same contact is the same slice.
    """
    exact = _joined([exact_twins(d, rows.splits) for d in rows.digests.values()])
    near = _joined([near_twins(p, rows.splits) for p in rows.prints.values()])
    found = dict(exact)
    near = [pair for pair in near if pair[0] not in found]
    exact_here, exact_apart = _by_place(rows, exact)
    near_here, near_apart = _by_place(rows, near)
    splits = rows.splits.tolist()
    operation = _between(rows.operations, splits)
    lineage = shared(rows.lineages, splits, one=_TRAIN, other=_TEST)
    check = partial(_leak, rows, accepted)
    return [
        check("duplicate", exact_apart, "a picture that is exactly one of another split"),
        check("duplicate_here", exact_here, "the same, of the same place", by="view"),
        check("near_duplicate", near_apart, "a picture that nearly is one of another split"),
        check("near_duplicate_here", near_here, "the same, of the same place", by="view"),
        check("operation", operation, "rows of one operation in two splits"),
        check("lineage", lineage, "test rows with a segment or neuron of a training row"),
        *_view_checks(rows, accepted),
    ]


def _by_place(
    rows: AuditedRows, pairs: Sequence[tuple[int, int]]
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Pairs whose pictures show a common place, and the others."""
    half = np.fmax(VIEW_CUBE * rows.extents, IMAGE_SIZE / 2 * rows.statistics["em_pixel_size"])
    here: list[tuple[int, int]] = []
    apart: list[tuple[int, int]] = []
    for a, b in pairs:
        gap = np.abs(rows.centers[a] - rows.centers[b]).max()
        meets = rows.volumes[a] == rows.volumes[b] and gap < half[a] + half[b]
        (here if meets else apart).append((a, b))
    return here, apart


def _between(marks: Sequence[frozenset[int]], splits: Sequence[int]) -> list[tuple[int, int]]:
    pairs = [(0, 1), (0, 2), (1, 2)]
    found = [p for a, b in pairs for p in shared(marks, splits, one=a, other=b)]
    return sorted(dict(reversed(found)).items())


def _joined(twins: Sequence[Twins]) -> list[tuple[int, int]]:
    pairs = [pair for t in twins for pair in zip(t.rows.tolist(), t.twin.tolist(), strict=True)]
    return sorted(dict(reversed(pairs)).items())


def _leak(
    rows: AuditedRows,
    accepted: Sequence[str],
    name: str,
    pairs: Sequence[tuple[int, int]],
    doc: str,
    *,
    by: str = "",
    note: str = "",
) -> Check:
    status: Status = "clean" if not pairs else "leaks"
    if pairs and (by or name) in accepted:
        status = "accepted"
    examples = tuple((rows.keys[a], rows.keys[b]) for a, b in pairs[:_EXAMPLES])
    of = int(np.count_nonzero(rows.splits == _TEST)) if name in ("lineage", "view") else len(rows)
    return Check(name, "leak", status, doc, len(pairs), of, note=note, examples=examples)


def _view_checks(rows: AuditedRows, accepted: Sequence[str]) -> list[Check]:
    one, other = (np.flatnonzero(rows.splits == s) for s in (_TRAIN, _TEST))
    near = nearness(rows.centers, rows.extents, rows.volumes, one=one, other=other)
    meets = np.flatnonzero(near.overlapping)
    pairs = [(int(near.rows[i]), int(near.nearest[i])) for i in meets]
    doc = "test rows whose view meets that of a training row"
    return [_leak(rows, accepted, "view", pairs, doc, note=_distances(rows, near))]


def _distances(rows: AuditedRows, near: Nearness) -> str:
    """The nearest distances in words, and in widths of a view."""
    if not len(near.rows):
        return "no test row says where it lies"
    views = near.distance_nm / (2 * rows.extents[near.rows])
    shares = [f"{np.mean(views < w):.1%} under {w:g}" for w in (0.5, 1)]
    if not np.isfinite(near.distance_nm).any():
        return "no training row within reach of the views of any test row"
    nearest = f"nearest {near.distance_nm.min():,.0f} nm = {views.min():.2f} views"
    return f"{nearest}; {', '.join(shares)} views from a training row"


def probe_checks(rows: AuditedRows, *, resamples: int) -> list[Check]:
    """What each statistic alone scores in each task."""
    tasks = np.array(rows.tasks)
    checks = []
    for task in [name for name in dict.fromkeys(rows.tasks) if name]:
        chosen = np.flatnonzero(tasks == task)
        found = {name: chosen[np.isfinite(rows.statistics[name][chosen])] for name in PROBES}
        measured = {name: where for name, where in found.items() if len(where)}
        gated = sum(PROBES[name].kind == "artefact" for name in measured)
        level = 1 - (1 - FAMILY_LEVEL) / max(gated, 1)
        for name, where in measured.items():
            one = PROBES[name]
            of_one = level if one.kind == "artefact" else FAMILY_LEVEL
            checks.append(_probe(rows, one, task, where, level=of_one, resamples=resamples))
    return checks


def _probe(
    rows: AuditedRows,
    probe: Probe,
    task: str,
    where: Any,
    *,
    level: float,
    resamples: int,
) -> Check:
    values = within(rows.statistics[probe.name][where], rows.datasets[where])
    labels = rows.labels[where]
    score = auroc(labels, values)
    interval = cluster_bootstrap(
        partial(auroc_resampled, labels, values), rows.clusters[where], n=resamples, level=level
    )
    gate = probe.kind == "artefact"
    # Without an interval nothing can be told: one class, or one neuron.
    told_apart = bool(interval.low > 0.5 or interval.high < 0.5)
    status: Status = ("leaks" if told_apart else "clean") if gate else "reported"
    note = interval.reason
    if interval.few_clusters and not note:
        note = f"{interval.n_clusters} neurons: the interval is too narrow"
    return Check(
        probe.name,
        probe.kind,
        status,
        probe.doc,
        len(where),
        int(np.count_nonzero(np.array(rows.tasks) == task)),
        task=task,
        auroc=_finite(score),
        low=_finite(interval.low),
        high=_finite(interval.high),
        note=note,
    )


def _finite(value: float) -> float | None:
    return round(value, 4) if np.isfinite(value) else None


def write_audit(folder: Path, found: Audit) -> None:
    """Write ``audit.json`` beside the benchmark."""
    with atomic_file(folder / AUDIT_FILE) as path:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")


def read_audit(folder: Path) -> Audit:
    """Read ``audit.json``.

    Raises:
        ReadFailedError: if it is missing or is not one.
    """
    path = folder / AUDIT_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Audit)
    except (OSError, msgspec.MsgspecError) as error:
        raise ReadFailedError(f"cannot read {path}", found=str(error)) from error
