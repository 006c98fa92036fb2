"""Objects that are files below a local folder."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from segmend.core.errors import ReadFailedError
from segmend.store.encoding import decompress
from segmend.store.options import OBJECT_LIMIT
from segmend.store.store import Request, Store

# cloud-files, which cloud-volume writes with, keeps a compressed object KEY as KEY.gz and so on in
# a folder (where a bucket has KEY with a Content-Encoding).
_SUFFIXES = ((".gz", "gzip"), (".br", "br"), (".zstd", "zstd"))

RACY_NS = 2 * 10**9
"""A file that was written so lately could be written again within one tick of its clock: the
coarsest in use, of FAT and old NFS, ticks every two seconds."""


@dataclass(frozen=True, slots=True)
class FileStore(Store):
    """A local folder.

    Attributes:
        root: The folder.
        object_limit: Bytes that a compressed file may decode to.
    """

    root: Path
    object_limit: int = OBJECT_LIMIT

    @property
    def url(self) -> str:
        """The folder as a path."""
        return str(self.root)

    def read_many(self, requests: Sequence[Request]) -> Iterator[tuple[int, bytes | None]]:
        """Read files in the order of the requests; a file that is not there is certified absent.

        Where ``KEY`` is missing and ``KEY.gz``, ``KEY.br`` or ``KEY.zstd`` is there, that is the
        object, compressed.
        """
        for position, request in enumerate(requests):
            yield position, self._read(request)

    def stamp(self, key: str) -> Hashable | None:
        """Size, inode and times of a file; None while it is new, and where there is none."""
        for suffix in ("", *(suffix for suffix, _ in _SUFFIXES)):
            try:
                found = os.stat(f"{self.root}/{key}{suffix}")  # noqa: PTH116  for its speed
            except OSError:
                continue  # the read says what is wrong
            if time.time_ns() - found.st_mtime_ns < RACY_NS:
                return None
            return (suffix, found.st_size, found.st_ino, found.st_mtime_ns, found.st_ctime_ns)
        return None

    def announce(self, requests: Sequence[Request]) -> None:
        """Tell the system what will be read soon, so that the disk works while others decode.

        If the first file that is there is in memory the rest will be, and nothing is said. Whatever
        goes wrong shows when they are read.
        """
        said = False
        for request in requests:
            with contextlib.suppress(OSError):
                handle = os.open(f"{self.root}/{request.key}", os.O_RDONLY | os.O_CLOEXEC)
                start, length = request.start or 0, (request.stop or 0) - (request.start or 0)
                try:
                    if not said and _in_memory(handle, start):
                        return
                    os.posix_fadvise(handle, start, max(length, 0), os.POSIX_FADV_WILLNEED)
                    said = True
                finally:
                    os.close(handle)

    def _read(self, request: Request) -> bytes | None:
        path = f"{self.root}/{request.key}"
        try:
            data = _read_file(path, request)
            return self._read_compressed(path, request) if data is None else data
        except ReadFailedError as error:
            raise self._failed(request, f"{error.asked}: {error.found}", error.reason) from error
        except OSError as error:
            raise self._failed(request, str(error), "refused") from error

    def _read_compressed(self, path: str, request: Request) -> bytes | None:
        for suffix, encoding in _SUFFIXES:
            packed = _read_file(path + suffix, Request(request.key))
            if packed is not None:
                data = decompress(packed, encoding, limit=self.object_limit)
                return data[slice(*_span(request, len(data)))]
        return None

    def _failed(self, request: Request, found: str, reason: str) -> ReadFailedError:
        return ReadFailedError(
            f"cannot read {self.root}/{request}",
            found=found,
            fix="Check the file and its permissions",
            reason=reason,
            url=f"{self.root}/{request.key}",
        )


def _read_file(path: str, request: Request) -> bytes | None:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        at, stop = _span(request, os.fstat(handle).st_size)
        parts = []
        while at < stop:
            part = os.pread(handle, stop - at, at)
            if not part:
                raise _truncated(f"it ended at byte {at}")
            parts.append(part)
            at += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)
    finally:
        os.close(handle)


def _in_memory(handle: int, at: int) -> bool:
    """Whether a byte can be read without the disk; False where the system cannot tell."""
    try:
        return os.preadv(handle, [bytearray(1)], at, os.RWF_NOWAIT) > 0
    except OSError:
        return False


def _span(request: Request, size: int) -> tuple[int, int]:
    span = request.span(size)
    if span is None:
        raise _truncated(f"it has {size} bytes")
    return span


def _truncated(found: str) -> ReadFailedError:
    return ReadFailedError("the file is too short", found=found, reason="truncated")
