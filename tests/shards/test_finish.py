from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from segmend.core.errors import NoSamplesError, VerificationError
from segmend.core.sample import ROW_SCHEMA, SAMPLE_TYPES
from segmend.shards.card import CardFacts, Source, card_text
from segmend.shards.finish import finish
from segmend.shards.layout import read_shards_csv, shard_path
from segmend.shards.verify import verify
from segmend.shards.writer import write_shard
from segmend.testing.rows import STANDIN_FACTS, random_row, random_rows

PUBLISHED_SIDECAR = [
    "combined_sample_hash",
    "source_archive_sample_hash",
    "source_archive",
    "sample_type",
    "same_neuron",
    "has_em",
    "has_after_mask",
    "task_routing",
    "false_split_correction_label",
    "false_merge_identification_label",
    "split",
    "species",
    "shard",
]


def header(text: str) -> dict:
    return yaml.safe_load(text.split("---\n")[1])


def test_sidecars_start_with_the_published_columns(bench: Path) -> None:
    table = pq.read_table(bench / "metadata/val.parquet")
    assert table.column_names[:13] == PUBLISHED_SIDECAR
    shard = pq.read_table(bench / "val/val-00000.parquet").to_pylist()
    for said, row in zip(table.to_pylist(), shard, strict=True):
        assert {c: said[c] for c in PUBLISHED_SIDECAR[:-1]} == {
            c: row[c] for c in PUBLISHED_SIDECAR[:-1]
        }
        assert said["shard"] == "val/val-00000.parquet"


def test_sidecars_say_where_a_row_lies(bench: Path) -> None:
    for said in pq.read_table(bench / "metadata/train.parquet").to_pylist():
        file = pq.ParquetFile(bench / said["shard"])
        row = file.read_row_group(said["row_group"]).slice(said["row"], 1).to_pylist()[0]
        assert row["combined_sample_hash"] == said["combined_sample_hash"]


def test_sidecars_hold_sites_and_exact_ids(bench: Path) -> None:
    table = pq.read_table(bench / "metadata/train.parquet")
    assert table.schema.field("root_ids").type.value_type == pa.uint64()
    rows = pa.concat_tables(pq.read_table(p) for p in sorted(bench.glob("train/*"))).to_pylist()
    anchors = {"junction_control": "interface_point_nm", "synapse_control": "synapse_ctr_pt_nm"}
    for said, row in zip(table.to_pylist(), rows, strict=True):
        metadata = json.loads(row["metadata"])
        point = metadata[anchors.get(row["sample_type"], "edit_point_nm")]
        assert [said[f"anchor_{axis}_nm"] for axis in "xyz"] == point
        assert [str(i) for i in said["root_ids"]] == metadata["root_ids"]
        assert str(said["cluster_id"]) == metadata["cluster_id"]
        assert said["segment_voxels"] == metadata["segment_voxels"]
        assert said["cluster_id"] > 2**53


def test_the_site_of_our_rows_goes_before_the_published_points(tmp_path: Path) -> None:
    metadata = {"anchor_nm": [1.0, 2.0, 3.0], "edit_point_nm": [9.0, 9.0, 9.0]}
    row = random_row("adjacent_control", 0) | {"metadata": json.dumps(metadata)}
    finish(tmp_path, [write_shard(tmp_path / shard_path("train", 0), [row])], STANDIN_FACTS)
    (said,) = pq.read_table(tmp_path / "metadata/train.parquet").to_pylist()
    assert [said[f"anchor_{axis}_nm"] for axis in "xyz"] == [1.0, 2.0, 3.0]


def test_metadata_without_our_keys_give_nulls(tmp_path: Path) -> None:
    row = random_row("merge_edit", 0) | {"metadata": '{"operation_id": "1"}'}
    record = write_shard(tmp_path / shard_path("train", 0), [row])
    finish(tmp_path, [record], STANDIN_FACTS)
    (said,) = pq.read_table(tmp_path / "metadata/train.parquet").to_pylist()
    assert said["cluster_id"] is said["anchor_x_nm"] is said["dataset"] is None
    assert said["root_ids"] == []
    assert verify(tmp_path).ok


def test_the_demo_holds_up_to_four_rows_of_each_type(tmp_path: Path) -> None:
    rows = list(random_rows({"merge_edit": 6, "split_edit": 2}, split="test"))
    record = write_shard(tmp_path / shard_path("test", 0), rows)
    finish(tmp_path, [record], STANDIN_FACTS)
    demo = pq.read_table(tmp_path / "demo.parquet").to_pylist()
    assert Counter(r["sample_type"] for r in demo) == {"merge_edit": 4, "split_edit": 2}
    by_key = {row["combined_sample_hash"]: row for row in rows}
    assert all(row == by_key[row["combined_sample_hash"]] for row in demo)


