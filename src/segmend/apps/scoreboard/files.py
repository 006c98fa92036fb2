"""Results and leaderboards as files; the ending of the name says in which form."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from segmend.apps.pages.page import check_folder, write_page
from segmend.core.errors import BadInputError
from segmend.evaluate.leaderboard import Board, boards
from segmend.evaluate.result import Result
from segmend.evaluate.tables import (
    board_columns,
    board_markdown,
    board_notes,
    board_rows,
    board_title,
    result_markdown,
)
from segmend.store.atomic import atomic_file

FORMATS = (".json", ".md", ".html")


def check_format(out: Path) -> None:
    """Check a file's name and folder before the work for it is done.

    Raises:
        BadInputError: for an ending other than those of `FORMATS`.
        OutputError: if its folder does not exist.
    """
    if out.suffix not in FORMATS:
        raise BadInputError(f"cannot write a result as '{out}'", fix=f"End it {', '.join(FORMATS)}")
    check_folder(out)


def write_result(out: Path, result: Result) -> None:
    """Write one result; as HTML it is a board of one, with the published figures below.

    Raises:
        BadInputError: for an unknown ending.
        OutputError: if the file cannot be written.
        MissingDependencyError: for HTML without the extra ``report``.
    """
    check_format(out)
    if out.suffix == ".html":
        write_boards(out, boards([result]))
        return
    text = result.to_json() if out.suffix == ".json" else result_markdown(result)
    with atomic_file(out) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_boards(out: Path, found: Sequence[Board]) -> None:
    """Write boards; errors as in `write_result`."""
    check_format(out)
    if out.suffix == ".html":
        pages = [
            {
                "title": board_title(board),
                "columns": board_columns(board),
                "rows": board_rows(board),
                "notes": board_notes(board),
                "n_results": len(board.results),
            }
            for board in found
        ]
        write_page(out, "segmend.apps.scoreboard", title="Leaderboard", summary="", boards=pages)
        return
    if out.suffix == ".json":
        text = msgspec.json.encode(found).decode() + "\n"
    else:
        text = "\n".join(board_markdown(board) for board in found)
    with atomic_file(out) as temporary:
        temporary.write_text(text, encoding="utf-8")
