"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from segmend.core.errors import OutputError, SegmendError


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that becomes ``path`` if the block succeeds.

    The content is flushed to the disk before the rename and the folder after it, so that neither a
    kill nor a power cut leaves a half-written file under the final name. On any error, including
    `KeyboardInterrupt`, the temporary file is removed and ``path`` stays as it was.

    Args:
        path: The file to write; its folder must exist.

    Yields:
        The path to write to, in the same folder; its name starts with a dot.

    Raises:
        OutputError: if the folder does not exist, nothing was written, or the rename fails.
    """
    final = Path(path)
    if not final.parent.is_dir():
        raise OutputError(
            f"cannot write {final}", found="its folder does not exist", fix="Create the folder"
        )
    # Two processes that make the same file must not share a temporary one.
    temporary = final.with_name(f".{final.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        _publish(temporary, final)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """A temporary folder beside ``path`` that becomes ``path`` if the block succeeds.

    On any error, including `KeyboardInterrupt`, it is removed and nothing is left behind.

    Args:
        path: The folder to make, which does not exist or is empty; its parent exists.

    Yields:
        The folder to write into; its name starts with a dot.

    Raises:
        OutputError: if anything cannot be written, by the block or at the end.
    """
    final = Path(path)
    with output_errors(final):
        temporary = Path(tempfile.mkdtemp(prefix=f".{final.name}.", dir=final.parent))
        try:
            yield temporary
            temporary.chmod(0o777 & ~_umask())
            temporary.replace(final)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _umask() -> int:
    """The permissions that new files lack; mkdtemp ignores them and shuts everyone out."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def output_errors(path: str | Path) -> Iterator[None]:
    """Turn operating-system errors of the block, which writes ``path``, into `OutputError`.

    Errors of ours pass: one of reading is an `OSError` too, and not about ``path``.
    """
    try:
        yield
    except SegmendError:
        raise
    except OSError as error:
        raise OutputError(f"cannot write {path}", found=str(error)) from error


def _publish(temporary: Path, final: Path) -> None:
    with output_errors(final):
        _flush(temporary, os.O_RDONLY)
        temporary.replace(final)
        _flush(final.parent, os.O_RDONLY | os.O_DIRECTORY)


def _flush(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256_file(path: str | Path) -> str:
    """The sha256 of a file's content, 64 hex digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
