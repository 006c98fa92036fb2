"""``segmend cache``: what is kept on this machine, whether it is intact, and how to remove it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import click

from segmend.apps.cli.options import as_json
from segmend.apps.progress import Progress
from segmend.apps.tables import text_table
from segmend.core.errors import VerificationError
from segmend.core.settings import settings
from segmend.store.atomic import output_errors
from segmend.store.cache import FOLDER
from segmend.store.cache_check import damaged, usage
from segmend.store.cache_files import CacheFolder
from segmend.store.cache_room import budget_of, shrink

_TISSUE = re.compile(r"[0-9a-f]{20}\.h5")


@click.group(epilog="Example: segmend cache info")
def cache() -> None:
    """Look at, check and empty what segmend keeps on this machine.

    Two things are kept below SEGMEND_CACHE (default ~/.cache/segmend): objects read from remote
    volumes, within a budget of bytes (SEGMEND_CACHE_BYTES; by default 20 GB, or a quarter of the
    free disk if that is less), and synthetic tissue. Both can be had again.
    """


@cache.command(epilog="Example: segmend cache info --json")
@as_json
def info(as_json: bool) -> None:
    """Say what is kept, and how much room it takes."""
    folder, tissue = _objects(), _tissue()
    used = usage(folder)
    budget = budget_of(folder.root, settings().cache_bytes, used.bytes)
    taken = sum(file.stat().st_size for file in tissue)
    if as_json:
        volumes = [
            {"url": v.url, "version": v.version, "objects": v.objects, "bytes": v.bytes}
            for v in used.volumes
        ]
        objects = {"bytes": used.bytes, "budget": budget, "blobs": used.blobs, "volumes": volumes}
        synthetic = {"bytes": taken, "files": len(tissue)}
        folder_name = str(settings().cache_dir)
        said = {"folder": folder_name, "objects": objects, "synthetic": synthetic}
        click.echo(json.dumps(said))
        return
    click.echo(str(settings().cache_dir))
    rows = [
        ["remote objects", used.blobs, _megabytes(used.bytes), _megabytes(budget)],
        ["synthetic tissue", len(tissue), _megabytes(taken), "none"],
    ]
    click.echo(text_table(["kept", "files", "MB", "budget MB"], rows))
    if used.volumes:
        listed = [[v.url, v.version[:12], v.objects, _megabytes(v.bytes)] for v in used.volumes]
        click.echo("")
        click.echo(text_table(["volume", "version", "objects", "MB"], listed))


@cache.command(epilog="Example: segmend cache verify")
@as_json
def verify(as_json: bool) -> None:
    """Read every object kept and compare it with its sha256.

    Exits with 6 and names what is damaged. Damaged objects are never used: they are read again from
    where they came.
    """
    folder = _objects()
    with Progress(quiet=as_json) as progress:
        problems = damaged(folder, progress.report)
    if as_json:
        click.echo(json.dumps({"folder": str(folder.root), "damaged": problems}))
    else:
        for problem in problems:
            click.echo(problem, err=True)
    if problems:
        raise VerificationError(
            f"{folder.root} is not intact",
            found=f"{len(problems)} damaged",
            fix="They will be read again when asked for; check the disk",
        )
    if not as_json:
        click.echo(f"{folder.root} is intact")


@cache.command(epilog="Example: segmend cache prune --to 5000000000")
@click.option("--to", type=click.IntRange(0), required=True, help="Bytes that may be left.")
@as_json
def prune(to: int, as_json: bool) -> None:
    """Remove the remote objects used least recently, until at most --to bytes are left."""
    folder = _objects()
    with output_errors(folder.root):
        before = usage(folder).bytes
        left = shrink(folder, to)
        if folder.root.exists():
            folder.record(left)
    if as_json:
        click.echo(json.dumps({"removed_bytes": before - left, "bytes": left}))
    else:
        click.echo(f"removed {_megabytes(before - left)} MB, {_megabytes(left)} MB are left")


@cache.command(epilog="Example: segmend cache clear --yes")
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
def clear(yes: bool, as_json: bool) -> None:
    """Remove everything that is kept: remote objects and synthetic tissue."""
    folder, tissue = _objects(), _tissue()
    taken = usage(folder).bytes + sum(file.stat().st_size for file in tissue)
    where = settings().cache_dir
    if not yes:
        click.confirm(f"Remove {_megabytes(taken)} MB from {where}?", abort=True, err=True)
    with output_errors(where):
        folder.remove()
        for file in tissue:
            file.unlink(missing_ok=True)
    said = json.dumps({"removed_bytes": taken}) if as_json else f"removed {_megabytes(taken)} MB"
    click.echo(said)


def _objects() -> CacheFolder:
    return CacheFolder(settings().cache_dir / FOLDER)


def _tissue() -> list[Path]:
    folder = settings().cache_dir / "synthetic"
    return sorted(f for f in folder.glob("*.h5") if _TISSUE.fullmatch(f.name))


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f}"
