"""``segmend train-segmentation``: a network that segments a volume."""

from __future__ import annotations

from pathlib import Path

import click

from segmend.apps.cli.options import box_of, voxels
from segmend.apps.progress import Progress
from segmend.core.errors import require


@click.command(
    epilog="Example: segmend train-segmentation fib25 --labels neurons --box 0:1000,0:2500,0:2500 "
    "--validation-box 1050:1200,0:2500,0:2500 --out runs/fib25"
)
@click.argument("dataset")
@click.option(
    "--path", type=click.Path(path_type=Path), help="Its file, if not in the data folder."
)
@click.option("--volume", help="Which of its volumes.")
@click.option("--labels", default="", help="Layer whose segments are learnt, as affinities.")
@click.option("--classes", is_flag=True, help="Learn the common classes.")
@click.option("--box", help="Box to learn from, nm: z0:z1,y0:y1,x0:x1 (default: everything).")
@click.option("--validation-box", help="Box to choose the best weights by, apart from --box.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Run folder to create.")
@click.option("--steps", type=click.IntRange(1), default=400, show_default=True)
@voxels("--crop", (24, 96, 96), "Voxels of a crop; rounded up to what the network can halve.")
@click.option("--crops", type=click.IntRange(1), default=1, show_default=True, help="Per step.")
@click.option("--width", type=click.IntRange(4), default=16, show_default=True, help="Channels.")
@click.option("--learning-rate", type=float, default=2e-3, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option(
    "--zero-is",
    type=click.Choice(["unknown", "boundary"]),
    default="unknown",
    show_default=True,
    help="What id 0 of --labels means.",
)
@click.option("--validate-every", type=click.IntRange(1), default=50, show_default=True)
@click.option("--resume", is_flag=True, help="Go on from the last checkpoint of --out.")
def train_segmentation(
    dataset: str,
    path: Path | None,
    volume: str | None,
    box: str | None,
    validation_box: str | None,
    out: Path,
    **asked: object,
) -> None:
    """Train a compact 3-D residual U-Net on DATASET, on a GPU where there is one.

    DATASET is a name (`segmend datasets list`) or a record of your own (.toml). It learns whether
    neighbouring voxels lie in one segment of --labels, the common classes, or both. A run that was
    stopped goes on exactly with --resume and the same options.
    """
    for module, extra in (("torch", "torch"), ("safetensors", "torch"), ("mwatershed", "build")):
        require(module, extra=extra)
    from segmend.apps.segmenting import TrainRequest
    from segmend.apps.segmenting import train_segmentation as run
    from segmend.catalog.dataset import open as open_dataset
    from segmend.segmentation.train import TrainSettings

    keys = ("labels", "classes", "crop", "zero_is", "width", "resume")
    request = TrainRequest(
        box=None if box is None else box_of(box),
        validation=None if validation_box is None else box_of(validation_box),
        **{key: asked[key] for key in keys},  # type: ignore[arg-type]
    )
    names = ("steps", "crops", "learning_rate", "seed", "validate_every")
    settings = TrainSettings(**{name: asked[name] for name in names})  # type: ignore[arg-type]
    opened = open_dataset(dataset, path=path, volume=volume)
    with Progress() as progress:
        progress.say(f"training on {dataset}, {settings.steps} steps")
        state = run(opened, out, request, settings, report=progress.report)
    best = min((row["validation_loss"] for row in state.log if "validation_loss" in row), default=0)
    click.echo(f"{out}: {state.step} steps" + (f", validation loss {best:.4f}" if best else ""))
    click.echo(f"next: segmend predict-segmentation {out} {dataset} --out segmented.h5")
