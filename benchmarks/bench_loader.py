"""Published rows read and decoded, against the ways people read them today.

    python benchmarks/bench_loader.py [--rows 2000] [--data FOLDER] [--json]

The set is in the published layout (npz by `numpy.savez_compressed`, PNG by Pillow, row groups of
ten), of sites drawn from FIB-25, each of them several times. Jobs take turns on the same row groups
in one process; times are medians, ms per row; a first round is thrown away. We correct what
published rows get wrong (`segmend.shards.defects`), the peers hand it on. The *decode limit* is our
codec alone, with the bytes in memory: no file, no Parquet, no correction; it and ours are compared
in CPU time. *Had n cores* says how much of the machine a job was given. Batches are of 64 rows, as
training reads them, in CPU time too, and beside the time that filling the memory of such a batch
takes, below which nothing can go.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from bench_rows import DATA, PUBLISHED_ROWS, READER, fly_rows, peer_read, per_row
from datasets import load_dataset
from PIL import Image
from table import Line, resident_mb, show, timed

import segmend as sg
from segmend.core.sample import EM_COLUMNS, SPLIT_FOLDERS, SPLIT_MASK_COLUMNS, SPLITS, combined_hash
from segmend.loaders.dataset import Item, TaskDataset
from segmend.loaders.examples import ALL, Reading
from segmend.loaders.packed.build import pack
from segmend.loaders.stream import BatchStream
from segmend.shards.layout import shard_path, sidecar_path
from segmend.shards.reader import Benchmark
from segmend.shards.rows import Row, decode_row
from segmend.shards.writer import ROW_GROUP
from segmend.store.atomic import sha256_file
from segmend.tasks.registry import TASKS
from segmend.testing.published import as_published, published_benchmark

SITES = 40
BATCH = 64
TURNS = 500
"""Rows on which peers take turns; the others are read by epochs."""
COLUMNS = ("geometry", *EM_COLUMNS, *SPLIT_MASK_COLUMNS)
JOBS = (("all pictures", COLUMNS), ("geometry only", ("geometry",)), ("EM only", EM_COLUMNS))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=2_000)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of real volumes")
    parser.add_argument("--json", action="store_true", help="print the table as JSON")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sites = [as_published(row) for row in fly_rows(asked.data, min(asked.rows, SITES))]
        published_benchmark(folder / "rows", {"train": repeated(sites, asked.rows)}, shard=500)
        show(measure(folder, asked.rows), as_json=asked.json)


def repeated(sites: list[Row], n: int) -> list[Row]:
    """``n`` rows with keys of their own."""
    rows = []
    for i in range(n):
        key = f"{i:012x}"
        own = {"source_archive_sample_hash": key, "combined_sample_hash": combined_hash("b", key)}
        rows.append(sites[i % len(sites)] | own | {"source_archive": "b"})
    return rows


def measure(folder: Path, n: int) -> Iterator[Line]:
    """All jobs, in turn."""
    benchmark = sg.benchmark(folder / "rows")
    yield first_row(folder / "rows")
    yield from one_thread(benchmark, n)
    yield from two_threads(benchmark, n)
    yield from limits(benchmark, n)
    yield from batches(benchmark, folder / "packed")
    yield metadata(folder)


def first_row(folder: Path) -> Line:
    """From nothing to the first ten rows, decoded."""
    start = time.perf_counter()
    benchmark = sg.benchmark(folder)
    deque(benchmark.rows(range(ROW_GROUP), COLUMNS), maxlen=0)
    return Line("open, ten rows (kernels in the cache)", 1000 * (time.perf_counter() - start))


def one_thread(benchmark: Benchmark, n: int) -> Iterator[Line]:
    """Rows in order, against each peer."""
    files = [pq.ParquetFile(benchmark.folder / shard.path) for shard in benchmark.shards]
    hub = hub_rows(benchmark)

    def plain(part: slice) -> None:
        shard, start = divmod(part.start, benchmark.shards[0].n_samples)
        peer_read(files[shard], slice(start, start + ROW_GROUP), COLUMNS)

    def loop(part: slice) -> None:
        shard, start = divmod(part.start, benchmark.shards[0].n_samples)
        published_loop(files[shard], start // ROW_GROUP)

    ours, *peers = per_row(
        min(n, TURNS),
        lambda part: read(benchmark, part, COLUMNS),
        plain,
        loop,
        lambda _part: next(hub),
    )
    names = (READER, "published loop", "HF datasets, streaming")
    for name, peer in zip(names, peers, strict=True):
        yield Line("all pictures, 1 thread", ours, name, peer, 2)


def read(benchmark: Benchmark, part: slice, columns: tuple[str, ...]) -> None:
    deque(benchmark.rows(range(part.start, part.stop), columns), maxlen=0)


def published_loop(file: pq.ParquetFile, group: int) -> None:
    """As the published code reads: a whole row group to pandas, then row by row."""
    frame = file.read_row_group(group).to_pandas()
    for _, row in frame.iterrows():
        np.load(io.BytesIO(row["geometry"]))["arr_0"].astype(np.float32)
        for column in EM_COLUMNS:
            np.array(Image.open(io.BytesIO(row[column]["bytes"])).convert("RGB"))


def hub_rows(benchmark: Benchmark) -> Iterator[None]:
    """Ten rows at a time through `datasets`, which decodes images, and NumPy for the geometry."""
    paths = [str(benchmark.folder / shard.path) for shard in benchmark.shards]
    while True:
        rows = load_dataset("parquet", data_files=paths, split="train", streaming=True)
        for i, row in enumerate(rows.select_columns(list(COLUMNS)), 1):
            np.load(io.BytesIO(row["geometry"]))["arr_0"]
            for column in EM_COLUMNS:
                np.asarray(row[column])
            if i % ROW_GROUP == 0:
                yield


def two_threads(benchmark: Benchmark, n: int) -> Iterator[Line]:
    """Row groups side by side; with one thread and with two by turns, for both need the cores."""
    path = benchmark.folder / benchmark.shards[0].path

    def peer(group: int) -> None:
        with pq.ParquetFile(path) as file:
            peer_read(file, slice(group * ROW_GROUP, (group + 1) * ROW_GROUP), COLUMNS)

    def ours(group: int) -> None:
        read(benchmark, slice(group * ROW_GROUP, (group + 1) * ROW_GROUP), COLUMNS)

    groups = range(min(n, TURNS) // ROW_GROUP)
    pools = {threads: ThreadPoolExecutor(threads) for threads in (1, 2)}
    jobs = [(job, threads) for job in (ours, peer) for threads in pools]
    taken: dict[tuple[object, int], list[Cost]] = {job: [] for job in jobs}
    for turn in range(4):
        for job, threads in jobs:
            cost = spent(lambda j=job, t=threads: deque(pools[t].map(j, groups), maxlen=0))
            if turn:
                taken[job, threads].append(cost.over(len(groups) * ROW_GROUP))
    best = {job: min(costs, key=lambda cost: cost.wall) for job, costs in taken.items()}
    for pool in pools.values():
        pool.shutdown()
    one, two = best[ours, 1], best[ours, 2]
    note = f"ours {two}; 1 thread in the same turns {one.wall:.3g} ms: {one}"
    yield Line("all pictures, 2 threads", two.wall, READER, best[peer, 2].wall, 2, note=note)


@dataclass(frozen=True)
class Cost:
    """Time on the clock and time of all cores together, ms."""

    wall: float
    cpu: float

    def over(self, n: int) -> Cost:
        """The same for each of n rows."""
        return Cost(self.wall / n, self.cpu / n)

    def __str__(self) -> str:
        return f"{self.cpu:.3g} ms CPU, had {self.cpu / self.wall:.2f} cores"


def spent(job: Callable[[], object]) -> Cost:
    wall, cpu = time.perf_counter(), time.process_time()
    job()
    return Cost(1000 * (time.perf_counter() - wall), 1000 * (time.process_time() - cpu))


def limits(benchmark: Benchmark, n: int) -> Iterator[Line]:
    """Projections against the codec alone."""
    for job, columns in JOBS[1:]:
        held = benchmark.read_rows(range(min(n, 200)), columns).to_pylist()

        def codec(part: slice, held: list[Row] = held, columns: tuple[str, ...] = columns) -> None:
            for row in held[part]:
                decode_row(row, columns)

        def stored(part: slice, columns: tuple[str, ...] = columns) -> None:
            rows = range(part.start, part.stop)
            deque(benchmark.rows(rows, columns, repair=False), maxlen=0)

        def corrected(part: slice, columns: tuple[str, ...] = columns) -> None:
            read(benchmark, part, columns)

        costs: dict[object, list[Cost]] = {stored: [], corrected: [], codec: []}
        for start in [*range(0, len(held), ROW_GROUP)] * 3:
            for work, found in costs.items():
                part = slice(start, start + ROW_GROUP)
                found.append(spent(lambda w=work, p=part: w(p)).over(ROW_GROUP))
        # On a busy machine the clock counts others too: what the job itself took is compared.
        raw, repaired, limit = (median(cost.cpu for cost in found) for found in costs.values())
        yield Line(f"{job}, as stored, CPU", raw, "decode limit", limit, 0.85)
        yield Line(f"{job}, corrected, CPU", repaired, "decode limit", limit)


def batches(benchmark: Benchmark, place: Path) -> Iterator[Line]:
    """Batches of a task, from the shards and from the packed cache."""
    start = time.perf_counter()
    done = pack(benchmark, place)
    packing = 1000 * (time.perf_counter() - start) / done.rows
    size = done.size / done.source_size
    yield Line("packing", packing, note=f"{size:.2f} of the Parquet, goal 1.2")
    for name, reading in (("shards", ALL), ("packed", Reading(packed=place))):
        start = time.perf_counter()
        data = TaskDataset(benchmark, TASKS[TASK], "train", reading)
        first = data[next(iter(data.schedule(batch_size=BATCH)))]
        opening = 1000 * (time.perf_counter() - start)
        yield Line(f"{name}: open, first batch", opening, note="goal 2 s")
        floor = filling(first)
        for threads in (0, 2):
            for number in range(3):
                job = f"{name}: epoch {number}, {threads or 'no'} threads"
                yield epoch(job, data, threads, floor)


def epoch(job: str, data: TaskDataset, threads: int, floor: float) -> Line:
    """One epoch of batches, ms per row."""
    stream = BatchStream(data, data.schedule(batch_size=BATCH), threads=threads)
    cost = spent(lambda: deque(stream, maxlen=0)).over(len(data))
    facts = f"{cost}, {1000 / cost.cpu:.0f} rows per CPU s, resident {resident_mb():.0f} MB"
    return Line(job, cost.wall, "filling its memory", floor, note=facts)


def filling(batch: Item) -> float:
    """What it takes to write as many bytes as a batch has, ms per row, memory being there."""
    arrays = [batch[name].numpy().copy() for name in ("geometry", "em")]

    def fill() -> None:
        for array in arrays:
            array.fill(1)

    (taken,) = timed(5, fill)
    return taken / len(batch["hash"])


def metadata(folder: Path) -> Line:
    """The published sidecars of as many rows as v2 has: opened, filtered, sampled."""
    large = folder / "large"
    sidecar = pq.read_table(folder / "rows" / sidecar_path("train"))
    rng = np.random.default_rng(0)
    lines = ["path,sha256,n_samples,size"]
    (large / "metadata").mkdir(parents=True)
    shard = next((folder / "rows").glob("train/*.parquet"))
    for split in SPLITS:
        n, path = PUBLISHED_ROWS[split], shard_path(split, 0)
        table = sidecar.take(rng.integers(0, len(sidecar), n))
        keys = pa.array([f"{a:016x}{b:016x}" for a, b in rng.integers(2**63, size=(n, 2))])
        table = table.set_column(0, sidecar.schema.field(0), keys)
        kinds = ["merge_edit", "split_edit", "adjacent_control", "junction_control"]
        table = _replaced(table, "sample_type", rng.choice(kinds, n))
        table = _replaced(table, "species", rng.choice(["fly", "mouse", "human"], n))
        table = _replaced(table, "shard", np.full(n, path))
        pq.write_table(_replaced(table, "split", np.full(n, split)), large / sidecar_path(split))
        (large / SPLIT_FOLDERS[split]).mkdir()
        (large / path).hardlink_to(shard)
        lines.append(f"{path},{sha256_file(shard)},{n},{shard.stat().st_size}")
    (large / "shards.csv").write_text("\n".join(lines))
    script = Path(__file__).with_name("large_metadata.py")
    command = [sys.executable, str(script), str(large), TASK]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    facts = json.loads(told)
    return Line(
        "716,485 rows filtered, sampled, 1 % stratified",
        facts["ms"],
        peak_mb=facts["peak_mb"],
        note=f"goal 2 s, 1 GiB; alone in a process, {facts['cpu_ms']:.0f} ms CPU, "
        f"{facts['imports_mb']:.0f} MB are imports",
    )


TASK = "false_split_correction"


def _replaced(table: pa.Table, name: str, values: np.ndarray) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, pa.array(values, pa.string()))


if __name__ == "__main__":
    main()
