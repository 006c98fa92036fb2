"""A run folder: what was trained, on what, and the weights, without anything that executes.

config.json  weights.safetensors  log.csv  log.json  README.md

While a network trains, `.NAME.training` beside the folder holds its place and its log so far; it
goes when the run is written. After a kill the same command with ``resume`` goes on from there.
"""

from __future__ import annotations

import json
import platform
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from segmend.core.errors import (
    BadInputError,
    OutputError,
    SegmendError,
    require,
)
from segmend.loaders.packed.beside import cache_of
from segmend.models.card import CARD, model_card
from segmend.models.model import (
    MODELS,
    LogRow,
    Model,
    Note,
    Predictions,
    Report,
    Session,
    TrainSettings,
    quiet,
    rank_here,
)
from segmend.models.run_files import (
    CONFIG,
    FORMAT,
    LOG,
    LOG_JSON,
    WEIGHTS,
    check_empty,
    read_config,
    read_weights,
    write_log,
)
from segmend.shards.reader import Benchmark
from segmend.store.atomic import atomic_folder, output_errors
from segmend.tasks.registry import TASKS
from segmend.tasks.task import Task

_PACKAGES = ("numpy", "torch", "timm", "scikit-learn", "safetensors", "pyarrow")


@dataclass(frozen=True, slots=True)
class Run:
    """A trained model and how it came to be.

    Attributes:
        name: Name of the run folder.
        tasks: What it was trained for.
        model: The model, ready to predict.
        config: Content of ``config.json``.
    """

    name: str
    tasks: tuple[Task, ...]
    model: Model
    config: Mapping[str, Any]

    def task(self, name: str | None = None) -> Task:
        """A task of the run by name; without a name its only one.

        Raises:
            BadInputError: if the run was not trained for it, or for several and none is named.
        """
        learnt = {task.name: task for task in self.tasks}
        if name is None and len(learnt) == 1:
            return self.tasks[0]
        if name not in learnt:
            asked = "a run of several tasks does not know which to answer"
            raise BadInputError(
                asked if name is None else f"run '{self.name}' cannot answer '{name}'",
                found=f"it learnt {', '.join(learnt)}",
                fix=f"Name one of these (--task {self.tasks[0].name})",
            )
        return learnt[name]

    def predict(
        self,
        benchmark: Benchmark,
        split: str,
        *,
        task: str | None = None,
        packed: str | Path | None = None,
        report: Report = quiet,
    ) -> Predictions:
        """Predict on a split of any benchmark, with the settings of the run.

        Args:
            benchmark: Where to predict.
            split: Which rows.
            task: Which task, if the run learnt several.
            packed: Packed cache to read rows from; None takes the one beside the benchmark, where
                there is one that can be used. Answers are the same.
            report: Told about progress.

        Raises:
            NoSamplesError: if the split has no rows for the task.
            BadInputError: as for `task`, or if the cache is none of this benchmark.
            ReadFailedError: if a row, or the cache that was asked for, is damaged.
        """
        asked, cache = self.task(task), cache_of(benchmark, packed).path
        session = Session(report=report, packed=cache)
        answers = self.model.predict(benchmark, asked, split, session)
        return Predictions(
            task=asked.name,
            task_version=asked.version,
            model=str(self.config["model"]),
            run=self.name,
            benchmark=benchmark_sha256(benchmark),
            split=split,
            hashes=answers.hashes,
            scores=answers.scores,
            packed_masks=answers.masks,
        )


def benchmark_sha256(benchmark: Benchmark) -> str:
    """What identifies a benchmark: the sha256 of its list of shards, which holds theirs."""
    return benchmark.sha256


@dataclass(frozen=True, slots=True)
class Beginning:
    """Where a training begins.

    Attributes:
        resume: Whether to go on from where a killed one of the same name stood, if there is one.
        start: Run folder whose weights to start from (fine-tuning); None starts from random ones.
        tensorboard: Whether to write the log for TensorBoard too.
        packed: Packed cache to read rows from; None takes the one beside the benchmark, where
            there is one that can be used. What is learnt is the same.
    """

    resume: bool = False
    start: str | Path | None = None
    tensorboard: bool = False
    packed: str | Path | None = None


def train_run(
    benchmark: Benchmark,
    tasks: Sequence[Task],
    model: str,
    out: str | Path,
    *,
    settings: TrainSettings | None = None,
    beginning: Beginning | None = None,
    report: Report = quiet,
) -> Run:
    """Train a model and write its run folder, whole or not at all.

    Args:
        benchmark: Where to learn.
        tasks: What to learn: one task, or several that one encoder learns together.
        model: Name in `MODELS`.
        out: New or empty folder.
        settings: How to train; None for what suits the model.
        beginning: Where to begin; None begins anew.
        report: Told about progress.

    Raises:
        BadInputError: if the model cannot learn the tasks, or start from what was named.
        OutputError: if the folder exists and is not empty, or cannot be written.
        NoSamplesError: if there is nothing to learn from.
    """
    folder, beginning = Path(out), beginning or Beginning()
    entry = MODELS[model]
    settings = settings or entry.settings
    names = [task.name for task in tasks]
    if not entry.supports(*tasks):
        able = [name for name, other in MODELS.items() if other.supports(*tasks)]
        raise BadInputError(
            f"model '{model}' cannot learn '{', '.join(names)}'" + " at once" * (len(names) > 1),
            fix=f"Models: {', '.join(able)}",
        )
    check_empty(folder)
    trained, start = entry.create(), None
    if beginning.start is not None:
        start = _starting_weights(Path(beginning.start), model, names)
    packed = cache_of(benchmark, beginning.packed).path
    began = time.perf_counter()
    with _training(folder, beginning, keeps="torch" in entry.needs) as (place, note):
        session = Session(report=report, note=note, checkpoint=place, start=start, packed=packed)
        log = trained.fit(benchmark, tasks, settings, session)
    config = _config(benchmark, tasks, model, settings) | {
        "wall_seconds": round(time.perf_counter() - began, 3),
        "start": None if beginning.start is None else str(beginning.start),
        "packed": None if packed is None else str(packed),
        "model_config": trained.config(),
    }
    run = Run(folder.name, tuple(tasks), trained, config)
    if rank_here() == 0:
        save_run(run, log, folder)
        shutil.rmtree(_place(folder), ignore_errors=True)
    return run


