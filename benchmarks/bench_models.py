"""Models per row, and metrics against scikit-learn.

    python benchmarks/bench_models.py [--rows 24] [--repeat 5] [--threads N] [--json]

Rows are stand-ins of `segmend.testing`; ours and peer run alternately in one process, so that other
load on the machine falls on both. Times are medians, in ms; jobs "per row" are divided by the rows.
The peer of the bootstrap is the usual loop over `roc_auc_score` on drawn rows, timed on 20
resamples and scaled to 1000. Models have no peer: no other model reads these rows.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np
from sklearn import metrics as peer
from sklearn.calibration import calibration_curve
from sklearn.ensemble import HistGradientBoostingClassifier
from table import Line, show, timed
from threadpoolctl import threadpool_limits

from segmend.core.random import keyed_generator
from segmend.loaders.examples import Examples, examples
from segmend.metrics.bootstrap import cluster_bootstrap
from segmend.metrics.calibration import reliability_curve
from segmend.metrics.classification import (
    auroc,
    auroc_resampled,
    average_precision,
    balanced_accuracy,
    roc_curve,
)
from segmend.metrics.masks import split_mask_iou
from segmend.models.features import feature_names, row_features
from segmend.models.model import MODELS, TrainSettings, quiet
from segmend.models.trees import from_sklearn
from segmend.models.views import SIZE
from segmend.shards.reader import Benchmark
from segmend.tasks.registry import TASKS
from segmend.tasks.task import Task
from segmend.testing.rows import random_benchmark

if TYPE_CHECKING:
    from segmend.models.packed import Packed

NETWORKS = ("cnn", "vit-tiny", "fusion")
"""``vit-base`` is for a GPU."""

ROWS_SCORED = 100_000
PEER_RESAMPLES = 20
GOAL_BOOTSTRAP_MS = 2000.0
GOAL_TRAIN_MS = 90_000 / (600 * 14)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=24, help="rows per task")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--threads", type=int, default=None, help="threads of torch")
    parser.add_argument("--json", action="store_true", help="print the table as JSON")
    arguments = parser.parse_args()
    show(every_job(arguments), as_json=arguments.json)


def every_job(arguments: argparse.Namespace) -> Iterator[Line]:
    yield from metric_jobs(arguments.repeat)
    yield tree_job(arguments.repeat)
    with tempfile.TemporaryDirectory() as folder:
        counts = dict.fromkeys(
            ("merge_edit", "adjacent_control", "split_edit", "junction_control"),
            arguments.rows // 2,
        )
        benchmark = Benchmark.open(random_benchmark(Path(folder) / "b", {"train": counts}))
        yield from feature_jobs(benchmark, arguments.repeat)
        yield from network_jobs(benchmark, arguments, Path(folder))


def metric_jobs(repeat: int) -> Iterator[Line]:
    generator = keyed_generator("bench")
    labels = generator.integers(0, 2, ROWS_SCORED)
    scores = np.clip(0.2 * labels + generator.random(ROWS_SCORED), 0, 1).round(4)
    called = scores >= 0.5
    for job, ours, theirs, name in (
        ("auroc", auroc, peer.roc_auc_score, "roc_auc_score"),
        ("average precision", average_precision, peer.average_precision_score, "average_precision"),
        ("ROC curve", roc_curve, peer.roc_curve, "roc_curve"),
        (
            "reliability curve",
            reliability_curve,
            partial(calibration_curve, n_bins=15),
            "calibration",
        ),
    ):
        times = timed(repeat, partial(ours, labels, scores), partial(theirs, labels, scores))
        yield compared(f"{job}, {ROWS_SCORED:,} rows", times, f"scikit-learn {name}")
    times = timed(
        repeat,
        partial(balanced_accuracy, labels, scores),
        partial(peer.balanced_accuracy_score, labels, called),
    )
    yield compared(f"balanced accuracy, {ROWS_SCORED:,} rows", times, "scikit-learn")
    yield bootstrap_job(labels[:5000], scores[:5000], repeat)
    yield iou_job(repeat)


def bootstrap_job(labels: np.ndarray, scores: np.ndarray, repeat: int) -> Line:
    clusters = keyed_generator("clusters").integers(0, 500, labels.size)
    members = [np.flatnonzero(clusters == c) for c in range(500)]

    def loop() -> None:
        generator = np.random.default_rng(0)
        for _ in range(PEER_RESAMPLES):
            rows = np.concatenate([members[c] for c in generator.integers(0, 500, 500)])
            peer.roc_auc_score(labels[rows], scores[rows])

    ours = partial(cluster_bootstrap, partial(auroc_resampled, labels, scores), clusters)
    first, second = timed(repeat, ours, loop)
    times = (first, second * 1000 / PEER_RESAMPLES)
    job = "AUROC interval, 5,000 rows, 500 neurons, 1000 draws"
    return compared(job, times, "loop of roc_auc_score", goal=GOAL_BOOTSTRAP_MS)


def iou_job(repeat: int) -> Line:
    generator = keyed_generator("masks")
    target = generator.choice(np.array([0, 128, 255], np.uint8), (3, 224, 224))
    pred = generator.random((3, 224, 224)) < 0.5
    held = target != 255

    def loop() -> None:
        truth = target[held] == 128
        for said in (pred[held], ~pred[held]):
            peer.jaccard_score(truth, said)
            peer.jaccard_score(~truth, ~said)

    return compared(
        "split-mask IoU, 3 views",
        timed(repeat, partial(split_mask_iou, pred, target), loop),
        "jaccard",
    )


def tree_job(repeat: int) -> Line:
    generator = keyed_generator("trees")
    width = len(feature_names(dual=True))
    table = generator.normal(size=(2000, width))
    booster = HistGradientBoostingClassifier(max_iter=100, max_leaf_nodes=8, early_stopping=False)
    booster.fit(table[:500], table[:500, 0] > 0)
    trees = from_sklearn(booster)
    with threadpool_limits(1):
        times = timed(
            repeat, partial(trees.log_odds, table), partial(booster.decision_function, table)
        )
    return compared("100 trees on 2,000 rows, from plain arrays", times, "scikit-learn")


def feature_jobs(benchmark: Benchmark, repeat: int) -> Iterator[Line]:
    for name in ("false_split_correction", "false_merge_identification"):
        task = TASKS[name]
        shown = [example.inputs.geometry for example in examples(benchmark, task, "train")]

        def measure(task: Task = task, shown: list[np.ndarray] = shown) -> None:
            for geometry in shown:
                row_features(geometry, dual=task.dual)

        (taken,) = timed(repeat, measure)
        yield Line(f"features, {'pair' if task.dual else 'single'}, per row", taken / len(shown))


def network_jobs(
    benchmark: Benchmark, arguments: argparse.Namespace, folder: Path
) -> Iterator[Line]:
    import os

    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    import torch

    from segmend.models.packed import Form, pack

    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    for name in ("false_split_correction", "split_mask_generation"):
        task = TASKS[name]
        place = folder / name
        place.mkdir()
        rows: Examples = examples(benchmark, task, "train")
        start = time.perf_counter()
        form = Form(task.views, SIZE, measured=task.target_kind == "binary")
        packed = pack(rows, form, place, report=quiet)
        yield Line(
            f"{name}: decode, measure and pack, per row",
            1000 * (time.perf_counter() - start) / len(rows),
        )
        for model in NETWORKS:
            yield from network_job(task, model, packed, arguments.repeat)


def network_job(task: Task, name: str, packed: Packed, repeat: int) -> Iterator[Line]:
    """Training and answering with one network, per row, from packed rows."""
    import torch

    from segmend.models.lessons import Lesson, in_order
    from segmend.models.network import new_net
    from segmend.models.train import train

    masks = task.target_kind == "split_mask"
    model = MODELS[name].create()
    net = new_net(model, {task.name: model.shape(task)}, seed=0)
    lessons = {task.name: Lesson(packed, None, task.dual)}
    settings = TrainSettings(epochs=1, epoch_rows=1)
    waits: list[float] = []

    def learn() -> None:
        waits.append(train(net, lessons, settings).waiting)

    def answer() -> None:
        with torch.inference_mode():
            for batch in in_order(packed, positions=masks):
                net.ask(task.name, batch.sites)

    (taken,) = timed(repeat, learn)
    goal = "" if masks or name != "cnn" else f"goal {GOAL_TRAIN_MS:.1f} ms, "
    note = f"{goal}{1000 * len(packed) / taken:.0f} rows/s, {median(waits):.1%} of it waiting"
    yield Line(f"{task.name}: train {name}, per row", taken / len(packed), note=note)
    (taken,) = timed(repeat, answer)
    note = f"{1000 * len(packed) / taken:.0f} rows/s"
    yield Line(f"{task.name}: predict with {name}, per row", taken / len(packed), note=note)


def compared(job: str, times: tuple[float, ...], name: str, *, goal: float | None = None) -> Line:
    ours, theirs = times
    return Line(job, ours, name, theirs, note="" if goal is None else f"goal {goal:.0f} ms")


if __name__ == "__main__":
    main()
