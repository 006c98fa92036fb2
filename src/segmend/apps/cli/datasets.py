"""``segmend datasets``: what the catalogue holds, and whether it is still where it was."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from segmend.apps.cli.options import as_json
from segmend.apps.datasets import described
from segmend.apps.progress import Progress
from segmend.apps.tables import text_table
from segmend.catalog.listing import entries
from segmend.catalog.record import Record, load_record, record_names
from segmend.core.errors import ReadFailedError, VerificationError, require
from segmend.core.settings import settings

if TYPE_CHECKING:
    from segmend.catalog.checking import Check


@click.group(epilog="Example: segmend datasets list --species fly")
def datasets() -> None:
    """Look at the data sets that segmend opens by name.

    What is known of each is a record: its layers and where they lie, the meaning of the labels, its
    licence, its defects, and what of all this is not certain.
    """


@datasets.command("list", epilog="Example: segmend datasets list --labels mitochondria --json")
@click.option("--species", help="Of that species only.")
@click.option("--modality", help="Of that modality only, for example FIB-SEM.")
@click.option("--licence", help="Of that licence (CC-BY-4.0), or state of it (unstated) only.")
@click.option("--labels", help="With labels of that class only: neuron, cleft, mitochondria, ...")
@as_json
def list_datasets(as_json: bool, **wanted: str | None) -> None:
    """List the data sets, all or those that fit."""
    found = entries(**wanted)
    if as_json:
        click.echo(json.dumps({"datasets": [dataclasses.asdict(one) for one in found]}))
        return
    rows = [
        [e.name, e.species, e.modality or "-", ", ".join(e.labels), e.licence, e.title]
        for e in found
    ]
    header = ["name", "species", "modality", "labels", "licence", "title"]
    click.echo(text_table(header, rows, left=len(header)))


@datasets.command(epilog="Example: segmend datasets show cremi-a")
@click.argument("name")
@as_json
def show(name: str, as_json: bool) -> None:
    """Say all that is known of the data set NAME, and what of it is not certain.

    NAME may be the path of a record (.toml) of your own.
    """
    record, _ = load_record(name)
    click.echo(json.dumps(msgspec.to_builtins(record)) if as_json else described(record))


@datasets.command(epilog="Example: segmend datasets check microns fib25")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@as_json
def check(names: tuple[str, ...], as_json: bool) -> None:
    """Ask every source of the data sets NAME (by default all) whether it is as recorded.

    A file is asked for its size and, where the server says it, its checksum; a remote volume is
    opened and its layout compared; a copy in the data folder is read whole if its checksum is
    known. Each source is *alive*, *changed*, *unreachable*, or *unknown* where there is nothing to
    ask. Exits with 6 if anything has changed, else with 4 if anything is unreachable.
    """
    require("pycurl", extra="build")
    from segmend.catalog.checking import check_records

    with Progress(quiet=as_json) as progress:
        found = check_records(
            [_placed(name) for name in names or record_names()],
            lambda done, total: progress.report("asking", done, total),
        )
    states = Counter(one.state for one in found)
    alive = f"{states['alive']} alive / {len(found)}"
    if as_json:
        checks = [dataclasses.asdict(one) for one in found]
        click.echo(json.dumps({"alive": states["alive"], "sources": len(found), "checks": checks}))
    else:
        rows = [[c.dataset, c.what, c.state, c.place or "-", c.why] for c in found]
        header = ["data set", "source", "state", "place", "found"]
        click.echo(text_table(header, rows, left=len(header)))
        click.echo(", ".join([alive, *(f"{n} {s}" for s, n in states.items() if s != "alive")]))
    _conclude(found, alive)


def _placed(name: str) -> tuple[Record, Path]:
    """A record and the folder that its files are kept in."""
    record, folder = load_record(name)
    return record, folder or settings().data_dir


def _conclude(found: list[Check], alive: str) -> None:
    """Exit with the worst of what was found."""
    changed = [f"{c.what} of {c.dataset}" for c in found if c.state == "changed"]
    lost = [c for c in found if c.state == "unreachable"]
    if changed:
        raise VerificationError(
            f"{len(changed)} of {len(found)} sources are not what is recorded",
            found=", ".join(changed),
            fix="Look at what has changed, then correct the record",
        )
    if lost:
        raise ReadFailedError(
            f"{len(lost)} of {len(found)} sources are unreachable",
            found=alive,
            fix="Check the network and the addresses",
            reason="connection",
            url=lost[0].place,
        )
