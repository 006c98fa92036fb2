"""Every model on a benchmark: trained, predicted, evaluated, in one table.

    python benchmarks/model_runs.py BENCH --out RUNS [--minutes 9] [--epochs 6] [--only fusion]
                                    [--seeds 3] [--from OTHER_RUNS] [--json]

What is done is kept in RUNS and not done again, so that a long comparison may be cut into parts;
after ``--minutes`` nothing new is begun. The order is the order of what one wants to know: every
model, its other seeds, all tasks learnt together, with ``--from`` (the RUNS of another benchmark)
transfer without and with fine-tuning, what inputs add, and learning curves. ``--only`` names jobs
in an order of one's own. Intervals are bootstrapped over neurons, differences are paired with the
CNN of the same task, benchmark and seed.
"""

from __future__ import annotations

import argparse
import atexit
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from segmend.apps.training import evaluate_beside_chance
from segmend.core.errors import NoSamplesError
from segmend.evaluate.compare import compare
from segmend.evaluate.predictions import read_predictions, write_predictions
from segmend.evaluate.result import Result, Score
from segmend.loaders.examples import Examples
from segmend.models import network
from segmend.models.model import MODELS, Report
from segmend.models.packed import Form, Packed, pack
from segmend.models.run import Beginning, load_run, train_run
from segmend.shards.reader import Benchmark
from segmend.tasks.registry import TASKS
from segmend.tasks.task import Task

MODELS_IN_ORDER = (
    *("chance", "artefact", "content", "metadata", "geometry", "neck", "cnn", "fusion", "vit-tiny"),
)
CURVE = (8, 4, 2)
"""Parts of the training rows for the learning curves: an eighth, a quarter, a half."""

BESIDE = "cnn"
"""The model that every other is compared with, row by row."""


