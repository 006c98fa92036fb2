"""The report: everything a reader needs in one HTML file that loads nothing else."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segmend.apps.pages.page import check_folder, own_markup, write_page
from segmend.apps.report.curves import Scored, curves_svg
from segmend.apps.report.samples import shown_samples
from segmend.apps.tables import count_rows
from segmend.core.sample import SPLITS
from segmend.evaluate.result import Result, Score
from segmend.evaluate.scored_rows import scored_rows
from segmend.models.model import Predictions
from segmend.shards import finish
from segmend.shards.layout import PLAN_FILE
from segmend.shards.leaks import accepted_leaks
from segmend.shards.reader import Benchmark
from segmend.tasks.registry import TASKS

SAMPLES_PER_TYPE = 2


@dataclass(frozen=True, slots=True)
class Answered:
    """Predictions and what they scored."""

    predictions: Predictions
    result: Result


def write_report(benchmark: Benchmark, out: Path, answered: Sequence[Answered] = ()) -> None:
    """Write the report of a benchmark and of predictions on it, whole or not at all.

    Args:
        benchmark: The benchmark.
        out: HTML file to write.
        answered: Predictions with their results, in the order of the tables.

    Raises:
        MissingDependencyError: if the extra ``report`` is not installed.
        OutputError: if the file cannot be written.
    """
    check_folder(out)
    write_page(
        out,
        "segmend.apps.report",
        scores=[_task_section(benchmark, name, answered) for name in _asked(answered)],
        samples=shown_samples(benchmark, SAMPLES_PER_TYPE),
        **_facts(benchmark),
    )


def _facts(benchmark: Benchmark) -> dict[str, Any]:
    sidecar = benchmark.sidecar()
    counts = finish.count_rows(sidecar)
    plan_file = benchmark.folder / PLAN_FILE
    plan = json.loads(plan_file.read_text(encoding="utf-8")) if plan_file.exists() else {}
    sources = plan.get("sources", [])
    return {
        "title": plan.get("name", benchmark.folder.resolve().name),
        "summary": f"{len(benchmark):,} rows in {len(benchmark.shards)} shards, "
        f"{sum(s.size_bytes for s in benchmark.shards) / 1e6:,.0f} MB.",
        "accepted_leaks": accepted_leaks(benchmark.source),
        "splits": SPLITS,
        "counts": count_rows(counts),
        "left_out": sorted(plan.get("excluded", {}).items(), key=lambda item: -item[1]),
        "sources": sources,
        "citations": sorted({s["citation"] for s in sources}),
        "plan_hash": plan.get("content_hash", ""),
    }


def _asked(answered: Sequence[Answered]) -> list[str]:
    names = {one.result.task for one in answered}
    return [name for name in TASKS if name in names]


def _task_section(benchmark: Benchmark, name: str, answered: Sequence[Answered]) -> dict[str, Any]:
    task = TASKS[name]
    mine = [one for one in answered if one.result.task == name]
    first = mine[0].result
    positives = "" if first.n_positives is None else f", {first.n_positives} of them positive"
    notes = []
    if first.few_clusters:
        notes.append(f"Only {first.n_clusters} neurons: the intervals are likely too narrow.")
    notes += [f"{one.result.model}: {_groups(one.result)}" for one in mine]
    return {
        "name": name,
        "doc": task.doc,
        "rows": f"{first.n_rows} rows of {first.n_clusters} neurons{positives}.",
        "metrics": [score.name.replace("_", " ") for score in first.scores],
        "models": [
            {"name": one.result.model, "cells": [_cell(score) for score in one.result.scores]}
            for one in mine
        ],
        "chance": [_number(_floor(mine, score.name)) for score in first.scores],
        "notes": notes,
        "curves": _curves(benchmark, name, mine) if task.target_kind == "binary" else "",
    }


def _floor(mine: Sequence[Answered], metric: str) -> float | None:
    levels = [one.result.score(metric).chance for one in mine]
    return next((level for level in levels if level is not None), None)


def _cell(score: Score) -> dict[str, str]:
    ends = "" if score.low is None else f"{score.low:.3f} to {score.high:.3f}"
    return {"value": _number(score.value), "interval": ends or score.reason}


def _number(value: float | None) -> str:
    return "\N{EN DASH}" if value is None else f"{value:.3f}"


def _groups(result: Result) -> str:
    return "; ".join(
        f"{g.species} {g.sample_type} {g.score.name} {_number(g.score.value)} (n={g.n_rows})"
        for g in result.groups
    )


def _curves(benchmark: Benchmark, name: str, mine: Sequence[Answered]) -> Any:
    rows = scored_rows(benchmark, TASKS[name], mine[0].result.split)
    scored = []
    for one in mine:
        assert one.predictions.scores is not None
        place = {key: i for i, key in enumerate(one.predictions.hashes)}
        order = [place[key] for key in rows.hashes]
        scored.append(Scored(one.result.model, rows.labels, one.predictions.scores[order]))
    return own_markup(curves_svg(scored))
