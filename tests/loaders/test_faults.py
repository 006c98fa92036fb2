"""What is damaged stops a training with an error that names shard, row group and row."""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from torch.utils.data import DataLoader

from segmend.apps.cli.main import segmend
from segmend.core.errors import ReadFailedError, VerificationError
from segmend.loaders.dataset import TaskDataset
from segmend.loaders.examples import Reading, examples
from segmend.loaders.packed.build import pack
from segmend.loaders.stream import BatchStream
from segmend.shards.reader import Benchmark
from segmend.shards.verify import verify
from segmend.store.atomic import sha256_file
from segmend.tasks.registry import TASKS

TASK = TASKS["false_split_correction"]
LABEL = "false_split_correction_label"
SHARD = "train/train-00000.parquet"
SIDECAR = "metadata/train.parquet"


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "bench"))


def edit(path: Path, column: str, row: int, change: Callable) -> None:
    """Write a Parquet file again with one value changed, in row groups of two."""
    table = pq.read_table(path)
    at = table.column_names.index(column)
    values = table.column(column).to_pylist()
    values[row] = change(values[row])
    field = table.schema.field(at)
    table = table.set_column(at, field, pa.array(values, field.type))
    pq.write_table(table, path, row_group_size=2, write_page_checksum=True)


def listed_again(folder: Path) -> None:
    """Let shards.csv say what the first shard is now."""
    with (folder / "shards.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        if row["path"] == SHARD:
            row["sha256"] = sha256_file(folder / SHARD)
            for size in {"size", "size_bytes"} & row.keys():
                row[size] = str((folder / SHARD).stat().st_size)
    with (folder / "shards.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def flipped(payload: bytes) -> bytes:
    middle = len(payload) // 2
    return payload[:middle] + bytes([payload[middle] ^ 4]) + payload[middle + 1 :]


@pytest.fixture
def damaged(copied: Path) -> tuple[Path, str]:
    """A benchmark with a flipped bit in the views of one row of the task, and where that is."""
    number = int(examples(Benchmark.open(copied), TASK, "train").positions[1])
    edit(copied / SHARD, "geometry", number, flipped)
    for path in ("row_group", "row"):  # the sidecar names places: row groups have two rows now
        column = pq.read_table(copied / SIDECAR, columns=["shard"]).column("shard").to_pylist()
        for i in range(column.count(SHARD)):
            place = i // 2 if path == "row_group" else i % 2
            edit(copied / SIDECAR, path, i, lambda _, place=place: place)
    listed_again(copied)
    return copied, f"{SHARD} row group {number // 2} row {number % 2}"


def loaders(data: TaskDataset) -> dict[str, Callable]:
    schedule = data.schedule(batch_size=3)
    spawned = {"batch_size": None, "multiprocessing_context": "spawn", "num_workers": 1}
    return {
        "items": lambda: DataLoader(data, batch_size=1),
        "batches": lambda: DataLoader(data, sampler=schedule, batch_size=None),
        "threads": lambda: BatchStream(data, schedule, threads=2),
        "workers": lambda: DataLoader(data, sampler=schedule, **spawned),
    }


@pytest.mark.parametrize("kind", ["items", "batches", "threads", "workers"])
def test_a_decode_error_names_its_place_in_every_loader(damaged, kind: str) -> None:
    folder, place = damaged
    benchmark = Benchmark.open(folder)
    data = TaskDataset(benchmark, TASK, "train")
    with pytest.raises(ReadFailedError) as raised:
        list(loaders(data)[kind]())
    key = data.examples.hashes[1]
    assert re.search(rf"{place}: row {key}: geometry: .*damaged", str(raised.value))
    assert [p.where for p in verify(folder).problems if "npz" in p.what] == [place]


def test_a_training_stops_and_leaves_nothing(damaged, tmp_path: Path) -> None:
    folder, place = damaged
    run = tmp_path / "runs" / "run"
    run.parent.mkdir()
    for model in ("geometry", "cnn"):
        told = [TASK.name, str(folder), "--model", model, "--out", str(run), "--epochs", "1"]
        done = CliRunner().invoke(segmend, ["train", *told])
        assert isinstance(done.exception, ReadFailedError)
        assert place in str(done.exception)
        assert list(run.parent.iterdir()) == []
    with pytest.raises(ReadFailedError, match=place):
        pack(Benchmark.open(folder), tmp_path / "cache")


def test_a_page_that_rots_names_its_row_group(copied: Path) -> None:
    group = pq.read_metadata(copied / SHARD).row_group(0)
    chunks = [group.column(i) for i in range(group.num_columns)]
    (chunk,) = [one for one in chunks if one.path_in_schema == "geometry"]
    content = bytearray((copied / SHARD).read_bytes())
    content[chunk.data_page_offset + chunk.total_compressed_size // 2] ^= 1
    (copied / SHARD).write_bytes(content)
    data = TaskDataset(Benchmark.open(copied), TASK, "train")
    with pytest.raises(ReadFailedError, match=rf"{SHARD} row group 0: .*(?i:crc|checksum)"):
        list(BatchStream(data, data.schedule(batch_size=3), threads=2))


@pytest.mark.parametrize(
    ("column", "change", "words"),
    [
        (LABEL, lambda value: 1 - value, "its label is"),
        ("combined_sample_hash", lambda _: "0" * 32, "its hash is"),
    ],
)
def test_a_sidecar_that_disagrees_is_named(copied, tmp_path, column, change, words) -> None:
    """By loaders, when a row is read, and by `segmend pack`, after which it is not read again."""
    found = examples(Benchmark.open(copied), TASK, "train")
    position = int(found.positions[1])
    edit(copied / SIDECAR, column, position, change)
    benchmark = Benchmark.open(copied)
    place = f"{SHARD} row group {position // 10} row {position % 10}"
    for targets in (True,) if column == LABEL else (True, False):  # labels are read as targets
        spoilt = examples(benchmark, TASK, "train", Reading(targets=targets))
        with pytest.raises(VerificationError, match=rf"{place}: .*sidecar says: {words}"):
            list(spoilt)
    with pytest.raises(VerificationError, match=rf"{place}: {column} is not what its sidecar"):
        pack(benchmark, tmp_path / "cache")
    assert any(column in p.what for p in verify(copied).problems if p.where == SIDECAR)
