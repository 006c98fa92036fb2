"""Results side by side: one board per task, benchmark and split, published figures below."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path

import msgspec

from segmend.core.errors import BadInputError, NoSamplesError, ReadFailedError
from segmend.evaluate.result import Result
from segmend.evaluate.scores import MAIN_METRIC
from segmend.tasks.registry import TASKS

REFERENCE_FILE = "reference_figures.toml"


class Figure(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A figure published elsewhere.

    Attributes:
        task: Name of the task.
        name: Who or what was scored.
        metric: Name of the metric.
        value: The figure.
        data: What it was measured on; never the rows of a board.
        source: Who says so.
    """

    task: str
    name: str
    metric: str
    value: float
    data: str
    source: str


class Board(msgspec.Struct, frozen=True, kw_only=True):
    """Results that may be compared: the same rows of the same benchmark.

    Attributes:
        task: Name of the task.
        task_version: Its version.
        benchmark: Name of the benchmark.
        benchmark_sha256: sha256 of its ``shards.csv``.
        split: Split scored.
        accepted_leaks: Leaks the plan of the benchmark declares.
        metric: What the board is sorted by.
        results: Best first.
        figures: Published figures for the task, on other data.
    """

    task: str
    task_version: str
    benchmark: str
    benchmark_sha256: str
    split: str
    accepted_leaks: tuple[str, ...]
    metric: str
    results: tuple[Result, ...]
    figures: tuple[Figure, ...]


def read_results(paths: Sequence[Path]) -> list[Result]:
    """Read result files; a folder stands for every ``*.json`` of results below it.

    Raises:
        BadInputError: if a path does not exist, or a file named directly is no result.
        NoSamplesError: if there is no result.
    """
    found: list[Result] = []
    for path in paths:
        if path.is_dir():
            found += [result for file in sorted(path.rglob("*.json")) for result in _inside(file)]
        elif path.is_file():
            found.append(_read(path))
        else:
            raise BadInputError(f"there is no {path}", fix="Give results of `segmend evaluate`")
    if not found:
        raise NoSamplesError(
            f"no results in {', '.join(map(str, paths))}",
            fix="Write some with `segmend evaluate BENCH PREDICTIONS --out result.json`",
        )
    return found


def boards(results: Iterable[Result]) -> tuple[Board, ...]:
    """Sort results into boards; the same result twice stands once."""
    groups: dict[tuple[str, str, str, str], dict[str, Result]] = {}
    for result in results:
        key = (result.task, result.task_version, result.benchmark_sha256, result.split)
        groups.setdefault(key, {})[result.to_json()] = result
    return tuple(_board(list(group.values())) for _, group in sorted(groups.items()))


@functools.cache
def reference_figures() -> tuple[Figure, ...]:
    """Every published figure that is on record."""
    text = files("segmend.evaluate").joinpath(REFERENCE_FILE).read_text(encoding="utf-8")
    return msgspec.convert(tomllib.loads(text)["figures"], tuple[Figure, ...])


def _board(results: list[Result]) -> Board:
    first = results[0]
    metric = MAIN_METRIC[TASKS[first.task].target_kind]

    def rank(result: Result) -> tuple[float, str, str]:
        value = result.score(metric).value
        return (float("inf") if value is None else -value, result.model, result.run)

    return Board(
        task=first.task,
        task_version=first.task_version,
        benchmark=first.benchmark,
        benchmark_sha256=first.benchmark_sha256,
        split=first.split,
        accepted_leaks=first.accepted_leaks,
        metric=metric,
        results=tuple(sorted(results, key=rank)),
        figures=tuple(f for f in reference_figures() if f.task == first.task),
    )


def _read(path: Path) -> Result:
    try:
        result = Result.from_json(path.read_bytes())
    except OSError as error:
        raise ReadFailedError(f"cannot read {path}", found=str(error)) from error
    except BadInputError as error:
        error.asked = f"{path}: {error.asked}"
        raise
    if result.task not in TASKS:
        raise BadInputError(f"{path} scores an unknown task", found=repr(result.task))
    return result


def _inside(path: Path) -> list[Result]:
    """The result in a file of a folder; none in JSON that claims to be something else."""
    try:
        keys = msgspec.json.decode(path.read_bytes())
    except OSError as error:
        raise ReadFailedError(f"cannot read {path}", found=str(error)) from error
    except msgspec.MsgspecError as error:
        raise BadInputError(f"{path} is not JSON", found=str(error)) from error
    claims = isinstance(keys, dict) and {"scores", "groups", "task"} <= set(keys)
    return [_read(path)] if claims else []
