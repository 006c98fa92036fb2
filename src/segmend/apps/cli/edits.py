"""``segmend edits``: an edit history from a CAVE server, complete or with every gap named."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from segmend.apps.cli.edit_files import export, import_file, say_frozen
from segmend.apps.cli.edit_sources import compare, overlap
from segmend.apps.cli.options import as_json
from segmend.apps.progress import Progress
from segmend.apps.tables import percent, text_table
from segmend.core.errors import IncompleteHarvestError
from segmend.edits.cave_record import CaveRecord, load_cave_record
from segmend.edits.cave_server import Manners, open_cave
from segmend.edits.coverage import Bin, Coverage, coverage_of
from segmend.edits.harvest import harvest as run_harvest
from segmend.edits.harvest import record_of
from segmend.edits.ledger import Ledger
from segmend.edits.normalise import freeze_harvest

folder_argument = click.argument("folder", type=click.Path(path_type=Path))
server_option = click.option("--server", default="", help="URL of another global CAVE server.")
workers_option = click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=8,
    show_default=True,
    help="Requests in flight.",
)
rate_option = click.option(
    "--rate", type=click.FloatRange(min=0, min_open=True), help="Most requests per second."
)


@click.group(epilog="Example: segmend edits harvest microns --to microns.harvest")
def edits() -> None:
    """Harvest the edit history of a CAVE server, or import one from a file, and freeze it.

    Every root and every operation ends with an outcome; what cannot be read is named, never
    dropped. Tokens are where caveclient looks for them (~/.cloudvolume/secrets).
    """


@edits.command(epilog="Example: segmend edits harvest microns --to microns.harvest --rate 20")
@click.argument("record")
@click.option(
    "--to", "folder", required=True, type=click.Path(path_type=Path), help="Folder of the harvest."
)
@click.option(
    "--until",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]),
    help="End of the history, UTC; by default now.",
)
@server_option
@workers_option
@rate_option
@as_json
def harvest(
    record: str,
    folder: Path,
    until: datetime | None,
    server: str,
    workers: int,
    rate: float | None,
    as_json: bool,
) -> None:
    """Ask for the history of RECORD: microns, flywire, h01, fish1, or a .toml of your own.

    Run it again after an interruption: it goes on where it was. The exit status is 9 if anything
    could not be read; segmend edits report says what, segmend edits retry asks again.
    """
    loaded = load_cave_record(record)
    end = until.replace(tzinfo=UTC) if until else None
    with Ledger(folder, create=True) as ledger:
        _ask(ledger, loaded, until=end, how=(server, workers, rate), as_json=as_json)


@edits.command(epilog="Example: segmend edits retry microns.harvest --quarantined")
@folder_argument
@click.option("--quarantined", is_flag=True, help="Ask also for what failed three times.")
@server_option
@workers_option
@rate_option
@as_json
def retry(
    folder: Path,
    quarantined: bool,
    server: str,
    workers: int,
    rate: float | None,
    as_json: bool,
) -> None:
    """Ask again for what failed in the harvest FOLDER.

    What failed in three rounds is in quarantine, and is left alone.
    """
    with Ledger(folder) as ledger:
        ledger.requeue(quarantined=quarantined)
        _ask(ledger, record_of(ledger), until=None, how=(server, workers, rate), as_json=as_json)


@edits.command(epilog="Example: segmend edits status microns.harvest")
@folder_argument
@as_json
def status(folder: Path, as_json: bool) -> None:
    """Say how far the harvest FOLDER is."""
    with Ledger(folder) as ledger:
        _say(coverage_of(ledger), as_json=as_json, bins=False)


@edits.command(epilog="Example: segmend edits report microns.harvest --json")
@folder_argument
@as_json
def report(folder: Path, as_json: bool) -> None:
    """Say what the harvest FOLDER lacks, by reason, edit count and size.

    What is missing is seldom missing at random: look at the shares before you train on the rest.
    """
    with Ledger(folder) as ledger:
        _say(coverage_of(ledger), as_json=as_json, bins=True)


@edits.command(epilog="Example: segmend edits freeze microns.harvest --out microns.edits")
@folder_argument
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to create.")
@as_json
def freeze(folder: Path, out: Path, as_json: bool) -> None:
    """Normalise the harvest FOLDER and write it as files with checksums.

    Plans read them with edits.source = "frozen", with no server and no token.
    """
    with Ledger(folder) as ledger:
        frozen = freeze_harvest(ledger, out)
    say_frozen(frozen, as_json=as_json)


for command in (import_file, export, overlap, compare):
    edits.add_command(command)


def _ask(
    ledger: Ledger,
    record: CaveRecord,
    *,
    until: datetime | None,
    how: tuple[str, int, float | None],
    as_json: bool,
) -> None:
    server, workers, rate = how
    manners = Manners(workers=workers, per_second=rate)
    with Progress(quiet=as_json) as progress:
        cave = open_cave(record, server=server, manners=manners)
        run_harvest(ledger, cave, record, until=until, workers=workers, report=progress.report)
    found = coverage_of(ledger)
    _say(found, as_json=as_json, bins=False)
    if found.missing:
        raise IncompleteHarvestError(
            f"{found.missing} roots and operations of '{record.name}' were not read",
            found=", ".join(f"{n} {reason}" for reason, n in found.reasons.most_common(5)),
            fix=f"Look: segmend edits report {ledger.folder}. Ask again: segmend edits retry "
            f"{ledger.folder}",
        )


def _say(found: Coverage, *, as_json: bool, bins: bool) -> None:
    if as_json:
        click.echo(json.dumps(found.as_json()))
        return
    click.echo(f"{found.name} ({found.species}) until {found.until}")
    rows = [
        [name, outcome, n]
        for name, counts in found.stages.items()
        for outcome, n in sorted(counts.items())
    ]
    click.echo(text_table(["asked for", "outcome", "number"], rows, left=2))
    click.echo(f"in quarantine: {found.quarantined}")
    if bins:
        click.echo(_bin_table("operations", found.by_edits))
        click.echo(_bin_table("L2 chunks", found.by_size))


def _bin_table(name: str, bins: Sequence[Bin]) -> str:
    rows = [
        [one.name, one.answered, one.missing.total(), percent(one.share_missing), _why(one.missing)]
        for one in bins
    ]
    return "\n" + text_table([f"{name} of a root", "read", "missing", "share", "why"], rows)


def _why(missing: Counter[str]) -> str:
    return ", ".join(f"{n} {reason}" for reason, n in missing.most_common())
