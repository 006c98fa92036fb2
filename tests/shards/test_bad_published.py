"""Published rows of both versions, damaged one way at a time: named on reading, all listed."""

from __future__ import annotations

import contextlib
import csv
import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import segmend as sg
from segmend.core.errors import ReadFailedError, SchemaError, SegmendError
from segmend.core.sample import GEOMETRY_SHAPE
from segmend.shards.arrow import arrow_schema
from segmend.shards.rows import Row
from segmend.shards.verify import verify
from segmend.store.atomic import sha256_file

SHARD = "train/train-00000.parquet"
VERSIONS = pytest.mark.parametrize("which", ["published", "published_v1"])


def npz(array: Any, key: str = "arr_0") -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **{key: array})
    return file.getvalue()


def png(shape: tuple[int, ...]) -> dict[str, Any]:
    file = io.BytesIO()
    Image.fromarray(np.zeros(shape, np.uint8)).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


def flipped(payload: bytes) -> bytes:
    content = bytearray(payload)
    content[len(content) // 2] ^= 8
    return bytes(content)


def spoil(folder: Path, to: Path, change: Callable[[Row], object], *, row: int = 4) -> Path:
    """A copy whose first shard has one row changed, listed with its new size and sha256."""
    copy = Path(shutil.copytree(folder, to))
    table = pq.read_table(copy / SHARD)
    rows = table.to_pylist()
    change(rows[row])
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), copy / SHARD, row_group_size=2)
    lines = list(csv.reader((copy / "shards.csv").read_text().splitlines()))
    for line in lines:
        if line[0] == SHARD:
            line[4:] = [str((copy / SHARD).stat().st_size), sha256_file(copy / SHARD)]
    with (copy / "shards.csv").open("w", newline="") as file:
        csv.writer(file).writerows(lines)
    return copy


@VERSIONS
def test_published_rows_are_intact(which: str, request: pytest.FixtureRequest) -> None:
    found = verify(request.getfixturevalue(which))
    assert found.problems == ()
    assert found.n_rows == 12
    assert "normals_srgb" in found.defects


GEOMETRY = np.zeros(GEOMETRY_SHAPE, np.float16)
PICTURES: dict[str, tuple[str, Any, str]] = {
    "flipped bits": ("geometry_single", flipped, "damaged"),
    "another key": ("geometry_single", lambda _: npz(GEOMETRY, "x"), "another array"),
    "another dtype": ("geometry_single", lambda _: npz(GEOMETRY.astype("f4")), "another size"),
    "a bomb": ("geometry_single", lambda _: npz(np.zeros((9, 999, 999), "f2")), "another size"),
    "a pickle": (
        "geometry_single",
        lambda _: npz(np.array([{}], object)),
        "another size",
    ),
    "png of another size": ("em_xy", lambda _: png((224, 225, 3)), "another size or type"),
    "grey png": ("em_xy", lambda _: png((224, 224)), "another size or type"),
    "no png": ("em_xy", lambda _: {"bytes": b"GIF89a", "path": None}, "PNG is damaged"),
    "no bytes": ("em_xy", lambda _: {"bytes": None, "path": "a.png"}, "has no bytes"),
}


