"""The main job on real tissue, as the README tells a newcomer to do it, on a reduced count."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from segmend.evaluate.result import Result

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
FEW = "samples.max_rows={merge_edit=60, adjacent_control=60, split_edit=45, junction_control=45}"


@pytest.fixture(scope="module")
def bench(segmend, shared_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("real")
    path = shared_data / "fib25" / "fib25.h5"
    built = segmend(
        "build", ROOT / "examples" / "fib25.toml", "--out", folder / "bench", "--json",
        "--set", FEW, "--set", f'sources.0.path="{path}"', "--set", "shards.rows=40",
    )  # fmt: skip
    said = json.loads(built.stdout)
    assert said["planned"] == said["committed"] == 210
    assert said["failed"] == {}
    return folder / "bench"


def test_the_benchmark_verifies_and_names_its_leaks(segmend, bench):
    assert "210 rows" in segmend("verify", bench).stdout
    said = json.loads(segmend("verify", bench, "--json").stdout)
    assert said["intact"]
    assert said["counts"]["split_edit/test"] >= 1
    card = (bench / "README.md").read_text()
    assert "view, lineage" in card
    assert "Takemura" in card


def test_a_flipped_bit_is_found_and_named(segmend, bench, tmp_path):
    copy = shutil.copytree(bench, tmp_path / "copy")
    shard = copy / "test" / "test-00000.parquet"
    raw = bytearray(shard.read_bytes())
    raw[len(raw) // 2] ^= 1
    shard.write_bytes(bytes(raw))
    done = segmend("verify", copy, status=6)
    assert "test/test-00000.parquet" in done.stderr
    assert "not intact" in done.stderr
    assert not json.loads(segmend("verify", copy, "--json", status=6).stdout)["intact"]


def test_train_predict_evaluate_and_report(segmend, bench, tmp_path):
    segmend("train", "false_split_correction", bench, "--out", tmp_path / "run")
    predictions = tmp_path / "p.parquet"
    segmend("predict", tmp_path / "run", bench, "--split", "test", "--out", predictions)
    shown = segmend("evaluate", bench, predictions)
    assert "accepted leaks: view, lineage" in shown.stdout
    result = Result.from_json(segmend("evaluate", bench, predictions, "--json").stdout)
    assert result.model == "geometry"
    assert result.score("auroc").chance == 0.5
    assert 0 < result.score("auroc").low <= result.score("auroc").high <= 1
    segmend("report", bench, "--predictions", predictions, "--out", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "Accepted leaks: view, lineage" in page
    assert f"{result.score('auroc').value:.3f}" in page


def test_without_names_a_run_goes_where_the_help_says(segmend, bench, tmp_path):
    segmend("train", "false_merge_identification", bench, "--model", "chance", cwd=tmp_path)
    assert (tmp_path / "runs" / "bench-false_merge_identification-chance" / "config.json").is_file()
