"""Intervals over clusters against theory and against a slow bootstrap."""

from __future__ import annotations

import subprocess
import sys
import time
from functools import partial

import numpy as np
import pytest

from segmend.core.errors import BadInputError
from segmend.core.random import keyed_generator
from segmend.metrics.bootstrap import cluster_bootstrap, mean_resampled
from segmend.metrics.classification import auroc_resampled


def test_interval_of_a_mean_is_the_normal_one_over_clusters() -> None:
    generator = np.random.default_rng(1)
    clusters = np.repeat(np.arange(400), 5)
    values = generator.normal(size=400)[clusters] + 0.1 * generator.normal(size=2000)
    interval = cluster_bootstrap(partial(mean_resampled, values), clusters, n=4000)
    means = values.reshape(400, 5).mean(axis=1)
    half = 1.96 * means.std(ddof=1) / np.sqrt(400)
    assert interval.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert interval.high == pytest.approx(values.mean() + half, abs=0.1 * half)
    assert interval.n_clusters == 400
    assert not interval.few_clusters


def test_rows_of_one_cluster_are_not_taken_for_independent() -> None:
    values = np.repeat(np.random.default_rng(2).normal(size=50), 20)
    together = cluster_bootstrap(partial(mean_resampled, values), np.repeat(np.arange(50), 20))
    apart = cluster_bootstrap(partial(mean_resampled, values), np.arange(1000))
    ratio = (together.high - together.low) / (apart.high - apart.low)
    assert ratio == pytest.approx(np.sqrt(20), rel=0.15)


def test_weights_draw_whole_clusters_as_often_as_there_are() -> None:
    clusters = np.array([7, 7, 3, 9, 9, 9], dtype=np.uint64)
    seen: list[np.ndarray] = []

    def statistic(weights: np.ndarray) -> np.ndarray:
        seen.append(weights)
        return weights[:, 0]

    cluster_bootstrap(statistic, clusters, n=50)
    drawn = np.concatenate(seen)
    assert (drawn[:, 0] == drawn[:, 1]).all()
    assert (drawn[:, 3] == drawn[:, 5]).all()
    assert (drawn[:, [0, 2, 3]].sum(axis=1) == 3).all()


def test_undefined_resamples_are_redrawn_and_counted() -> None:
    labels = np.array([1, 0, 0, 0])
    statistic = partial(auroc_resampled, labels, np.array([0.5, 0.1, 0.6, 0.2]))
    interval = cluster_bootstrap(statistic, np.arange(4), n=300)
    # One positive among four clusters is missed with probability (3/4)**4 = 0.32.
    assert interval.redrawn / (300 + interval.redrawn) == pytest.approx(0.32, abs=0.08)
    assert np.isfinite([interval.low, interval.high]).all()
    assert interval.few_clusters


def test_a_statistic_that_is_never_defined_gives_no_interval_but_a_reason() -> None:
    interval = cluster_bootstrap(lambda w: np.full(len(w), np.nan), np.arange(5), n=10)
    assert np.isnan([interval.low, interval.high]).all()
    assert interval.reason.startswith("undefined on")


def test_one_cluster_gives_no_interval_but_a_reason() -> None:
    interval = cluster_bootstrap(partial(mean_resampled, np.arange(3.0)), [5, 5, 5])
    assert np.isnan(interval.low)
    assert interval.reason == "all rows belong to one cluster"


def test_result_depends_on_seed_alone_in_any_process() -> None:
    code = (
        "from functools import partial; import numpy as np;"
        "from segmend.metrics.bootstrap import cluster_bootstrap, mean_resampled;"
        "clusters = np.arange(60) // 2; statistic = partial(mean_resampled, np.arange(60.0));"
        "print(repr(cluster_bootstrap(statistic, clusters)))"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    statistic, clusters = partial(mean_resampled, np.arange(60.0)), np.arange(60) // 2
    here = cluster_bootstrap(statistic, clusters)
    assert other.stdout.strip() == repr(here)
    assert cluster_bootstrap(statistic, clusters, seed=1) != here


def test_chunks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, scores = np.arange(60) % 7 == 0, np.arange(60) % 5 / 5
    statistic, clusters = partial(auroc_resampled, labels, scores), np.arange(60) // 20
    whole = cluster_bootstrap(statistic, clusters)
    monkeypatch.setattr("segmend.metrics.bootstrap._CHUNK_WEIGHTS", 60 * 7)
    assert cluster_bootstrap(statistic, clusters) == whole


def test_a_thousand_resamples_of_five_thousand_rows_take_under_two_seconds() -> None:
    generator = keyed_generator("speed")
    labels, scores = generator.integers(0, 2, 5000), generator.random(5000)
    start = time.process_time()
    cluster_bootstrap(partial(auroc_resampled, labels, scores), generator.integers(0, 500, 5000))
    assert time.process_time() - start < 2


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(BadInputError, match="at least one row"):
        cluster_bootstrap(partial(mean_resampled, np.zeros(0)), [])
    with pytest.raises(BadInputError, match="0 < level < 1"):
        cluster_bootstrap(partial(mean_resampled, np.zeros(2)), [0, 1], level=95)
