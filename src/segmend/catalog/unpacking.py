"""Unpack a downloaded archive: nothing leaves its folder, nothing grows without bound.

Archives come from strangers. Only plain files and folders are unpacked, under plain relative names,
within limits; what is written appears under its name when all of it is there.
"""

from __future__ import annotations

import fcntl
import glob
import gzip
import os
import secrets
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal

from segmend.core.errors import OutputError, ReadFailedError
from segmend.store.archive_entries import name_objection, zip_objection

MAX_MEMBERS = 200_000
"""Files and folders of one archive; the largest of the catalogue has some dozens."""

MAX_RATIO = 200
"""Unpacked bytes per packed byte; label volumes reach about 100."""

FREE_BYTES = 2**30
"""Unpacked bytes that need no ratio: a small archive of blank volumes is no bomb."""

READ_BYTES = 2**24
"""The most that is read at once: headers of a tar file may claim any length."""

IGNORED = ("__MACOSX", ".DS_Store")
"""What macOS adds to archives: no data."""


@dataclass(frozen=True, slots=True)
class _Member:
    """A plain file of an archive: where it goes, its claimed size, and who opens it."""

    parts: tuple[str, ...]
    size: int
    source: Any


def unpack(
    archive: Path,
    folder: Path,
    *,
    form: Literal["zip", "tar.gz"],
    receipt: tuple[str, bytes] | None = None,
) -> None:
    """Unpack an archive into a new folder.

    One folder at the top of the archive that has the name of ``folder`` is left out.

    Args:
        archive: The file.
        folder: The folder to make; it appears when everything is in it.
        form: Format of the archive.
        receipt: Name and content of one more file to put into the folder.

    Raises:
        ReadFailedError: if the archive is damaged, or holds what is refused: names that lead out
            of the folder, links, devices, encrypted members, more than the limits.
        OutputError: if the folder exists or cannot be written.
    """
    if os.path.lexists(folder):
        raise OutputError(f"cannot unpack into {folder}", found="it exists", fix="Remove it first")
    with _errors(archive, folder), _workplace(folder) as temporary:
        room = max(FREE_BYTES, MAX_RATIO * archive.stat().st_size)
        members = _zip_members if form == "zip" else _tar_members
        _write_all(members(archive, room), temporary, archive, room)
        inner = temporary / folder.name
        alone = [p.name for p in temporary.iterdir()] == [folder.name]
        made = inner if alone and inner.is_dir() else temporary
        if receipt is not None:
            (made / receipt[0]).write_bytes(receipt[1])
        made.rename(folder)


@contextmanager
def _workplace(folder: Path) -> Iterator[Path]:
    """A hidden folder beside another; those that killed processes left are taken away."""
    for left in folder.parent.glob(f".{glob.escape(folder.name)}.*.tmp"):
        with _locked(left) as mine:
            if mine:
                shutil.rmtree(left, ignore_errors=True)
    temporary = folder.with_name(f".{folder.name}.{secrets.token_hex(8)}.tmp")
    temporary.mkdir()
    try:
        with _locked(temporary):
            yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Hold the lock of a folder, if nobody else does; it ends with the process that has it."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine = True
        except BlockingIOError:
            mine = False
        yield mine
    finally:
        os.close(handle)


@contextmanager
def _errors(archive: Path, folder: Path) -> Iterator[None]:
    """Name what is at fault: the archive, or the place that is written."""
    try:
        yield
    except ReadFailedError:
        raise
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, gzip.BadGzipFile) as error:
        raise _refused(archive, f"damaged: {error}", reason="corrupt") from error
    except (NotImplementedError, RuntimeError, UnicodeError) as error:
        raise _refused(archive, str(error)) from error
    except OSError as error:
        raise OutputError(f"cannot unpack into {folder}", found=str(error)) from error


