"""Examples of a task, decoded: numpy only."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from segmend.core.errors import (
    BadInputError,
    NoSamplesError,
    ReadFailedError,
    SchemaError,
    VerificationError,
    require,
)
from segmend.loaders.frames import Frames, PackedPictures, shapes
from segmend.shards.checks import Origin, origin_of
from segmend.shards.defects import DEFECTS
from segmend.shards.reader import Benchmark
from segmend.shards.repair import repair
from segmend.shards.rows import decode_row
from segmend.shards.stored import stored_rows
from segmend.tasks.task import FLAGS, Inputs, Look, Target, Task

if TYPE_CHECKING:
    from segmend.loaders.packed.reader import PackedRows

KEY = "combined_sample_hash"


@dataclass(frozen=True, slots=True)
class Reading:
    """How the examples of a task are read.

    Attributes:
        targets: Whether the answers are read; without them label columns are never touched.
        repaired: Whether to correct what published rows are known to get wrong
            (``examples.corrections`` lists it).
        packed: Packed cache to take pictures from (``segmend pack``): the same to the bit, faster.
        threads: Threads that decode when examples are iterated.

    Raises:
        BadInputError: for fewer than one thread.
    """

    targets: bool = True
    repaired: bool = True
    packed: str | Path | None = None
    threads: int = 1

    def __post_init__(self) -> None:
        if self.threads < 1:
            raise BadInputError(f"decoding needs at least one thread, got {self.threads}")


ALL = Reading()
"""Pictures and answers, from the shards, corrected."""


@dataclass(frozen=True, slots=True)
class Example:
    """One question with its answer.

    Attributes:
        sample_hash: Primary key of the row, to join predictions; never an input.
        inputs: What a model may see.
        target: What it must predict; None if the examples were opened without targets.
    """

    sample_hash: str
    inputs: Inputs
    target: Target | None


class Examples:
    """The examples of one task in one split, by number or in order; made by `examples`.

    Indexing reads and decodes one row. Iterating goes through the row groups in order and decodes
    ahead in threads, which pays because inflating releases the interpreter. Instances can be
    pickled and used from several threads.

    Attributes:
        benchmark: Where the rows are.
        task: The question.
        positions: Position of each example in the benchmark, int64.
        species: Animal of each example: for balancing and scores, never an input.
        left_out: Rows routed to the task that lack something it needs, counted by reason.
        repaired: Whether known faults of published rows are corrected.
        targets: Whether examples have targets.
        version: Schema of the rows.
    """

    def __init__(
        self,
        benchmark: Benchmark,
        task: Task,
        sidecar: pa.Table,
        reading: Reading,
    ) -> None:
        self.benchmark = benchmark
        self.task = task
        self.targets = reading.targets
        self.repaired = reading.repaired
        self.version = benchmark.version
        self._packed = _open_packed(benchmark, sidecar, reading)
        self.positions = task.rows(sidecar)
        self.left_out = task.left_out(sidecar)
        chosen = sidecar.take(np.flatnonzero(np.isin(sidecar["position"], self.positions)))
        self._keys = chosen.column(KEY).combine_chunks()
        self.species = np.array(chosen.column("species").to_pylist(), np.str_)
        encodings = chosen.column("encoding").to_pylist()
        self._origins: list[Origin] = [origin_of(name) for name in encodings]
        self._labels = _labels(task, chosen)
        self._threads = reading.threads

    @cached_property
    def hashes(self) -> tuple[str, ...]:
        """Primary key of each example."""
        return tuple(map(str, self._keys.to_pylist()))

    @property
    def labels(self) -> NDArray[np.float64]:
        """Label of each example of a binary task, float64, read from the sidecar.

        For balancing the order of training, never as an input.

        Raises:
            BadInputError: if the task has no such label.
        """
        if self._labels is None:
            raise BadInputError(f"task '{self.task.name}' has no label per row")
        return self._labels

    @property
    def corrections(self) -> dict[str, str]:
        """What is corrected in the pictures shown, by name of the known defect; empty for ours.

        Raises nothing and reads nothing: it follows from who made the rows.
        """
        if not self.repaired or set(self._origins) <= {"metric"}:
            return {}
        known = (d for d in DEFECTS.values() if d.remedy in ("exact", "approximate"))
        return {defect.name: defect.repair for defect in known}

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, i: int) -> Example:
        if self._packed is not None:
            return self._alone(i, partial(self._unpack, i, self._pictures(self.task.look)))
        (row,) = self._rows(self.positions[[i]], self._columns())
        return self._alone(i, partial(self._decode, row, i))

    def __iter__(self) -> Iterator[Example]:
        if self._threads == 1:
            for job in self._jobs():
                yield job()
            return
        with ThreadPoolExecutor(self._threads) as pool:
            ahead: deque[Future[Example]] = deque()
            try:
                for job in self._jobs():
                    ahead.append(pool.submit(job))
                    if len(ahead) > 2 * self._threads:
                        yield ahead.popleft().result()
                while ahead:
                    yield ahead.popleft().result()
            finally:
                pool.shutdown(cancel_futures=True)

    def fill(self, numbers: Sequence[int] | NDArray[np.integer], frames: Frames) -> None:
        """Decode examples into arrays, each row group being read once.

        Args:
            numbers: Which examples, in any order, repeats allowed.
            frames: Arrays for as many; their look says what is decoded.

        Raises:
            ReadFailedError: if bytes are damaged, naming the row.
            SchemaError: if they hold something else than the schema says.
            VerificationError: if a row is not the one that the sidecar lists there.
        """
        asked = np.asarray(numbers, np.int64)
        if self._packed is not None:
            pictures = self._pictures(frames.look)
            for slot, i in enumerate(asked.tolist()):
                self._unpack(i, pictures, frames, slot)
            return
        slots = np.argsort(self.positions[asked], kind="stable")
        unique, first = np.unique(asked[slots], return_index=True)
        rows = self._rows(self.positions[unique], self._columns(frames.look))
        ends = [*first[1:], len(slots)]
        for i, row, begin, end in zip(unique.tolist(), rows, first, ends, strict=True):
            self._decode(row, i, frames, slots[begin])
            for slot in slots[begin + 1 : end]:
                frames.copy(slots[begin], slot)

    def _jobs(self) -> Iterator[Callable[[], Example]]:
        """What is left to do for each example when its bytes are read, in order."""
        if self._packed is not None:
            pictures = self._pictures(self.task.look)
            for i in range(len(self)):
                yield partial(self._alone, i, partial(self._unpack, i, pictures))
            return
        for i, row in enumerate(self._rows(self.positions, self._columns())):
            yield partial(self._alone, i, partial(self._decode, row, i))

    def _columns(self, look: Look | None = None) -> tuple[str, ...]:
        shown = self.task.picture_columns(look, self.version)
        answers = self.task.answer_columns(look, self.version) if self.targets else ()
        return tuple(dict.fromkeys((KEY, *shown, *answers)))

    def _rows(self, positions: NDArray[np.int64], columns: Sequence[str]) -> Iterator[Any]:
        for _, table in self.benchmark.read_groups(positions, columns):
            yield from stored_rows(table)

    def _alone(self, i: int, fill: Callable[[Frames, int], None]) -> Example:
        """One example in arrays of its own."""
        arrays = {
            name: np.empty(shape, dtype)
            for name, (shape, dtype) in shapes(self.task, self.task.look, 1).items()
        }
        targets = arrays["targets"] if self.targets else None
        frames = Frames(arrays["geometry"], arrays["em"], targets, self.task.look)
        fill(frames, 0)
        target = None if targets is None else targets[0]
        return Example(
            sample_hash=self._keys[i].as_py(),
            inputs=frames.inputs(0),
            target=float(target) if isinstance(target, np.floating) else target,
        )

    def _decode(self, row: dict[str, Any], i: int, frames: Frames, slot: int) -> None:
        """Decode an example into its place."""
        key, position = self._keys[i].as_py(), int(self.positions[i])
        task, look, version = self.task, frames.look, self.version
        with self.benchmark.naming(position), _naming(key):
            if row[KEY] != key:
                raise self._disagrees(f"its hash is {row[KEY]}")
            stored = decode_row(row, task.picture_columns(look, version))
            if self.repaired:  # before anything else sees it
                origin = self._origins[i]
                stored, findings = repair(stored, origin, version=version, in_place=True)
                self.benchmark.count(findings)
            geometry, em = frames.geometry[slot], frames.em[slot]
            task.draw(stored, geometry, em, look=look, version=version)
            if frames.targets is not None:
                answers = decode_row(row, task.answer_columns(look, version))
                target = task.target(answers, look, version)
                if self._labels is not None and target != self._labels[i]:
                    raise self._disagrees(f"its label is {target:g}, there {self._labels[i]:g}")
                frames.targets[slot] = target

    def _disagrees(self, found: str) -> VerificationError:
        return VerificationError(
            f"{self.benchmark.source.url} is not what its sidecar says",
            found=found,
            fix="Run `segmend verify`, and fetch or build the sidecar again",
        )

    def _unpack(self, i: int, pictures: PackedPictures, frames: Frames, slot: int) -> None:
        """Unpack an example into its place."""
        with _naming(self._keys[i].as_py()):
            pictures.read(int(self.positions[i]), frames, slot)
        if frames.targets is not None and self.task.target_kind == "binary":
            frames.targets[slot] = self._label(i)

    def _pictures(self, look: Look) -> PackedPictures:
        assert self._packed is not None
        return PackedPictures(
            self._packed, self.task, look, targets=self.targets, version=self.version
        )

    def _label(self, i: int) -> float:
        column = self.task.label_columns[0]
        return float(self.task.target({column: float(self.labels[i])}))


def examples(benchmark: Benchmark, task: Task, split: str, reading: Reading = ALL) -> Examples:
    """The examples of a task in a split.

    Args:
        benchmark: Where the rows are.
        task: The question.
        split: ``train``, ``validation`` or ``test``.
        reading: How they are read.

    Raises:
        NoSamplesError: if no row of the split is routed to the task.
        BadInputError: if there is no such split, or the packed cache is not one of this benchmark.
        VerificationError: if the sidecar says something else than when the cache was packed.
    """
    labels = task.label_columns if task.target_kind == "binary" else ()
    facts = (KEY, "task_routing", "encoding", "species", *FLAGS[benchmark.version])
    sidecar = benchmark.sidecar(split, columns=(*facts, *labels))
    found = Examples(benchmark, task, sidecar, reading)
    if not len(found):
        raise NoSamplesError(
            f"there are no rows for task '{task.name}' in split '{split}'",
            found=f"{benchmark.source.url} has splits {', '.join(benchmark.splits)}"
            + "".join(f"; {n} rows left out: {why}" for why, n in found.left_out.items()),
            fix="Build with sample types that serve the task, or choose another split",
        )
    return found


@contextmanager
def _naming(key: str) -> Iterator[None]:
    """A block whose errors say which row they are about."""
    try:
        yield
    except (ReadFailedError, SchemaError, NoSamplesError, VerificationError) as error:
        error.asked = f"row {key}: {error.asked}"
        raise


def _open_packed(benchmark: Benchmark, sidecar: pa.Table, reading: Reading) -> PackedRows | None:
    if reading.packed is None:
        return None
    require("numba", extra="packed")
    from segmend.loaders.packed.reader import PackedRows

    packed = PackedRows(reading.packed, benchmark, repaired=reading.repaired)
    packed.check(benchmark, sidecar)
    return packed


def _labels(task: Task, sidecar: pa.Table) -> NDArray[np.float64] | None:
    if task.target_kind != "binary":
        return None
    column = sidecar.column(task.label_columns[0]).to_pylist()
    return np.array([np.nan if v is None else float(v) for v in column], np.float64)
