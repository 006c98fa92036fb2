"""Edits from files of others, frozen: the same folder as a harvest makes, with no server asked."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from segmend import __version__
from segmend.core.errors import BadInputError, SchemaError
from segmend.edits.edit_files import read_edits
from segmend.edits.frozen import FrozenEdits, freeze
from segmend.edits.operation import EditOp
from segmend.store.atomic import sha256_file


def import_edits(
    path: str | Path, folder: str | Path, *, licence: str, citation: str = ""
) -> FrozenEdits:
    """Freeze the edits of a file in the neutral form.

    Args:
        path: A ``.parquet`` or ``.jsonl`` file.
        folder: Folder to create.
        licence: Of the edits.
        citation: Whom to cite for them.

    Raises:
        BadInputError: if the file cannot be read or holds no edits.
        SchemaError: if a row is no edit, or the rows are of several data sets.
        OutputError: if the folder exists or cannot be written; nothing is left behind.
    """
    path = Path(path)
    ops = read_edits(path)
    first = next(ops, None)
    if first is None:
        raise BadInputError(f"{path} holds no edits", fix="docs/edits.md describes the form")
    facts = file_facts(path, "neutral", first.dataset, licence=licence, citation=citation)
    return freeze(folder, _of_one(first, ops, path), facts=facts)


def file_facts(
    path: Path, form: str, dataset: str, *, licence: str, citation: str
) -> dict[str, Any]:
    """What a manifest says of a history of a data set that was read from a file.

    Raises:
        BadInputError: if the file cannot be read, or there is no licence.
    """
    if not licence.strip():
        raise BadInputError(
            "edits need a licence", fix="Say 'unknown' if it is; a benchmark's card will show it"
        )
    try:
        digest = sha256_file(path)
    except OSError as error:
        raise BadInputError(f"cannot read {path}", found=str(error)) from error
    return {
        "source": {"kind": "file", "form": form, "name": path.name, "sha256": digest},
        "versions": {"segmend": __version__},
        "dataset": dataset,
        "licence": licence,
        "citation": citation,
    }


def _of_one(first: EditOp, rest: Iterator[EditOp], path: Path) -> Iterator[EditOp]:
    for op in chain([first], rest):
        if op.dataset != first.dataset:
            raise SchemaError(
                f"{path} holds edits of several data sets",
                found=f"'{first.dataset}', and '{op.dataset}' in operation '{op.operation_id}'",
                fix="Import one file for each",
            )
        yield op
