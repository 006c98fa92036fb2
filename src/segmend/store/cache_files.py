"""The cache on disk: blobs named after what they hold, and references that lead to them.

::

    objects/
      CACHEDIR.TAG                                 backup programs skip the folder
      size                                         bytes in use, an estimate
      blobs/<2 hex>/<sha256>-<bytes>-<crc32>       the bytes of an object, nothing else
      references/<volume>/volume.json              where the volume lies, and its version
      references/<volume>/<2 hex>/<38 hex>         symbolic link to the blob of one request

A reference is a symbolic link because making and renaming one is atomic on every POSIX file system,
reading it costs one system call, and it takes an inode and no block. Nothing is ever flushed to the
disk and nothing is ever locked: a blob that a power cut tore does not fit its own name.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from isal import isal_zlib

from segmend.core.errors import BadInputError

BLOCK_BYTES = 4096
"""What a file takes is counted in blocks of this size, the usual one of Linux file systems."""

RECENT_SECONDS = 60
"""A blob that was used within this time is not marked as used again: one write per minute."""

STALE_SECONDS = 3600
"""A temporary file of this age, into the past or the future, belongs to nobody alive."""

# The signature that https://bford.info/cachedir/ defines.
_TAG = b"Signature: 8a477f597d28d172789f06886806bc55\n# Objects that segmend read from afar.\n"
_BLOB = re.compile(r"([0-9a-f]{64})-([0-9]{1,15})-([0-9a-f]{8})")
# What else may go wrong (too many open files, say) is a miss, and no reason to remove anything.
_DAMAGE = (errno.EIO, errno.EINVAL, errno.ELOOP, errno.EISDIR, errno.EUCLEAN)
_HEX = "0123456789abcdef"


class DamagedError(Exception):
    """Something in the cache that is not what its name says; the message says what."""


@dataclass(frozen=True, slots=True)
class Blob:
    """One blob, as its name tells."""

    name: str
    size: int
    crc32: int

    @classmethod
    def of(cls, data: bytes) -> Blob:
        """The blob that holds these bytes."""
        crc32 = isal_zlib.crc32(data)
        name = f"{hashlib.sha256(data).hexdigest()}-{len(data)}-{crc32:08x}"
        return cls(name, len(data), crc32)

    @classmethod
    def named(cls, name: str) -> Blob | None:
        """The blob of that name; None if it is no blob's name."""
        match = _BLOB.fullmatch(name)
        return cls(name, int(match[2]), int(match[3], 16)) if match else None

    @property
    def room(self) -> int:
        """Bytes it takes on the disk."""
        return room(self.size)