@VERSIONS
@pytest.mark.parametrize("fault", PICTURES)
def test_a_bad_picture_is_named_with_its_place(
    which: str, fault: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    name, change, words = PICTURES[fault]
    if which == "published":
        name = {"geometry_single": "geometry", "em_xy": "em_xy_before"}[name]
    folder = request.getfixturevalue(which)
    table = pq.read_table(folder / SHARD)
    row = next(i for i, v in enumerate(table.column(name).to_pylist()) if v is not None and i)

    def edit(values: Row) -> None:
        values[name] = change(values[name])

    copy = spoil(folder, tmp_path / "copy", edit, row=row)
    place = rf"{SHARD} row group {row // 2} row {row % 2}"
    with pytest.raises((ReadFailedError, SchemaError), match=rf"{place}: {name}.*{words}"):
        list(sg.benchmark(copy).rows([row], [name]))
    found = verify(copy).problems
    assert [p.where for p in found if words in p.what] == [place]


FACTS: dict[str, tuple[Callable[[Row], object], str]] = {
    "a label of 2": (lambda r: r.update(false_split_correction_label=2.0), "label"),
    "another split": (lambda r: r.update(split="test"), "split is 'test'"),
    "another type": (lambda r: r.update(sample_type="edit"), "sample_type is 'edit'"),
    "another key": (lambda r: r.update(combined_sample_hash="0" * 32), "md5 of archive"),
    "no JSON": (lambda r: r.update(metadata="{"), "metadata"),
    "routing": (lambda r: r.update(task_routing=["x"]), "task_routing is"),
    "slots": (lambda r: r.update(present_slots=[]), "present_slots is"),
    "no EM": (lambda r: r.update(has_em=False), "has_em is False"),
}


BAD_FACTS = [
    pytest.param(which, fault, id=f"{which}-{fault}")
    for which in ("published", "published_v1")
    for fault in FACTS
    if (which, fault) != ("published_v1", "a label of 2")  # labels of v1 are booleans
]


@pytest.mark.parametrize(("which", "fault"), BAD_FACTS)
def test_a_bad_fact_is_listed_with_its_place(
    which: str, fault: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    change, words = FACTS[fault]
    copy = spoil(request.getfixturevalue(which), tmp_path / "copy", change)
    where = {p.where for p in verify(copy).problems if words in p.what}
    assert f"{SHARD} row group 2 row 0" in where


def test_a_label_that_is_true_of_the_other_task_is_listed(
    published_v1: Path, tmp_path: Path
) -> None:
    def swap(row: Row) -> None:
        row["false_split_correction_label"] = not row["false_split_correction_label"]

    copy = spoil(published_v1, tmp_path / "copy", swap)
    assert any("false_split_correction_label is" in p.what for p in verify(copy).problems)


def test_shards_of_two_versions_are_no_benchmark(
    published: Path, published_v1: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(published, tmp_path / "copy"))
    other = copy / "test/test-00000.parquet"
    shutil.copyfile(published_v1 / "test/test-00000.parquet", other)
    text = (copy / "shards.csv").read_text().splitlines()
    size, digest = other.stat().st_size, sha256_file(other)
    text[-1] = f"test/test-00000.parquet,test,0,2,{size},{digest}"
    (copy / "shards.csv").write_text("\n".join(text))
    benchmark = sg.benchmark(copy)
    with pytest.raises(SchemaError, match=r"test-00000\.parquet.*schema v1, they have v2"):
        benchmark.read_rows([len(benchmark) - 1], ["geometry"])
    assert any("v1, not v2" in p.what for p in verify(copy).problems)


def test_what_was_corrected_is_counted(published: Path, bench: Path) -> None:
    benchmark = sg.benchmark(published)
    assert benchmark.findings == {}
    met: dict[str, int] = {}
    for row in benchmark.rows(range(5), ["geometry", "em_xy_before"]):
        for name in {f.defect for f in row.findings}:
            met[name] = met.get(name, 0) + 1
    assert benchmark.findings == met
    assert met["normals_srgb"] == 5
    ours = sg.benchmark(bench)
    list(ours.rows(range(5), ["geometry", "em_xy_before"]))
    assert ours.findings == {}


def test_v1_columns_are_corrected_like_those_of_v2(published: Path, published_v1: Path) -> None:
    v1, v2 = sg.benchmark(published_v1), sg.benchmark(published)
    assert set(v1.schema.names) == set(arrow_schema("v1").names)
    for key in v2.select().hashes[:6]:
        new = v2.row(key, ["geometry", "em_xy_before", "sample_type"]).values
        single = new["sample_type"] in ("split_edit", "junction_control")
        name = "geometry_single" if single else "geometry"
        old = v1.row(key, [name, "em_xy"]).values
        assert np.array_equal(old[name], new["geometry"])
        assert np.array_equal(old["em_xy"], new["em_xy_before"])


@VERSIONS
def test_every_error_is_one_of_ours(
    which: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Bits flipped anywhere in a shard: rows, or a named error; never anything else."""
    folder: Path = request.getfixturevalue(which)
    content = (folder / SHARD).read_bytes()
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    rng = np.random.default_rng(3)
    for at in rng.integers(len(content) - 40_000, len(content), 25).tolist():
        spoiled = bytearray(content)
        spoiled[at] ^= 1 << int(rng.integers(8))
        (copy / SHARD).write_bytes(spoiled)
        with contextlib.suppress(SegmendError):
            benchmark = sg.benchmark(copy)
            list(benchmark.rows(range(6), benchmark.schema.names))