AGAIN = """
import sys
from pathlib import Path
from segmend.shards.finish import finish
from segmend.shards.layout import read_shards_csv
from segmend.testing.rows import STANDIN_FACTS
folder = Path(sys.argv[1])
finish(folder, read_shards_csv(folder)[::-1], STANDIN_FACTS)
"""


def test_finishing_again_in_another_process_changes_no_byte(damaged: Path) -> None:
    before = {p: p.read_bytes() for p in damaged.rglob("*") if p.is_file()}
    subprocess.run(
        [sys.executable, "-c", AGAIN, str(damaged)],
        check=True,
        env=os.environ | {"PYTHONHASHSEED": "5"},
    )
    assert {p: p.read_bytes() for p in damaged.rglob("*") if p.is_file()} == before


def test_an_unfinished_folder_has_no_list(damaged: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = read_shards_csv(damaged)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("segmend.shards.finish.write_card", killed)
    with pytest.raises(KeyboardInterrupt):
        finish(damaged, records, STANDIN_FACTS)
    assert not (damaged / "shards.csv").exists()
    monkeypatch.undo()
    finish(damaged, records, STANDIN_FACTS)
    assert verify(damaged).ok


def test_a_split_that_is_gone_leaves_no_sidecar(damaged: Path) -> None:
    records = [r for r in read_shards_csv(damaged) if r.split != "test"]
    (damaged / "test/test-00000.parquet").unlink()
    finish(damaged, records, STANDIN_FACTS)
    assert not (damaged / "metadata/test.parquet").exists()
    assert verify(damaged).ok
    configured = header((damaged / "README.md").read_text())["configs"][0]["data_files"]
    assert [entry["split"] for entry in configured] == ["train", "validation"]


def test_a_shard_that_is_not_the_committed_one_is_refused(damaged: Path) -> None:
    records = list(read_shards_csv(damaged))
    records[0] = replace(records[0], sha256="0" * 64)
    with pytest.raises(VerificationError, match="not the shard that was committed"):
        finish(damaged, records, STANDIN_FACTS)


def test_a_key_in_two_shards_is_refused(tmp_path: Path) -> None:
    records = [
        write_shard(tmp_path / shard_path(split, 0), [random_row("merge_edit", 0, split=split)])
        for split in ("train", "test")
    ]
    with pytest.raises(VerificationError, match="1 primary keys occur more than once"):
        finish(tmp_path, records, STANDIN_FACTS)


def test_nothing_cannot_be_finished(tmp_path: Path) -> None:
    with pytest.raises(NoSamplesError):
        finish(tmp_path, [], STANDIN_FACTS)


# --- card -------------------------------------------------------------------------------------

FACTS = CardFacts(
    pretty_name='A "quoted": name',
    summary="Summary.",
    license="cc-by-4.0",
    sources=(Source("FIB-25", "CC BY 4.0", "Takemura et al. 2015", "https://example.org"),),
    provenance=("Plan `abc`.",),
    accepted_leaks=("view", "lineage"),
    left_out={"merge: too | small": 12},
)


def test_the_header_is_yaml_that_names_what_exists() -> None:
    counts = {("merge_edit", "train"): 900, ("split_edit", "test"): 200}
    found = header(card_text(FACTS, counts))
    assert found["pretty_name"] == FACTS.pretty_name
    assert found["license"] == "cc-by-4.0"
    assert found["size_categories"] == ["1K<n<10K"]
    default, demo = found["configs"]
    assert default["default"] is True
    assert default["data_files"] == [
        {"split": "train", "path": "train/train-*.parquet"},
        {"split": "test", "path": "test/test-*.parquet"},
    ]
    assert demo["data_files"] == [{"split": "demo", "path": "demo.parquet"}]


def test_the_body_tells_counts_leaks_reasons_and_columns() -> None:
    text = card_text(FACTS, {("merge_edit", "train"): 1900, ("merge_edit", "test"): 200})
    assert "| merge_edit | 1,900 | 0 | 200 |" in text
    assert "| **all** | 1,900 | 0 | 200 |" in text
    assert "**view, lineage**" in text
    assert "| merge: too / small | 12 |" in text
    assert (
        "[FIB-25](https://example.org) | CC BY 4.0 | nothing stated | Takemura et al. 2015 |"
        in text
    )
    for field in ROW_SCHEMA:
        assert f"| `{field.name}` |" in text
    for kind in SAMPLE_TYPES.values():
        assert kind.doc in text


def test_a_card_without_leaks_says_so() -> None:
    assert "No leak between splits was accepted" in card_text(replace(FACTS, accepted_leaks=()), {})
