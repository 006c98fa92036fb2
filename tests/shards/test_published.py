"""A folder in the published layout, with the published faults: read, verified, and damaged."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from PIL import Image

from segmend.apps.cli.main import segmend
from segmend.core.errors import BadInputError
from segmend.core.sample import EM_COLUMNS, SAMPLE_TYPES
from segmend.loaders.examples import Reading, examples
from segmend.shards.reader import Benchmark
from segmend.shards.repair import repaired_row
from segmend.shards.rows import Row, decode_row
from segmend.shards.sidecar import SIDECAR_SCHEMA
from segmend.shards.verify import verify
from segmend.store.atomic import sha256_file
from segmend.tasks.registry import TASKS
from segmend.testing.published import as_published, published_benchmark, write_sidecar
from segmend.testing.rows import random_row

SHARD = "train/train-00000.parquet"
SIDECAR = "metadata/train.parquet"
COLUMNS = ("geometry", *EM_COLUMNS)
ROWS = [as_published(random_row(kind, seed)) for seed in range(2) for kind in SAMPLE_TYPES]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    test = [as_published(random_row("merge_edit", 9, split="test"))]
    return published_benchmark(
        tmp_path_factory.mktemp("published"), {"train": ROWS, "test": test}, shard=6
    )


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copied"))


def rewrite(folder: Path, change: Callable[[Row], object]) -> None:
    """Change a row of a shard that is not in the demo file and list the shard anew."""
    rows = pq.read_table(folder / SHARD).to_pylist()
    change(rows[5])
    table = pq.read_table(folder / SHARD)
    pq.write_table(type(table).from_pylist(rows, schema=table.schema), folder / SHARD)
    lines = list(csv.reader((folder / "shards.csv").read_text().splitlines()))
    for line in lines:
        if line[0] == SHARD:
            line[4:] = [str((folder / SHARD).stat().st_size), sha256_file(folder / SHARD)]
    (folder / "shards.csv").write_text("\n".join(",".join(line) for line in lines) + "\n")


def problems(folder: Path) -> str:
    return "\n".join(str(problem) for problem in verify(folder).problems)


def test_published_rows_are_intact_and_their_defects_are_counted(folder: Path) -> None:
    found = verify(folder)
    assert found.problems == ()
    assert found.n_rows == 11
    assert found.defects["normals_srgb"] == 11
    assert found.defects["depth_per_segment"] == 7  # merges, adjacent and synapse controls
    assert found.defects["split_mask_occlusion"] == 2
    assert found.defects["view_extent_midpoint"] == 11


def test_the_command_calls_them_intact_and_names_what_cannot_be_repaired(folder: Path) -> None:
    shown = CliRunner().invoke(segmend, ["verify", str(folder)])
    assert shown.exit_code == 0, shown.output
    assert "is intact: 11 rows in 3 shards" in shown.output
    assert "known defect depth_stretched (11 rows; cannot be repaired)" in shown.output
    listed = CliRunner().invoke(segmend, ["verify", str(folder), "--json"])
    assert json.loads(listed.stdout)["defects"] == verify(folder).defects


def test_our_own_rows_have_no_defect(bench: Path) -> None:
    assert verify(bench).defects == {}


@pytest.mark.parametrize("column", ["geometry", "em_xz_before"])
def test_the_same_faults_in_a_row_of_ours_are_problems(copied: Path, column: str) -> None:
    def claimed(row: Row) -> None:
        row["metadata"] = json.dumps(json.loads(row["metadata"]) | {"encoding": "metric"})
        if column == "geometry":
            array = np.array(decode_row(row, ["geometry"])["geometry"])
            array[:, 1] = 1  # depth of the background
            file = io.BytesIO()
            np.savez_compressed(file, array)
            row["geometry"] = file.getvalue()

    rewrite(copied, claimed)
    what = "background is not 0" if column == "geometry" else "em_xz_before: a mask holds values"
    assert what in problems(copied)


def nan_depth(row: Row) -> None:
    array = np.array(decode_row(row, ["geometry"])["geometry"])
    array[0, 1] = np.nan
    file = io.BytesIO()
    np.savez_compressed(file, array)
    row["geometry"] = file.getvalue()


def other_size(row: Row) -> None:
    file = io.BytesIO()
    Image.new("RGB", (223, 224)).save(file, "PNG")
    row["em_xy_before"] = {"bytes": file.getvalue(), "path": None}


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (nan_depth, "NaN or infinity"),
        (other_size, "another size or type"),
        (lambda row: row.update(sample_type="other"), "sample_type is 'other'"),
        (lambda row: row.update(source_archive="unified_x"), "md5 of archive"),
        (lambda row: row.update(metadata='{"encoding": "x"}'), "unknown encoding"),
        (lambda row: row.update(same_neuron=False), "same_neuron is False"),
        (lambda row: row.update(false_split_correction_label=0.5), "label is 0.5"),
    ],
)
def test_what_no_published_row_holds_is_a_problem(copied: Path, change, what: str) -> None:
    rewrite(copied, change)
    assert f"{SHARD} row group 0 row 5: " in problems(copied)
    assert what in problems(copied)


def test_labels_that_are_nan_are_read_as_null(copied: Path) -> None:
    rewrite(copied, lambda row: row.update(false_merge_identification_label=float("nan")))
    found = verify(copied)
    assert found.problems == ()
    assert found.defects["label_nan"] == 1


def lacking(rows: list[Row]) -> None:
    del rows[3]


def extra(rows: list[Row]) -> None:
    rows.append(rows[0] | {"combined_sample_hash": "0" * 32})


def twice(rows: list[Row]) -> None:
    rows.append(rows[0])


def wrong(rows: list[Row]) -> None:
    rows[2]["species"] = "fly"


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lacking, "lacks 1 of the 6 rows"),
        (extra, "has 1 rows that its shards do not hold"),
        (twice, "names a key twice"),
        (wrong, "species of train/train-00000.parquet row 2 is 'fly', the shard says 'synthetic'"),
    ],
)
def test_a_published_sidecar_that_disagrees_is_a_problem(copied: Path, change, what) -> None:
    rows = pq.read_table(copied / SIDECAR).to_pylist()
    change(rows)
    write_sidecar(copied / SIDECAR, rows)
    assert what in problems(copied)


def test_the_order_of_a_published_sidecar_does_not_matter(copied: Path) -> None:
    before = Benchmark.open(copied).sidecar()
    write_sidecar(copied / SIDECAR, pq.read_table(copied / SIDECAR).to_pylist()[::-1])
    assert verify(copied).problems == ()
    assert Benchmark.open(copied).sidecar().equals(before)


def test_the_sidecar_says_where_rows_and_sites_are(folder: Path) -> None:
    table = Benchmark.open(folder).sidecar("train")
    assert table.schema.names == [*SIDECAR_SCHEMA.names, "position"]
    keys = table.column("combined_sample_hash").to_pylist()
    assert keys == [row["combined_sample_hash"] for row in ROWS]
    assert table.column("row").to_pylist() == [0, 1, 2, 3, 4, 5, 0, 1, 2, 3]
    assert table.column("encoding").null_count == len(ROWS)
    site = json.loads(ROWS[0]["metadata"])["edit_point_nm"]
    assert [table.column(f"anchor_{axis}_nm")[0].as_py() for axis in "xyz"] == site


def test_metadata_with_nan_as_python_writes_it_are_read(copied: Path) -> None:
    def scored(row: Row) -> None:
        row["metadata"] = json.dumps(json.loads(row["metadata"]) | {"cleft_score": float("nan")})

    rewrite(copied, scored)
    assert verify(copied).problems == ()
    assert Benchmark.open(copied).sidecar("train").num_rows == len(ROWS)


def test_rows_come_repaired_with_their_findings_or_raw(folder: Path) -> None:
    benchmark = Benchmark.open(folder)
    repaired = list(benchmark.rows(range(len(ROWS)), COLUMNS))
    raw = list(benchmark.rows(range(len(ROWS)), COLUMNS, repair=False))
    assert [row.position for row in repaired] == list(range(len(ROWS)))
    for i, row in enumerate(ROWS):
        values, findings = repaired_row(row, COLUMNS)
        assert repaired[i].findings == findings != ()
        assert raw[i].findings == ()
        assert tuple(raw[i].values) == tuple(repaired[i].values) == COLUMNS
        for name, stored in decode_row(row, COLUMNS).items():
            np.testing.assert_array_equal(repaired[i].values[name], values[name])
            np.testing.assert_array_equal(raw[i].values[name], stored)


def test_positions_outside_are_refused(folder: Path) -> None:
    with pytest.raises(BadInputError, match="outside"):
        list(Benchmark.open(folder).rows([99], COLUMNS))


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)
@pytest.mark.parametrize("threads", [1, 2])
def test_models_see_repaired_rows(folder: Path, task, threads: int) -> None:
    found = examples(Benchmark.open(folder), task, "train", Reading(threads=threads))
    rows = {row["combined_sample_hash"]: row for row in ROWS}
    for i, example in enumerate(found):
        expected = task.inputs(repaired_row(rows[example.sample_hash], COLUMNS)[0])
        np.testing.assert_array_equal(example.inputs.geometry, expected.geometry)
        np.testing.assert_array_equal(example.inputs.em, expected.em)
        np.testing.assert_array_equal(found[i].inputs.geometry, expected.geometry)
    assert i == len(found) - 1
