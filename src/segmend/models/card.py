"""The model card of a run: what it is, what it learnt from, what it is not for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from segmend.models.model import MODELS, LogRow

CARD = "README.md"


def model_card(config: Mapping[str, Any], log: Sequence[LogRow]) -> str:
    """The card as Markdown, from the configuration of a run and its log."""
    model, tasks = str(config["model"]), dict(config["tasks"])
    doc = MODELS[model].doc if model in MODELS else ""
    lines = [
        "---",
        "library_name: segmend",
        f"tags: [{', '.join(('connectomics', 'proofreading', *tasks))}]",
        "---",
        "",
        f"# {model} for {', '.join(tasks)}",
        "",
        f"{doc[:1].upper()}{doc[1:]}.",
        "",
        "| | |",
        "|---|---|",
        *(f"| task | {task}, version {version} |" for task, version in tasks.items()),
        f"| benchmark | {config['benchmark']} |",
        f"| sha256 of its shards.csv | {config['benchmark_sha256']} |",
        *(f"| rows for {task} | {_counted(config['rows'][task])} |" for task in tasks),
        f"| started from | {config.get('start') or 'random weights'} |",
        f"| chosen by | {_chosen(log)} |",
        f"| trained in | {config['wall_seconds']:.0f} s |",
        "",
        "Scores are probabilities at a prevalence of one half, not at that of a volume. They hold",
        "for rows like those it was trained on; elsewhere evaluate it first (`segmend evaluate`).",
        "Not meant to change a segmentation without a person or a measured precision behind it.",
        "",
        "```",
        *(f"segmend predict RUN BENCHMARK --task {task} --out {task}.parquet" for task in tasks),
        "```",
        "",
        "Settings:",
        "",
        "```json",
        json.dumps(config["settings"], indent=2, sort_keys=True),
        "```",
    ]
    return "\n".join(lines) + "\n"


def _counted(rows: Mapping[str, int]) -> str:
    return ", ".join(f"{n} {split}" for split, n in rows.items())


def _chosen(log: Sequence[LogRow]) -> str:
    losses = [row["validation_loss"] for row in log if "validation_loss" in row]
    return f"validation loss {min(losses):.4f}" if losses else "nothing: the last state is kept"
