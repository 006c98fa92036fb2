"""A frozen history re-reads exactly, or says what is wrong with it."""

from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmend.core.errors import BadInputError, OutputError, SchemaError, VerificationError
from segmend.edits.frozen import Outcome, freeze, open_frozen, read_edit_lines
from segmend.edits.neutral import edit_json, edit_of_row, edit_row
from segmend.edits.operation import EditOp

IDS = st.integers(1, 2**64 - 1)
POINTS = st.tuples(*[st.floats(-1e7, 1e7)] * 3)
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=8)


@st.composite
def edits(draw) -> EditOp:
    kind = draw(st.sampled_from(["merge", "split"]))
    few, many = (
        st.lists(IDS, min_size=1, max_size=1),
        st.lists(IDS, min_size=2, max_size=2, unique=True),
    )
    before, after = (many, few) if kind == "merge" else (few, many)
    return EditOp(
        operation_id=draw(TEXT),
        kind=kind,
        before_ids=tuple(sorted(draw(before))),
        after_ids=tuple(sorted(draw(after))),
        point_nm=draw(POINTS),
        cluster_id=draw(IDS),
        dataset=draw(TEXT),
        version="1",
        volume="a",
        source="test",
        timestamp=draw(st.none() | st.integers(0, 2**40)),
        facts={"user": draw(TEXT), "n": draw(st.integers(0, 2**53))},
        source_points_nm=tuple(draw(st.lists(POINTS, max_size=2))),
        sink_points_nm=tuple(draw(st.lists(POINTS, max_size=2))),
    )


def op(number: int = 1) -> EditOp:
    return EditOp(
        str(number), "merge", (2**63, 2**64 - 1), (5,), (1.5, 2, 3), 5, "d", "1", "a", "t"
    )


@settings(max_examples=40, deadline=None)
@given(ops=st.lists(edits(), max_size=4))
def test_every_edit_comes_back_as_it_was_from_both_forms(tmp_path_factory, ops):
    frozen = freeze(tmp_path_factory.mktemp("f") / "x", ops, facts={"source": "test"})
    assert list(frozen.edits()) == ops
    assert list(read_edit_lines(frozen.folder / "edits.jsonl")) == ops


def test_it_accounts_for_every_operation_and_names_what_is_missing(tmp_path):
    outcomes = [
        op(1),
        Outcome("2", "dropped", "undone", "by 3"),
        Outcome("3", "failed", "timeout"),
        Outcome("4", "failed", "timeout"),
    ]
    frozen = freeze(tmp_path / "x", outcomes, facts={"source": "test", "licence": "CC0-1.0"})
    closure = frozen.closure
    assert (closure.known, closure.kept, closure.closed) == (4, 1, True)
    assert (closure.dropped, closure.failed) == ({"undone": 1}, {"timeout": 2})
    assert list(frozen.outcomes()) == outcomes[1:]
    assert frozen.manifest["licence"] == "CC0-1.0"
    assert frozen.edit_set().excluded == {"undone": 1, "timeout": 2}


def test_the_same_history_gives_the_same_bytes(tmp_path):
    for name in "ab":
        freeze(tmp_path / name, [op(1), op(2), Outcome("3", "failed", "timeout")], facts={})
    files = sorted(p.name for p in (tmp_path / "a").iterdir())
    assert len(files) == 5
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_other_programs_read_it(tmp_path):
    freeze(tmp_path / "x", [op(7)], facts={})
    row = pq.read_table(tmp_path / "x" / "edits.parquet").to_pylist()[0]
    assert row["before_ids"] == [2**63, 2**64 - 1]
    line = json.loads((tmp_path / "x" / "edits.jsonl").read_text())
    assert line["before_ids"] == [str(2**63), str(2**64 - 1)]


@pytest.mark.parametrize(
    "name", ["edits.parquet", "edits.jsonl", "outcomes.parquet", "roots.parquet"]
)
def test_a_changed_file_is_refused(tmp_path, name):
    file = freeze(tmp_path / "x", [op()], facts={}).folder / name
    data = bytearray(file.read_bytes() or b"\n")
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(VerificationError, match=name):
        open_frozen(tmp_path / "x")
    file.unlink()
    with pytest.raises(VerificationError, match=name):
        open_frozen(tmp_path / "x")


def test_a_broken_source_leaves_nothing_behind(tmp_path):
    def broken():
        yield op()
        raise BadInputError("no more")

    with pytest.raises(BadInputError, match="no more"):
        freeze(tmp_path / "x", broken(), facts={})
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_left_alone(tmp_path):
    with pytest.raises(OutputError, match="exists"):
        freeze(tmp_path, [], facts={})


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": "other", "sha256": {}, "counts": {}}', '{"format": 1}']
)
def test_a_manifest_that_is_none_is_refused(tmp_path, text):
    with pytest.raises(BadInputError, match="not a frozen"):
        open_frozen(tmp_path)
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(SchemaError, match="manifest"):
        open_frozen(tmp_path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("kind", "cut"),
        ("before_ids", ["1"]),
        ("before_ids", ["1", "1"]),
        ("before_ids", [1.0, 2.0]),
        ("before_ids", ["0", "1"]),
        ("before_ids", ["-1", "1"]),
        ("before_ids", ["1", str(2**64)]),
        ("after_ids", []),
        ("point_nm", [1, 2]),
        ("point_nm", [1, 2, float("nan")]),
        ("point_nm", None),
        ("cluster_id", "x"),
        ("dataset", "a\nb"),
        ("dataset", 3),
        ("facts", "[]"),
        ("facts", "{"),
        ("timestamp", "soon"),
        ("sides_in", "elsewhere"),
        ("cut", [["1"], ["2"]]),
        ("extra", 1),
    ],
)
def test_a_line_that_is_no_edit_is_named(tmp_path, field, value):
    row = json.loads(edit_json(edit_row(op()))) | {field: value}
    with pytest.raises(SchemaError, match="line 2 is no edit"):
        edit_of_row(row, where="line 2")


def test_lines_of_other_files_are_refused_by_number(tmp_path):
    file = tmp_path / "e.jsonl"
    file.write_text(edit_json(edit_row(op())) + "\nnot json\n")
    with pytest.raises(SchemaError, match="line 2"):
        list(read_edit_lines(file))
    with pytest.raises(BadInputError, match="cannot read"):
        list(read_edit_lines(tmp_path / "absent"))
