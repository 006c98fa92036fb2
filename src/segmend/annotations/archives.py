"""Files inside zip archives from strangers, read without unpacking anything to the disk."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from segmend.core.errors import ReadFailedError
from segmend.store.archive_entries import zip_objection
from segmend.store.local_file import local_file

MAX_MEMBERS = 100_000
"""Entries of an archive; one has a file for each neuron at most."""

MAX_RATIO = 200
"""Bytes per packed byte; XML packs about twentyfold."""

FREE_BYTES = 2**24
"""Bytes that need no ratio: short files of equal nodes pack very well."""


def archive_members(path: str | Path) -> tuple[str, ...]:
    """Names of the plain files of an archive.

    Raises:
        ReadFailedError: if it cannot be read, is damaged, or holds what is refused: names that
            lead elsewhere or occur twice, links, encrypted entries, too many of them.
    """
    with _opened(Path(path)) as archive:
        return tuple(entry.filename for entry in _entries(Path(path), archive))


def read_member(path: str | Path, name: str, limit: int) -> bytes:
    """The bytes of one file of an archive.

    Args:
        path: The archive.
        name: One of `archive_members`.
        limit: Bytes; a longer file is refused.

    Raises:
        ReadFailedError: as `archive_members`, and for a file that is longer than it claims, than
            ``limit``, or than 200 times its packed bytes.
    """
    place = Path(path)
    with _opened(place) as archive:
        (entry,) = (e for e in _entries(place, archive) if e.filename == name)
        room = min(limit, max(FREE_BYTES, MAX_RATIO * entry.compress_size))
        if entry.file_size > room:
            raise _refused(place, f"{name} would unpack to {entry.file_size} bytes")
        with archive.open(entry) as member:
            data = member.read(entry.file_size + 1)
        if len(data) != entry.file_size:
            raise _refused(place, f"{name} has another size than it claims", reason="corrupt")
        return data


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    file = local_file(path)
    try:
        with (
            file.opened() as handle,
            os.fdopen(os.dup(handle), "rb") as opened,
            zipfile.ZipFile(opened) as archive,
        ):
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError, UnicodeError) as error:
        raise _refused(path, f"it is damaged: {error}", reason="corrupt") from error
    except (NotImplementedError, RuntimeError) as error:
        raise _refused(path, str(error)) from error


def _entries(path: Path, archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    entries = archive.infolist()
    if len(entries) > MAX_MEMBERS:
        raise _refused(path, f"it has {len(entries)} members")
    seen: set[str] = set()
    for entry in entries:
        if objection := zip_objection(entry):
            raise _refused(path, objection)
        if entry.filename in seen:
            raise _refused(path, f"{entry.filename} occurs twice")
        seen.add(entry.filename)
    return [entry for entry in entries if not entry.is_dir()]


def _refused(path: Path, found: str, *, reason: str = "refused") -> ReadFailedError:
    return ReadFailedError(
        f"{path} cannot be read",
        found=found,
        fix="Get the archive again, or write its files again without it",
        reason=reason,
        url=str(path),
    )
