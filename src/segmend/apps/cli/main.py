"""The command ``segmend``: finds the verb, turns errors into one sentence and an exit status."""

from __future__ import annotations

import importlib
import sys

import click

from segmend import __version__
from segmend.core.errors import SegmendError

VERBS = {
    "demo": "Tissue -> benchmark -> baseline -> report, offline, in minutes.",
    "plan": "Say what a build would make, and what it would cost.",
    "build": "Build a proofreading benchmark from a plan; go on with one.",
    "rebuild": "Make missing and damaged shards of a benchmark again.",
    "verify": "Check every byte, row and rule of a benchmark.",
    "audit": "Look for leaks between splits and for answers given away.",
    "publish": "Upload a benchmark to the Hugging Face hub, or say what forbids it.",
    "migrate": "Write a benchmark in another version of the schema.",
    "pack": "Re-encode a benchmark for fast training, without loss.",
    "export-webdataset": "Write what tasks show as tar files for the webdataset library.",
    "render": "Draw one site as a PNG: every channel, scale bars, named axes.",
    "models": "List the models that can be trained.",
    "train": "Train a model for a task on a benchmark.",
    "predict": "Predict with a trained model on any benchmark.",
    "evaluate": "Score predictions with 95 % intervals beside chance.",
    "leaderboard": "Put results side by side, published figures below.",
    "train-segmentation": "Train a network to segment a volume.",
    "predict-segmentation": "Segment a box with a trained network.",
    "evaluate-segmentation": "Score a segmentation beside others and beside no model at all.",
    "report": "Write a self-contained HTML report of a benchmark.",
    "datasets": "List, show and check the data sets that open by name.",
    "explore": "Write a self-contained HTML page about a box of a data set.",
    "edits": "Harvest or import an edit history, check and freeze it.",
    "link": "Make a link that shows a data set in Neuroglancer, or read one.",
    "fetch": "Copy a box of a volume, or a plain file, to this machine.",
    "cache": "Look at, check and empty what is kept on this machine.",
    "doctor": "Say what is installed, what works, and what is missing.",
}
"""Verbs in the order of the help page; each is the function of that name in a file of that name,
with an underscore for a hyphen."""


class Verbs(click.Group):
    """Imports a verb only when it is used, so that ``--help`` is immediate."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Names of all verbs."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The verb of that name."""
        if cmd_name not in VERBS:
            return None
        name = cmd_name.replace("-", "_")
        command = getattr(importlib.import_module(f"segmend.apps.cli.{name}"), name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the verbs without importing them."""
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="segmend")
def segmend() -> None:
    """Data, benchmarks and models for proofreading electron-microscopy segmentations.

    Start with: segmend demo
    """


def main() -> None:
    """Entry point of the console script."""
    try:
        status = segmend(standalone_mode=False)
    except SegmendError as error:
        click.echo(f"segmend: {error}", err=True)
        status = error.exit_status
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("segmend: stopped", err=True)
        status = 130
    sys.exit(status if isinstance(status, int) else 0)


if __name__ == "__main__":
    main()