def room(size: int) -> int:
    """Bytes that a file of this size takes on the disk."""
    return -(-size // BLOCK_BYTES) * BLOCK_BYTES


@dataclass(frozen=True, slots=True)
class CacheFolder:
    """Reads and writes blobs and references. Knows no budget and keeps no state.

    Attributes:
        root: The folder ``objects``; made at the first write.
    """

    root: Path

    def path_of(self, blob: Blob) -> str:
        """Where a blob lies."""
        return f"{self.root}/blobs/{blob.name[:2]}/{blob.name}"

    def load(self, reference: str) -> bytes | None:
        """The bytes that a reference leads to, checked; None if there are none.

        Args:
            reference: Path below ``references``.

        Raises:
            DamagedError: if the reference or the blob is not what it says; the damaged one is
                removed, so that the next read misses.
        """
        link = f"{self.root}/references/{reference}"
        try:
            target = os.readlink(link)  # noqa: PTH115  a Path costs more than the call
        except OSError as error:
            _raise_if_damaged(link, error)
            return None
        blob = Blob.named(target.rpartition("/")[2])
        if blob is None:
            _remove(link)
            raise DamagedError(f"{link} leads to '{target}', which is no blob")
        return self._checked(blob)

    def _checked(self, blob: Blob) -> bytes | None:
        path = self.path_of(blob)
        try:
            data = _read_recently_used(path, blob.size)
        except OSError as error:
            _raise_if_damaged(path, error)
            return None
        if len(data) != blob.size or isal_zlib.crc32(data) != blob.crc32:
            _remove(path)
            raise DamagedError(f"{path} does not hold what its name says")
        return data

    def save(self, reference: str, data: bytes) -> int:
        """Keep the bytes of a request.

        Returns:
            Bytes of disk newly taken; 0 if a blob with these bytes was there already.

        Raises:
            OSError: if the folder cannot be written; nothing half-written stays under a name that
                `load` looks at.
        """
        blob = Blob.of(data)
        path = self.path_of(blob)
        taken = 0
        if _size(path) == blob.size:
            os.utime(path)
        else:
            self._publish(path, lambda temporary: _write(temporary, data))
            taken = blob.room
        target = f"../../../blobs/{blob.name[:2]}/{blob.name}"
        link = f"{self.root}/references/{reference}"
        self._publish(link, lambda temporary: Path(temporary).symlink_to(target))
        return taken

    def describe(self, volume: str, description: bytes) -> None:
        """Write down, once, what a folder of references belongs to.

        Raises:
            OSError: if the folder cannot be written.
        """
        path = f"{self.root}/references/{volume}/volume.json"
        if _size(path) is None:
            self._publish(path, lambda temporary: _write(temporary, description))

    def record(self, size: int) -> None:
        """Write down how many bytes are in use.

        Raises:
            OSError: if the folder cannot be written.
        """
        self._publish(f"{self.root}/size", lambda temporary: _write(temporary, b"%d" % size))

    def recorded(self) -> int | None:
        """How many bytes were in use when somebody last wrote it down; None if nobody did."""
        try:
            text = (self.root / "size").read_bytes()
        except OSError:
            return None
        return int(text) if re.fullmatch(rb"[0-9]{1,18}", text) else None

    def _publish(self, path: str, make: Callable[[str], None]) -> None:
        """Make something under a temporary name beside ``path``, then rename it."""
        folder = path.rpartition("/")[0]
        temporary = f"{folder}/.{secrets.token_hex(8)}.tmp"
        try:
            try:
                make(temporary)
            except FileNotFoundError:
                self._make_folders(Path(folder))
                make(temporary)
            Path(temporary).replace(path)
        except BaseException:
            _remove(temporary)
            raise

    def _make_folders(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        if not self._tag.exists():
            self._publish(str(self._tag), lambda temporary: _write(temporary, _TAG))

    @property
    def _tag(self) -> Path:
        return self.root / "CACHEDIR.TAG"

    def blobs(self) -> Iterator[tuple[os.DirEntry[str], Blob]]:
        """Every blob, in no order; temporary files of nobody are removed on the way."""
        for pair in _pairs(self.root / "blobs"):
            for entry in _entries(pair):
                blob = Blob.named(entry.name)
                if blob is not None:
                    yield entry, blob
                else:
                    _remove_if_stale(entry)

    def references(self, volume: str = "") -> Iterator[tuple[str, Blob | None]]:
        """Paths of references and the blobs that they name, None for one that names no blob.

        Args:
            volume: Only those of this volume.
        """
        for name in [volume] if volume else self.volumes():
            for pair in _pairs(self.root / "references" / name):
                for entry in _entries(pair):
                    if entry.name.endswith(".tmp"):
                        _remove_if_stale(entry)
                    elif entry.is_symlink():
                        with suppress(FileNotFoundError):
                            yield entry.path, Blob.named(Path(entry.path).readlink().name)
                    else:
                        yield entry.path, None

    def volumes(self) -> list[str]:
        """Names of the folders of references."""
        return sorted(e.name for e in _entries(self.root / "references") if e.is_dir())

    def description(self, volume: str) -> bytes:
        """What `describe` wrote; empty if it cannot be read."""
        with suppress(OSError):
            return (self.root / "references" / volume / "volume.json").read_bytes()
        return b""

    def remove(self) -> None:
        """Remove the cache. Readers and writers of other processes go on, and miss.

        Raises:
            BadInputError: if the folder does not bear the mark of this cache: ``SEGMEND_CACHE`` may
                name a folder in which other things lie.
            OSError: if it cannot be removed.
        """
        if self.root.exists() and not self._tag.exists():
            raise BadInputError(
                f"{self.root} is not a cache that segmend made",
                found=f"it holds no file {self._tag.name}",
                fix="Look into it, and remove it yourself",
            )
        for name in ("blobs", "references"):
            with suppress(FileNotFoundError):
                (self.root / name).rename(self.root / f".{secrets.token_hex(8)}.tmp")
        for entry in _entries(self.root):
            _discard(entry)
        with suppress(FileNotFoundError):
            self.root.rmdir()

    def sweep(self) -> None:
        """Remove what killed processes left half-done, and references that lead nowhere."""
        for folder in (self.root, *(self.root / "references" / v for v in self.volumes())):
            for entry in _entries(folder):
                _remove_if_stale(entry)
        for path, blob in self.references():
            if blob is None or _size(self.path_of(blob)) is None:
                _remove(path)


def _read_recently_used(path: str, size: int) -> bytes:
    """A file's bytes if it has that size, else none; marks it as used just now."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        found = os.fstat(handle)
        if found.st_size != size:
            return b""
        data = os.read(handle, size)
        while len(data) < size and (more := os.read(handle, size - len(data))):
            data += more
        if abs(time.time() - found.st_mtime) > RECENT_SECONDS:
            # A cache that may only be read has no order of use, and serves all the same.
            with suppress(OSError):
                os.utime(handle)
    finally:
        os.close(handle)
    return data


def _write(path: str, data: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]
    finally:
        os.close(handle)


def _raise_if_damaged(path: str, error: OSError) -> None:
    if error.errno in _DAMAGE:
        _remove(path)
        raise DamagedError(f"{path} cannot be read: {error.strerror}") from error


def _size(path: str) -> int | None:
    try:
        return Path(path).stat().st_size
    except FileNotFoundError:
        return None


def _remove(path: str) -> None:
    # Another process may have been faster, and a folder that cannot be written stays as it is.
    with suppress(OSError):
        Path(path).unlink()


def _remove_if_stale(entry: os.DirEntry[str]) -> None:
    if entry.name.endswith(".tmp"):
        with suppress(FileNotFoundError):
            if abs(time.time() - entry.stat(follow_symlinks=False).st_mtime) > STALE_SECONDS:
                _discard(entry)


def _discard(entry: os.DirEntry[str]) -> None:
    if entry.is_dir(follow_symlinks=False):
        shutil.rmtree(entry.path)
    else:
        _remove(entry.path)


def _pairs(folder: Path) -> list[Path]:
    """The folders of two hex digits in a folder."""
    return [Path(e.path) for e in _entries(folder) if len(e.name) == 2 and set(e.name) <= set(_HEX)]


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as found:
        return sorted(found, key=lambda entry: entry.name)
    return []
