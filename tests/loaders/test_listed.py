"""What a sidecar says after packing is what it said before, or an error."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from segmend.apps.cli.main import segmend
from segmend.core.errors import ReadFailedError, VerificationError
from segmend.loaders.dataset import TaskDataset
from segmend.loaders.examples import Reading, examples
from segmend.loaders.packed.beside import place_beside
from segmend.loaders.packed.build import pack
from segmend.loaders.packed.files import MANIFEST
from segmend.loaders.packed.listed import digests, listed_columns
from segmend.shards.arrow import arrow_schema
from segmend.shards.reader import Benchmark
from segmend.shards.writer import write_rows
from segmend.tasks.registry import TASKS

TASK = TASKS["false_split_correction"]
SHARD = "train/train-00000.parquet"
SIDECAR = "metadata/train.parquet"


@pytest.fixture
def both(folder: Path, packed: Path, tmp_path: Path) -> Path:
    """A benchmark with its packed cache beside it, to be changed."""
    shutil.copytree(packed, place_beside(tmp_path / "bench"))
    return Path(shutil.copytree(folder, tmp_path / "bench"))


def change(path: Path, column: str, row: int) -> None:
    """Write another value of its own type into one row of a Parquet file."""
    table = pq.read_table(path)
    at, values = table.column_names.index(column), table.column(column).to_pylist()
    one = values[row]
    values[row] = one[:-1] if isinstance(one, list | str) else type(one)(1 - one)
    field = table.schema.field(at)
    table = table.set_column(at, field, pa.array(values, field.type))
    pq.write_table(table, path, row_group_size=10, write_page_checksum=True)


def opened(folder: Path, *, task: str = TASK.name, **options) -> int:
    reading = Reading(packed=place_beside(folder), **options)
    return len(list(examples(Benchmark.open(folder), TASKS[task], "train", reading)))


@pytest.mark.parametrize("column", listed_columns("v2")[:-1])
@pytest.mark.parametrize("targets", [True, False])
def test_a_sidecar_that_was_changed_after_packing_is_named(both, column, targets: bool) -> None:
    """Before any row is handed out, asked for answers or not; packing again finds it too."""
    assert opened(both) == 9
    row = int(examples(Benchmark.open(both), TASK, "train").positions[1])
    change(both / SIDECAR, column, row)
    named = rf"{SHARD} row group 0 row {row}: {column} is not what its sidecar says"
    with pytest.raises(VerificationError, match=named):
        opened(both, targets=targets)
    benchmark = Benchmark.open(both)
    with pytest.raises(VerificationError, match=named):
        pack(benchmark, place_beside(both))
    assert not (place_beside(both) / MANIFEST).exists()


def test_a_change_in_a_later_shard_is_named_there(both: Path) -> None:
    later = Benchmark.open(both).shards[1]
    change(both / SIDECAR, "species", Benchmark.open(both).shards[0].n_samples + 2)
    with pytest.raises(VerificationError, match=rf"{later.path} row group 0 row 2: species"):
        opened(both)


def test_sidecar_and_shard_changed_together_are_found(both: Path) -> None:
    """They agree, and shards.csv still names what was packed: only the cache can tell."""
    column, size = "false_merge_identification_label", (both / SHARD).stat().st_size
    rows = pq.read_table(both / SHARD).to_pylist()
    row = next(i for i, row in enumerate(rows) if row[column] is not None)
    rows[row][column] = 1 - rows[row][column]
    write_rows(both / SHARD, rows)
    change(both / SIDECAR, column, row)
    assert (both / SHARD).stat().st_size == size  # which is looked at
    said = rf"changed after {place_beside(both)} was packed: {column} of {SHARD}"
    with pytest.raises(VerificationError, match=said):
        opened(both, task="false_merge_identification")
    with pytest.raises(VerificationError, match=said):  # its packed shard would be used again
        pack(Benchmark.open(both), place_beside(both))


def test_a_training_stops(both: Path, tmp_path: Path) -> None:
    change(both / SIDECAR, "false_split_correction_label", 0)
    run = tmp_path / "runs" / "run"
    run.parent.mkdir()
    told = ["train", TASK.name, str(both), "--model", "geometry", "--out", str(run)]
    done = CliRunner().invoke(segmend, told)
    assert isinstance(done.exception, VerificationError)
    assert f"{SHARD} row group 0 row 0: false_split_correction_label" in str(done.exception)
    assert list(run.parent.iterdir()) == []


def test_a_sidecar_that_says_the_same_otherwise_is_fine(both: Path) -> None:
    """Other row groups, another codec, without our columns: what is said of rows is the same."""
    expected = list(TaskDataset(Benchmark.open(both), TASK, "train", Reading(packed=None)))
    table = pq.read_table(both / SIDECAR)
    pq.write_table(table, both / SIDECAR, row_group_size=2, compression="zstd", version="1.0")
    found = TaskDataset(Benchmark.open(both), TASK, "train", Reading(packed=place_beside(both)))
    assert [item["target"] for item in found] == [item["target"] for item in expected]


def test_a_cache_whose_digests_rot_is_damaged(both: Path) -> None:
    manifest = place_beside(both) / MANIFEST
    facts = json.loads(manifest.read_text())
    facts["listed"]["train"]["species"] = "0" * 64
    manifest.write_text(json.dumps(facts))
    with pytest.raises(ReadFailedError, match=r"pack\.json.*digests of split train"):
        opened(both)
    del facts["listed"]
    manifest.write_text(json.dumps(facts))
    with pytest.raises(ReadFailedError, match=r"pack\.json.*listed"):
        opened(both)


WORDS = st.sampled_from(["", "a", "ab", "b", "é"])
VALUES = {
    "combined_sample_hash": WORDS,
    "task_routing": st.none() | st.lists(WORDS, max_size=2),
    "species": st.none() | WORDS,
    "has_em": st.none() | st.booleans(),
    "false_split_correction_label": st.sampled_from([0.0, 1.0, None]),
}
ROWS = st.lists(st.fixed_dictionaries(VALUES), max_size=4)


def table_of(rows: list[dict]) -> pa.Table:
    schema = arrow_schema("v2")
    return pa.Table.from_pylist(rows, pa.schema([schema.field(name) for name in VALUES]))


@given(one=ROWS, other=ROWS, cut=st.integers(0, 4))
def test_digests_are_equal_where_the_values_are(one, other, cut: int) -> None:
    """However they are cut into chunks or out of larger tables; oracle: the values as Python's."""
    first, second = table_of(one), table_of(other)
    found, expected = digests(first, "v2"), digests(second, "v2")
    for name in first.column_names:
        same = first.column(name).to_pylist() == second.column(name).to_pylist()
        assert (found[name] == expected[name]) == same
    chunks = pa.concat_tables([first.slice(0, cut), first.slice(cut)])
    around = pa.concat_tables([second, first, second]).combine_chunks()
    assert digests(chunks, "v2") == digests(around.slice(len(second), len(first)), "v2") == found