@dataclass(frozen=True)
class Job:
    """One line of the table."""

    task: str
    model: str
    name: str
    changes: dict[str, Any] = field(default_factory=dict)
    start: Path | None = None
    train: bool = True
    together: bool = False
    """Whether the run learns all tasks at once; the jobs of the others share its folder."""

    @property
    def key(self) -> str:
        """Name of its files."""
        return f"{self.task}-{self.name}"

    @property
    def run(self) -> str:
        """Name of the run folder."""
        return f"all-{self.name}" if self.together else self.key

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What the run learns."""
        return tuple(TASKS.values()) if self.together else (TASKS[self.task],)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("benchmark", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seeds", type=int, default=1, help="runs of cnn and fusion")
    parser.add_argument("--only", default="", help="only these jobs, by name, comma between")
    parser.add_argument("--from", dest="other", type=Path, default=None)
    parser.add_argument("--json", action="store_true")
    network.pack = packed_once
    arguments = parser.parse_args()
    benchmark, until = (
        Benchmark.open(arguments.benchmark),
        time.monotonic() + 60 * arguments.minutes,
    )
    for job in jobs(benchmark, arguments):
        if time.monotonic() > until:
            print("time is up: run again for the rest", flush=True)
            break
        do(benchmark, job, arguments.out)
    rows = list(table(benchmark, arguments.out))
    print(json.dumps(rows, indent=1) if arguments.json else as_markdown(rows))


_PACKED: dict[tuple[object, ...], Packed] = {}


def packed_once(rows: Examples, form: Form, _: Path, *, report: Report) -> Packed:
    """Rows decoded once for all runs of this process that show the same of them."""
    first = rows.hashes[0]
    key = (first, len(rows), rows.task.name, rows.task.planes, form, rows.targets)
    if key not in _PACKED:
        kept = Path(tempfile.mkdtemp(prefix="segmend-runs-"))
        atexit.register(shutil.rmtree, kept, ignore_errors=True)
        _PACKED[key] = pack(rows, form, kept, report=report)
    return _PACKED[key]


def jobs(benchmark: Benchmark, arguments: argparse.Namespace) -> Iterator[Job]:
    every = list(every_job(benchmark, arguments))
    if not arguments.only:
        yield from every
    for wanted in filter(None, arguments.only.split(",")):
        yield from (job for job in every if wanted in (job.key, job.name, job.task))


def every_job(benchmark: Benchmark, arguments: argparse.Namespace) -> Iterator[Job]:
    epochs = {"epochs": arguments.epochs}
    rows = {name: len(task.rows(benchmark.sidecar("train"))) for name, task in TASKS.items()}
    tasks = [name for name in TASKS if rows[name]]
    for task in sorted(tasks, key=lambda name: name != "false_split_correction"):
        for model in MODELS_IN_ORDER:
            if MODELS[model].supports(TASKS[task]):
                yield Job(task, model, model, epochs)
    task = "false_split_correction"
    for model in ("cnn", "fusion"):
        for seed in range(1, arguments.seeds):
            yield Job(task, model, f"{model}-seed-{seed}", epochs | {"seed": seed})
        for name in tasks:
            yield Job(name, model, f"{model}-together", epochs, together=True)
        if arguments.other is not None:
            trained = arguments.other / "runs" / f"{task}-{model}"
            yield Job(task, model, f"{model}-transferred", start=trained, train=False)
            yield Job(task, model, f"{model}-fine-tuned", epochs, start=trained)
        for inputs in ("geometry", "em", "pictures") if model == "fusion" else ("geometry", "em"):
            yield Job(task, model, f"{model}-{inputs}", epochs | {"inputs": inputs})
    for model in ("geometry", "cnn", "fusion"):
        for part in CURVE:
            changes = epochs | {"train_rows": rows[task] // part}
            yield Job(task, model, f"{model}-1-of-{part}", changes)


def do(benchmark: Benchmark, job: Job, out: Path) -> None:
    """Train, predict and evaluate, unless it is done."""
    result, run_folder = out / "results" / f"{job.key}.json", out / "runs" / job.run
    if result.exists():
        return
    if job.start is not None and not job.start.exists():
        print(f"{job.key}: {job.start} is not there, left out", flush=True)
        return
    began = time.perf_counter()
    if not job.train:
        run_folder = job.start or run_folder
    elif not run_folder.exists():
        settings = replace(MODELS[job.model].settings, **job.changes)
        beginning = Beginning(resume=True, start=job.start)
        train_run(
            benchmark,
            job.tasks,
            job.model,
            run_folder,
            settings=settings,
            beginning=beginning,
        )
    trained = time.perf_counter()
    run = load_run(run_folder)
    predictions = replace(run.predict(benchmark, "test", task=job.task), run=job.key)
    predicted = time.perf_counter()
    scored = evaluate_beside_chance(benchmark, predictions)
    (out / "results").mkdir(parents=True, exist_ok=True)
    write_predictions(out / "results" / f"{job.key}.parquet", predictions)
    facts = {
        "job": job.key,
        "rows": len(TASKS[job.task].rows(benchmark.sidecar("train"))),
        "train_s": round(trained - began, 1),
        "predict_rows_s": round(len(predictions.hashes) / (predicted - trained), 1),
        "speed": run.config["model_config"].get("speed", {}),
        "scores": {score.name: shown(score) for score in main_scores(scored)},
        "n": scored.n_rows,
        "clusters": scored.n_clusters,
    }
    result.write_text(json.dumps(facts, indent=1) + "\n")
    print(json.dumps(facts), flush=True)


def against(benchmark: Benchmark, path: Path, beside: Path) -> dict[str, str]:
    """Differences to another model with intervals, rows and neurons paired."""
    if path == beside or not beside.exists():
        return {}
    ours, theirs = read_predictions(beside), read_predictions(path)
    try:
        found = compare(benchmark, theirs, ours)
    except NoSamplesError:
        return {}
    names = ("auroc", "balanced_accuracy", "miou")
    return {score.name: shown(score) for score in found.differences if score.name in names}


def main_scores(result: Result) -> list[Score]:
    names = (
        *("balanced_accuracy", "auroc", "average_precision", "recall_at_precision_95"),
        *("ece", "brier", "miou", "adjusted_rand", "cut_f_score"),
    )
    return [score for score in result.scores if score.name in names]


def shown(score: Score) -> str:
    if score.value is None:
        return "-"
    if score.low is None or score.high is None:
        return f"{score.value:.3f}"
    return f"{score.value:.3f} [{score.low:.3f}, {score.high:.3f}]"


def table(benchmark: Benchmark, out: Path) -> Iterator[dict[str, Any]]:
    for path in sorted((out / "results").glob("*.json")):
        facts = json.loads(path.read_text())
        task = next(name for name in TASKS if path.name.startswith(name))
        _, mark, seed = path.stem.partition("-seed-")
        beside = path.with_name(f"{task}-{BESIDE}{mark}{seed}.parquet")
        yield facts | {"against": against(benchmark, path.with_suffix(".parquet"), beside)}


def as_markdown(rows: list[dict[str, Any]]) -> str:
    lines = [
        f"| run | AUROC or mIoU | balanced accuracy or cut F | ECE | against {BESIDE} | train s |"
    ]
    lines.append("|---|---|---|---|---|---|")
    for row in rows:
        scores, other = row["scores"], row["against"]
        cells = (
            row["job"],
            scores.get("auroc", scores.get("miou", "-")),
            scores.get("balanced_accuracy", scores.get("cut_f_score", "-")),
            scores.get("ece", "-"),
            other.get("auroc", other.get("miou", "")),
            str(row["train_s"]),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
