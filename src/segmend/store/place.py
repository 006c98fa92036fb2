"""Where a store lies: a path or URL, parsed strictly."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from segmend.core.errors import BadInputError

SCHEMES = ("file", "http", "https", "s3", "gs")


@dataclass(frozen=True, slots=True)
class Place:
    """The root of a store, or one object.

    Attributes:
        scheme: ``file``, ``http``, ``https``, ``s3`` or ``gs``.
        host: Host with port, or bucket; empty for files.
        path: What follows, as written (http: still percent-encoded), no slash at either end; for
            files the path itself.
        query: Query of an http(s) URL; may hold a secret, so it is never shown.
    """

    scheme: str
    host: str
    path: str
    query: str = ""

    def __str__(self) -> str:
        if self.scheme == "file":
            return self.path
        return f"{self.scheme}://{self.host}/{self.path}".rstrip("/")


def parse_place(text: str | Path) -> Place:
    """Parse a local path or a URL.

    Args:
        text: A path, or a URL with one of the schemes `SCHEMES`.

    Raises:
        BadInputError: for an unknown scheme, a missing host or bucket, control characters, a
            fragment, or a user name or password in the URL.
    """
    if isinstance(text, Path) or "://" not in text:
        return _local(str(text))
    if any(character <= " " or character == "\x7f" for character in text):
        raise BadInputError(
            f"{text!r} is not a URL",
            found="it holds spaces or control characters",
            fix="Percent-encode them",
        )
    try:
        url = urlsplit(text)
        _ = url.port
    except ValueError as error:
        raise BadInputError(f"{text!r} is not a URL", found=str(error)) from error
    if url.scheme not in SCHEMES:
        raise BadInputError(
            f"cannot read {_shown(url)}",
            found=f"'{url.scheme}' is none of {', '.join(SCHEMES)}",
            fix="Give a path or a URL with one of these schemes",
        )
    return _file(url) if url.scheme == "file" else _remote(url)


def _local(path: str) -> Place:
    if not path or "\0" in path:
        raise BadInputError(f"{path!r} is not a path")
    return Place("file", "", path)


def _file(url: SplitResult) -> Place:
    if url.netloc not in ("", "localhost") or url.query or url.fragment:
        raise BadInputError(
            f"cannot read {_shown(url)}",
            found="a file URL names a path on this machine and nothing else",
            fix="Write file:///path or the path alone",
        )
    return _local(unquote(url.path))


def _remote(url: SplitResult) -> Place:
    if "@" in url.netloc:
        raise BadInputError(
            f"refused {_shown(url)}",
            found="it holds a user name or password, which would end up in logs and records",
            fix="Set the credentials in the environment, see StoreOptions",
        )
    if not url.hostname:
        word = "bucket" if url.scheme in ("s3", "gs") else "host"
        raise BadInputError(
            f"cannot read {_shown(url)}", found=f"no {word}", fix=f"Write {url.scheme}://{word}/..."
        )
    query = url.query
    if url.scheme in ("s3", "gs") and (query or url.fragment):
        raise BadInputError(
            f"cannot read {_shown(url)}", found="'?' and '#' must be written %3F and %23 here"
        )
    if url.fragment:
        raise BadInputError(f"cannot read {_shown(url)}", found=f"a fragment, #{url.fragment}")
    path = url.path.strip("/")
    parts = unquote(path).split("/")
    if path and any(part in ("", ".", "..") for part in parts):
        raise BadInputError(
            f"cannot read {_shown(url)}", found="an empty, '.' or '..' part in its path"
        )
    return Place(url.scheme, url.netloc, path, query)


def _shown(url: SplitResult) -> str:
    """A URL for messages: no user, password, query or fragment."""
    return f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}"
