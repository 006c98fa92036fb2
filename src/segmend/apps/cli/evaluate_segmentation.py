"""``segmend evaluate-segmentation``: a segmentation against ground truth."""

from __future__ import annotations

import json
from pathlib import Path

import click

from segmend.apps.cli.options import as_json, box_of
from segmend.apps.tables import text_table
from segmend.core.errors import require


@click.command(
    epilog="Example: segmend evaluate-segmentation segmented.h5 fib25 --labels neurons "
    "--beside automatic --baselines"
)
@click.argument("segmentation", type=click.Path(path_type=Path))
@click.argument("dataset")
@click.option(
    "--path", type=click.Path(path_type=Path), help="Its file, if not in the data folder."
)
@click.option("--volume", help="Which of its volumes.")
@click.option("--labels", default="", help="Layer of true segments; without it classes are scored.")
@click.option("--box", help="Box to score, nm (default: all of SEGMENTATION).")
@click.option(
    "--border-nm", type=click.FloatRange(0), default=25, show_default=True, help="CREMI's border."
)
@click.option("--beside", multiple=True, help="Layer of DATASET to score beside; may be repeated.")
@click.option("--clefts", default="", help="Layer of true synaptic clefts, CREMI's score.")
@click.option(
    "--clefts-key",
    default="volumes/labels/classes",
    show_default=True,
    help="Array of SEGMENTATION with what was found: classes, or ids as in CREMI's files.",
)
@click.option(
    "--partners",
    type=click.Path(path_type=Path),
    help="CREMI file of true synaptic partners; SEGMENTATION holds the found ones, --labels names "
    "the true neurons.",
)
@click.option(
    "--skeleton",
    "skeletons",
    multiple=True,
    type=click.Path(path_type=Path),
    help="SWC file of a true neuron, nm, for the expected run length; may be repeated.",
)
@click.option("--baselines", is_flag=True, help="Score beside what needs no model.")
@as_json
def evaluate_segmentation(
    segmentation: Path,
    dataset: str,
    path: Path | None,
    volume: str | None,
    labels: str,
    box: str | None,
    border_nm: float,
    *,
    as_json: bool,
    **asked: object,
) -> None:
    """Score SEGMENTATION against the ground truth of DATASET.

    Segments get variation of information (bits), adapted Rand error by CREMI's and by SNEMI3D's
    rules, CREMI score and average precision at IoU 0.75 by size; classes get precision, recall, F1
    and IoU. By CREMI's rules what is near a border of the truth does not count. Clefts, partners
    and the run length on skeletons are scored where they are asked for.
    """
    require("mwatershed", extra="build")
    from segmend.apps.scoring_segmentations import EvaluateRequest
    from segmend.apps.scoring_segmentations import evaluate_segmentation as evaluate
    from segmend.catalog.dataset import open as open_dataset

    request = EvaluateRequest(
        labels=labels,
        box=None if box is None else box_of(box),
        border_nm=border_nm,
        **asked,  # type: ignore[arg-type]
    )
    scores = evaluate(segmentation, open_dataset(dataset, path=path, volume=volume), request)
    if as_json:
        click.echo(json.dumps(scores))
        return
    for kind, rows in scores.items():
        names = list(next(iter(rows.values()), {}))
        cells = [[name, *(f"{row[n]:.4g}" for n in names)] for name, row in rows.items()]
        click.echo(text_table([kind, *names], cells))
