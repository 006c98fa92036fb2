"""``segmend models``: what can be trained."""

from __future__ import annotations

import json

import click

from segmend.apps.cli.options import as_json
from segmend.models.model import MODELS, ModelEntry
from segmend.tasks.registry import TASKS


@click.group(epilog="Example: segmend models list")
def models() -> None:
    """Look at the models that `segmend train` knows."""


@models.command("list", epilog="Example: segmend models list --task split_mask_generation")
@click.option("--task", default=None, help="Only models that can learn this task.")
@as_json
def list_models(task: str | None, as_json: bool) -> None:
    """List the models, and which tasks each can learn."""
    chosen = [m for m in MODELS.values() if task is None or m.supports(TASKS[task])]
    if as_json:
        click.echo(json.dumps({"models": [_facts(model) for model in chosen]}))
        return
    for model in chosen:
        learns = "all tasks" if len(model.targets) > 1 else "both yes/no tasks"
        click.echo(f"{model.name:10} {learns:18} {model.doc}")


def _facts(model: ModelEntry) -> dict[str, object]:
    return {
        "name": model.name,
        "doc": model.doc,
        "tasks": [name for name, task in TASKS.items() if model.supports(task)],
        "needs": list(model.needs),
    }