def _refused(archive: Path, found: str, *, reason: str = "refused") -> ReadFailedError:
    return ReadFailedError(
        f"{archive.name} is not unpacked",
        found=found,
        fix="Get the archive again; if it is as published, unpack it by hand",
        reason=reason,
        url=str(archive),
    )


def _write_all(members: Iterator[_Member], folder: Path, archive: Path, room: int) -> None:
    """Write the files; a size that a header claims is checked before and counted while writing."""
    seen: set[tuple[str, ...]] = set()
    for member in members:
        if member.parts in seen:
            raise _refused(archive, f"{'/'.join(member.parts)} occurs twice")
        seen.add(member.parts)
        room -= member.size
        if room < 0:
            raise _refused(archive, f"it would unpack to more than {MAX_RATIO} times its size")
        target = folder.joinpath(*member.parts)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            file = target.open("xb")
        except (FileExistsError, NotADirectoryError) as error:
            raise _refused(archive, f"{'/'.join(member.parts)} occurs twice") from error
        with file:
            _copy(member, file, archive)
            file.flush()
            os.fsync(file.fileno())


def _copy(member: _Member, file: IO[bytes], archive: Path) -> None:
    left = member.size
    with closing(member.source()) as source:
        while piece := source.read(min(READ_BYTES, left + 1)):
            left -= len(piece)
            if left < 0:
                break
            file.write(piece)
    if left:
        raise _refused(archive, f"{'/'.join(member.parts)} has another size than it claims")


def _zip_members(path: Path, room: int) -> Iterator[_Member]:
    del room  # The table of contents is in the file as it is: it cannot be longer than that.
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if len(entries) > MAX_MEMBERS:
            raise _refused(path, f"{len(entries)} members")
        for entry in entries:
            if objection := zip_objection(entry):
                raise _refused(path, objection)
            parts = _parts(path, entry.filename)
            if parts and not entry.is_dir():
                yield _Member(parts, entry.file_size, lambda entry=entry: archive.open(entry))


def _tar_members(path: Path, room: int) -> Iterator[_Member]:
    with (
        gzip.open(path) as inflated,
        tarfile.TarFile(fileobj=_bounded(inflated, path, room)) as archive,
    ):
        for count, entry in enumerate(archive):
            parts = _parts(path, entry.name)
            if count >= MAX_MEMBERS:
                raise _refused(path, f"more than {MAX_MEMBERS} members")
            if not (entry.isreg() or entry.isdir()) or entry.issparse():
                raise _refused(path, f"{entry.name} is a link or a device")
            if parts and not entry.isdir():
                yield _Member(parts, entry.size, lambda entry=entry: archive.extractfile(entry))
            archive.members = []  # type: ignore[attr-defined]  # They would pile up.


def _bounded(stream: gzip.GzipFile, path: Path, room: int) -> Any:
    """What `tarfile` needs of a file, not what its types ask for."""
    return _Bounded(stream, path, room)


class _Bounded:
    """An inflated stream that ends with an error instead of going on without end."""

    def __init__(self, stream: gzip.GzipFile, path: Path, room: int) -> None:
        self._stream, self._path, self._room = stream, path, room

    def read(self, size: int) -> bytes:
        """At most `READ_BYTES` at once."""
        if size > READ_BYTES:
            raise _refused(self._path, f"a header claims {size} bytes")
        return self._stream.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Forwards, by inflating, up to the limit."""
        if offset > self._room + READ_BYTES:
            raise _refused(self._path, f"it would unpack to more than {MAX_RATIO} times its size")
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        """Bytes inflated so far."""
        return self._stream.tell()


def _parts(archive: Path, name: str) -> tuple[str, ...]:
    """The components of a member's name; none for what is ignored.

    Raises:
        ReadFailedError: for a name that could lead elsewhere, on any system.
    """
    if objection := name_objection(name):
        raise _refused(archive, objection)
    parts = PurePosixPath(name).parts
    return () if any(part in IGNORED for part in parts) else parts
