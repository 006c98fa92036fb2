"""Writing objects into a bucket, each whole or not at all.

Reading is `segmend.store.open`'s. Writing is left to `obstore`, which speaks to S3 and Google Cloud
Storage, signs, retries, and has the server check the digest of what it got.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from segmend.core.errors import BadInputError, OutputError, ReadFailedError, require
from segmend.store.place import parse_place

if TYPE_CHECKING:
    from obstore.store import ObjectStore

SCHEMES = ("s3", "gs")

_READ_BYTES = 2**18  # one request brings a footer


def is_bucket(place: str | Path) -> bool:
    """Whether a place to write to is a bucket and no folder."""
    return isinstance(place, str) and place.partition("://")[0] in SCHEMES


@dataclass(frozen=True)
class Bucket:
    """The objects below one prefix of a bucket.

    Credentials are those of the environment: ``AWS_*`` for S3, ``GOOGLE_OAUTH_ACCESS_TOKEN`` or
    Google's application default for ``gs://``; ``AWS_ENDPOINT_URL`` names another server than
    Amazon's. They are read where they are used, so that a bucket can be sent to a worker.

    Attributes:
        url: ``s3://bucket/prefix`` or ``gs://bucket/prefix``.

    Raises:
        BadInputError: for any other place, or without a prefix.
        MissingDependencyError: without ``obstore``.
    """

    url: str

    def __post_init__(self) -> None:
        require("obstore", extra="bucket")
        place = parse_place(self.url)
        if place.scheme not in SCHEMES or not place.path:
            raise BadInputError(
                f"cannot write into {self.url}",
                found="it is no prefix of a bucket",
                fix="Write s3://bucket/name or gs://bucket/name",
            )

    @cached_property
    def _store(self) -> ObjectStore:
        from obstore.store import from_url

        options: dict[str, Any] = {}
        if self.url.startswith("s3"):
            options["config"] = {"checksum_algorithm": "sha256"}
        elif token := os.environ.get("GOOGLE_OAUTH_ACCESS_TOKEN"):
            options["credential_provider"] = lambda: {"token": token, "expires_at": None}
        plain = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
        return from_url(self.url, client_options={"allow_http": plain}, **options)

    def __getstate__(self) -> dict[str, str]:
        return {"url": self.url}

    def create(self, key: str, content: bytes | Path) -> bool:
        """Write an object unless there is one, decided by the server.

        Args:
            key: Its name below the prefix.
            content: Its bytes, or the file that holds them.

        Returns:
            Whether it was written; if not, one is there and stays as it is.

        Raises:
            OutputError: if it cannot be written.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError

        try:
            with self._errors(key):
                # Only a request that carries everything can be made on a condition.
                obstore.put(self._store, key, content, mode="create", use_multipart=False)
        except AlreadyExistsError:
            return False
        return True

    def write(self, key: str, content: bytes | Path) -> None:
        """Write an object in place of any that is there.

        Raises:
            OutputError: if it cannot be written.
        """
        import obstore

        with self._errors(key):
            obstore.put(self._store, key, content)

    def read(self, key: str) -> bytes | None:
        """A whole object; None if there is none.

        Raises:
            ReadFailedError: if it cannot be read.
        """
        import obstore
        from obstore.exceptions import BaseError

        try:
            return bytes(obstore.get(self._store, key).bytes())
        except FileNotFoundError:
            return None
        except (BaseError, OSError) as error:
            raise ReadFailedError(f"cannot read {self.url}/{key}", found=_first(error)) from error

    def content(self, key: str) -> bytes:
        """A whole object that must be there.

        Raises:
            ReadFailedError: if it is not there or cannot be read.
        """
        found = self.read(key)
        if found is None:
            raise ReadFailedError(
                f"cannot read {self.url}/{key}", found="there is no such object", reason="missing"
            )
        return found

    def opened(self, key: str, size: int) -> BinaryIO:
        """An object as a file that can be read and sought; bytes come when they are asked for.

        Args:
            key: Its name below the prefix.
            size: Its size, bytes.
        """
        return io.BufferedReader(_Opened(self, key, size), _READ_BYTES)

    def read_range(self, key: str, start: int, stop: int) -> bytes:
        """Bytes of an object.

        Raises:
            ReadFailedError: if they cannot be read.
        """
        import obstore
        from obstore.exceptions import BaseError

        try:
            return bytes(obstore.get_range(self._store, key, start=start, end=stop))
        except (BaseError, OSError) as error:
            raise ReadFailedError(f"cannot read {self.url}/{key}", found=_first(error)) from error

    def keys(self, prefix: str) -> Iterator[str]:
        """Names of the objects below a prefix.

        Raises:
            ReadFailedError: if they cannot be listed.
        """
        import obstore
        from obstore.exceptions import BaseError

        try:
            for found in obstore.list(self._store, prefix):
                yield from (meta["path"] for meta in found)
        except (BaseError, OSError) as error:
            where = f"{self.url}/{prefix}"
            raise ReadFailedError(f"cannot list {where}", found=_first(error)) from error

    def remove(self, keys: list[str]) -> None:
        """Remove objects; it is no error if one is not there.

        Raises:
            OutputError: if one cannot be removed.
        """
        import obstore

        if keys:
            with self._errors(keys[0]):
                obstore.delete(self._store, keys)

    @contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        from obstore.exceptions import AlreadyExistsError, BaseError

        try:
            yield
        except AlreadyExistsError:
            raise
        except (BaseError, OSError) as error:
            raise OutputError(
                f"cannot write {self.url}/{key}",
                found=_first(error),
                fix="Check the name of the bucket and the credentials of the environment",
            ) from error


class _Opened(io.RawIOBase):
    """What `Bucket.opened` reads through."""

    def __init__(self, bucket: Bucket, key: str, size: int) -> None:
        super().__init__()
        self._bucket, self._key, self._size, self._at = bucket, key, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence] + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        stop = min(self._at + len(buffer), self._size)
        if stop <= self._at:
            return 0
        content = self._bucket.read_range(self._key, self._at, stop)
        buffer[: len(content)] = content
        self._at += len(content)
        return len(content)


def _first(error: Exception) -> str:
    """The first line of what obstore says; the rest is the server's page and Rust's own record."""
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
