"""Edits go to files and come back as they were; a file that does not fit is refused by place."""

from __future__ import annotations

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings

from segmend.core.errors import BadInputError, OutputError, SchemaError
from segmend.edits.edit_files import read_edits, write_edits
from segmend.edits.imported import import_edits
from segmend.edits.neutral import EDIT_SCHEMA, edit_json, edit_of_row, edit_row, edit_table
from segmend.edits.operation import EditOp
from segmend.testing.edits import edit_lists


def op(number: int = 1) -> EditOp:
    return EditOp(
        str(number), "merge", (2**63, 2**64 - 1), (5,), (1.5, 2, 3), 5, "d", "1", "a", "t"
    )


def row_with(field, value) -> dict:
    return json.loads(edit_json(edit_row(op()))) | {field: value}


@settings(max_examples=60, deadline=None)
@given(ops=edit_lists())
def test_every_edit_comes_back_as_it_was_through_both_forms(tmp_path_factory, ops):
    folder = tmp_path_factory.mktemp("f")
    for name in ("a.parquet", "a.jsonl"):
        assert write_edits(folder / name, ops) == len(ops)
        assert list(read_edits(folder / name)) == ops


@settings(max_examples=10, deadline=None)
@given(ops=edit_lists().filter(len))
def test_what_is_imported_exports_as_it_was(tmp_path_factory, ops):
    folder = tmp_path_factory.mktemp("f")
    write_edits(folder / "a.jsonl", ops)
    frozen = import_edits(folder / "a.jsonl", folder / "x", licence="CC0-1.0")
    write_edits(folder / "b.jsonl", frozen.edits())
    assert (folder / "a.jsonl").read_bytes() == (folder / "b.jsonl").read_bytes()
    assert (frozen.closure.known, frozen.closure.kept) == (len(ops), len(ops))


def test_the_manifest_says_where_the_edits_are_from(tmp_path):
    file = tmp_path / "mine.parquet"
    write_edits(file, [op()])
    manifest = import_edits(file, tmp_path / "x", licence="CC-BY-4.0", citation="Me").manifest
    assert manifest["dataset"] == "d"
    assert (manifest["licence"], manifest["citation"]) == ("CC-BY-4.0", "Me")
    assert manifest["source"]["name"] == "mine.parquet"
    assert len(manifest["source"]["sha256"]) == 64


def test_parquet_of_other_programs_is_read_whatever_its_integer_and_list_types(tmp_path):
    row = edit_row(op()) | {"before_ids": [7, 8]}
    table = pa.Table.from_pylist([row])  # pyarrow's own guess of types
    assert table.schema != EDIT_SCHEMA
    pq.write_table(table.select(sorted(table.column_names)), tmp_path / "a.parquet")
    assert next(read_edits(tmp_path / "a.parquet")).before_ids == (7, 8)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("operation_id", 7),
        ("kind", "cut"),
        ("before_ids", ["1"]),
        ("before_ids", ["1", "1"]),
        ("before_ids", [1.0, 2.0]),
        ("before_ids", ["0", "1"]),
        ("before_ids", ["-1", "1"]),
        ("before_ids", ["1", str(2**64)]),
        ("before_ids", None),
        ("after_ids", []),
        ("point_nm", [1, 2]),
        ("point_nm", [1, 2, float("nan")]),
        ("point_nm", ["1", "2", "3"]),
        ("point_nm", None),
        ("point_nm", [1, 2, True]),
        ("point_nm", [1, 2, 10**400]),
        ("source_points_nm", [[1, 2]]),
        ("cluster_id", "x"),
        ("dataset", "a\nb"),
        ("dataset", 3),
        ("facts", "[]"),
        ("facts", "{"),
        ("facts", '{"a": 1, "a": 2}'),
        ("facts", '{"a": NaN}'),
        ("facts", f'{{"a": {2**64}}}'),
        ("facts", f'{{"a": {-(2**63) - 1}}}'),
        ("facts", '{"a": 1e999}'),
        ("facts", "[" * 100_000),
        ("timestamp", "soon"),
        ("timestamp", 1.5),
        ("timestamp", True),
        ("timestamp", -1),
        ("timestamp", 1_700_000_000_000),
        ("sides_in", "elsewhere"),
        ("cut", [["1"], ["2"]]),
        ("extra", 1),
    ],
)
def test_a_row_that_is_no_edit_is_named_with_its_column(field, value):
    with pytest.raises(SchemaError, match="line 2 is no edit") as caught:
        edit_of_row(row_with(field, value), where="line 2")
    told = str(caught.value)
    assert field in told or "segments" in told or "sides are in" in told


