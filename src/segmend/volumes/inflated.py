"""A compressed array in a file, inflated once per process into a temporary file.

A gzip stream has no places to start reading at, so that a box costs the whole stream. The
temporary file has no name: it goes with the process, whatever ends it.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, cast

from isal import igzip, igzip_lib

from segmend.core.errors import ReadFailedError
from segmend.store.local_file import LocalFile

MAX_RATIO = 1032
"""Deflate cannot make more bytes than that of one (https://zlib.net/zlib_tech.html)."""

KEPT_FILES = 4
"""Inflated files that a process keeps."""

BLOCK = 2**20

_open_gzip: Any = igzip.IGzipFile  # it has no types


@dataclass(frozen=True, slots=True)
class Inflated:
    """The inflated content of a gzip file, or of one member of a zip archive.

    Attributes:
        file: The compressed file.
        member: Name of the member; None for a gzip file.
        size: Bytes it must inflate to: a header's claim, checked by `could_hold`.
    """

    file: LocalFile
    member: str | None
    size: int

    @contextmanager
    def opened(self) -> Iterator[int]:
        """A descriptor of the inflated bytes.

        Raises:
            ReadFailedError: if the file has changed, is damaged, or holds more or fewer bytes.
        """
        self.file.check()
        handle = _inflated_files.duplicate(self)
        try:
            yield handle
        finally:
            os.close(handle)


def open_stream(file: LocalFile, member: str | None) -> IO[bytes]:
    """A stream that inflates as it is read and verifies checksums at its end."""
    if member is None:
        return cast("IO[bytes]", _open_gzip(file.path, "rb"))
    return zipfile.ZipFile(file.path).open(member)


def could_hold(file: LocalFile, size: int) -> bool:
    """Whether a compressed file could inflate to so many bytes."""
    return size <= file.size * MAX_RATIO


def read_start(file: LocalFile, member: str | None, count: int) -> bytes:
    """The first inflated bytes, at most ``count``.

    Raises:
        ReadFailedError: if they cannot be inflated.
    """
    try:
        with open_stream(file, member) as stream:
            return stream.read(count)
    except _DAMAGE as error:
        raise _damaged(file, str(error)) from error


_DAMAGE: tuple[Any, ...] = (
    OSError, EOFError, igzip_lib.error, zlib.error, zipfile.BadZipFile, ValueError,
)  # fmt: skip


def _inflate(what: Inflated) -> IO[bytes]:
    """Into an unnamed file; no more than the expected bytes are ever written."""
    with contextlib.ExitStack() as undo:
        target = undo.enter_context(tempfile.TemporaryFile())
        try:
            with open_stream(what.file, what.member) as stream:
                left = _copy(stream, target, what.size)
            target.flush()
        except _DAMAGE as error:
            raise _damaged(what.file, str(error)) from error
        if left < 0:
            raise _damaged(what.file, f"it inflates to more than {what.size} bytes")
        if left:
            found = f"it inflates to {what.size - left} bytes, its header says {what.size}"
            raise _damaged(what.file, found)
        undo.pop_all()  # it stays open
        return target


def _copy(stream: IO[bytes], target: IO[bytes], size: int) -> int:
    """Copy at most ``size`` bytes; how many were missing, or negative if there are more."""
    left = size
    while left >= 0 and (block := stream.read(min(BLOCK, left + 1))):
        left -= len(block)
        target.write(block)
    return left


def _damaged(file: LocalFile, found: str) -> ReadFailedError:
    return ReadFailedError(
        f"cannot inflate {file.path}",
        found=found,
        fix=f"Get the file again; it inflates into {tempfile.gettempdir()} ($TMPDIR), "
        "which needs room for it",
        reason="corrupt",
        url=str(file.path),
    )


class _Kept:
    """Inflated files, the least recently used closed first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._files: OrderedDict[Inflated, IO[bytes]] = OrderedDict()

    def duplicate(self, what: Inflated) -> int:
        """A descriptor of one's own, which outlives the file's being closed here."""
        with self._lock:  # held while inflating: two threads must not do it twice
            if what not in self._files:
                self._files[what] = _inflate(what)
            self._files.move_to_end(what)
            while len(self._files) > KEPT_FILES:
                self._files.popitem(last=False)[1].close()
            return os.dup(self._files[what].fileno())

    def renew_lock(self) -> None:
        """A forked process must not wait for a thread it does not have."""
        self._lock = threading.Lock()


_inflated_files = _Kept()
os.register_at_fork(after_in_child=_inflated_files.renew_lock)
