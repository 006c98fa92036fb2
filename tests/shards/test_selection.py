"""Choosing rows by what the sidecars say."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import segmend as sg
from segmend.core.errors import (
    BadInputError,
    NoSamplesError,
    ReadFailedError,
    SchemaError,
    UnknownNameError,
)
from segmend.core.sample import SAMPLE_TYPES, SPLITS
from segmend.shards.layout import ShardRecord, read_shards_csv
from segmend.shards.selection import Selection

KEY = "combined_sample_hash"
WHICH = pytest.mark.parametrize("which", ["bench", "published", "published_v1"])


def everything(folder: Path) -> pa.Table:
    """All rows, by pyarrow alone, in the order of shards.csv."""
    return pa.concat_tables(pq.read_table(folder / r.path) for r in read_shards_csv(folder))


@WHICH
def test_filters_choose_what_the_shards_say(which: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(which)
    rows = everything(folder).to_pylist()
    chosen = sg.benchmark(folder).select()
    for values, fits in (
        ({"sample_type": "merge_edit"}, lambda r: r["sample_type"] == "merge_edit"),
        ({"split": ["test"], "has_em": True}, lambda r: r["split"] == "test"),
        (
            {"task": "split_mask_generation"},
            lambda r: "split_mask_generation" in r["task_routing"],
        ),
        ({"same_neuron": [False], "species": "synthetic"}, lambda r: not r["same_neuron"]),
        ({"species": "mouse"}, lambda r: r["species"] == "mouse"),
    ):
        expected = [r for r in rows if fits(r)]
        found = chosen.where(**values)
        assert Counter(found.hashes) == Counter(r[KEY] for r in expected)
        keys = found.read([KEY, "metadata"]).to_pylist()
        assert [k[KEY] for k in keys] == found.hashes
        texts = {r[KEY]: r["metadata"] for r in rows}
        assert all(k["metadata"] == texts[k[KEY]] for k in keys)
    assert len(chosen) == len(rows)


def test_expressions_and_values_hold_together(bench: Path) -> None:
    chosen = sg.benchmark(bench).select("train")
    found = chosen.where(pc.field("anchor_x_nm") > 50_000, sample_type=["merge_edit", "split_edit"])
    table = chosen.table
    mask = pc.and_(
        pc.greater(table["anchor_x_nm"], 50_000),
        pc.is_in(table["sample_type"], pa.array(["merge_edit", "split_edit"])),
    )
    assert found.table.equals(table.filter(mask))
    assert chosen.table is table


@WHICH
def test_positions_lead_to_the_rows(which: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(which)
    keys = everything(folder).column(KEY).to_pylist()
    benchmark = sg.benchmark(folder)
    chosen = benchmark.select().where(sample_type=["split_edit", "junction_control"])
    assert [keys[i] for i in chosen.positions] == chosen.in_order().hashes
    assert {r.values[KEY] for r in chosen.rows([KEY])} == set(chosen.hashes)
    for key in keys:
        assert benchmark.row(key, ["species", KEY]).values[KEY] == key
    with pytest.raises(UnknownNameError, match="no row 'ffff'"):
        benchmark.row("ffff", [KEY])


@pytest.mark.parametrize("by", [("sample_type",), ("split", "sample_type")])
def test_n_per_class(bench: Path, by: tuple[str, ...]) -> None:
    chosen = sg.benchmark(bench).select()
    one = chosen.per_class(1, by=by)
    assert set(one.counts(*by).values()) == {1}
    assert set(one.counts(*by)) == set(chosen.counts(*by))
    assert chosen.per_class(99, by=by).table.equals(chosen.table)
    assert len({tuple(chosen.per_class(1, by=by, seed=s).hashes) for s in range(6)}) > 1
    with pytest.raises(BadInputError, match="at least one row"):
        chosen.per_class(0)


def large(n: int = 4_000, shards: int = 40) -> Selection:
    """A selection of made-up rows; only its table is ever looked at."""
    rng = np.random.default_rng(0)
    table = pa.table(
        {
            KEY: [f"{i:032x}" for i in range(n)],
            "split": rng.choice(list(SPLITS), n, p=[0.75, 0.125, 0.125]),
            "species": rng.choice(["fly", "mouse", "human"], n, p=[0.5, 0.48, 0.02]),
            "sample_type": rng.choice(list(SAMPLE_TYPES), n),
            "shard": [f"train/train-{i % shards:05d}.parquet" for i in range(n)],
            "row_bytes": rng.choice([1_000.0, 1_100.0], n),
        }
    )
    return Selection(None, table)  # type: ignore[arg-type]


@settings(max_examples=25, deadline=None)
@given(st.floats(0.05, 0.95), st.integers(0, 5))
def test_a_subset_fits_and_keeps_the_shares(part: float, seed: int) -> None:
    chosen = large()
    wanted = int(chosen.n_bytes * part)
    found = chosen.subset(wanted, seed=seed)
    assert found.n_bytes <= wanted
    assert found.n_bytes >= 0.99 * wanted - 2_200
    have, all_of = found.counts("split", "species"), chosen.counts("split", "species")
    assert set(have) == set(all_of)
    for key, n in all_of.items():
        assert abs(have[key] - n * part) <= 8


def test_a_subset_opens_few_shards() -> None:
    chosen = large()
    found = chosen.subset(chosen.n_bytes // 10, by=("sample_type",))
    assert len(found.counts("shard")) <= 6
    assert len(chosen.sample(len(found)).counts("shard")) == 40


def test_a_subset_that_cannot_hold_every_kind_is_refused() -> None:
    with pytest.raises(NoSamplesError, match="cannot keep a row of each of"):
        large().subset(5_000)
    assert large().subset(10**12).table.equals(large().table)


def test_licences_are_those_of_the_sources(published: Path, bench: Path) -> None:
    assert set(sg.benchmark(bench).select().counts("licence")) == {("mit",)}
    table = sg.benchmark(published).select().table
    assert set(table.column("licence").to_pylist()) == {None}  # nobody published synthetic rows


def test_other_libraries_take_it(bench: Path) -> None:
    chosen = sg.benchmark(bench).select().where(split="train")
    frame = chosen.to_pandas()
    assert frame[KEY].tolist() == chosen.hashes
    relation = chosen.to_duckdb()
    counted = relation.aggregate("sample_type, count(*) AS n", "sample_type").fetchall()
    assert dict(counted) == {key: n for (key,), n in chosen.counts("sample_type").items()}
    with duckdb.connect() as connection:
        assert chosen.to_duckdb(connection).count("*").fetchall() == [(10,)]
    assert chosen.to_arrow().equals(chosen.table)


def test_what_is_not_there_is_named(bench: Path) -> None:
    chosen = sg.benchmark(bench).select()
    with pytest.raises(SchemaError, match="no column spezies"):
        chosen.where(spezies="fly")
    with pytest.raises(SchemaError, match="no column x"):
        chosen.per_class(1, by=("x",))
    with pytest.raises(SchemaError, match="cannot be chosen"):
        chosen.where(pc.field("nothing") > 1)
    with pytest.raises(BadInputError, match="no split 'val'"):
        sg.benchmark(bench).select("val")


def test_a_sidecar_that_names_another_shard_is_named(published: Path, tmp_path: Path) -> None:
    import shutil

    folder = Path(shutil.copytree(published, tmp_path / "b"))
    path = folder / "metadata/train.parquet"
    table = pq.read_table(path)
    place = table.column_names.index("shard")
    other = pa.array(["train/train-00009.parquet"] * len(table))
    pq.write_table(table.set_column(place, "shard", other), path)
    with pytest.raises(ReadFailedError, match=r"train-00009\.parquet, which shards\.csv"):
        sg.benchmark(folder).select("train")
    swapped = pa.array([f"train/train-0000{i % 2}.parquet" for i in range(len(table))])
    pq.write_table(table.set_column(place, "shard", swapped), path)
    with pytest.raises(ReadFailedError, match="does not hold row"):
        _ = sg.benchmark(folder).select("train").positions


def test_metadata_are_read_without_the_shards(published: Path, tmp_path: Path) -> None:
    import shutil

    folder = Path(shutil.copytree(published, tmp_path / "b"))
    benchmark = sg.benchmark(folder)
    for path in folder.glob("*/train-*.parquet"):
        path.write_bytes(b"")
    assert len(benchmark.select("train").where(task="false_split_correction")) == 6
    assert isinstance(benchmark.shards[0], ShardRecord)
