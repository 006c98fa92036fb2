"""From one version to the other and back; what is lost is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from segmend.apps.cli.main import segmend
from segmend.core.errors import BadInputError, OutputError, ReadFailedError
from segmend.shards.layout import PLAN_FILE
from segmend.shards.leaks import accepted_leaks
from segmend.shards.migrate import migrate
from segmend.shards.reader import Benchmark
from segmend.shards.rows import decode_row
from segmend.shards.verify import verify
from segmend.shards.versions import LOSSES


def rows_of(folder: Path) -> list[dict]:
    return [
        row
        for split in ("train", "val", "test")
        for path in sorted((folder / split).glob("*.parquet"))
        for row in pq.read_table(path).to_pylist()
    ]


@pytest.fixture(scope="module")
def newer(published_v1: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The v1 stand-in in v2."""
    out = tmp_path_factory.mktemp("migrated") / "v2"
    done = migrate(Benchmark.open(published_v1), out, "v2")
    assert done.rows == 12
    assert set(done.losses) <= set(LOSSES)
    return out


def test_a_migrated_benchmark_is_intact_and_reads_as_the_original_of_v2(
    newer: Path, published: Path
) -> None:
    found = verify(newer)
    assert found.ok, found.problems
    pairs = zip(rows_of(newer), rows_of(published), strict=True)
    for new, true in pairs:
        for column in ("sample_type", "split", "task_routing", "same_neuron", "present_slots"):
            assert new[column] == true[column]
        for label in ("false_split_correction_label", "false_merge_identification_label"):
            assert new[label] == true[label]
        a, b = (decode_row(row, ["geometry", "em_best_before"]) for row in (new, true))
        assert all(np.array_equal(a[c], b[c]) for c in a)


def test_what_v1_called_a_row_is_kept_and_comes_back(
    newer: Path, published_v1: Path, tmp_path: Path
) -> None:
    old, new = rows_of(published_v1), rows_of(newer)
    for before, after in zip(old, new, strict=True):
        metadata = json.loads(after["metadata"])
        assert metadata["v1_combined_sample_hash"] == before["combined_sample_hash"]
        assert after["source_archive"] in (
            f"unified_{before['species']}",
            f"unified_controls_{before['species']}",
        )
    migrate(Benchmark.open(newer), tmp_path / "v1", "v1")
    assert verify(tmp_path / "v1").ok
    for before, again in zip(old, rows_of(tmp_path / "v1"), strict=True):
        for column in ("combined_sample_hash", "source_archive", "has_dual_mask", "em_xy"):
            assert again[column] == before[column]
        for label in ("false_split_correction_label", "false_merge_identification_label"):
            assert again[label] is before[label]


def test_losses_are_counted_and_on_the_card(bench: Path, tmp_path: Path) -> None:
    out = tmp_path / "v1"
    result = CliRunner().invoke(
        segmend, ["migrate", str(bench), "--to", "v1", "--out", str(out), "--json"]
    )
    told = json.loads(result.stdout)
    kinds = [row["sample_type"] for row in rows_of(bench)]
    assert told["losses"]["render_from_masks"] == kinds.count("split_edit")
    assert told["losses"]["archive_kept"] == told["rows"] == len(kinds)
    assert "(`render_from_masks`)" in (out / "README.md").read_text()
    assert Benchmark.open(out).version == "v1"
    assert verify(out).ok


def test_accepted_leaks_outlive_migrations(bench: Path, tmp_path: Path) -> None:
    """Without a plan the card says them: `segmend evaluate` prints them beside every score."""
    original = tmp_path / "original"
    shutil.copytree(bench, original)
    plan = {"accepted_leaks": ["view", "lineage"], "sources": []}
    (original / PLAN_FILE).write_text(json.dumps(plan))
    migrate(Benchmark.open(original), tmp_path / "v1", "v1")
    migrate(Benchmark.open(tmp_path / "v1"), tmp_path / "v2", "v2")
    for version in ("v1", "v2"):
        migrated = tmp_path / version
        assert not (migrated / PLAN_FILE).exists()
        assert accepted_leaks(Benchmark.open(migrated).source) == ("view", "lineage")
    card = (tmp_path / "v2" / "README.md").read_text()
    (tmp_path / "v2" / "README.md").write_text(card.replace('["view", "lineage"]', '["view"'))
    with pytest.raises(ReadFailedError, match=r"README\.md"):
        accepted_leaks(Benchmark.open(tmp_path / "v2").source)


def test_nothing_is_migrated_to_where_it_is(bench: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="schema v2 already"):
        migrate(Benchmark.open(bench), tmp_path / "out", "v2")
    with pytest.raises(OutputError, match="exists already"):
        migrate(Benchmark.open(bench), bench, "v1")
