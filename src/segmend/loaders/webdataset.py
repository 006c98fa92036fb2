"""Export to WebDataset: tar files that training reads one after the other, from disk or by URL.

    manifest.json                              what it was made from; which tars there are
    false_split_correction/train-000000.tar    KEY.em_best.png, KEY.em_xy.png, ..., KEY.geometry.npz

A tar holds what its task shows and nothing else: no metadata, no label, no column that is not an
input. Answers are written only if asked for. The key is the primary key of the row, by which
predictions are joined. Equal settings give equal bytes, whatever the number of processes.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.core.errors import BadInputError, NoSamplesError, OutputError, ReadFailedError
from segmend.core.sample import split_mask_column
from segmend.loaders.examples import Examples, Reading, examples
from segmend.loaders.frames import Frames, shapes
from segmend.loaders.order import Order, epoch_order
from segmend.loaders.processes import check_workers, in_processes
from segmend.shards.codecs import encode_geometry, encode_png
from segmend.shards.reader import Benchmark
from segmend.store.atomic import atomic_file, output_errors, sha256_file
from segmend.tasks.registry import TASKS

MANIFEST = "manifest.json"
FORMAT = 1
LABEL = "label.cls"
"""A binary answer, as text: ``0`` or ``1``."""

_CHUNK = 32
"""Rows decoded at a time; 90 MB."""

Report = Callable[[int, int], None]
"""Called with (tars done, tars in all)."""


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """What is exported.

    Attributes:
        tasks: Names of tasks; none: all that have rows.
        splits: Which splits; none: all that have rows.
        answers: Whether tars hold the answers of their task too.
        repaired: Whether known faults of published rows are corrected.
        rows: Rows per tar.
        seed: Shuffles the rows of each split; None keeps the order of the benchmark.

    Raises:
        BadInputError: for fewer than one row per tar.
    """

    tasks: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()
    answers: bool = False
    repaired: bool = True
    rows: int = 1000
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.rows < 1:
            raise BadInputError(f"a tar needs at least one row, got {self.rows}")


@dataclass(frozen=True, slots=True)
class TarRecord:
    """One tar as the manifest lists it.

    Attributes:
        path: Below the folder.
        task: Whose inputs it holds.
        split: Of its rows.
        rows: How many.
        size: Bytes.
        sha256: Of the file.
    """

    path: str
    task: str
    split: str
    rows: int
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Exported:
    """What was done.

    Attributes:
        tars: All tars, in order.
        reused: How many of them were there already.
        left_out: Rows that lack what their task needs, by task and split, then reason.
    """

    tars: tuple[TarRecord, ...]
    reused: int
    left_out: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True)
class _Work:
    """One tar to make: its rows are ``numbers`` of the examples of a task in a split."""

    path: str
    task: str
    split: str
    numbers: Order


def export_webdataset(
    benchmark: Benchmark,
    out: str | Path,
    settings: ExportSettings | None = None,
    *,
    workers: int = 1,
    report: Report = lambda _done, _all: None,
) -> Exported:
    """Write a benchmark as tars, or go on with an export that was stopped.

    Every tar appears whole or not at all and is then listed in ``manifest.json``, which says
    ``complete`` at the end. Started again, tars that are listed and have their sha256 are kept.

    Args:
        benchmark: What to export.
        out: Folder; new, empty, or that of the same export.
        settings: What of it.
        workers: Processes.
        report: Told about progress.

    Raises:
        OutputError: if the folder holds something else, or cannot be written.
        NoSamplesError: if no row is routed to a task that was named, or to any.
        ReadFailedError: if the benchmark is damaged.
        WorkerLostError: if a process dies; what was finished is kept.
    """
    check_workers(workers)
    asked, folder = settings or ExportSettings(), Path(out).absolute()
    work, left_out = _planned(benchmark, asked)
    head = {
        "format": FORMAT,
        "benchmark": benchmark.source.url,
        "benchmark_sha256": benchmark.sha256,
        "tasks": {name: TASKS[name].version for name in sorted({one.task for one in work})},
        "settings": json.loads(json.dumps(asdict(asked))),
    }
    listed = _begun(folder, head)
    kept = {one.path: listed[one.path] for one in work if _is_whole(folder, listed.get(one.path))}
    to_do = [one for one in work if one.path not in kept]
    with output_errors(folder):
        for one in work:
            (folder / one.path).parent.mkdir(parents=True, exist_ok=True)
        for stray in folder.rglob(".*.tmp"):  # left by a kill
            stray.unlink()
    reused, made = len(kept), dict(kept)
    report(reused, len(work))
    write = partial(_write_tar, benchmark, folder, asked)
    _write_manifest(folder, head, made, left_out, complete=not to_do)
    for done, record in enumerate(in_processes(write, to_do, workers), 1):
        made[record.path] = record
        _write_manifest(folder, head, made, left_out, complete=done == len(to_do))
        report(reused + done, len(work))
    return Exported(tuple(made[one.path] for one in work), reused, left_out)


def _planned(
    benchmark: Benchmark, asked: ExportSettings
) -> tuple[list[_Work], dict[str, dict[str, int]]]:
    """The tars to make, and what is left out of them."""
    unknown = set(asked.splits) - set(benchmark.splits)
    if unknown:
        raise NoSamplesError(
            f"{benchmark.source.url} has no rows in {', '.join(sorted(unknown))}",
            fix=f"It has {', '.join(benchmark.splits)}",
        )
    work: list[_Work] = []
    left_out = {}
    for name in asked.tasks or tuple(TASKS):
        before = len(work)
        for split in asked.splits or benchmark.splits:
            try:
                found = _examples(benchmark, name, split, asked)
            except NoSamplesError:  # a task need not be asked in every split
                continue
            order = np.arange(len(found))
            if asked.seed is not None:
                order = epoch_order(len(found), asked.seed, 0)
            if found.left_out:
                left_out[f"{name}/{split}"] = found.left_out
            for i, start in enumerate(range(0, len(order), asked.rows)):
                path = f"{name}/{split}-{i:06}.tar"
                work.append(_Work(path, name, split, order[start : start + asked.rows]))
        if name in asked.tasks and len(work) == before:
            raise NoSamplesError(f"{benchmark.source.url} has no rows for task '{name}'")
    if not work:
        raise NoSamplesError(f"{benchmark.source.url} has no rows for any task")
    return work, left_out


def _examples(benchmark: Benchmark, task: str, split: str, asked: ExportSettings) -> Examples:
    reading = Reading(targets=asked.answers, repaired=asked.repaired)
    return examples(benchmark, TASKS[task], split, reading)


def _begun(folder: Path, head: Mapping[str, Any]) -> dict[str, TarRecord]:
    """Tars that an export with the same head listed before it was stopped."""
    manifest = folder / MANIFEST
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return {}
    if not manifest.is_file():
        raise OutputError(
            f"cannot export to {folder}",
            found=f"it holds other things and no {MANIFEST}" if folder.is_dir() else "it is a file",
            fix="Name a new folder",
        )
    try:
        facts = json.loads(manifest.read_text(encoding="utf-8"))
        listed = [TarRecord(**one) for one in facts["tars"]]
        same = {key: facts[key] for key in head} == dict(head)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ReadFailedError(
            f"cannot read {manifest}", found=repr(error), fix="Name a new folder"
        ) from error
    if not same:
        wrong = [key for key in head if facts[key] != head[key]]
        raise OutputError(
            f"{folder} holds another export",
            found=", ".join(f"its {key}: {facts[key]}" for key in wrong),
            fix="Export with the same settings to go on with it, or name a new folder",
        )
    return {one.path: one for one in listed}


def _is_whole(folder: Path, record: TarRecord | None) -> bool:
    if record is None or not (folder / record.path).is_file():
        return False
    return sha256_file(folder / record.path) == record.sha256


def _write_manifest(
    folder: Path,
    head: Mapping[str, Any],
    made: Mapping[str, TarRecord],
    left_out: Mapping[str, Mapping[str, int]],
    *,
    complete: bool,
) -> None:
    tars = [asdict(made[path]) for path in sorted(made)]
    facts = {**head, "left_out": left_out, "complete": complete, "tars": tars}
    with output_errors(folder), atomic_file(folder / MANIFEST) as temporary:
        temporary.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def _write_tar(benchmark: Benchmark, folder: Path, asked: ExportSettings, one: _Work) -> TarRecord:
    found = _examples(benchmark, one.task, one.split, asked)
    path = folder / one.path
    with output_errors(path), atomic_file(path) as temporary:
        with tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:
            for key, files in _samples(found, one.numbers):
                for name in sorted(files):
                    _add(tar, f"{key}.{name}", files[name])
        size, digest = temporary.stat().st_size, sha256_file(temporary)
    return TarRecord(one.path, one.task, one.split, len(one.numbers), size, digest)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    """A file whose header depends on its name and size alone: time 0, nobody's."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def _samples(found: Examples, numbers: Order) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Key and files of each example, in order."""
    look = found.task.look
    for start in range(0, len(numbers), _CHUNK):
        part = numbers[start : start + _CHUNK]
        arrays = {
            name: np.empty(shape, dtype)
            for name, (shape, dtype) in shapes(found.task, look, len(part)).items()
        }
        targets = arrays["targets"] if found.targets else None
        frames = Frames(arrays["geometry"], arrays["em"], targets, look)
        found.fill(part, frames)
        for slot, number in enumerate(part.tolist()):
            yield found.hashes[number], _files(frames, slot)


def _files(frames: Frames, slot: int) -> dict[str, bytes]:
    shown = frames.inputs(slot)
    files = {"geometry.npz": encode_geometry(shown.geometry)}
    for plane, image in zip(shown.planes, shown.em, strict=True):
        files[f"em_{plane}.png"] = encode_png(np.ascontiguousarray(image))
    return files if frames.targets is None else files | _answer(frames, frames.targets[slot])


def _answer(frames: Frames, target: NDArray[Any]) -> dict[str, bytes]:
    if target.ndim == 0:
        return {LABEL: b"%d" % int(target)}
    masks = zip(frames.look.views, target, strict=True)
    return {f"{split_mask_column(view)}.png": encode_png(mask) for view, mask in masks}