def _starting_weights(folder: Path, model: str, tasks: Sequence[str]) -> dict[str, Any]:
    """The weights of another run of the same model and tasks."""
    config = read_config(folder)
    learnt = list(config["tasks"])
    if config["model"] != model or set(learnt) != set(tasks):
        raise BadInputError(
            f"'{model}' for '{', '.join(tasks)}' cannot start from {folder}",
            found=f"it is '{config['model']}' for '{', '.join(learnt)}'",
            fix="Start from a run of the same model and tasks",
        )
    return read_weights(folder / WEIGHTS)


def _place(folder: Path) -> Path:
    return folder.with_name(f".{folder.resolve().name}.training")


@contextmanager
def _training(
    folder: Path, beginning: Beginning, *, keeps: bool
) -> Iterator[tuple[Path | None, Note]]:
    """Where a training keeps its place, and what writes every row of its log at once."""
    place = _place(folder)
    if place.is_dir() and any(place.iterdir()) and not beginning.resume:
        raise OutputError(
            f"a training of {folder} was begun and not ended",
            found=f"its place is kept in {place}",
            fix="Go on with --resume, or delete that folder to begin anew",
        )
    if not keeps:
        yield None, lambda row: None  # noqa: ARG005 - trained in seconds, logged at the end
        return
    first = rank_here() == 0  # of processes that train together one writes
    board = _board(folder) if beginning.tensorboard and first else None
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {place}", found=str(error)) from error

    def note(row: LogRow) -> None:
        if not first:
            return
        with (place / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(dict(row)) + "\n")
        if board is not None:
            for name, value in row.items():
                board.add_scalar(name, value, int(row["epoch"]))

    try:
        yield place, note
    except SegmendError:
        shutil.rmtree(place, ignore_errors=True)  # it would fail again from the same place
        raise
    finally:
        if board is not None:
            board.close()


def _board(folder: Path) -> Any:
    """A writer of TensorBoard events, in ``NAME.tensorboard`` beside the run."""
    require("tensorboard", extra="tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder.with_name(f"{folder.resolve().name}.tensorboard")))


def save_run(run: Run, log: Sequence[LogRow], out: str | Path) -> None:
    """Write a run folder, whole or not at all.

    Raises:
        OutputError: if the folder exists and is not empty, or cannot be written.
    """
    require("safetensors", extra="torch")
    from safetensors.numpy import save_file

    arrays = {name: array.copy() for name, array in run.model.arrays().items()}
    final = Path(out)
    check_empty(final)
    with output_errors(final):
        final.parent.mkdir(parents=True, exist_ok=True)
    with atomic_folder(final) as folder:
        save_file(arrays, folder / WEIGHTS)
        text = json.dumps(dict(run.config), indent=2, sort_keys=True)
        (folder / CONFIG).write_text(text + "\n", encoding="utf-8")
        write_log(folder / LOG, log)
        (folder / LOG_JSON).write_text(json.dumps(list(log), indent=1) + "\n", encoding="utf-8")
        (folder / CARD).write_text(model_card(run.config, log), encoding="utf-8")


def load_run(path: str | Path) -> Run:
    """Open a run folder.

    Raises:
        BadInputError: if it is no run, or was written for another version of its task.
        ReadFailedError: if a file of it is damaged.
    """
    folder = Path(path)
    config = read_config(folder)
    tasks = tuple(TASKS[name] for name in config["tasks"])
    for task in tasks:
        trained = config["tasks"][task.name]
        if trained != task.version:
            raise BadInputError(
                f"{folder} was trained for version {trained} of '{task.name}'",
                found=f"this segmend has version {task.version}",
                fix="Train it again",
            )
    model = MODELS[config["model"]].create()
    model.restore(read_weights(folder / WEIGHTS), config["model_config"])
    return Run(folder.resolve().name, tasks, model, config)


def versions() -> dict[str, str]:
    """Versions of everything that scores may depend on."""
    found = {"segmend": version("segmend"), "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue  # an extra that is not installed has no say
    return found


def _config(
    benchmark: Benchmark, tasks: Sequence[Task], model: str, settings: TrainSettings
) -> dict[str, Any]:
    sidecars = {split: benchmark.sidecar(split) for split in benchmark.splits}
    rows = {
        task.name: {split: len(task.rows(sidecar)) for split, sidecar in sidecars.items()}
        for task in tasks
    }
    return {
        "format": FORMAT,
        "model": model,
        "tasks": {task.name: task.version for task in tasks},
        "settings": asdict(settings),
        "benchmark": benchmark.name,
        "benchmark_sha256": benchmark_sha256(benchmark),
        "rows": rows,
        "versions": versions(),
    }
