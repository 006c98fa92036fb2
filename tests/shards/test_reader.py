from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segmend.core.errors import BadInputError, NoSamplesError, ReadFailedError, SchemaError
from segmend.shards.finish import finish
from segmend.shards.layout import read_shards_csv, shard_path
from segmend.shards.reader import Benchmark
from segmend.shards.writer import write_shard
from segmend.testing.rows import STANDIN_FACTS, random_row

KEY = "combined_sample_hash"
FEW = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def everything(folder: Path) -> pa.Table:
    """All rows, by pyarrow alone, in the order of shards.csv."""
    return pa.concat_tables(pq.read_table(folder / r.path) for r in read_shards_csv(folder))


def test_positions_follow_the_list_of_shards(bench: Path) -> None:
    benchmark = Benchmark.open(bench)
    keys = everything(bench).column(KEY).to_pylist()
    sidecar = benchmark.sidecar()
    assert len(benchmark) == len(keys) == 14
    assert sidecar.column(KEY).to_pylist() == keys
    assert sidecar.column("position").to_pylist() == list(range(14))


def test_a_split_is_a_part_of_the_whole(bench: Path) -> None:
    benchmark = Benchmark.open(bench)
    assert benchmark.splits == ("train", "validation", "test")
    parts = [benchmark.sidecar(split) for split in benchmark.splits]
    assert pa.concat_tables(parts).equals(benchmark.sidecar())
    assert set(parts[1].column("split").to_pylist()) == {"validation"}


def test_only_the_columns_asked_for_are_read_of_a_sidecar(bench: Path) -> None:
    benchmark = Benchmark.open(bench)
    table = benchmark.sidecar(columns=["species", KEY])
    assert table.equals(benchmark.sidecar().select(["species", KEY, "position"]))
    with pytest.raises(SchemaError, match="no column geometry"):
        benchmark.sidecar(columns=[KEY, "geometry"])


@FEW
@given(positions=st.lists(st.integers(0, 13), max_size=12))
def test_rows_come_as_asked_for(bench: Path, positions: list[int]) -> None:
    columns = ["species", KEY, "metadata"]
    table = Benchmark.open(bench).read_rows(positions, columns)
    expected = everything(bench).select(columns).take(pa.array(positions, pa.int64()))
    assert table.column_names == columns
    assert table.to_pylist() == expected.to_pylist()


def test_row_groups_come_in_order_and_in_parts(tmp_path: Path) -> None:
    rows = [random_row("merge_edit", i) for i in range(7)]
    first = write_shard(tmp_path / shard_path("train", 0), rows[:5], row_group=2)
    second = write_shard(tmp_path / shard_path("train", 1), rows[5:], row_group=2)
    finish(tmp_path, [second, first], STANDIN_FACTS)
    benchmark = Benchmark.open(tmp_path)
    for wanted, sizes in ((range(7), [2, 2, 1, 2]), ([1, 2, 3, 6], [1, 2, 1])):
        groups = list(benchmark.read_groups(wanted, [KEY, "geometry"]))
        assert [len(positions) for positions, _ in groups] == sizes
        assert np.concatenate([positions for positions, _ in groups]).tolist() == list(wanted)
        got = pa.concat_tables(table for _, table in groups)
        assert got.to_pylist() == [{c: rows[i][c] for c in (KEY, "geometry")} for i in wanted]


def test_columns_not_asked_for_are_not_read(damaged: Path) -> None:
    path = damaged / read_shards_csv(damaged)[0].path
    flip(path, pq.read_table(path).column("geometry")[0].as_py()[2_000:2_100])
    benchmark = Benchmark.open(damaged)
    assert benchmark.read_rows([0], [KEY, "em_xy_before"]).num_rows == 1
    with pytest.raises(ReadFailedError, match=r"train-00000.parquet row group 0.*checksum"):
        benchmark.read_rows([0], ["geometry"])


def flip(path: Path, pattern: bytes) -> None:
    content = bytearray(path.read_bytes())
    content[content.index(pattern)] ^= 1
    path.write_bytes(content)


def test_a_benchmark_can_be_pickled_after_reading(bench: Path) -> None:
    benchmark = Benchmark.open(bench)
    first = benchmark.read_rows([3], [KEY])
    again = pickle.loads(pickle.dumps(benchmark))
    assert again.read_rows([3], [KEY]).equals(first)
    assert again.shards == benchmark.shards


