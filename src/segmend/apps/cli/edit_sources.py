"""``segmend edits overlap`` and ``compare``: edits that nobody recorded, and how they differ."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from segmend.apps.cli.edit_files import say_frozen
from segmend.apps.cli.options import as_json, overrides, voxels
from segmend.apps.progress import Progress
from segmend.apps.tables import text_table

if TYPE_CHECKING:  # volumes and kernels take a second to import: not for every verb of edits
    from segmend.build.compare_edits import Difference, Measured


@click.command(epilog="Example: segmend edits overlap mine.toml --out mine.edits")
@click.argument("name")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to create.")
@click.option("--automatic", default="automatic", show_default=True, help="Layer to correct.")
@click.option("--neurons", default="neurons", show_default=True, help="Layer of the truth.")
@voxels("--block", (256, 256, 256), "Voxels held in memory at a time.")
@click.option("--min-segment-voxels", type=click.IntRange(1), default=500, show_default=True)
@click.option("--min-side-voxels", type=click.IntRange(1), default=1000, show_default=True)
@as_json
def overlap(
    name: str,
    out: Path,
    automatic: str,
    neurons: str,
    block: tuple[int, int, int],
    min_segment_voxels: int,
    min_side_voxels: int,
    as_json: bool,
) -> None:
    """Freeze what to merge and to split in the data set NAME, by its true neurons.

    For volumes larger than memory: it is read by blocks, and the edits do not depend on them. Plans
    of parts (box_nm) take the folder with edits.source = "frozen".
    """
    from segmend.catalog.dataset import open as open_dataset
    from segmend.edits.overlap import OverlapRules
    from segmend.edits.overlap_blocks import freeze_overlap

    rules = OverlapRules(min_segment_voxels=min_segment_voxels, min_side_voxels=min_side_voxels)
    with Progress(quiet=as_json) as progress:
        frozen = freeze_overlap(
            open_dataset(name),
            (automatic, neurons),
            out,
            rules=rules,
            block=block,
            report=progress.report,
        )
    say_frozen(frozen, as_json=as_json)


@click.command(epilog="Example: segmend edits compare real.toml injected.toml")
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path))
@overrides
@as_json
def compare(first: Path, second: Path, overrides: tuple[str, ...], as_json: bool) -> None:
    """Say how the edits of plan SECOND differ from those of plan FIRST, before anything is drawn.

    Sizes, contact area, distance and species; the Kolmogorov-Smirnov statistic, and the chance that
    an edit of SECOND is the larger one (AUROC, 0.5: alike) with a 95 % interval over neurons.
    --set counts for both plans.
    """
    from segmend.build.compare_edits import compare as compare_measured
    from segmend.build.compare_edits import measure_edits
    from segmend.build.settings import load_settings

    measured = [measure_edits(load_settings(p, overrides), p.parent) for p in (first, second)]
    found = compare_measured(*measured)
    if as_json:
        click.echo(json.dumps(_as_json(found, measured)))
        return
    click.echo(text_table(_HEAD, [_row(one) for one in found], left=2))
    for path, one in zip((first, second), measured, strict=True):
        species = ", ".join(f"{n} {name}" for name, n in sorted(one.species.items()))
        click.echo(f"{path}: {species}; {one.excluded.total()} left out")


_HEAD = ["kind", "measure", "first", "second", "median", "median", "KS", "AUROC", "95 %", "alike"]


def _row(one: Difference) -> list[Any]:
    from segmend.build.compare_edits import MEASURES

    interval = one.interval
    told = {None: "unknown", True: "no", False: "maybe"}[one.told_apart]
    return [
        one.kind,
        f"{one.measure}, {MEASURES[one.measure]}",
        *one.counts,
        *(f"{median:.3g}" for median in one.medians),
        f"{one.ks:.2f}",
        f"{one.auroc:.2f}",
        "none"
        if interval is None or interval.reason
        else f"{interval.low:.2f}-{interval.high:.2f}",
        told + (" (few neurons)" if interval is not None and interval.few_clusters else ""),
    ]


def _as_json(found: Sequence[Difference], measured: Sequence[Measured]) -> dict[str, Any]:
    from segmend.build.compare_edits import MEASURES

    def number(value: float) -> float | None:
        return value if value == value else None  # NaN is not JSON

    differences = [
        {
            "kind": one.kind,
            "measure": one.measure,
            "unit": MEASURES[one.measure],
            "counts": one.counts,
            "medians": [number(median) for median in one.medians],
            "ks": number(one.ks),
            "ks_p": number(one.p),
            "auroc": number(one.auroc),
            "interval": None
            if one.interval is None or one.interval.reason
            else [one.interval.low, one.interval.high],
            "neurons": None if one.interval is None else one.interval.n_clusters,
            "told_apart": one.told_apart,
        }
        for one in found
    ]
    return {
        "differences": differences,
        "species": [dict(sorted(one.species.items())) for one in measured],
        "left_out": [dict(sorted(one.excluded.items())) for one in measured],
    }