def test_a_cut_must_follow_the_order_of_the_ids_it_belongs_to():
    split = row_with("kind", "split") | {
        "before_ids": ["1"],
        "after_ids": ["9", "8"],
        "sides_in": "supervoxels",
        "cut": [["3"], ["4"]],
    }
    with pytest.raises(SchemaError, match="must ascend"):
        edit_of_row(split, where="line 1")
    assert edit_of_row(split | {"after_ids": ["8", "9"]}, where="x").cut == ((3,), (4,))


GOOD = edit_json(edit_row(op()))


@pytest.mark.parametrize(
    ("second", "told"),
    [
        (b"not json", "line 2 .* not JSON"),
        (b"", "line 2"),
        (b"[1]", "line 2 .* not an object"),
        (b"\xff{}", "line 2 .* decode"),
        (GOOD.encode(), "line 2 .* 'operation_id'"),
        (GOOD.replace('"5"', "5").encode(), "line 2 .* 'after_ids': an id is not a decimal"),
        (GOOD.replace('"kind"', '"kind": "merge", "kind"').encode(), "line 2 .* twice"),
        (GOOD.replace("1.5", "NaN").encode(), "line 2 .* NaN"),
        (GOOD.replace("1.5", "1e999").encode(), "line 2 .* finite"),
        (GOOD.replace("1.5", "9" * 400).encode(), "line 2 .* too large"),
        (b"[" * 100_000, "line 2 .* not JSON"),
    ],
)
def test_a_line_that_is_no_edit_is_named(tmp_path, second, told):
    file = tmp_path / "e.jsonl"
    file.write_bytes(GOOD.encode() + b"\n" + second + b"\n")
    with pytest.raises(SchemaError, match=r"e\.jsonl, (?s:" + told + ")"):
        list(read_edits(file))


def test_a_line_without_end_is_not_read_into_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("segmend.edits.edit_files.MOST_LINE_BYTES", 1000)
    (tmp_path / "e.jsonl").write_text(GOOD + "\n" + "x" * 5000)
    with pytest.raises(SchemaError, match="line 2 is too long"):
        list(read_edits(tmp_path / "e.jsonl"))


def test_a_bad_row_of_a_parquet_file_is_named(tmp_path):
    table = edit_table([edit_row(op(1)), edit_row(op(2)) | {"kind": "weld"}])
    pq.write_table(table, tmp_path / "e.parquet")
    with pytest.raises(SchemaError, match=r"e\.parquet, row 1 is no edit(?s:.*)'kind'"):
        list(read_edits(tmp_path / "e.parquet"))
    data = (tmp_path / "e.parquet").read_bytes()
    (tmp_path / "e.parquet").write_bytes(data[: len(data) // 2])
    with pytest.raises(BadInputError, match="cannot read"):
        list(read_edits(tmp_path / "e.parquet"))


def test_a_file_that_cannot_be_imported_leaves_nothing_behind(tmp_path):
    file = tmp_path / "e.jsonl"
    for text, told in (
        (GOOD + "\n{}\n", "line 2"),
        ("", "holds no edits"),
        (GOOD + "\n" + edit_json(edit_row(op(2)) | {"dataset": "e"}), "several data sets"),
    ):
        file.write_text(text)
        with pytest.raises(BadInputError, match=told):
            import_edits(file, tmp_path / "x", licence="CC0-1.0")
    with pytest.raises(BadInputError, match="need a licence"):
        import_edits(file, tmp_path / "x", licence=" ")
    with pytest.raises(BadInputError, match="cannot read"):
        import_edits(tmp_path / "absent.jsonl", tmp_path / "x", licence="CC0-1.0")
    with pytest.raises(BadInputError, match=r"\.csv"):
        import_edits(tmp_path / "e.csv", tmp_path / "x", licence="CC0-1.0")
    assert [p.name for p in tmp_path.iterdir()] == ["e.jsonl"]


def test_an_export_that_fails_leaves_the_old_file(tmp_path):
    file = tmp_path / "e.jsonl"
    file.write_text("old")

    def broken():
        yield op()
        raise BadInputError("no more")

    with pytest.raises(BadInputError, match="no more"):
        write_edits(file, broken())
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("e.jsonl", "old")]
    with pytest.raises(OutputError):
        write_edits(tmp_path / "no" / "e.jsonl", [op()])