def test_threads_read_the_same_rows(bench: Path) -> None:
    benchmark = Benchmark.open(bench)
    expected = [benchmark.read_rows([i], [KEY, "geometry"]).to_pylist() for i in range(14)]
    order = np.random.default_rng(0).permutation(np.repeat(np.arange(14), 4))
    with ThreadPoolExecutor(4) as pool:
        found = pool.map(lambda i: benchmark.read_rows([i], [KEY, "geometry"]).to_pylist(), order)
        assert all(got == expected[i] for i, got in zip(order, found, strict=True))


@pytest.mark.parametrize("positions", [[-1], [14], [3, 99]])
def test_positions_outside_are_refused(bench: Path, positions: list[int]) -> None:
    with pytest.raises(BadInputError, match="outside the benchmark"):
        Benchmark.open(bench).read_rows(positions, [KEY])


def test_unknown_columns_and_splits_are_refused(bench: Path) -> None:
    benchmark = Benchmark.open(bench)
    with pytest.raises(SchemaError, match="no field 'em_zz'"):
        benchmark.read_rows([0], ["em_zz"])
    with pytest.raises(BadInputError, match="no split 'val'"):
        benchmark.sidecar("val")


# --- what is no benchmark ---------------------------------------------------------------------


def test_a_folder_without_a_list_is_no_benchmark(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"it has no shards\.csv"):
        Benchmark.open(tmp_path)
    with pytest.raises(BadInputError, match="there is no such folder"):
        Benchmark.open(tmp_path / "nowhere")


def test_an_empty_list_has_no_samples(damaged: Path) -> None:
    head = (damaged / "shards.csv").read_text().splitlines()[0]
    (damaged / "shards.csv").write_text(head + "\n")
    with pytest.raises(NoSamplesError):
        Benchmark.open(damaged)


def test_a_missing_shard_is_named(damaged: Path) -> None:
    (damaged / "val/val-00000.parquet").unlink()
    with pytest.raises(ReadFailedError, match=r"val-00000\.parquet .*it is missing"):
        Benchmark.open(damaged)


def test_a_truncated_shard_is_named(damaged: Path) -> None:
    path = damaged / "test/test-00000.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ReadFailedError, match=r"test-00000\.parquet .*bytes, not"):
        Benchmark.open(damaged)


def test_a_missing_sidecar_is_named(damaged: Path) -> None:
    (damaged / "metadata/val.parquet").unlink()
    with pytest.raises(ReadFailedError, match=r"metadata/val\.parquet"):
        Benchmark.open(damaged)


def test_a_sidecar_with_other_columns_is_named(damaged: Path) -> None:
    path = damaged / "metadata/test.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["cluster_id"]), path)
    with pytest.raises(SchemaError, match=r"metadata/test\.parquet .*cluster_id"):
        Benchmark.open(damaged)


def test_a_sidecar_with_other_rows_is_named(damaged: Path) -> None:
    path = damaged / "metadata/test.parquet"
    pq.write_table(pq.read_table(path).slice(1), path)
    with pytest.raises(ReadFailedError, match="1 rows instead of 2"):
        Benchmark.open(damaged).sidecar("test")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" + bytes(1000) + b"PAR1"])
def test_a_shard_that_is_no_parquet_is_named(damaged: Path, content: bytes) -> None:
    path = damaged / "train/train-00000.parquet"
    size = path.stat().st_size
    listed = (damaged / "shards.csv").read_text().replace(f",{size},", f",{len(content)},")
    (damaged / "shards.csv").write_text(listed)
    path.write_bytes(content)
    with pytest.raises(ReadFailedError, match=r"train-00000\.parquet"):
        Benchmark.open(damaged)


def test_a_shard_with_other_columns_is_named(damaged: Path) -> None:
    path = damaged / "train/train-00000.parquet"
    size = path.stat().st_size
    pq.write_table(pq.read_table(path).drop_columns(["em_xy_before"]), path)
    listed = (damaged / "shards.csv").read_text().replace(f",{size},", f",{path.stat().st_size},")
    (damaged / "shards.csv").write_text(listed)
    with pytest.raises(SchemaError, match=r"train-00000\.parquet .*em_xy_before"):
        Benchmark.open(damaged)
