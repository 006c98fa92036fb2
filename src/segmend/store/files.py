"""Objects that are files below a local folder."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from segmend.core.errors import ReadFailedError
from segmend.store.encoding import decompress
from segmend.store.options import OBJECT_LIMIT
from segmend.store.store import Request, Store

# cloud-files, which cloud-volume writes with, keeps a compressed object KEY as KEY.gz and so on in
# a folder (where a bucket has KEY with a Content-Encoding).
_SUFFIXES = ((".gz", "gzip"), (".br", "br"), (".zstd", "zstd"))


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


def _span(request: Request, size: int) -> tuple[int, int]:
    span = request.span(size)
    if span is None:
        raise _truncated(f"it has {size} bytes")
    return span


def _truncated(found: str) -> ReadFailedError:
    return ReadFailedError("the file is too short", found=found, reason="truncated")
