"""Others open what we write, without us."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from segmend.core.sample import EM_COLUMNS, ROW_SCHEMA, SPLIT_MASK_COLUMNS
from segmend.shards.reader import Benchmark
from segmend.shards.rows import decode_row

# Prints, for every split, a digest of each row as `datasets` decodes it.
LOAD = """
import hashlib, io, json, sys
sys.modules["segmend"] = None  # importing it fails
import duckdb
import numpy as np
from datasets import Image, load_dataset

folder, images, facts = sys.argv[1], *map(json.loads, sys.argv[2:])

def digest(row):
    md5 = hashlib.md5(np.load(io.BytesIO(row["geometry"]))["arr_0"].tobytes())
    for column in images:
        picture = row[column]
        md5.update(b"null" if picture is None else np.asarray(picture).tobytes())
    return md5.hexdigest()

def load(config, streaming):
    for name, rows in load_dataset(folder, config, streaming=streaming).items():
        assert all(isinstance(rows.features[c], Image) for c in images)
        assert set(rows.features) == {"geometry", *images, *facts}
        yield name, [[*(r[c] for c in facts), digest(r)] for r in rows]

found = {**dict(load("default", False)), **dict(load("demo", False))}
assert dict(load("default", True)) == dict(load("default", False))
print(json.dumps(found))
"""


@pytest.mark.slow
def test_datasets_agrees_row_by_row_also_streaming(bench: Path, tmp_path: Path) -> None:
    images = [*EM_COLUMNS, *SPLIT_MASK_COLUMNS]
    facts = [name for name in ROW_SCHEMA.names if name not in {"geometry", *images}]
    done = subprocess.run(
        [sys.executable, "-c", LOAD, str(bench), *map(json.dumps, (images, facts))],
        env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PYTHONPATH": ""},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    benchmark = Benchmark.open(bench)
    for split in ("train", "validation", "test"):
        positions = benchmark.sidecar(split).column("position").to_pylist()
        rows = benchmark.read_rows(positions, ROW_SCHEMA.names).to_pylist()
        assert found[split] == [expected(row, images, facts) for row in rows]
    demo = pq.read_table(bench / "demo.parquet").to_pylist()
    assert found["demo"] == [expected(row, images, facts) for row in demo]


def expected(row: dict, images: list[str], facts: list[str]) -> list:
    import hashlib

    decoded = decode_row(row, ["geometry", *images])
    md5 = hashlib.md5(decoded["geometry"].tobytes())
    for column in images:
        image = decoded[column]
        md5.update(b"null" if image is None else image.tobytes())
    return [*(row[c] for c in facts), md5.hexdigest()]


def test_pandas_reads_a_shard(bench: Path) -> None:
    frame = pd.read_parquet(bench / "train/train-00000.parquet")
    assert list(frame.columns) == list(ROW_SCHEMA.names)
    array = np.load(io.BytesIO(frame.iloc[0]["geometry"]))["arr_0"]
    assert array.dtype == np.float16
    assert frame.iloc[0]["em_xy_before"]["bytes"].startswith(b"\x89PNG")


def test_an_arrow_dataset_filters_all_shards(bench: Path) -> None:
    dataset = ds.dataset([str(p) for p in sorted(bench.glob("*/t*-*.parquet"))])
    rows = dataset.to_table(
        columns=["split"], filter=ds.field("false_merge_identification_label") == 1.0
    )
    assert rows.column("split").to_pylist() == ["test"] + ["train"] * 2


def test_duckdb_counts_filters_and_hands_out_the_stored_bytes(bench: Path) -> None:
    shards = ", ".join(f"'{p}'" for p in sorted(bench.glob("*/t*-*.parquet")))
    shards += "".join(f", '{p}'" for p in sorted(bench.glob("val/val-*.parquet")))
    rows = f"read_parquet([{shards}])"
    benchmark = Benchmark.open(bench)
    stored = benchmark.read_rows(range(len(benchmark)), ROW_SCHEMA.names).to_pylist()
    with duckdb.connect() as connection:
        counted = connection.sql(f"SELECT sample_type, count(*) FROM {rows} GROUP BY ALL")
        assert dict(counted.fetchall()) == Counter(row["sample_type"] for row in stored)
        found = connection.sql(
            "SELECT combined_sample_hash, geometry, em_xy_before.bytes, "
            f"false_split_correction_label, metadata FROM {rows}"
        ).fetchall()
    assert {key: rest for key, *rest in found} == {
        row["combined_sample_hash"]: [
            row["geometry"],
            row["em_xy_before"]["bytes"],
            row["false_split_correction_label"],
            row["metadata"],
        ]
        for row in stored
    }
