"""Run folders: whole or not at all, and nothing in them that executes."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from segmend.core.errors import (
    BadInputError,
    NoSamplesError,
    OutputError,
    ReadFailedError,
    UnknownNameError,
)
from segmend.models.card import CARD
from segmend.models.model import MODELS, TrainSettings
from segmend.models.run import Beginning, load_run, train_run
from segmend.models.run_files import CONFIG, LOG, LOG_JSON, WEIGHTS
from segmend.shards.layout import SHARDS_CSV
from segmend.shards.reader import Benchmark
from segmend.store.atomic import sha256_file
from segmend.tasks.registry import TASKS
from segmend.testing.models import learnable_benchmark
from segmend.testing.rows import random_benchmark

TASK = TASKS["false_split_correction"]
PROBES = ("artefact", "content", "metadata")
EVERY = ("chance", "geometry", "cnn", "fusion", "vit-tiny", "vit-base", "neck", *PROBES)


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "a"
    train_run(learnable_benchmark(), (TASK,), "geometry", folder)
    return folder


def test_listing_models_needs_neither_torch_nor_scikit_learn() -> None:
    code = (
        "import sys; from segmend.models.model import MODELS; print(*MODELS);"
        "sys.exit(any(m in sys.modules for m in ('torch', 'sklearn', 'scipy')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == sorted(EVERY)


def test_a_run_says_what_it_was_trained_on_and_how(run_folder: Path) -> None:
    config = json.loads((run_folder / CONFIG).read_text())
    benchmark = learnable_benchmark()
    assert config["model"] == "geometry"
    assert config["tasks"] == {TASK.name: TASK.version}
    assert config["benchmark_sha256"] == sha256_file(benchmark.folder / SHARDS_CSV)
    assert config["rows"][TASK.name] == {"train": 32, "validation": 8, "test": 12}
    assert config["settings"]["seed"] == 0
    assert {"segmend", "numpy", "scikit-learn"} <= set(config["versions"])
    assert config["wall_seconds"] > 0
    log = (run_folder / LOG).read_text().splitlines()
    assert log[0] == "trees,train_loss,validation_loss"
    assert {p.name for p in run_folder.iterdir()} == {CONFIG, WEIGHTS, LOG, LOG_JSON, CARD}


def test_predictions_name_run_benchmark_and_split(run_folder: Path) -> None:
    predictions = load_run(run_folder).predict(learnable_benchmark(), "validation")
    assert (predictions.run, predictions.split, predictions.model) == (
        "a",
        "validation",
        "geometry",
    )
    assert len(predictions.hashes) == 8


def test_a_run_predicts_on_another_benchmark(run_folder: Path, tmp_path: Path) -> None:
    other = Benchmark.open(
        random_benchmark(tmp_path / "other", {"test": {"merge_edit": 2, "synapse_control": 1}})
    )
    predictions = load_run(run_folder).predict(other, "test")
    assert set(predictions.hashes) == set(other.sidecar("test")["combined_sample_hash"].to_pylist())
    assert predictions.benchmark != learnable_benchmark().folder.name


def test_a_split_without_rows_is_named(run_folder: Path, tmp_path: Path) -> None:
    other = Benchmark.open(random_benchmark(tmp_path / "b", {"test": {"split_edit": 1}}))
    with pytest.raises(NoSamplesError, match=r"false_split_correction.*'test'"):
        load_run(run_folder).predict(other, "test")


@pytest.mark.parametrize("model", ["geometry", "cnn", "content"])
def test_one_class_is_nothing_to_learn_from_and_leaves_no_folder(
    model: str, tmp_path: Path
) -> None:
    one = Benchmark.open(random_benchmark(tmp_path / "one", {"train": {"merge_edit": 2}}))
    with pytest.raises(NoSamplesError, match="one class only"):
        train_run(one, (TASK,), model, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("model", ["geometry", "cnn"])
def test_without_validation_rows_training_still_works(model: str, tmp_path: Path) -> None:
    folder = random_benchmark(tmp_path / "b", {"train": {"merge_edit": 2, "adjacent_control": 2}})
    settings = TrainSettings(epochs=1, epoch_rows=1)
    run = train_run(Benchmark.open(folder), (TASK,), model, tmp_path / "run", settings=settings)
    assert "validation_loss" not in (tmp_path / "run" / LOG).read_text()
    assert len(run.predict(Benchmark.open(folder), "train").hashes) == 4


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(OutputError, match="not empty"):
        train_run(learnable_benchmark(), (TASK,), "chance", tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_an_empty_folder_may_be_filled(tmp_path: Path) -> None:
    train_run(learnable_benchmark(), (TASK,), "chance", tmp_path)
    assert load_run(tmp_path).tasks == (TASK,)


def test_a_failure_while_writing_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("segmend.models.run.write_log", fail)
    with pytest.raises(KeyboardInterrupt):
        train_run(learnable_benchmark(), (TASK,), "chance", tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_a_model_that_cannot_learn_the_task_says_which_can(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"cannot learn.*Models: chance, cnn, fusion"):
        train_run(
            learnable_benchmark(), (TASKS["split_mask_generation"],), "geometry", tmp_path / "run"
        )
    with pytest.raises(UnknownNameError, match="Did you mean 'geometry'"):
        train_run(learnable_benchmark(), (TASK,), "geometri", tmp_path / "run")


def test_pickled_weights_are_refused_unopened(run_folder: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (run_folder / "exploded",))

    (run_folder / WEIGHTS).write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ReadFailedError, match=r"holds no safetensors.*pickles"):
        load_run(run_folder)
    (run_folder / WEIGHTS).rename(run_folder / "weights.pkl")
    with pytest.raises(BadInputError, match="no weights"):
        load_run(run_folder)
    assert not (run_folder / "exploded").exists()


def test_damaged_weights_are_refused(run_folder: Path) -> None:
    weights = load_file(run_folder / WEIGHTS)
    save_file(weights | {"left": np.zeros_like(weights["left"])}, run_folder / WEIGHTS)
    with pytest.raises(BadInputError, match="damaged"):
        load_run(run_folder)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"tasks": {"false_split_correction": "0"}}, "version 0 of 'false_split_correction'"),
        ({"format": 99}, "not the configuration of a run of format 2"),
        ({"tasks": {"nonsense": "1"}}, "no task named 'nonsense'"),
        ({"model": "resnet"}, "no model named 'resnet'"),
    ],
)
def test_a_run_of_something_else_is_refused(run_folder: Path, change, complaint) -> None:
    config = json.loads((run_folder / CONFIG).read_text())
    (run_folder / CONFIG).write_text(json.dumps(config | change))
    with pytest.raises(BadInputError, match=complaint):
        load_run(run_folder)


def test_what_is_no_run_is_named(tmp_path: Path, run_folder: Path) -> None:
    with pytest.raises(BadInputError, match=r"is not a run: it has no config\.json"):
        load_run(tmp_path)
    (run_folder / CONFIG).write_text("{")
    with pytest.raises(ReadFailedError, match="cannot read"):
        load_run(run_folder)


def test_a_model_of_another_task_is_not_asked(run_folder: Path) -> None:
    run = load_run(run_folder)
    with pytest.raises(BadInputError, match="trained on other features"):
        run.model.predict(learnable_benchmark(), TASKS["false_merge_identification"], "test")
    with pytest.raises(BadInputError, match="never trained"):
        MODELS["cnn"].create().predict(learnable_benchmark(), TASK, "test")


def test_settings_that_cannot_train_are_refused() -> None:
    with pytest.raises(BadInputError, match="at least one epoch"):
        TrainSettings(epochs=0)
    with pytest.raises(BadInputError, match="positive learning rate"):
        TrainSettings(learning_rate=float("nan"))
    with pytest.raises(BadInputError, match=r"decay of an average"):
        TrainSettings(ema=1.0)
    with pytest.raises(BadInputError, match="Inputs: both, pictures, geometry, em"):
        TrainSettings(inputs="metadata")
    with pytest.raises(BadInputError, match="balance: label, species"):
        TrainSettings(balance=("age",))
    with pytest.raises(BadInputError, match="two rows"):
        TrainSettings(train_rows=1)


def test_a_killed_training_is_not_overwritten_and_goes_on_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = {"train": {"merge_edit": 2, "adjacent_control": 2}}
    benchmark = Benchmark.open(random_benchmark(tmp_path / "b", rows))
    settings = TrainSettings(epochs=2, epoch_rows=1)
    whole = train_run(benchmark, (TASK,), "cnn", tmp_path / "whole", settings=settings)

    def killed(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("segmend.models.run.write_log", killed)
    with pytest.raises(KeyboardInterrupt):
        train_run(benchmark, (TASK,), "cnn", tmp_path / "run", settings=settings)
    monkeypatch.undo()
    place = tmp_path / ".run.training"
    assert len((place / "log.jsonl").read_text().splitlines()) == 2
    with pytest.raises(OutputError, match="begun and not ended"):
        train_run(benchmark, (TASK,), "cnn", tmp_path / "run", settings=settings)
    again = train_run(
        benchmark,
        (TASK,),
        "cnn",
        tmp_path / "run",
        settings=settings,
        beginning=Beginning(resume=True),
    )
    assert not place.exists()
    expected = whole.model.arrays()
    for name, value in again.model.arrays().items():
        np.testing.assert_array_equal(value, expected[name])
    assert (tmp_path / "run" / LOG).read_bytes() == (tmp_path / "whole" / LOG).read_bytes()


def test_the_card_names_benchmark_and_rows(run_folder: Path) -> None:
    card = (run_folder / CARD).read_text()
    assert sha256_file(learnable_benchmark().folder / SHARDS_CSV) in card
    assert "32 train, 8 validation, 12 test" in card


def test_tensorboard_gets_the_log(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    rows = {"train": {"merge_edit": 2, "adjacent_control": 2}}
    benchmark = Benchmark.open(random_benchmark(tmp_path / "b", rows))
    train_run(
        benchmark,
        (TASK,),
        "cnn",
        tmp_path / "run",
        settings=TrainSettings(epochs=2, epoch_rows=1),
        beginning=Beginning(tensorboard=True),
    )
    events = EventAccumulator(str(tmp_path / "run.tensorboard")).Reload()
    log = json.loads((tmp_path / "run" / LOG_JSON).read_text())
    told = [event.value for event in events.Scalars("train_loss")]
    assert told == pytest.approx([row["train_loss"] for row in log], rel=1e-6)
