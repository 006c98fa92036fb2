"""Folders of tracings: every NML file in them, plain or in an archive."""

from __future__ import annotations

from pathlib import Path

from segmend.annotations.annotation import Annotation
from segmend.annotations.nml import ZIPPED, nml_members, read_nml
from segmend.core.errors import ReadFailedError

MAX_FILES = 10_000
"""A folder with more files is refused: the largest of L4dense2019 has some hundred neurons."""


def read_tracings(folder: str | Path) -> dict[str, Annotation]:
    """Read every NML file of a folder and of the folders in it.

    Args:
        folder: The folder, or one file.

    Returns:
        Annotations by path relative to the folder, sorted; those in archives as
        ``archive.zip:member.nml``.

    Raises:
        ReadFailedError: if there is none, there are too many, or one cannot be read.
        BadInputError: if one is not NML; the message names file, line and tree.
    """
    top = Path(folder)
    files = [top] if top.is_file() else sorted(p for p in top.rglob("*") if p.is_file())
    wanted = [file for file in files if file.suffix.lower() in (".nml", *ZIPPED)]
    if not 1 <= len(wanted) <= MAX_FILES:
        raise ReadFailedError(
            f"{top} is no folder of tracings",
            found=f"{len(wanted)} files end with .nml, .zip or .nmx, of {len(files)}",
            fix="Copy the published folder, files and all",
            reason="missing",
            url=str(top),
        )
    found: dict[str, Annotation] = {}
    for file in wanted:
        name = file.name if file == top else file.relative_to(top).as_posix()
        if file.suffix.lower() in ZIPPED:
            for member in nml_members(file):
                found[f"{name}:{member}"] = read_nml(file, member=member)
        else:
            found[name] = read_nml(file)
    return found
