"""Rows of a benchmark, chosen by what the sidecars say of them; no picture is touched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from segmend.core.errors import BadInputError, NoSamplesError, ReadFailedError, SchemaError, require
from segmend.core.random import keyed_generator
from segmend.core.sample import SPLITS
from segmend.shards.derived import KEY
from segmend.shards.reader import Benchmark, DecodedRow

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

STRATA = ("split", "species", "sample_type")
"""What a stratified subset keeps the shares of, unless told otherwise."""

# Licences of the sources of the published rows, by species (reference 1.11, from the paper).
_PUBLISHED_LICENCES = {
    "mouse": "CC BY 4.0",
    "human": "CC BY 4.0",
    "fly": "CC BY-NC 4.0",
    "zebrafish": "CC BY-NC 4.0",
}

_ROW = "row_number"


@dataclass(frozen=True, slots=True)
class Selection:
    """Rows of a benchmark; narrowing it down gives another one, and nothing changes this one.

    Attributes:
        benchmark: Where they are.
        table: What the sidecars say of them, in their order: the columns of the sidecars,
            ``licence`` (of the row's source) and ``row_bytes`` (mean of its shard).
    """

    benchmark: Benchmark
    table: pa.Table

    def __len__(self) -> int:
        return len(self.table)

    def __repr__(self) -> str:
        return f"<Selection of {len(self):,} rows, about {self.n_bytes / 1e6:,.0f} MB>"

    @property
    def n_bytes(self) -> int:
        """Bytes of these rows in their shards, by the mean of each shard."""
        return round(pc.sum(self.table.column("row_bytes")).as_py() or 0)

    @property
    def hashes(self) -> list[str]:
        """Primary keys, in order."""
        return [str(key) for key in self.table.column(KEY).to_pylist()]

    def where(self, expression: pc.Expression | None = None, **values: Any) -> Selection:
        """The rows for which all of this holds.

        Args:
            expression: Any Arrow expression of the columns of `table`.
            values: Column to value, or to a list of allowed ones. ``task="..."`` keeps the rows
                that are routed to a task.

        Raises:
            SchemaError: if there is no such column, or it cannot be compared with that.
        """
        try:
            masks = [self._holds(name, value) for name, value in values.items()]
            # All at once: each time the whole table is copied.
            chosen = self.table.filter(reduce(pc.and_, masks)) if masks else self.table
            chosen = chosen if expression is None else chosen.filter(expression)
        except (pa.ArrowException, OverflowError) as error:
            raise SchemaError("rows cannot be chosen by that", found=str(error)) from error
        return Selection(self.benchmark, chosen)

    def _holds(self, name: str, value: Any) -> pa.Array[Any]:
        """For which rows a column has one of the allowed values."""
        if name == "task":
            return _routed(self.table, value)
        self._check((name,))
        column = self.table.column(name)
        allowed = list(value) if isinstance(value, (list, tuple, set)) else [value]
        return pc.is_in(column, value_set=pa.array(allowed, column.type))

    def counts(self, *by: str) -> dict[tuple[Any, ...], int]:
        """Rows by the values of columns.

        Raises:
            SchemaError: if there is no such column.
        """
        return {key: len(rows) for key, rows in self._strata(by).items()}

    def per_class(
        self, n: int, *, by: Sequence[str] = ("sample_type",), seed: int = 0
    ) -> Selection:
        """At most ``n`` rows for each combination of values of columns, drawn by chance.

        Raises:
            SchemaError: if there is no such column.
            BadInputError: if ``n`` is less than one.
        """
        if n < 1:
            raise BadInputError(f"a class needs at least one row, got {n}")
        order = self._shuffled(seed)
        return self._take(np.concatenate([o[:n] for o in self._ordered(by, order)] or [order]))

    def sample(self, n: int, *, seed: int = 0) -> Selection:
        """``n`` rows drawn by chance; all if there are fewer."""
        return self._take(self._shuffled(seed)[: max(n, 0)])

    def subset(self, n_bytes: int, *, by: Sequence[str] = STRATA, seed: int = 0) -> Selection:
        """Rows of about a size that keep the shares of every combination of values of columns.

        Every combination that occurs keeps at least one row. Shards are drawn first and rows of
        the same shards preferred, so that few are opened; the rows of a published shard were
        shuffled before they were put there, so this is as good as drawing single rows.

        Args:
            n_bytes: Most bytes, as `n_bytes` counts them.
            by: Columns whose shares are kept.
            seed: Another one draws other rows.

        Raises:
            SchemaError: if there is no such column.
            NoSamplesError: if not even one row of each combination fits.
        """
        total = self.n_bytes
        if n_bytes >= total:
            return self
        strata = self._ordered(by, self._by_shard(seed))
        sizes = self.table.column("row_bytes").to_numpy()
        n = int(len(self) * n_bytes / total)
        while n > 0:
            shares = _shares(np.array([len(rows) for rows in strata]), n)
            chosen = np.concatenate(
                [rows[:share] for rows, share in zip(strata, shares, strict=True)]
            )
            over = float(sizes[chosen].sum()) - n_bytes
            if over <= 0:
                return self._take(chosen)
            if n <= len(strata):
                break
            n = max(n - max(int(over / sizes[chosen].mean()), 1), len(strata))
        raise NoSamplesError(
            f"a subset of {n_bytes} bytes cannot keep a row of each of {len(strata)} kinds",
            found=f"a row takes about {total // max(len(self), 1)} bytes",
            fix="Ask for more bytes, or group by fewer columns",
        )

    @property
    def positions(self) -> NDArray[np.int64]:
        """Where the rows are, in ascending order: for `Benchmark.rows` and `read_groups`.

        Of published sidecars, which do not say it, the keys of the shards concerned are read.

        Raises:
            ReadFailedError: if a shard does not hold a row that its sidecar names.
        """
        return np.sort(self._positions())

    def in_order(self) -> Selection:
        """The same rows in the order of their positions."""
        return Selection(self.benchmark, self.table.take(np.argsort(self._positions())))

    def rows(self, columns: Sequence[str], *, repair: bool = True) -> Iterator[DecodedRow]:
        """Decoded rows in the order of their positions, as `Benchmark.rows`."""
        return self.benchmark.rows(self.positions, columns, repair=repair)

    def read(self, columns: Sequence[str]) -> pa.Table:
        """Columns of the rows as stored, in the order of `table`, as `Benchmark.read_rows`."""
        return self.benchmark.read_rows(self._positions(), columns)

    def bytes_to_read(self, columns: Sequence[str]) -> int:
        """Bytes that reading those columns takes, as the footers of the shards say."""
        return self.benchmark.bytes_to_read(self.positions, columns)

    def to_arrow(self) -> pa.Table:
        """What is known of the rows, as `table`."""
        return self.table

    def to_pandas(self) -> pd.DataFrame:
        """What is known of the rows, for pandas.

        Raises:
            MissingDependencyError: without pandas.
        """
        require("pandas", extra="dev")
        return self.table.to_pandas()

    def to_duckdb(self, connection: Any = None) -> duckdb.DuckDBPyRelation:
        """What is known of the rows, as a relation that SQL can ask.

        Args:
            connection: Of DuckDB; None: a new one in memory.

        Raises:
            MissingDependencyError: without duckdb.
        """
        require("duckdb", extra="dev")
        import duckdb

        return (connection or duckdb.connect()).from_arrow(self.table)

    def _positions(self) -> NDArray[np.int64]:
        benchmark = self.benchmark
        if "position" in self.table.column_names:
            return np.asarray(self.table.column("position").to_numpy(), np.int64)
        paths = self.table.column("shard").combine_chunks().dictionary_encode()
        found = np.empty(len(self), np.int64)
        numbers = paths.indices.to_numpy(zero_copy_only=False)
        for i, path in enumerate(map(str, paths.dictionary.to_pylist())):
            shard = benchmark.shard_number(path)
            here = np.flatnonzero(numbers == i)
            keys = self.table.column(KEY).take(here)
            places = pc.index_in(keys, value_set=benchmark.keys_of(shard))
            if places.null_count:
                missing = keys.filter(pc.is_null(places))[0].as_py()
                raise ReadFailedError(
                    f"a sidecar of {benchmark.source.url} disagrees with its shards",
                    found=f"{path} does not hold row {missing} and {places.null_count - 1} more",
                    fix="Run `segmend verify`",
                )
            found[here] = benchmark.first_position(shard) + places.to_numpy()
        return found

    def _take(self, rows: NDArray[np.int64]) -> Selection:
        return Selection(self.benchmark, self.table.take(np.sort(rows)))

    def _shuffled(self, seed: int) -> NDArray[np.int64]:
        return keyed_generator("selection", seed).permutation(len(self)).astype(np.int64)

    def _by_shard(self, seed: int) -> NDArray[np.int64]:
        """Rows by shard, shards in an order drawn by chance, and by chance within each."""
        shards = self.table.column("shard").combine_chunks().dictionary_encode()
        rank = keyed_generator("shards", seed).permutation(len(shards.dictionary))
        order = self._shuffled(seed)
        of_rows = rank[shards.indices.to_numpy(zero_copy_only=False)]
        return order[np.argsort(of_rows[order], kind="stable")]

    def _check(self, columns: Iterable[str]) -> None:
        unknown = set(columns) - set(self.table.column_names)
        if unknown:
            raise SchemaError(
                f"the sidecars have no column {', '.join(sorted(unknown))}",
                fix=f"Columns: {', '.join(self.table.column_names)}, and task",
            )

    def _strata(self, by: Sequence[str]) -> dict[tuple[Any, ...], NDArray[np.int64]]:
        """Rows of each combination of values, by the values."""
        self._check(by)
        numbers = np.zeros(len(self), np.int64)
        values: list[list[Any]] = []
        for name in by:
            column = self.table.column(name).combine_chunks()
            encoded = column.dictionary_encode(null_encoding="encode")
            values.append(encoded.dictionary.to_pylist())
            numbers = numbers * len(values[-1]) + encoded.indices.to_numpy(zero_copy_only=False)
        order = np.argsort(numbers, kind="stable")
        found, starts = np.unique(numbers[order], return_index=True)
        parts = np.split(order, starts[1:]) if len(found) else []
        keys = np.unravel_index(found, [len(v) for v in values] or [1])
        names = (
            [
                tuple(v[i] for v, i in zip(values, place, strict=True))
                for place in zip(*(k.tolist() for k in keys), strict=True)
            ]
            if by
            else [()] * len(parts)
        )
        return dict(zip(names, parts, strict=True))

    def _ordered(self, by: Sequence[str], order: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Rows of each combination of values, each in the order given."""
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        return [rows[np.argsort(rank[rows])] for rows in self._strata(by).values()]


def select(benchmark: Benchmark, splits: Sequence[str]) -> Selection:
    """All rows of some splits; `Benchmark.select`."""
    for split in splits:
        if split not in SPLITS:
            raise BadInputError(f"there is no split '{split}'", fix=f"Splits: {', '.join(SPLITS)}")
    chosen = [s for s in benchmark.splits if not splits or s in splits]
    if not chosen:
        raise NoSamplesError(f"{benchmark.source.url} has no rows in {', '.join(splits)}")
    tables = [_described(benchmark, split) for split in chosen]
    # Sidecars of one benchmark were made together and have the same columns, or are no benchmark.
    return Selection(benchmark, pa.concat_tables(tables))


def _described(benchmark: Benchmark, split: str) -> pa.Table:
    table = benchmark.listed(split)
    first = next(i for i, shard in enumerate(benchmark.shards) if shard.split == split)
    if benchmark.says_places(split):
        start = benchmark.first_position(first)
        numbers = np.arange(start, start + len(table), dtype=np.int64)
        table = table.append_column("position", pa.array(numbers))
    means = {shard.path: shard.size_bytes / shard.n_samples for shard in benchmark.shards}
    paths = table.column("shard").combine_chunks().dictionary_encode()
    named = [str(path) for path in paths.dictionary.to_pylist()]
    for path in named:
        benchmark.shard_number(path)
    by_path = pa.array([means[path] for path in named], pa.float64())
    table = table.append_column("row_bytes", by_path.take(paths.indices))
    return table.append_column("licence", _licences(benchmark, table))


def _licences(benchmark: Benchmark, table: pa.Table) -> pa.Array[Any]:
    species = table.column("species").combine_chunks().dictionary_encode()
    published = "encoding" not in table.column_names
    licences = [
        _PUBLISHED_LICENCES.get(str(name)) if published else benchmark.licence or None
        for name in species.dictionary.to_pylist()
    ]
    return pa.array(licences, pa.string()).take(species.indices)


def _routed(table: pa.Table, task: Any) -> pa.Array[Any]:
    routing = table.column("task_routing").combine_chunks()
    named = pc.equal(pc.list_flatten(routing), pa.scalar(task, pa.string()))
    rows = np.zeros(len(table), bool)
    rows[pc.list_parent_indices(routing).filter(named).to_numpy()] = True
    return pa.array(rows)


def _shares(sizes: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """How many of ``n`` each stratum gets, in proportion and at least one: largest remainders."""
    exact = sizes * n / sizes.sum()
    shares = np.maximum(np.floor(exact).astype(np.int64), 1)
    rest = n - int(shares.sum())
    if rest > 0:
        shares[np.argsort(np.floor(exact) - exact, kind="stable")[:rest]] += 1
    return np.minimum(shares, sizes)
