"""``segmend predict-segmentation``: a trained network over a box."""

from __future__ import annotations

from pathlib import Path

import click

from segmend.apps.cli.options import box_of, voxels
from segmend.apps.progress import Progress
from segmend.core.errors import require


@click.command(
    epilog="Example: segmend predict-segmentation runs/fib25 fib25 --box 1250:1750,0:2500,0:2500 "
    "--out segmented.h5"
)
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("image")
@click.option("--path", type=click.Path(path_type=Path), help="File of the data set IMAGE.")
@click.option("--volume", help="Which of its volumes.")
@click.option("--key", help="Array to take, where IMAGE is a file or folder that holds several.")
@click.option("--box", help="Box to segment, nm: z0:z1,y0:y1,x0:x1 (default: everything).")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="File to write, .h5.")
@voxels("--tile", (64, 256, 256), "Largest tile, halo included, voxels.")
@voxels("--halo", (4, 16, 16), "Context around a tile, voxels.", least=0)
@click.option(
    "--decoder", type=click.Choice(["mutex", "watershed"]), default="mutex", show_default=True
)
@click.option("--threshold", type=float, default=0.5, show_default=True, help="Of affinities.")
@click.option("--min-voxels", type=click.IntRange(0), default=100, show_default=True)
@voxels("--block", (64, 512, 512), "Voxels decoded at a time; larger boxes are stitched.")
def predict_segmentation(
    run: Path,
    image: str,
    path: Path | None,
    volume: str | None,
    key: str | None,
    box: str | None,
    out: Path,
    **asked: object,
) -> None:
    """Segment a box of IMAGE with the trained RUN.

    IMAGE is a data set, by name or by a record of your own (.toml), or the path or URL of a volume.
    The network goes over the box tile by tile, with context around each and answers blended where
    they overlap; affinities become segments by mutex watershed, or by watershed and agglomeration,
    block by block where the box is larger than a block.
    """
    for module, extra in (("torch", "torch"), ("safetensors", "torch"), ("mwatershed", "build")):
        require(module, extra=extra)
    from segmend.apps.segmenting import PredictRequest
    from segmend.apps.segmenting import predict_segmentation as predict
    from segmend.catalog.dataset import open as open_dataset
    from segmend.catalog.record import record_names
    from segmend.volumes.open import open_volume

    if image in record_names() or image.endswith(".toml"):
        opened = open_dataset(image, path=path, volume=volume).image
    else:
        opened = open_volume(image, key=key)
    names = ("tile", "halo", "decoder", "threshold", "min_voxels", "block")
    request = PredictRequest(
        box=None if box is None else box_of(box),
        **{name: asked[name] for name in names},  # type: ignore[arg-type]
    )
    with Progress() as progress:
        made = predict(run, opened, out, request, report=progress.report)
    for key, told in made.items():
        click.echo(f"{out}:{key}: sha256 of the voxels {told['sha256']}")
    click.echo(f"next: segmend evaluate-segmentation {out} {image} --labels LAYER --baselines")
