from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from zlib_ng import zlib_ng

from segmend.core.errors import BadInputError, NoSamplesError, OutputError, SchemaError
from segmend.core.sample import ROW_SCHEMA
from segmend.shards.rows import Row
from segmend.shards.writer import write_shard
from segmend.testing.rows import random_row

ROWS = [random_row("merge_edit", i) for i in range(3)]


def test_the_record_describes_the_file(tmp_path: Path) -> None:
    record = write_shard(
        tmp_path / "val/val-00007.parquet", [random_row("split_edit", 1, split="validation")]
    )
    file = tmp_path / record.path
    assert record.path == "val/val-00007.parquet"
    assert (record.split, record.shard_id, record.n_samples) == ("validation", 7, 1)
    assert record.size_bytes == file.stat().st_size
    assert record.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


def test_rows_are_stored_in_order_and_in_row_groups(tmp_path: Path) -> None:
    path = tmp_path / "train/train-00000.parquet"
    write_shard(path, iter(ROWS), row_group=2)
    file = pq.ParquetFile(path)
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [2, 1]
    assert file.read().to_pylist() == ROWS
    column = file.metadata.row_group(0).column(0)
    assert column.has_offset_index
    assert column.has_column_index


def test_every_page_carries_a_checksum(tmp_path: Path) -> None:
    path = tmp_path / "train/train-00000.parquet"
    write_shard(path, ROWS)
    content = path.read_bytes()
    at = content.index(ROWS[1]["geometry"]) + 5_000
    path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    pq.read_table(path)  # unnoticed by default
    with pytest.raises(OSError, match="checksum"):
        pq.read_table(path, page_checksum_verification=True)


def test_the_footer_names_the_codecs_beside_what_datasets_reads(tmp_path: Path) -> None:
    path = tmp_path / "train/train-00000.parquet"
    write_shard(path, ROWS)
    footer = pq.read_schema(path).metadata
    codecs = json.loads(footer[b"segmend"])["codecs"]
    assert set(codecs) == {"geometry", "images"}
    assert all(f"zlib-ng {zlib_ng.ZLIBNG_VERSION} level 2" in text for text in codecs.values())
    assert b"huggingface" in footer


WRITE = """
import sys
from segmend.testing.rows import random_row
from segmend.shards.writer import write_shard
kinds = ["merge_edit", "split_edit", "junction_control"]
rows = (random_row(kind, i) for i, kind in enumerate(kinds))
print(write_shard(sys.argv[1] + "/train/train-00000.parquet", rows).sha256)
"""


def test_two_processes_write_the_same_bytes(tmp_path: Path) -> None:
    digests = []
    for name, seed in (("a", "1"), ("b", "2")):
        done = subprocess.run(
            [sys.executable, "-c", WRITE, str(tmp_path / name)],
            env={"PYTHONHASHSEED": seed, "PATH": ""},
            capture_output=True,
            text=True,
            check=True,
        )
        digests.append(done.stdout)
    assert digests[0] == digests[1]
    first, second = (tmp_path / n / "train/train-00000.parquet" for n in "ab")
    assert first.read_bytes() == second.read_bytes()


def failing() -> Iterator[Row]:
    yield ROWS[0]
    raise RuntimeError("the renderer died")


@pytest.mark.parametrize(
    ("rows", "error", "what"),
    [
        (failing, RuntimeError, "renderer"),
        (list, NoSamplesError, "has no rows"),
        (lambda: [ROWS[0], ROWS[0]], SchemaError, "its key occurs twice"),
        (lambda: [random_row("merge_edit", 0, split="test")], SchemaError, "shard of 'train'"),
        (lambda: [ROWS[0] | {"new": 1}], SchemaError, "other columns"),
        (lambda: [ROWS[0] | {"same_neuron": False}], SchemaError, "same_neuron is False"),
        (lambda: [ROWS[0] | {"false_split_correction_label": 0.0}], SchemaError, "label is 0.0"),
        (lambda: [ROWS[0] | {"task_routing": []}], SchemaError, "task_routing is"),
        (lambda: [ROWS[0] | {"metadata": "[]"}], SchemaError, "no JSON object"),
        (lambda: [ROWS[0] | {"metadata": "{"}], SchemaError, "no JSON"),
        (lambda: [ROWS[0] | {"species": None}], SchemaError, "species is null"),
        (lambda: [ROWS[0] | {"species": 5}], SchemaError, "another type"),
        (lambda: [ROWS[0] | {"source_archive": "unified_y"}], SchemaError, "md5 of archive"),
        (lambda: [ROWS[0] | {"sample_type": "merge"}], SchemaError, "sample_type is 'merge'"),
        (lambda: [ROWS[0] | {"em_xy_before": None}], SchemaError, "present_slots"),
    ],
)
def test_a_failed_shard_leaves_nothing(tmp_path: Path, rows, error, what) -> None:
    with pytest.raises(error, match=what):
        write_shard(tmp_path / "train/train-00000.parquet", rows(), row_group=1)
    assert not list((tmp_path / "train").iterdir())


def test_a_failed_shard_keeps_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "train/train-00000.parquet"
    record = write_shard(path, ROWS)
    with pytest.raises(RuntimeError):
        write_shard(path, failing(), row_group=1)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == record.sha256


@pytest.mark.parametrize(
    "name", ["train-00000.parquet", "train/val-00000.parquet", "train/train-0.parquet"]
)
def test_a_file_that_is_no_shard_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInputError, match="not the path of a shard"):
        write_shard(tmp_path / name, ROWS)


def test_a_file_where_the_folder_should_be_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "train").write_text("")
    with pytest.raises(OutputError, match="train"):
        write_shard(tmp_path / "train/train-00000.parquet", ROWS)


FULL_DISK = """
import resource, sys
from segmend.core.errors import OutputError
from segmend.shards.writer import write_shard
from segmend.testing.rows import random_row
rows = [random_row("merge_edit", i) for i in range(4)]
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
try:
    write_shard(sys.argv[1] + "/train/train-00000.parquet", rows, row_group=1)
except OutputError as error:
    print("OutputError", error)
"""


def test_a_full_disk_is_an_output_error_and_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FULL_DISK, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("OutputError cannot write")
    assert "too large" in done.stdout
    assert not list((tmp_path / "train").iterdir())


def test_a_row_group_needs_rows(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="at least one row"):
        write_shard(tmp_path / "train/train-00000.parquet", ROWS, row_group=0)


def test_columns_are_those_of_the_schema() -> None:
    assert tuple(ROWS[0]) == ROW_SCHEMA.names
