"""A local file that stays the one that was opened."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from segmend.core.errors import ReadFailedError


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file as it was when it was opened. What was learnt of it holds as long as it is unchanged.

    Attributes:
        path: Absolute path.
        size: Bytes.
        stamp: Modification time in ns and inode: another stamp means another file.
    """

    path: Path
    size: int
    stamp: tuple[int, int]

    @contextmanager
    def opened(self) -> Iterator[int]:
        """A descriptor of the unchanged file.

        Raises:
            ReadFailedError: if it cannot be opened, or has changed since.
        """
        try:
            handle = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise _unreadable(self.path, error) from error
        try:
            self._check(os.fstat(handle))
            yield handle
        finally:
            os.close(handle)

    def check(self) -> None:
        """Check that the file is unchanged.

        Raises:
            ReadFailedError: if it is gone or has changed.
        """
        try:
            found = self.path.stat()
        except OSError as error:
            raise _unreadable(self.path, error) from error
        self._check(found)

    def _check(self, found: os.stat_result) -> None:
        if (found.st_size, found.st_mtime_ns, found.st_ino) != (self.size, *self.stamp):
            raise ReadFailedError(
                f"{self.path} has changed since it was opened",
                found=f"it had {self.size} bytes, now {found.st_size}, or was written again",
                fix="Open it again once nothing writes it",
                reason="corrupt",
                url=str(self.path),
            )


def local_file(path: str | Path) -> LocalFile:
    """Look at a regular file.

    Raises:
        ReadFailedError: if there is none, or it is a folder, a device or a pipe.
    """
    absolute = Path(path).absolute()
    try:
        found = absolute.stat()
    except OSError as error:
        raise _unreadable(absolute, error) from error
    if not absolute.is_file():
        raise ReadFailedError(f"{absolute} is not a regular file", reason="refused")
    return LocalFile(absolute, found.st_size, (found.st_mtime_ns, found.st_ino))


def _unreadable(path: Path, error: OSError) -> ReadFailedError:
    if isinstance(error, (FileNotFoundError, NotADirectoryError)):
        return ReadFailedError(
            f"there is no file {path}",
            fix="Check the path; paths in a plan start at the plan's own folder",
            reason="missing",
            url=str(path),
        )
    return ReadFailedError(f"cannot read {path}", found=str(error), reason="refused", url=str(path))
