"""Two models on the same rows: differences, and intervals of the difference."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from segmend.core.errors import BadInputError
from segmend.evaluate.compare import compare
from segmend.evaluate.evaluate import Judging, evaluate
from segmend.evaluate.scores import Resampling
from segmend.evaluate.tables import comparison_text

RESAMPLING = Resampling(resamples=100)


def test_a_difference_is_that_of_the_two_results(benchmark, labelled) -> None:
    other = replace(labelled, model="other", scores=1 - labelled.scores)
    found = compare(benchmark, labelled, other, resampling=RESAMPLING)
    results = [
        evaluate(benchmark, p, judging=Judging(resampling=RESAMPLING)) for p in (labelled, other)
    ]
    for difference in found.differences:
        ours, theirs = (result.score(difference.name).value for result in results)
        assert difference.value == pytest.approx(ours - theirs)
    text = comparison_text(found)
    assert "made up (a run) minus other (a run)" in text
    assert json.loads(found.to_json())["n_rows"] == 9


def test_equal_predictions_differ_by_nothing_on_every_resample(benchmark, labelled, masked) -> None:
    for predictions in (labelled, masked):
        turned = replace(predictions, run="again")
        for difference in compare(
            benchmark, predictions, turned, resampling=RESAMPLING
        ).differences:
            assert (difference.value, difference.low, difference.high) == (0, 0, 0)


def test_the_interval_of_a_difference_is_narrower_than_differences_of_intervals(
    both_splits,
) -> None:
    bench, predict = both_splits
    one = predict(bench, "false_split_correction")
    near = replace(one, scores=np.clip(one.scores + 0.01, 0, 1))
    brier = next(
        d for d in compare(bench, one, near, resampling=RESAMPLING).differences if d.name == "brier"
    )
    alone = evaluate(bench, one, judging=Judging(resampling=RESAMPLING)).score("brier")
    assert brier.high - brier.low < (alone.high - alone.low) / 3


def test_other_rows_cannot_be_compared(benchmark, labelled, masked) -> None:
    with pytest.raises(BadInputError, match="another question"):
        compare(benchmark, labelled, masked)
    with pytest.raises(BadInputError, match="not made on"):
        compare(benchmark, labelled, replace(labelled, benchmark="0" * 64))
    part = replace(labelled, hashes=labelled.hashes[1:], scores=labelled.scores[1:])
    with pytest.raises(BadInputError, match="no prediction"):
        compare(benchmark, labelled, part)
