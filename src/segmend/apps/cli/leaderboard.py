"""``segmend leaderboard``: results side by side."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from segmend.apps.cli.options import as_json
from segmend.apps.scoreboard.files import check_format, write_boards
from segmend.evaluate.leaderboard import boards, read_results
from segmend.evaluate.tables import board_text


@click.command(epilog="Example: segmend leaderboard results/ --out leaderboard.html")
@click.argument("results", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Also write it: .json, .md or .html.")
@as_json
def leaderboard(results: tuple[Path, ...], out: Path | None, as_json: bool) -> None:
    """Sort RESULTS (files of `segmend evaluate --out`, or folders of them) into boards.

    One board per task, benchmark and split: only results on the same rows stand together. Published
    figures follow, with their source; they were measured on other data.
    """
    if out is not None:
        check_format(out)
    found = boards(read_results(results))
    if out is not None:
        write_boards(out, found)
    if as_json:
        click.echo(msgspec.json.encode(found).decode())
        return
    click.echo("\n".join(board_text(board) for board in found), nl=False)
