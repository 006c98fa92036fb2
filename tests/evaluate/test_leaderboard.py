"""Boards: only the same rows stand together, best first, and nothing is read past in silence."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from segmend.core.errors import BadInputError, NoSamplesError
from segmend.evaluate.evaluate import Judging, evaluate
from segmend.evaluate.leaderboard import boards, read_results, reference_figures
from segmend.evaluate.result import Result
from segmend.evaluate.scores import Resampling
from segmend.evaluate.tables import board_columns, board_markdown, board_rows, board_text
from segmend.tasks.registry import TASKS

JUDGING = Judging(resampling=Resampling(resamples=50))


@pytest.fixture(scope="session")
def results(both_splits) -> list[Result]:
    bench, predict = both_splits
    test = predict(bench, "false_split_correction")
    labels = dict(
        zip(
            bench.sidecar("test")["combined_sample_hash"].to_pylist(),
            bench.sidecar("test")["false_split_correction_label"].to_pylist(),
            strict=True,
        )
    )
    truth = np.array([labels[key] for key in test.hashes])
    models = {
        "blind": replace(test, model="blind", scores=np.full(len(truth), 0.4)),
        "oracle": replace(test, model="oracle", scores=0.1 + 0.8 * truth),
        "elsewhere": predict(bench, "false_split_correction", split="validation"),
    }
    return [evaluate(bench, p, judging=JUDGING) for p in models.values()]


def test_a_board_holds_one_split_and_is_sorted(results) -> None:
    found = boards([*results, *results])
    assert [[r.model for r in board.results] for board in found] == [
        ["oracle", "blind"],
        ["made up"],
    ]
    assert [board.split for board in found] == ["test", "validation"]
    assert {f.task for f in found[0].figures} == {"false_split_correction"}


def test_published_figures_name_their_data_and_source() -> None:
    for figure in reference_figures():
        assert figure.task in TASKS
        assert figure.data
        assert figure.source
        assert 0 < figure.value < 1


def test_tables_show_every_result_chance_and_figure(results) -> None:
    board = boards(results)[0]
    rows = board_rows(board)
    assert all(len(row) == len(board_columns(board)) for row in rows)
    assert [row[0] for row in rows[:3]] == ["oracle", "blind", "chance"]
    assert rows[0][2].startswith("1.000 [1.000")
    for text in (board_text(board), board_markdown(board)):
        for word in ("oracle", "human annotators", "other data", "arXiv 2606.21116"):
            assert word in text


def test_folders_are_searched_and_files_named_are_results_or_errors(
    results, tmp_path: Path
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "one.json").write_text(results[0].to_json())
    (tmp_path / "two.json").write_text(results[1].to_json())
    (tmp_path / "config.json").write_text('{"model": "cnn"}')
    assert read_results([tmp_path]) == results[:2]
    with pytest.raises(BadInputError, match=r"config\.json: this is not a result"):
        read_results([tmp_path / "config.json"])
    with pytest.raises(BadInputError, match="there is no"):
        read_results([tmp_path / "nothing"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(NoSamplesError, match="no results in"):
        read_results([tmp_path / "empty"])


@pytest.mark.parametrize("text", ["{", '{"scores": [], "groups": [], "task": "x"}'])
def test_a_damaged_result_in_a_folder_is_named(text, tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(BadInputError, match=r"bad\.json"):
        read_results([tmp_path])


def test_a_result_of_an_unknown_task_is_refused(results, tmp_path: Path) -> None:
    data = json.loads(results[0].to_json()) | {"task": "guessing"}
    (tmp_path / "odd.json").write_text(json.dumps(data))
    with pytest.raises(BadInputError, match="unknown task"):
        read_results([tmp_path / "odd.json"])
