"""``segmend evaluate`` and ``leaderboard``: one result in every form, several on a board."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from segmend.apps.cli.main import segmend
from segmend.core.errors import SegmendError
from segmend.evaluate.predictions import write_predictions
from segmend.evaluate.result import Result
from segmend.models.model import Predictions
from segmend.models.run import benchmark_sha256
from segmend.shards.reader import Benchmark
from segmend.testing.rows import random_benchmark

TASK = "false_split_correction"


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a benchmark and predictions of two models on two splits."""
    folder = tmp_path_factory.mktemp("scoreboard")
    rows = {"merge_edit": 5, "adjacent_control": 5}
    bench = Benchmark.open(random_benchmark(folder / "bench", {"validation": rows, "test": rows}))
    for split in ("validation", "test"):
        hashes = tuple(bench.sidecar(split)["combined_sample_hash"].to_pylist())
        scores = np.random.default_rng(0).random(len(hashes))
        one = Predictions(
            TASK, "1", "one", "runs-one", benchmark_sha256(bench), split, hashes, scores
        )
        write_predictions(folder / f"one-{split}.parquet", one)
        two = replace(one, model="two", scores=1 - scores)
        write_predictions(folder / f"two-{split}.parquet", two)
    return folder


def run(*arguments: object) -> str:
    result = CliRunner().invoke(segmend, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_result_is_written_in_the_form_its_name_says(scored: Path, tmp_path: Path) -> None:
    test = scored / "one-test.parquet"
    for ending in ("json", "md", "html"):
        run(
            "evaluate",
            scored / "bench",
            test,
            "--base-rate",
            0.05,
            "--out",
            tmp_path / f"r.{ending}",
        )
    result = Result.from_json((tmp_path / "r.json").read_text())
    text, page = (tmp_path / "r.md").read_text(), (tmp_path / "r.html").read_text()
    value = result.score("auroc").value
    assert f"| auroc | {value:.3f} |" in text
    assert "precision at base rate" in page
    assert "human annotators" in page
    assert "http" not in page.replace("https://arxiv", "")


def test_calibration_on_validation_reaches_the_result(scored: Path) -> None:
    shown = run(
        *("evaluate", scored / "bench", scored / "one-test.parquet", "--json"),
        *("--validation", scored / "one-validation.parquet"),
    )
    assert Result.from_json(shown).temperature is not None


def test_two_models_are_compared(scored: Path) -> None:
    files = (scored / "one-test.parquet", "--against", scored / "two-test.parquet")
    assert "one (runs-one) minus two" in run("evaluate", scored / "bench", *files)
    gains = json.loads(run("evaluate", scored / "bench", *files, "--json"))["differences"]
    assert {gain["name"] for gain in gains} >= {"auroc", "brier"}


def test_a_board_of_results(scored: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        out = tmp_path / f"{name}.json"
        run("evaluate", scored / "bench", scored / f"{name}-test.parquet", "--out", out)
    for ending in ("json", "md", "html"):
        run(
            "leaderboard",
            tmp_path / "one.json",
            tmp_path / "two.json",
            "--out",
            tmp_path / f"b.{ending}",
        )
        assert "two" in (tmp_path / f"b.{ending}").read_text()
    (board,) = json.loads(
        run("leaderboard", tmp_path / "one.json", tmp_path / "two.json", "--json")
    )
    assert len(board["results"]) == 2


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("one-test.parquet", "--out", "x.txt"), "End it .json, .md, .html"),
        (("one-test.parquet", "--out", "nowhere/x.json"), "its folder does not exist"),
        (("one-test.parquet", "--validation", "one-test.parquet"), "other rows than it is judged"),
        (("one-test.parquet", "--base-rate", "1.5"), "a base rate lies in"),
        (
            ("one-test.parquet", "--against", "two-test.parquet", "--base-rate", "0.1"),
            "goes with --json only",
        ),
        (("one-test.parquet", "--against", "two-validation.parquet"), "another question"),
    ],
)
def test_what_cannot_be_done_is_said(scored: Path, arguments, complaint) -> None:
    named = [scored / a if a.endswith("parquet") else a for a in arguments]
    with pytest.raises(SegmendError, match=re.escape(complaint)):
        run("evaluate", scored / "bench", *named)
