"""Rows per second, written and read, against the usual way with pyarrow, numpy and Pillow.

    python benchmarks/bench_rows.py [--rows 200] [--json]

Peers run in the same process on the same rows: the published packer (`numpy.savez_compressed`,
Pillow's default PNG, one snappy table) and the plain reader (pyarrow, `numpy.load`, Pillow).
Everything is one thread. Times are medians over row groups, per row; a first round is thrown away.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from table import Line, show

from segmend.core.sample import EM_COLUMNS, PLANES, SAMPLE_TYPES, SPLIT_MASK_COLUMNS, VIEWS
from segmend.shards.arrow import arrow_schema
from segmend.shards.checks import IMAGE_COLUMNS
from segmend.shards.finish import finish
from segmend.shards.layout import shard_path
from segmend.shards.reader import Benchmark
from segmend.shards.rows import Row, RowIdentity, decode_row, make_row
from segmend.shards.verify import verify
from segmend.shards.writer import ROW_GROUP, write_shard
from segmend.testing.rows import STANDIN_FACTS, random_row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--json", action="store_true", help="print the table as JSON")
    arguments = parser.parse_args()
    kinds = list(SAMPLE_TYPES)
    rows = [random_row(kinds[i % len(kinds)], i) for i in range(arguments.rows)]
    with tempfile.TemporaryDirectory() as folder:
        show(measure(rows, Path(folder)), as_json=arguments.json)


def measure(rows: list[Row], folder: Path) -> Iterator[Line]:
    """All jobs, in turn."""
    decoded = [decode_row(row, IMAGE_COLUMNS) for row in rows]
    write_ms, peer_ms = per_row(
        len(rows),
        lambda part: ours_write(rows[part], decoded[part], folder),
        lambda part: peer_write(rows[part], decoded[part], folder),
    )
    packer = "savez_compressed + Pillow + pyarrow"
    yield Line("write: encode, shard, verify", write_ms, packer, peer_ms, 5)
    record = write_shard(folder / shard_path("train", 0), rows)
    finish(folder, [record], STANDIN_FACTS)
    benchmark = Benchmark.open(folder)
    peer_file = pq.ParquetFile(folder / record.path)
    peer = "pyarrow + np.load + Pillow"
    for job, columns, goal in (
        ("read: all columns", arrow_schema().names, 2),
        ("read: geometry only", ["geometry"], None),
        ("read: EM only", list(EM_COLUMNS), None),
    ):
        read_ms, peer_ms = per_row(
            len(rows),
            lambda part, columns=columns: ours_read(benchmark, part, columns),
            lambda part, columns=columns: peer_read(peer_file, part, columns),
        )
        yield Line(job, read_ms, peer, peer_ms, goal)
    order = np.random.default_rng(0).permutation(len(rows))
    (random_ms,) = per_row(len(rows), lambda part: random_read(benchmark, order[part]))
    yield Line("read: all columns, one row at a time", random_ms)
    start = time.perf_counter()
    assert verify(folder).ok
    yield Line("verify", 1000 * (time.perf_counter() - start) / len(rows))


def per_row(n: int, *jobs: Callable[[slice], object]) -> list[float]:
    """Median over row groups, ms per row, without the first; the jobs take turns."""
    times: list[list[float]] = [[] for _ in jobs]
    for start in range(0, n - ROW_GROUP + 1, ROW_GROUP):
        for job, spent in zip(jobs, times, strict=True):
            begin = time.perf_counter()
            job(slice(start, start + ROW_GROUP))
            spent.append(1000 * (time.perf_counter() - begin) / ROW_GROUP)
    return [median(spent[1:]) for spent in times]


def ours_write(rows: list[Row], decoded: list[Row], folder: Path) -> None:
    def made() -> Iterator[Row]:
        for row, pictures in zip(rows, decoded, strict=True):
            masks = {v: pictures[c] for v, c in zip(VIEWS, SPLIT_MASK_COLUMNS, strict=True)}
            identity = RowIdentity(
                row["source_archive"],
                row["source_archive_sample_hash"],
                row["sample_type"],
                "train",
                row["species"],
            )
            yield make_row(
                identity,
                geometry=pictures["geometry"],
                em={p: pictures[c] for p, c in zip(PLANES, EM_COLUMNS, strict=True)},
                split_masks={v: m for v, m in masks.items() if m is not None},
                metadata=json.loads(row["metadata"]),
            )

    write_shard(folder / "written" / shard_path("train", 0), made())


def peer_write(rows: list[Row], decoded: list[Row], folder: Path) -> None:
    made = []
    for row, pictures in zip(rows, decoded, strict=True):
        packed = io.BytesIO()
        np.savez_compressed(packed, pictures["geometry"])
        new = dict(row) | {"geometry": packed.getvalue()}
        for column in (*EM_COLUMNS, *SPLIT_MASK_COLUMNS):
            if pictures[column] is not None:
                file = io.BytesIO()
                Image.fromarray(pictures[column]).save(file, "PNG")
                new[column] = {"bytes": file.getvalue(), "path": None}
        made.append(new)
    table = pa.Table.from_pylist(made, schema=arrow_schema())
    pq.write_table(table, folder / "peer.parquet", row_group_size=ROW_GROUP, write_page_index=True)


def ours_read(benchmark: Benchmark, part: slice, columns: list[str]) -> None:
    for _, table in benchmark.read_groups(range(part.start, part.stop), columns):
        for row in table.to_pylist():
            decode_row(row, columns)


def random_read(benchmark: Benchmark, positions: np.ndarray) -> None:
    columns = arrow_schema().names
    for position in positions:
        (row,) = benchmark.read_rows([position], columns).to_pylist()
        decode_row(row, columns)


def peer_read(file: pq.ParquetFile, part: slice, columns: list[str]) -> None:
    table = file.read_row_group(part.start // ROW_GROUP, columns=columns, use_threads=False)
    for row in table.to_pylist():
        if "geometry" in row:
            np.load(io.BytesIO(row["geometry"]))["arr_0"]
        for column in (*EM_COLUMNS, *SPLIT_MASK_COLUMNS):
            if row.get(column) is not None:
                np.asarray(Image.open(io.BytesIO(row[column]["bytes"])))


if __name__ == "__main__":
    main()
