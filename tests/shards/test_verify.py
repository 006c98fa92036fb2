"""Every kind of damage is done for real and must be named."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from segmend.core.errors import BadInputError, VerificationError
from segmend.core.sample import combined_hash
from segmend.shards.layout import read_shards_csv, write_shards_csv
from segmend.shards.rows import Row
from segmend.shards.verify import Verification, verify
from segmend.shards.writer import write_rows
from segmend.store.atomic import sha256_file

SHARD = "train/train-00000.parquet"


def expect(folder: Path, where: str, what: str) -> Verification:
    """The benchmark has a problem there that says this."""
    found = verify(folder)
    assert not found.ok
    matching = [p for p in found.problems if p.where.startswith(where) and what in p.what]
    assert matching, "\n".join(str(p) for p in found.problems)
    return found


def rewrite(folder: Path, change: Callable[[list[Row]], object]) -> None:
    """Change the rows of a shard and sign it anew, as a faulty writer would."""
    path = folder / SHARD
    rows = pq.read_table(path).to_pylist()
    change(rows)
    write_rows(path, rows)
    sign(folder)


def sign(folder: Path) -> None:
    records = []
    for record in read_shards_csv(folder):
        path = folder / record.path
        size, n = path.stat().st_size, pq.read_metadata(path).num_rows
        record = replace(record, size_bytes=size, n_samples=n, sha256=sha256_file(path))
        records.append(record)
    write_shards_csv(folder, records)


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_a_good_benchmark_has_no_problem(bench: Path) -> None:
    steps: list[tuple[int, int]] = []
    found = verify(bench, progress=lambda done, total: steps.append((done, total)))
    assert found.ok
    assert found.problems == ()
    assert (found.n_rows, found.n_shards) == (14, 4)
    assert found.counts["merge_edit", "train"] == 2
    assert found.n_bytes == sum(p.stat().st_size for p in bench.glob("t*/*.parquet")) + sum(
        p.stat().st_size for p in bench.glob("val/*.parquet")
    )
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    found.check()


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="there is no folder"):
        verify(tmp_path / "nowhere")


def test_problems_can_be_raised(tmp_path: Path) -> None:
    with pytest.raises(VerificationError, match=r"1 problems: shards\.csv"):
        verify(tmp_path).check()


# --- files ------------------------------------------------------------------------------------


def test_a_bit_in_a_data_page(damaged: Path) -> None:
    payload = pq.read_table(damaged / SHARD).column("geometry")[0].as_py()
    flip(damaged / SHARD, (damaged / SHARD).read_bytes().index(payload) + 5_000)
    found = expect(damaged, SHARD, "its sha256 is")
    assert any(p.where == f"{SHARD} row group 0" and "checksum" in p.what for p in found.problems)
    assert found.n_rows == 5  # the nine rows of that row group are not counted


def test_a_bit_in_the_footer(damaged: Path) -> None:
    flip(damaged / SHARD, (damaged / SHARD).stat().st_size - 6)
    expect(damaged, SHARD, "its sha256 is")
    expect(damaged, SHARD, "cannot be opened")


def test_a_missing_shard(damaged: Path) -> None:
    (damaged / SHARD).unlink()
    expect(damaged, SHARD, "is missing")


def test_a_truncated_shard(damaged: Path) -> None:
    (damaged / SHARD).write_bytes((damaged / SHARD).read_bytes()[:5000])
    expect(damaged, SHARD, "has 5000 bytes")


def test_a_shard_nobody_lists(damaged: Path) -> None:
    (damaged / "val/val-00009.parquet").write_bytes(b"x")
    expect(damaged, "the folder", "val/val-00009.parquet is not listed")


def test_a_list_with_another_digest(damaged: Path) -> None:
    records = read_shards_csv(damaged)
    write_shards_csv(damaged, [replace(records[0], sha256="0" * 64), *records[1:]])
    expect(damaged, SHARD, "shards.csv says 0000")


def test_a_list_with_another_count(damaged: Path) -> None:
    records = read_shards_csv(damaged)
    write_shards_csv(damaged, [replace(records[0], n_samples=8), *records[1:]])
    expect(damaged, SHARD, "has 9 rows, shards.csv says 8")


def test_a_list_that_forgets_a_shard(damaged: Path) -> None:
    write_shards_csv(damaged, read_shards_csv(damaged)[1:])
    expect(damaged, "the folder", f"{SHARD} is not listed")
    expect(damaged, "metadata/train.parquet", f"names the shard {SHARD}")


def test_a_list_that_is_garbled(damaged: Path) -> None:
    (damaged / "shards.csv").write_text("path\n")
    expect(damaged, "shards.csv", "other columns")


def test_a_list_of_nothing(damaged: Path) -> None:
    write_shards_csv(damaged, [])
    expect(damaged, "shards.csv", "lists no shards")


def test_a_shard_with_another_schema(damaged: Path) -> None:
    table = pq.read_table(damaged / SHARD)
    pq.write_table(table.drop_columns(["species"]), damaged / SHARD)
    sign(damaged)
    expect(damaged, SHARD, "other columns")


def test_a_column_of_another_type(damaged: Path) -> None:
    table = pq.read_table(damaged / SHARD)
    at = table.schema.get_field_index("false_split_correction_label")
    wrong = table.column(at).cast(pa.int64())
    name = table.schema.field(at).name
    pq.write_table(table.set_column(at, name, wrong), damaged / SHARD)
    sign(damaged)
    expect(damaged, SHARD, "other columns")


# --- rows -------------------------------------------------------------------------------------


def of_kind(rows: list[Row], kind: str) -> Row:
    return next(row for row in rows if row["sample_type"] == kind)


def png(image: np.ndarray) -> dict:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


def npz(*arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, *arrays, allow_pickle=True)
    return file.getvalue()


def pixels(row: Row, column: str) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(row[column]["bytes"])))


def geometry(row: Row) -> np.ndarray:
    return np.load(io.BytesIO(row["geometry"]))["arr_0"]


def swap_label(rows: list[Row]) -> None:
    of_kind(rows, "merge_edit")["false_split_correction_label"] = 0.0


def other_label(rows: list[Row]) -> None:
    of_kind(rows, "merge_edit")["false_split_correction_label"] = 2.0


def wrong_routing(rows: list[Row]) -> None:
    of_kind(rows, "split_edit")["task_routing"] = ["false_split_correction"]


def wrong_flag(rows: list[Row]) -> None:
    rows[0]["has_em"] = False


def wrong_type(rows: list[Row]) -> None:
    rows[0]["sample_type"] = "merge"


def wrong_key(rows: list[Row]) -> None:
    rows[0]["source_archive_sample_hash"] = "000000000000"


def wrong_split(rows: list[Row]) -> None:
    rows[0]["split"] = "test"


def twice(rows: list[Row]) -> None:
    rows[1] = rows[0]


def null_geometry(rows: list[Row]) -> None:
    rows[0]["geometry"] = None


def bad_metadata(rows: list[Row]) -> None:
    rows[0]["metadata"] = "{not json"


def small_png(rows: list[Row]) -> None:
    rows[0]["em_xz_before"] = png(np.zeros((100, 100, 3), np.uint8))


def cut_png(rows: list[Row]) -> None:
    rows[0]["em_xz_before"]["bytes"] = rows[0]["em_xz_before"]["bytes"][:500]


def grey_mask(rows: list[Row]) -> None:
    image = pixels(rows[0], "em_yz_before")
    image[5, 5, 1] = 100
    rows[0]["em_yz_before"] = png(image)


def split_mask_value(rows: list[Row]) -> None:
    row = of_kind(rows, "split_edit")
    mask = pixels(row, "split_mask_side")
    mask[0, 0] = 1
    row["split_mask_side"] = png(mask)


def split_mask_missing(rows: list[Row]) -> None:
    of_kind(rows, "split_edit")["split_mask_side"] = None


def junction_with_b(rows: list[Row]) -> None:
    row = of_kind(rows, "junction_control")
    image = pixels(row, "em_xy_before")
    image[5, 5, 2] = 255
    row["em_xy_before"] = png(image)


def bomb(rows: list[Row]) -> None:
    rows[0]["geometry"] = npz(np.zeros((300, 7, 224, 224), np.float16))


def pickled(rows: list[Row]) -> None:
    rows[0]["geometry"] = npz(np.array([print], object))


def two_arrays(rows: list[Row]) -> None:
    rows[0]["geometry"] = npz(geometry(rows[0]), geometry(rows[0]))


def not_finite(rows: list[Row]) -> None:
    array = geometry(rows[0])
    array[0, 1, 0, 0] = np.nan
    rows[0]["geometry"] = npz(array)


def soft_silhouette(rows: list[Row]) -> None:
    array = geometry(rows[0])
    array[0, 0, 0, 0] = 0.5
    rows[0]["geometry"] = npz(array)


def mask_beside_silhouette(rows: list[Row]) -> None:
    array = geometry(of_kind(rows, "merge_edit"))
    at = tuple(np.argwhere(array[0, 0] == 0)[0])
    array[(0, 5, *at)] = 1
    of_kind(rows, "merge_edit")["geometry"] = npz(array)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (swap_label, "false_split_correction_label is 0.0"),
        (other_label, "false_split_correction_label is 2.0"),
        (wrong_routing, "task_routing is ['false_split_correction']"),
        (wrong_flag, "has_em is False"),
        (wrong_type, "sample_type is 'merge'"),
        (wrong_key, "md5 of archive|sample hash"),
        (wrong_split, "split is 'test' in a shard of 'train'"),
        (twice, "is also that of"),
        (null_geometry, "geometry is null"),
        (bad_metadata, "metadata is no JSON"),
        (small_png, "em_xz_before: a PNG has another size"),
        (cut_png, "em_xz_before: a PNG is damaged"),
        (grey_mask, "em_yz_before: a mask holds values other than 0 and 255"),
        (split_mask_value, "split_mask_side: values other than"),
        (split_mask_missing, "a split_edit row holds split_mask_front, split_mask_top"),
        (junction_with_b, "mask B of a junction_control row is not empty"),
        (bomb, "bytes unpacked"),
        (pickled, "geometry: a geometry npz has another size"),
        (two_arrays, "must hold one file"),
        (not_finite, "NaN or infinity"),
        (soft_silhouette, "silhouette holds values other than 0 and 1"),
        (mask_beside_silhouette, "not the union of masks A and B"),
    ],
)
def test_a_wrong_row(damaged: Path, change: Callable[[list[Row]], object], what: str) -> None:
    rewrite(damaged, change)
    expect(damaged, f"{SHARD} row group", what)


def test_a_key_twice_in_two_shards(damaged: Path) -> None:
    (stolen,) = pq.read_table(damaged / "val/val-00000.parquet").slice(0, 1).to_pylist()

    def steal(rows: list[Row]) -> None:
        rows[0] = stolen | {"split": "train"}

    rewrite(damaged, steal)
    key = combined_hash(stolen["source_archive"], stolen["source_archive_sample_hash"])
    expect(damaged, "val/val-00000.parquet row group 0 row 0", f"{key} is also that of {SHARD}")


# --- files around the shards ------------------------------------------------------------------


def edit_sidecar(folder: Path, column: str, values: Callable[[list], list]) -> None:
    path = folder / "metadata/train.parquet"
    table = pq.read_table(path)
    at = table.schema.get_field_index(column)
    field = table.schema.field(at)
    new = pa.array(values(table.column(at).to_pylist()), field.type)
    pq.write_table(table.set_column(at, field, new), path)


@pytest.mark.parametrize(
    ("column", "change"),
    [
        ("false_merge_identification_label", lambda v: [1.0] * len(v)),
        ("cluster_id", lambda v: [v[0] + 1, *v[1:]]),
        ("anchor_z_nm", lambda v: [v[0] + 0.5, *v[1:]]),
        ("root_ids", lambda v: [[i + 1 for i in ids] for ids in v]),
        ("combined_sample_hash", lambda v: [v[1], v[0], *v[2:]]),
        ("row", lambda v: [v[1], v[0], *v[2:]]),
    ],
)
def test_a_sidecar_that_disagrees(damaged: Path, column: str, change) -> None:
    edit_sidecar(damaged, column, change)
    expect(damaged, "metadata/train.parquet", f"{column} of {SHARD} row")


def test_a_sidecar_that_lacks_rows(damaged: Path) -> None:
    path = damaged / "metadata/train.parquet"
    pq.write_table(pq.read_table(path).slice(1), path)
    expect(damaged, "metadata/train.parquet", f"has 8 rows of {SHARD}, which holds 9")


def test_a_sidecar_with_other_columns(damaged: Path) -> None:
    path = damaged / "metadata/train.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["volume"]), path)
    expect(damaged, "metadata/train.parquet", "other columns")


def test_a_sidecar_that_cannot_be_read(damaged: Path) -> None:
    (damaged / "metadata/train.parquet").write_bytes(b"PAR1")
    expect(damaged, "metadata/train.parquet", "cannot be read")


def test_a_sidecar_without_shards(damaged: Path) -> None:
    write_shards_csv(damaged, [r for r in read_shards_csv(damaged) if r.split != "test"])
    expect(damaged, "metadata/test.parquet", "lists no shard of its split")


def test_metadata_that_no_sidecar_can_hold(damaged: Path) -> None:
    def float_id(rows: list[Row]) -> None:
        rows[3]["metadata"] = '{"cluster_id": 8.6e17}'

    rewrite(damaged, float_id)
    expect(damaged, "metadata/train.parquet", f"{SHARD} row group 0 row 3: its metadata are wrong")


def test_a_demo_row_that_differs(damaged: Path) -> None:
    rows = pq.read_table(damaged / "demo.parquet").to_pylist()
    rows[2]["species"] = "unicorn"
    write_rows(damaged / "demo.parquet", rows)
    expect(damaged, "demo.parquet", f"row {rows[2]['combined_sample_hash']} occurs in no shard")


def test_a_demo_that_cannot_be_read(damaged: Path) -> None:
    (damaged / "demo.parquet").unlink()
    expect(damaged, "demo.parquet", "cannot be read")


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("val/val-*.parquet", "val/none-*.parquet", "'val/none-*.parquet', which matches no file"),
        ("val/val-*.parquet", "../*/val-*.parquet", "which matches no file"),
        ("split: test", "split: exam", "does not cover test/test-00000.parquet in split 'test'"),
        ("---\n", "", "no YAML header"),
        ("data_files", "path: x\n  data_files", "does not configure data files"),
    ],
)
def test_a_card_that_names_other_files(damaged: Path, old: str, new: str, what: str) -> None:
    text = (damaged / "README.md").read_text()
    assert old in text
    (damaged / "README.md").write_text(text.replace(old, new))
    expect(damaged, "README.md", what)


def test_a_missing_card(damaged: Path) -> None:
    (damaged / "README.md").unlink()
    expect(damaged, "README.md", "cannot be read")
