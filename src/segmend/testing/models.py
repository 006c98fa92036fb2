"""What every model keeps: the contract that each model's test subclasses."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from segmend.core.errors import BadInputError
from segmend.core.sample import IMAGE_SIZE, Split
from segmend.evaluate.evaluate import Judging, evaluate
from segmend.evaluate.scores import Resampling
from segmend.metrics.classification import balanced_accuracy
from segmend.models.model import MODELS, Predictions, TrainSettings
from segmend.models.run import Run, load_run, train_run
from segmend.shards.reader import Benchmark
from segmend.tasks.task import Task
from segmend.testing.capsules import capsule_benchmark

KINDS = ("merge_edit", "adjacent_control", "split_edit", "junction_control")
ROWS: dict[Split, int] = {"train": 16, "validation": 4, "test": 6}


@cache
def learnable_benchmark(*, swap: bool = False) -> Benchmark:
    """A small benchmark whose labels can be learnt, made once per process.

    Args:
        swap: Whether A and B are exchanged in every row; such a benchmark has test rows only.
    """
    folder = Path(tempfile.mkdtemp(prefix="segmend-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    splits = [split for split in ROWS if split == "test" or not swap]
    counts = {split: dict.fromkeys(KINDS, ROWS[split]) for split in splits}
    return Benchmark.open(capsule_benchmark(folder, counts, swap=swap))


class ModelContract:
    """Subclass it, set `model` and `task`, and pytest checks what every user relies on.

    Attributes:
        model: Name in `MODELS`.
        task: Task to learn.
        settings: How to train; enough epochs to learn the training rows.
        learns: Whether the model looks at its inputs at all.
    """

    model: str
    task: Task
    settings = TrainSettings()
    learns = True

    @pytest.fixture(scope="class")
    @classmethod
    def trained(cls, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
        """A run trained on the learnable benchmark, and its folder."""
        folder = tmp_path_factory.mktemp("run") / "run"
        run = train_run(
            learnable_benchmark(), (cls.task,), cls.model, folder, settings=cls.settings
        )
        return run, folder

    def test_it_says_that_it_supports_the_task(self) -> None:
        """The registry knows what the model can do."""
        assert MODELS[self.model].supports(self.task)

    def test_it_answers_every_row_once(self, trained: tuple[Run, Path]) -> None:
        """One probability or mask for every row of the task, and for no other."""
        benchmark = learnable_benchmark()
        predictions = trained[0].predict(benchmark, "test")
        result = evaluate(
            benchmark, predictions, judging=Judging(resampling=Resampling(resamples=20))
        )
        assert result.n_rows == len(set(predictions.hashes)) > 0
        if self.task.target_kind == "binary":
            assert predictions.scores is not None
            assert ((predictions.scores >= 0) & (predictions.scores <= 1)).all()
        else:
            assert predictions.mask(0).shape == (len(self.task.views), IMAGE_SIZE, IMAGE_SIZE)

    def test_a_saved_run_predicts_the_same(self, trained: tuple[Run, Path]) -> None:
        """Bit by bit, after everything went through files."""
        run, folder = trained
        benchmark = learnable_benchmark()
        _assert_same(
            run.predict(benchmark, "test"), load_run(folder).predict(benchmark, "test"), atol=0.0
        )

    def test_the_same_seed_predicts_the_same(self, tmp_path: Path) -> None:
        """Bit by bit, after training again; two epochs show whatever chance there is."""
        benchmark = learnable_benchmark()
        settings = replace(self.settings, epochs=min(self.settings.epochs, 2))
        one, other = (
            train_run(benchmark, (self.task,), self.model, tmp_path / name, settings=settings)
            for name in ("one", "other")
        )
        _assert_same(one.predict(benchmark, "test"), other.predict(benchmark, "test"), atol=0.0)
        logs = [(tmp_path / name / "log.csv").read_bytes() for name in ("one", "other")]
        assert logs[0] == logs[1]

    def test_the_order_of_a_and_b_does_not_matter(self, trained: tuple[Run, Path]) -> None:
        """Neither for pairs, nor for single segments, where both are one before all else."""
        _assert_same(
            trained[0].predict(learnable_benchmark(), "test"),
            trained[0].predict(learnable_benchmark(swap=True), "test"),
            atol=1e-6,
        )

    def test_it_learns_what_can_be_learnt(self, trained: tuple[Run, Path]) -> None:
        """The rows it was trained on, at the least."""
        if not self.learns:
            return
        benchmark = learnable_benchmark()
        predictions = trained[0].predict(benchmark, "train")
        if self.task.target_kind == "binary":
            labels = _labels(benchmark, self.task, predictions)
            assert balanced_accuracy(labels, predictions.scores) > 0.9
        else:
            result = evaluate(
                benchmark, predictions, judging=Judging(resampling=Resampling(resamples=20))
            )
            assert (result.score("miou").value or 0) > 0.55  # a random cut reaches 0.41

    def test_weights_of_another_model_are_refused(self, trained: tuple[Run, Path]) -> None:
        """Never predict with something half restored."""
        with pytest.raises(BadInputError):
            MODELS[self.model].create().restore({"other": np.zeros(3)}, trained[0].model.config())


def _labels(benchmark: Benchmark, task: Task, predictions: Predictions) -> list[float]:
    sidecar = benchmark.sidecar(predictions.split)
    columns = ("combined_sample_hash", task.label_columns[0])
    labels = dict(zip(*(sidecar[name].to_pylist() for name in columns), strict=True))
    return [labels[key] for key in predictions.hashes]


def _assert_same(first: Predictions, second: Predictions, *, atol: float) -> None:
    assert first.hashes == second.hashes
    if first.scores is None or second.scores is None:
        assert first.packed_masks is not None
        assert second.packed_masks is not None
        np.testing.assert_array_equal(first.packed_masks, second.packed_masks)
    else:
        np.testing.assert_allclose(first.scores, second.scores, atol=atol, rtol=0)
