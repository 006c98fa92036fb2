"""Examples of a task, decoded: numpy only."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from segmend.core.errors import BadInputError, NoSamplesError, ReadFailedError, SchemaError
from segmend.core.sample import ROW_SCHEMA
from segmend.shards.checks import Origin, origin_of
from segmend.shards.reader import Benchmark
from segmend.shards.repair import repair
from segmend.shards.rows import decode_row
from segmend.tasks.task import Inputs, Target, Task

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
        hashes: Primary key of each example.
    """

    def __init__(
        self, benchmark: Benchmark, task: Task, sidecar: pa.Table, *, targets: bool, threads: int
    ) -> None:
        self.benchmark = benchmark
        self.task = task
        self.positions = task.rows(sidecar)
        chosen = sidecar.take(np.flatnonzero(np.isin(sidecar["position"], self.positions)))
        self.hashes = tuple(chosen.column(KEY).to_pylist())
        self._origins = [origin_of(name) for name in chosen.column("encoding").to_pylist()]
        self._labels = _labels(task, chosen)
        self._targets = targets
        self._threads = threads

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

    def __len__(self) -> int:
        return len(self.positions)

    def __getitem__(self, i: int) -> Example:
        position = self.positions[i]
        (row,) = self.benchmark.read_rows([position], self._columns).to_pylist()
        return self._decode(row, self._origins[i])

    def __iter__(self) -> Iterator[Example]:
        if self._threads == 1:
            for row, origin in zip(self._rows(), self._origins, strict=True):
                yield self._decode(row, origin)
            return
        with ThreadPoolExecutor(self._threads) as pool:
            ahead: deque[Future[Example]] = deque()
            try:
                for row, origin in zip(self._rows(), self._origins, strict=True):
                    ahead.append(pool.submit(self._decode, row, origin))
                    if len(ahead) > 2 * self._threads:
                        yield ahead.popleft().result()
                while ahead:
                    yield ahead.popleft().result()
            finally:
                pool.shutdown(cancel_futures=True)

    @property
    def _columns(self) -> tuple[str, ...]:
        labels = self.task.label_columns if self._targets else ()
        return (KEY, *self.task.input_columns, *labels)

    def _rows(self) -> Iterator[dict[str, Any]]:
        for _, table in self.benchmark.read_groups(self.positions, self._columns):
            yield from table.to_pylist()

    def _decode(self, row: dict[str, Any], origin: Origin) -> Example:
        try:
            # What published rows get wrong is corrected before anything else sees it.
            stored = decode_row(row, self.task.input_columns)
            inputs = self.task.inputs(repair(stored, origin)[0])
            target = None
            if self._targets:
                target = self.task.target(decode_row(row, self.task.label_columns))
        except (ReadFailedError, SchemaError, NoSamplesError) as error:
            error.asked = f"row {row[KEY]}: {error.asked}"
            raise
        return Example(sample_hash=row[KEY], inputs=inputs, target=target)


def examples(
    benchmark: Benchmark, task: Task, split: str, *, targets: bool = True, threads: int = 1
) -> Examples:
    """The examples of a task in a split.

    Args:
        benchmark: Where the rows are.
        task: The question.
        split: ``train``, ``validation`` or ``test``.
        targets: Whether to read the answers; without them label columns are never touched.
        threads: Threads that decode when iterating.

    Raises:
        NoSamplesError: if no row of the split is routed to the task.
        BadInputError: if there is no such split, or fewer than one thread.
    """
    if threads < 1:
        raise BadInputError(f"decoding needs at least one thread, got {threads}")
    labels = (c for c in task.label_columns if ROW_SCHEMA[c].dtype == "float64")
    sidecar = benchmark.sidecar(split, columns=(KEY, "task_routing", "encoding", *labels))
    found = Examples(benchmark, task, sidecar, targets=targets, threads=threads)
    if not len(found):
        raise NoSamplesError(
            f"there are no rows for task '{task.name}' in split '{split}'",
            found=f"{benchmark.folder} has splits {', '.join(benchmark.splits)}",
            fix="Build with sample types that serve the task, or choose another split",
        )
    return found


def _labels(task: Task, sidecar: pa.Table) -> NDArray[np.float64] | None:
    (column, *others) = task.label_columns
    if others or ROW_SCHEMA[column].dtype != "float64":
        return None
    values = [np.nan if v is None else float(v) for v in sidecar.column(column).to_pylist()]
    return np.array(values, np.float64)
