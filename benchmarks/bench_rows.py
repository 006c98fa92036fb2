"""Rows per second, written and read, against the usual way with pyarrow, numpy and Pillow.

    python benchmarks/bench_rows.py [--rows 100] [--data FOLDER] [--json]

Rows are drawn from FIB-25. Peers run in the same process on the same rows: the published packer
(`numpy.savez_compressed`, Pillow's default PNG, one snappy table) and the plain reader (pyarrow,
`numpy.load`, Pillow). *Published rows* are in the published layout with the published faults, which
we repair and the peer hands on. Everything is one thread. Times are medians over row groups, per
row; a first round is thrown away.
"""

from __future__ import annotations

import argparse
import io
import json
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image
from table import Line, show
from view_rows import touching_pairs

from segmend.core.sample import EM_COLUMNS, PLANES, SPLIT_MASK_COLUMNS, SPLITS, VIEWS
from segmend.render.site import Layers, ViewStyle, render_candidate
from segmend.shards.arrow import arrow_schema
from segmend.shards.checks import IMAGE_COLUMNS
from segmend.shards.codecs import encode_geometry, encode_png
from segmend.shards.finish import finish
from segmend.shards.layout import ShardRecord, shard_path, sidecar_path
from segmend.shards.reader import Benchmark
from segmend.shards.rows import Row, RowIdentity, decode_row, make_row
from segmend.shards.verify import verify
from segmend.shards.writer import ROW_GROUP, write_shard
from segmend.tasks.registry import TASKS
from segmend.testing.published import as_published, published_benchmark
from segmend.testing.rows import STANDIN_FACTS
from segmend.volumes.drivers.memory import from_array

