"""Results: right numbers beside honest intervals, and refusals."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pyarrow as pa
import pytest
from sklearn import metrics as peer

from segmend.core.errors import BadInputError, NoSamplesError, ReadFailedError
from segmend.evaluate.evaluate import Judging, evaluate
from segmend.evaluate.result import Result
from segmend.evaluate.scored_rows import scored_rows
from segmend.evaluate.scores import Resampling
from segmend.evaluate.tables import result_text
from segmend.metrics.calibration import (
    apply_temperature,
    expected_calibration_error,
    fit_temperature,
)
from segmend.metrics.cuts import cut_f_score, split_mask_rand
from segmend.metrics.masks import split_mask_iou
from segmend.models.model import pack_masks
from segmend.shards.layout import PLAN_FILE
from segmend.shards.leaks import accepted_leaks
from segmend.shards.reader import Benchmark
from segmend.shards.rows import decode_row
from segmend.tasks.registry import TASKS
from segmend.testing.rows import random_benchmark

SCHEMA = Path(__file__).parents[2] / "docs" / "result.schema.json"
QUICK = Judging(resampling=Resampling(resamples=100))


def labels_of(
    benchmark: Benchmark, task: str, hashes: tuple[str, ...], split: str = "test"
) -> np.ndarray:
    sidecar = benchmark.sidecar(split).to_pylist()
    labels = {row["combined_sample_hash"]: row[f"{task}_label"] for row in sidecar}
    return np.array([labels[key] for key in hashes])


def test_scores_equal_a_join_by_hand_and_scikit_learn(benchmark, labelled) -> None:
    result = evaluate(benchmark, labelled, judging=QUICK)
    labels, scores = labels_of(benchmark, labelled.task, labelled.hashes), labelled.scores
    expected = {
        "auroc": peer.roc_auc_score(labels, scores),
        "average_precision": peer.average_precision_score(labels, scores),
        "balanced_accuracy": peer.balanced_accuracy_score(labels, scores >= 0.5),
    }
    for name, value in expected.items():
        assert result.score(name).value == pytest.approx(value)
    assert (result.n_rows, result.n_positives) == (9, 4)
    assert result.score("average_precision").chance == pytest.approx(4 / 9)
    assert result.score("auroc").chance == 0.5


def test_intervals_hold_the_score_and_say_that_neurons_are_few(benchmark, labelled) -> None:
    result = evaluate(benchmark, labelled, judging=QUICK)
    for score in result.scores[:3]:
        assert score.low <= score.value <= score.high
    assert result.few_clusters
    assert "likely too narrow" in result_text(result)


def test_groups_give_recall_per_species_and_sample_type(benchmark, labelled) -> None:
    result = evaluate(benchmark, labelled, judging=QUICK)
    labels = labels_of(benchmark, labelled.task, labelled.hashes)
    found = {group.sample_type: group for group in result.groups}
    assert {name: group.n_rows for name, group in found.items()} == {
        "adjacent_control": 5,
        "merge_edit": 4,
    }
    assert found["merge_edit"].label == 1
    recall = np.mean(labelled.scores[labels == 1] >= 0.5)
    assert found["merge_edit"].score.value == pytest.approx(recall)


def test_the_order_of_predictions_does_not_matter(benchmark, labelled) -> None:
    turned = replace(labelled, hashes=labelled.hashes[::-1], scores=labelled.scores[::-1])
    assert evaluate(benchmark, turned, judging=QUICK) == evaluate(
        benchmark, labelled, judging=QUICK
    )


def targets_of(benchmark: Benchmark, hashes: tuple[str, ...]) -> list[np.ndarray]:
    task = TASKS["split_mask_generation"]
    positions = task.rows(benchmark.sidecar("test"))
    columns = ("combined_sample_hash", *task.label_columns)
    rows = benchmark.read_rows(positions, columns).to_pylist()
    targets = {r["combined_sample_hash"]: task.target(decode_row(r, columns)) for r in rows}
    return [targets[key] for key in hashes]


def test_masks_are_joined_by_hash_and_the_truth_scores_one(benchmark, masked) -> None:
    targets = targets_of(benchmark, masked.hashes)
    result = evaluate(benchmark, masked, judging=QUICK)
    expected = np.mean([split_mask_iou(masked.mask(i), t) for i, t in enumerate(targets)])
    assert result.score("miou").value == pytest.approx(expected)
    assert result.score("miou").chance is None
    for name, metric in (("adjusted_rand", split_mask_rand), ("cut_f_score", cut_f_score)):
        values = [metric(masked.mask(i), t) for i, t in enumerate(targets)]
        assert result.score(name).value == pytest.approx(np.nanmean(values))
    truth = replace(masked, packed_masks=pack_masks([t == 0 for t in targets]))
    best = evaluate(benchmark, truth, chance=masked, judging=QUICK)
    assert best.score("miou").value == 1
    assert best.score("miou").chance == pytest.approx(expected)
    assert best.n_positives is None


def test_a_split_without_positives_is_refused_with_its_count(predict, tmp_path: Path) -> None:
    one = Benchmark.open(random_benchmark(tmp_path / "one", {"test": {"adjacent_control": 3}}))
    with pytest.raises(NoSamplesError, match="3 rows, all of label 0"):
        evaluate(one, predict(one, "false_split_correction"), judging=QUICK)


def test_a_split_of_positives_alone_gives_null_with_a_reason(predict, tmp_path: Path) -> None:
    one = Benchmark.open(random_benchmark(tmp_path / "one", {"test": {"merge_edit": 3}}))
    score = evaluate(one, predict(one, "false_split_correction"), judging=QUICK).score("auroc")
    assert (score.value, score.low, score.reason) == (None, None, "undefined on these rows")


def test_an_undefined_score_is_null_with_a_reason(benchmark, labelled) -> None:
    silent = replace(labelled, scores=np.zeros(len(labelled.hashes)))
    judging = replace(QUICK, base_rate=0.1)
    score = evaluate(benchmark, silent, judging=judging).score("precision_at_base_rate")
    assert (score.value, score.low, score.reason) == (None, None, "undefined on these rows")
    text = evaluate(benchmark, silent, judging=judging).to_json()
    assert "null" in text
    assert "NaN" not in text


def test_every_figure_of_a_binary_task_stands_beside_what_needs_no_model(
    benchmark, labelled
) -> None:
    result = evaluate(benchmark, labelled, judging=replace(QUICK, base_rate=0.02))
    chance = {score.name: score.chance for score in result.scores}
    share = 4 / 9
    assert chance == {
        "balanced_accuracy": 0.5,
        "accuracy": pytest.approx(1 - share),
        "auroc": 0.5,
        "average_precision": pytest.approx(share),
        "recall_at_precision_90": None,
        "recall_at_precision_95": None,
        "recall_at_precision_99": None,
        "brier": pytest.approx(share * (1 - share)),
        "ece": None,
        "aurc": None,
        "precision_at_base_rate": 0.02,
    }
    assert result.base_rate == 0.02
    assert "supposes a share of 0.02" in result_text(result)


def test_calibration_is_fitted_on_one_split_and_judged_on_another(
    both_splits, tmp_path: Path
) -> None:
    bench, predict = both_splits
    validation = predict(bench, "false_split_correction", split="validation")
    test = predict(bench, "false_split_correction", split="test")
    result = evaluate(bench, test, judging=replace(QUICK, validation=validation))
    labels = labels_of(bench, test.task, test.hashes)
    fitted = fit_temperature(
        labels_of(bench, test.task, validation.hashes, split="validation"), validation.scores
    )
    assert result.temperature == pytest.approx(fitted)
    expected = expected_calibration_error(labels, apply_temperature(test.scores, fitted))
    assert result.score("ece_calibrated").value == pytest.approx(expected)
    assert "Calibrated with temperature" in result_text(result)
    for wrong, complaint in (
        (test, "other rows than it is judged on"),
        (replace(validation, run="another"), "says nothing about another"),
        (replace(validation, hashes=validation.hashes[1:]), "have no prediction"),
    ):
        with pytest.raises(BadInputError, match=complaint):
            evaluate(bench, test, judging=replace(QUICK, validation=wrong))


def test_masks_have_no_base_rate(benchmark, masked) -> None:
    with pytest.raises(BadInputError, match="'base_rate' means nothing"):
        evaluate(benchmark, masked, judging=replace(QUICK, base_rate=0.1))


def test_a_split_without_rows_is_named(benchmark, labelled) -> None:
    with pytest.raises(NoSamplesError, match=r"false_split_correction' in split 'validation'"):
        evaluate(benchmark, replace(labelled, split="validation"))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"benchmark": "0" * 64}, "were not made on"),
        ({"task_version": "0"}, "answer another question"),
    ],
)
def test_predictions_for_something_else_are_refused(benchmark, labelled, change, complaint) -> None:
    with pytest.raises(BadInputError, match=complaint):
        evaluate(benchmark, replace(labelled, **change))


def test_chance_for_another_task_is_refused(benchmark, labelled, masked) -> None:
    with pytest.raises(BadInputError, match="another question"):
        evaluate(benchmark, masked, chance=labelled)


@pytest.mark.parametrize(("value", "complaint"), [(np.nan, "not a number"), (1.5, "probability")])
def test_scores_made_in_memory_are_checked_as_those_of_a_file(
    benchmark, labelled, value, complaint
) -> None:
    scores = labelled.scores.copy()
    scores[:2] = value
    with pytest.raises(BadInputError, match=rf"2 scores .*{complaint}.*{labelled.hashes[0]}"):
        evaluate(benchmark, replace(labelled, scores=scores))
    with pytest.raises(BadInputError, match="scores of shape"):
        evaluate(benchmark, replace(labelled, scores=scores[1:]))


def test_rows_of_another_task_are_counted(benchmark, labelled, predict) -> None:
    other = predict(benchmark, "false_merge_identification")
    wrong = replace(other, task=labelled.task)
    with pytest.raises(BadInputError, match=r"9 rows of 'false_split_correction'.*no prediction"):
        evaluate(benchmark, wrong)


def test_incomplete_predictions_are_refused(benchmark, labelled) -> None:
    part = replace(labelled, hashes=labelled.hashes[1:], scores=labelled.scores[1:])
    with pytest.raises(BadInputError, match=r"1 rows of .* have no prediction"):
        evaluate(benchmark, part)


def test_neurons_of_equal_number_in_other_volumes_are_others(benchmark, monkeypatch) -> None:
    sidecar = benchmark.sidecar("test")

    def neurons(**columns: list[object]) -> tuple[int, int]:
        changed = sidecar
        for name, values in columns.items():
            index, field = changed.column_names.index(name), changed.schema.field(name)
            changed = changed.set_column(index, field, pa.array(values, field.type))
        monkeypatch.setattr(benchmark, "sidecar", lambda _: changed)
        rows = scored_rows(benchmark, TASKS["false_split_correction"], "test")
        return len(set(rows.clusters.tolist())), rows.unclustered

    n = sidecar.num_rows
    halves = ["a"] * (n // 2) + ["b"] * (n - n // 2)
    assert neurons(cluster_id=[7] * n) == (1, 0)
    assert neurons(cluster_id=[7] * n, volume=halves) == (2, 0)
    assert neurons(cluster_id=[None] * n) == (9, 9)


def test_accepted_leaks_come_from_the_plan(benchmark, labelled, tmp_path) -> None:
    assert accepted_leaks(benchmark.source) == ()
    plan = benchmark.folder / PLAN_FILE
    try:
        plan.write_text(json.dumps({"accepted_leaks": ["view", "lineage"]}))
        result = evaluate(benchmark, labelled, judging=QUICK)
        assert result.accepted_leaks == ("view", "lineage")
        assert "accepted leaks: view, lineage" in result_text(result)
        plan.write_text('{"accepted_leaks": "view"}')
        with pytest.raises(BadInputError, match="must list its accepted_leaks"):
            accepted_leaks(benchmark.source)
        plan.write_text("{")
        with pytest.raises(ReadFailedError, match=r"plan\.json"):
            accepted_leaks(benchmark.source)
    finally:
        plan.unlink()


def test_a_result_survives_json_and_is_validated(benchmark, labelled) -> None:
    result = evaluate(benchmark, labelled, judging=QUICK)
    assert Result.from_json(result.to_json()) == result
    data = json.loads(result.to_json())
    jsonschema.validate(data, json.loads(SCHEMA.read_text()))
    assert data["environment"]["numpy"] == np.__version__
    for change, complaint in (
        ({"n_rows": "nine"}, r"n_rows"),
        ({"surprise": 1}, "surprise"),
        ({"format": 1}, "format 1"),
    ):
        with pytest.raises(BadInputError, match=complaint):
            Result.from_json(json.dumps(data | change))
    del data["scores"]
    with pytest.raises(BadInputError, match="scores"):
        Result.from_json(json.dumps(data))


def test_the_table_shows_every_score_beside_chance(benchmark, labelled) -> None:
    text = result_text(evaluate(benchmark, labelled, judging=QUICK))
    for word in ("balanced accuracy", "auroc", "average precision", "ece", "chance", "made up"):
        assert word in text
    assert "synthetic merge_edit (n=4)" in text


def test_a_score_that_a_result_lacks_is_named(benchmark, labelled) -> None:
    with pytest.raises(BadInputError, match=r"no 'miou'.*auroc"):
        evaluate(benchmark, labelled, judging=QUICK).score("miou")
