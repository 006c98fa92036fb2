"""A download that is not complete yet: a hidden file, and a note of what it is a part of.

A part belongs to one process. Another takes it over by renaming it, which only one can do, and
only once its owner is gone: it gave the part up, runs no longer on this machine, or has been silent
for an hour on another.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from segmend.core.errors import OutputError

# No time-out or back-off of ours is longer.
_SILENT_S = 3600.0
_PIECE = 1 << 20
_FREE = "free"


@dataclass(frozen=True, slots=True)
class Note:
    """What a part is a part of.

    Attributes:
        source: Where it comes from, without query.
        validator: Strong ETag or Last-Modified of the object, for ``If-Range``; empty if neither.
        boot: Run of the machine in which the part was written, see `boot`.
    """

    source: str
    validator: str
    boot: str


def boot() -> str:
    """A name for this run of this machine, from Linux; elsewhere one that is never the same."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except FileNotFoundError:
        return secrets.token_hex(8)


class Part:
    """An open part, its hash kept up as it grows."""

    def __init__(self, final: Path, path: Path, *, resumed: bool) -> None:
        self.final, self.path = final, path
        self.note_path = path.with_suffix(".json")
        flags = os.O_RDWR | os.O_CLOEXEC | (0 if resumed else os.O_CREAT | os.O_EXCL)
        self._handle = os.open(path, flags, 0o644)
        self.hash = hashlib.sha256()
        self.size = 0
        if resumed:
            while piece := os.pread(self._handle, _PIECE, self.size):
                self.hash.update(piece)
                self.size += len(piece)

    def write(self, data: bytes) -> None:
        """Append.

        Raises:
            OutputError: for a full disk (the part is removed) or any other error.
        """
        view = memoryview(data)
        try:
            while view:
                written = os.pwrite(self._handle, view, self.size)
                self.hash.update(view[:written])
                self.size += written
                view = view[written:]
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                self.remove()
            raise OutputError(f"cannot write {self.path}", found=str(error)) from error

    def restart(self) -> None:
        """Forget what is there."""
        os.ftruncate(self._handle, 0)
        self.hash = hashlib.sha256()
        self.size = 0

    def describe(self, note: Note) -> None:
        """Write down what this is a part of, so that another process can go on."""
        self.note_path.write_text(json.dumps(asdict(note)))

    def note(self) -> Note | None:
        """What this is a part of, if that is known."""
        try:
            return Note(**json.loads(self.note_path.read_text()))
        except (FileNotFoundError, ValueError, TypeError):
            return None

    def close(self) -> None:
        """Give the part up, for whoever goes on; without a byte in it, remove it."""
        os.close(self._handle)
        if not self.size:
            self.remove()
        elif self.path.exists():
            _rename(self.path, _named(self.final, _FREE))

    def remove(self) -> None:
        """Remove the files."""
        self.path.unlink(missing_ok=True)
        self.note_path.unlink(missing_ok=True)


def open_part(final: Path) -> Part:
    """The largest part of ``final`` that an earlier process left behind, or a new one."""
    own = _named(final, f"{_host()}-{os.getpid()}")
    for _, path in sorted(_abandoned(final), reverse=True):
        try:
            _rename(path, own)
        except FileNotFoundError:
            continue  # another process was faster
        return Part(final, own, resumed=True)
    return Part(final, own, resumed=False)


def sweep(final: Path) -> None:
    """Remove the parts of ``final`` that nobody will finish."""
    for _, path in _abandoned(final):
        path.unlink(missing_ok=True)
        path.with_suffix(".json").unlink(missing_ok=True)


def _abandoned(final: Path) -> Iterator[tuple[int, Path]]:
    prefix = f".{final.name}."
    for path in final.parent.iterdir():
        if path.name.startswith(prefix) and path.suffix == ".part":
            try:
                facts = path.stat()
            except FileNotFoundError:
                continue
            owner = path.name[len(prefix) : -len(".part")]
            if _gone(owner, time.time() - facts.st_mtime):
                yield facts.st_size, path


def _gone(owner: str, silent_s: float) -> bool:
    host, _, rest = owner.partition("-")
    pid = rest.partition("-")[0]
    if host == _FREE:
        return True
    if host != _host() or not pid.isdigit():
        return silent_s > _SILENT_S
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _named(final: Path, owner: str) -> Path:
    return final.with_name(f".{final.name}.{owner}-{secrets.token_hex(4)}.part")


def _rename(path: Path, new: Path) -> None:
    path.rename(new)
    note = path.with_suffix(".json")
    if note.exists():
        note.rename(new.with_suffix(".json"))


def _host() -> str:
    return socket.gethostname().replace("-", "_").replace("/", "_")
