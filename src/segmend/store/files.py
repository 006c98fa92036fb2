"""Objects that are files below a local folder."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from segmend.core.errors import ReadFailedError
from segmend.store.store import Request, Store


@dataclass(frozen=True, slots=True)
class FileStore(Store):
    """A local folder.

    Attributes:
        root: The folder.
    """

    root: Path

    @property
    def url(self) -> str:
        """The folder as a path."""
        return str(self.root)

    def read_many(self, requests: Sequence[Request]) -> Iterator[tuple[int, bytes | None]]:
        """Read files in the order of the requests; a file that is not there is certified absent."""
        for position, request in enumerate(requests):
            yield position, self._read(request)

    def _read(self, request: Request) -> bytes | None:
        path = f"{self.root}/{request.key}"
        try:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self._failed(request, str(error)) from error
        try:
            return self._read_range(handle, request)
        except OSError as error:
            if isinstance(error, ReadFailedError):
                raise
            raise self._failed(request, str(error)) from error
        finally:
            os.close(handle)

    def _read_range(self, handle: int, request: Request) -> bytes:
        size = os.fstat(handle).st_size
        start = request.start or 0
        start = max(size + start, 0) if start < 0 else start
        stop = size if request.stop is None else request.stop
        if stop > size or start > stop:
            found = f"the file has {size} bytes"
            raise self._failed(request, found, reason="truncated")
        parts, at = [], start
        while at < stop:
            part = os.pread(handle, stop - at, at)
            if not part:
                raise self._failed(request, f"the file ended at byte {at}", reason="truncated")
            parts.append(part)
            at += len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _failed(self, request: Request, found: str, *, reason: str = "refused") -> ReadFailedError:
        return ReadFailedError(
            f"cannot read {self.root}/{request}",
            found=found,
            fix="Check the file and its permissions",
            reason=reason,
            url=f"{self.root}/{request.key}",
        )
