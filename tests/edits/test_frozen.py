"""A frozen history re-reads exactly, or says what is wrong with it."""

from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings

from segmend.core.errors import BadInputError, OutputError, SchemaError, VerificationError
from segmend.edits.edit_files import read_edits
from segmend.edits.frozen import Outcome, freeze, open_frozen
from segmend.edits.frozen_manifest import FORMAT
from segmend.edits.operation import EditOp
from segmend.testing.edits import edit_lists


def op(number: int = 1) -> EditOp:
    return EditOp(
        str(number), "merge", (2**63, 2**64 - 1), (5,), (1.5, 2, 3), 5, "d", "1", "a", "t"
    )


@settings(max_examples=40, deadline=None)
@given(ops=edit_lists())
def test_every_edit_comes_back_as_it_was_from_both_forms(tmp_path_factory, ops):
    frozen = freeze(tmp_path_factory.mktemp("f") / "x", ops, facts={"source": "test"})
    assert list(frozen.edits()) == ops
    for name in ("edits.jsonl", "edits.parquet"):
        assert list(read_edits(frozen.folder / name)) == ops


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


COUNTS = '"counts": {"known": 0, "kept": 0, "dropped": {}, "failed": {}}'
HEAD = f'"format": "{FORMAT}", "sha256": {{}}'


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "[" * 100_000,
        "{}",
        '{"format": 1}',
        f'{{"format": "other", "sha256": {{}}, {COUNTS}}}',
        f'{{{HEAD}, "counts": {{}}}}',
        f'{{{HEAD}, "counts": {{"known": 1, "kept": "1", "dropped": {{}}, "failed": {{}}}}}}',
        f'{{{HEAD}, {COUNTS}, "controls": {{"synapse_control": {{"known": 1}}}}}}',
    ],
)
def test_a_manifest_that_is_none_is_refused(tmp_path, text):
    with pytest.raises(BadInputError, match="not a frozen"):
        open_frozen(tmp_path)
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(SchemaError, match="manifest"):
        open_frozen(tmp_path)
