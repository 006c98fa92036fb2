"""Examples of a task, decoded: numpy only."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from segmend.core.errors import (
    BadInputError,
    NoSamplesError,
    ReadFailedError,
    SchemaError,
    VerificationError,
)
from segmend.core.sample import ROW_SCHEMA
from segmend.loaders.frames import Frames
from segmend.shards.checks import Origin, origin_of
from segmend.shards.defects import DEFECTS
from segmend.shards.reader import Benchmark
from segmend.shards.repair import repair
from segmend.shards.rows import decode_row
from segmend.tasks.task import FLAGS, Inputs, Look, Target, Task

KEY = "combined_sample_hash"


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
    """

    def __init__(
        self,
        benchmark: Benchmark,
        task: Task,
        sidecar: pa.Table,
        *,
        targets: bool,
        threads: int = 1,
        repaired: bool = True,
    ) -> None:
        self.benchmark = benchmark
        self.task = task
        self.targets = targets
        self.repaired = repaired
        self.positions = task.rows(sidecar)
        self.left_out = task.left_out(sidecar)
        chosen = sidecar.take(np.flatnonzero(np.isin(sidecar["position"], self.positions)))
        self._keys = chosen.column(KEY).combine_chunks()
        self.species = np.array(chosen.column("species").to_pylist(), np.str_)
        encodings = chosen.column("encoding").to_pylist()
        self._origins: list[Origin] = [origin_of(name) for name in encodings]
        self._labels = _labels(task, chosen)
        self._threads = threads

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
        (row,) = self.benchmark.read_rows([self.positions[i]], self._columns()).to_pylist()
        return self._decode(row, i)

    def __iter__(self) -> Iterator[Example]:
        rows = enumerate(self._rows(self.positions, self._columns()))
        if self._threads == 1:
            for i, row in rows:
                yield self._decode(row, i)
            return
        with ThreadPoolExecutor(self._threads) as pool:
            ahead: deque[Future[Example]] = deque()
            try:
                for i, row in rows:
                    ahead.append(pool.submit(self._decode, row, i))
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
        slots = np.argsort(self.positions[asked], kind="stable")
        unique, first = np.unique(asked[slots], return_index=True)
        columns = self._columns(frames.look)
        for i, row, begin, end in zip(
            unique,
            self._rows(self.positions[unique], columns),
            first,
            [*first[1:], len(slots)],
            strict=True,
        ):
            example = self._decode(row, int(i), frames.look)
            for slot in slots[begin:end]:
                frames.put(int(slot), example.inputs, example.target)

    def _columns(self, look: Look | None = None) -> tuple[str, ...]:
        shown = self.task.picture_columns(look)
        answers = self.task.answer_columns(look) if self.targets else ()
        return tuple(dict.fromkeys((KEY, *shown, *answers)))

    def _rows(self, positions: NDArray[np.int64], columns: Sequence[str]) -> Iterator[Any]:
        for _, table in self.benchmark.read_groups(positions, columns):
            yield from table.to_pylist()

    def _decode(self, row: dict[str, Any], i: int, look: Look | None = None) -> Example:
        key = self._keys[i].as_py()
        if row[KEY] != key:
            raise VerificationError(
                f"row {self.positions[i]} of {self.benchmark.folder} is not what its sidecar says",
                found=f"its hash is {row[KEY]}, the sidecar says {key}",
                fix="Run `segmend verify`",
            )
        try:
            stored = decode_row(row, self.task.picture_columns(look))
            if self.repaired:  # before anything else sees it
                stored = repair(stored, self._origins[i])[0]
            inputs = self.task.inputs(stored, look)
            target = None
            if self.targets:
                answers = decode_row(row, self.task.answer_columns(look))
                target = self.task.target(answers, look)
        except (ReadFailedError, SchemaError, NoSamplesError) as error:
            error.asked = f"row {key}: {error.asked}"
            raise
        return Example(sample_hash=key, inputs=inputs, target=target)


def examples(
    benchmark: Benchmark,
    task: Task,
    split: str,
    *,
    targets: bool = True,
    threads: int = 1,
    repaired: bool = True,
) -> Examples:
    """The examples of a task in a split.

    Args:
        benchmark: Where the rows are.
        task: The question.
        split: ``train``, ``validation`` or ``test``.
        targets: Whether to read the answers; without them label columns are never touched.
        threads: Threads that decode when iterating.
        repaired: Whether to correct what published rows are known to get wrong.

    Raises:
        NoSamplesError: if no row of the split is routed to the task.
        BadInputError: if there is no such split, or fewer than one thread.
    """
    if threads < 1:
        raise BadInputError(f"decoding needs at least one thread, got {threads}")
    labels = (c for c in task.label_columns if ROW_SCHEMA[c].dtype == "float64")
    facts = (KEY, "task_routing", "encoding", "species", *FLAGS["v2"])
    sidecar = benchmark.sidecar(split, columns=(*facts, *labels))
    found = Examples(benchmark, task, sidecar, targets=targets, threads=threads, repaired=repaired)
    if not len(found):
        raise NoSamplesError(
            f"there are no rows for task '{task.name}' in split '{split}'",
            found=f"{benchmark.folder} has splits {', '.join(benchmark.splits)}"
            + "".join(f"; {n} rows left out: {why}" for why, n in found.left_out.items()),
            fix="Build with sample types that serve the task, or choose another split",
        )
    return found


def _labels(task: Task, sidecar: pa.Table) -> NDArray[np.float64] | None:
    (column, *others) = task.label_columns
    if others or ROW_SCHEMA[column].dtype != "float64":
        return None
    values = [np.nan if v is None else float(v) for v in sidecar.column(column).to_pylist()]
    return np.array(values, np.float64)