DATA = Path(__file__).parents[2] / "shared" / "data"
PACKER = "savez_compressed + Pillow + pyarrow"
READER = "pyarrow + np.load + Pillow"
COLUMNS = tuple(arrow_schema().names)
PUBLISHED_ROWS = {"train": 531_734, "validation": 82_822, "test": 101_929}
"""Rows of ConnectomeBench2 v2 (its card)."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--data", type=Path, default=DATA, help="folder of real volumes")
    parser.add_argument("--json", action="store_true", help="print the table as JSON")
    asked = parser.parse_args()
    rows = fly_rows(asked.data, asked.rows)
    with tempfile.TemporaryDirectory() as folder:
        show(measure(rows, Path(folder)), as_json=asked.json)


def fly_rows(data: Path, count: int) -> list[Row]:
    """Merge edits drawn from FIB-25 at places where two segments touch."""
    with h5py.File(data / "fib25" / "fib25.h5") as file:
        image, labels = file["volumes/raw"][:], file["volumes/labels/automatic"][:]
    size = (10.0,) * 3
    layers = Layers(from_array(image, size), from_array(labels, size))
    rows = []
    for number, candidate in enumerate(touching_pairs(labels, size, 500.0, count)):
        views = render_candidate(candidate, layers, ViewStyle(em_pixel_size_nm=5.0))
        identity = RowIdentity("unified_bench", f"{number:012x}", "merge_edit", "train", "fly")
        point = list(candidate.anchor_nm)
        metadata = views.facts | {"edit_point_nm": point, "root_ids": ["1", "2"]}
        pictures = {"geometry": views.geometry, "em": views.em, "split_masks": {}}
        rows.append(make_row(identity, **pictures, metadata=metadata))
    return rows


def measure(rows: list[Row], folder: Path) -> Iterator[Line]:
    """All jobs, in turn."""
    decoded = [decode_row(row, IMAGE_COLUMNS) for row in rows]
    write_ms, peer_ms = per_row(
        len(rows),
        lambda part: ours_write(rows[part], decoded[part], folder),
        lambda part: peer_write(rows[part], decoded[part], folder),
    )
    yield Line("write: encode, shard, verify", write_ms, PACKER, peer_ms, 5)
    yield from codecs(decoded)
    record = write_shard(folder / shard_path("train", 0), rows)
    finish(folder, [record], STANDIN_FACTS)
    benchmark = Benchmark.open(folder)
    yield from reading(benchmark, "read: ", goal=2)
    order = np.random.default_rng(0).permutation(len(rows))
    (random_ms,) = per_row(len(rows), lambda part: random_read(benchmark, order[part]))
    yield Line("read: all columns, one row at a time", random_ms)
    start = time.perf_counter()
    assert verify(folder).ok
    yield Line("verify", 1000 * (time.perf_counter() - start) / len(rows))
    published = [as_published(row) for row in rows]
    foreign = published_benchmark(folder / "published", {"train": published}, shard=len(rows))
    yield from reading(Benchmark.open(foreign), "read published rows, repaired: ", goal=None)
    yield from metadata_lines(folder)


def codecs(decoded: list[Row]) -> Iterator[Line]:
    """The codecs alone, with sizes."""
    arrays = [row["geometry"] for row in decoded]
    images = [row[column] for row in decoded for column in EM_COLUMNS]
    for name, values, ours, theirs, peer in (
        ("npz", arrays, encode_geometry, savez, "savez_compressed"),
        ("PNG", images, encode_png, pillow, "Pillow, default"),
    ):
        sizes = [sum(len(pack(value)) for value in values) for pack in (ours, theirs)]
        ours_ms, peer_ms = per_row(
            len(values),
            lambda part, v=values, pack=ours: [pack(value) for value in v[part]],
            lambda part, v=values, pack=theirs: [pack(value) for value in v[part]],
        )
        note = f"{sizes[0] / len(values) / 1000:.0f} kB, {100 * sizes[0] / sizes[1] - 100:+.0f} %"
        yield Line(f"encode one {name}", ours_ms, peer, peer_ms, note=note)


def reading(benchmark: Benchmark, name: str, *, goal: float | None) -> Iterator[Line]:
    """Rows in order, by columns."""
    file = pq.ParquetFile(benchmark.folder / benchmark.shards[0].path)
    for job, columns in (
        ("all columns", COLUMNS),
        ("geometry only", ("geometry",)),
        ("EM only", EM_COLUMNS),
    ):
        ours_ms, peer_ms = per_row(
            len(benchmark),
            lambda part, c=columns: deque(
                benchmark.rows(range(part.start, part.stop), c), maxlen=0
            ),
            lambda part, c=columns: peer_read(file, part, c),
        )
        yield Line(name + job, ours_ms, READER, peer_ms, goal if columns is COLUMNS else None)


def metadata_lines(folder: Path) -> Iterator[Line]:
    """The sidecars of as many rows as the published benchmark has: read, filtered, sampled."""
    sidecar = pq.read_table(folder / sidecar_path("train"))
    large, shards = folder / "large", []
    (large / "metadata").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for split in SPLITS:
        n = PUBLISHED_ROWS[split]
        table = sidecar.take(rng.integers(0, len(sidecar), n))
        keys = pa.array([f"{a:016x}{b:016x}" for a, b in rng.integers(2**63, size=(n, 2))])
        pq.write_table(
            table.set_column(0, sidecar.schema.field(0), keys), large / sidecar_path(split)
        )
        shards.append(ShardRecord(shard_path(split, 0), split, 0, n, 1, "0" * 64))
    start = time.perf_counter()
    found = Benchmark(large, shards).sidecar()
    chosen = found.filter((pc.field("species") == "fly") & (pc.field("split") == "train"))
    chosen.take(rng.choice(len(chosen), 10_000, replace=False))
    TASKS["false_split_correction"].rows(found)
    spent = 1000 * (time.perf_counter() - start)
    yield Line(f"metadata of {len(found):,} rows filtered, sampled", spent, note="goal 2 s")


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
        new = dict(row) | {"geometry": savez(pictures["geometry"])}
        for column in (*EM_COLUMNS, *SPLIT_MASK_COLUMNS):
            if pictures[column] is not None:
                new[column] = {"bytes": pillow(pictures[column]), "path": None}
        made.append(new)
    table = pa.Table.from_pylist(made, schema=arrow_schema())
    pq.write_table(table, folder / "peer.parquet", row_group_size=ROW_GROUP, write_page_index=True)


def savez(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, array)
    return file.getvalue()


def pillow(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def random_read(benchmark: Benchmark, positions: np.ndarray) -> None:
    for position in positions:
        deque(benchmark.rows([position], COLUMNS), maxlen=0)


def peer_read(file: pq.ParquetFile, part: slice, columns: tuple[str, ...]) -> None:
    table = file.read_row_group(part.start // ROW_GROUP, columns=list(columns), use_threads=False)
    for row in table.to_pylist():
        if "geometry" in row:
            np.load(io.BytesIO(row["geometry"]))["arr_0"]
        for column in (*EM_COLUMNS, *SPLIT_MASK_COLUMNS):
            if row.get(column) is not None:
                np.asarray(Image.open(io.BytesIO(row[column]["bytes"])))


if __name__ == "__main__":
    main()
