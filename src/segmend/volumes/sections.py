"""A folder of sections, one image file each, in the order of the numbers in their names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from segmend.core.errors import BadInputError, ReadFailedError, SchemaError

Missing = Literal["error", "absent"]

MAX_SECTIONS = 1_000_000


def list_sections(
    folder: str | Path, suffixes: Sequence[str], *, missing: Missing = "error"
) -> list[Path | None]:
    """The sections of a folder, first to last.

    Names may differ in their last number only. Hidden files and other suffixes are left out.

    Args:
        folder: The folder.
        suffixes: Suffixes of its sections, lower case.
        missing: What a gap in the numbers means: an error, or a section that is certified absent.

    Returns:
        Paths; None for a section that is absent.

    Raises:
        ReadFailedError: if there is no such folder or it has no sections.
        SchemaError: for names that do not number the sections, or a gap.
    """
    if missing not in ("error", "absent"):
        raise BadInputError(f"missing='{missing}' is neither 'error' nor 'absent'")
    place = Path(folder).absolute()
    if not place.is_dir():
        raise ReadFailedError(f"there is no folder {place}", reason="missing", url=str(place))
    files = [
        path
        for path in place.iterdir()
        if path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()
    ]
    if not files:
        raise ReadFailedError(
            f"{place} has no sections",
            found=f"no file in it ends in {' or '.join(suffixes)}",
            reason="missing",
            url=str(place),
        )
    numbered = _numbered(place, files)
    first, last = min(numbered), max(numbered)
    gaps = last - first + 1 - len(numbered)
    if last - first >= MAX_SECTIONS:
        raise SchemaError(f"{place} cannot be a stack", found=f"sections {first} to {last}")
    if gaps and missing == "error":
        lost = next(n for n in range(first, last) if n not in numbered)
        raise SchemaError(
            f"{place} has gaps",
            found=f"{gaps} of the sections {first} to {last} are missing, the first is {lost}",
            fix="Get them, or pass missing='absent' if they were never imaged",
        )
    return [numbered.get(number) for number in range(first, last + 1)]


def _numbered(place: Path, files: Sequence[Path]) -> dict[int, Path]:
    numbered: dict[int, Path] = {}
    patterns = set()
    for path in sorted(files):
        found = re.search(r"(\d+)(\D*)$", path.name.removesuffix(path.suffix))
        if found is None or len(found[1]) > 18:
            raise SchemaError(
                f"{path} has no section number", fix="Name sections by number, or move it away"
            )
        number = int(found[1])
        patterns.add((path.name[: found.start(1)], found[2]))
        if number in numbered or len(patterns) > 1:
            other = numbered.get(number) or next(iter(numbered.values()))
            raise SchemaError(
                f"{place} holds more than one stack",
                found=f"'{other.name}' and '{path.name}'",
                fix="Sections of one stack differ in their last number only",
            )
        numbered[number] = path
    return numbered
