"""A root on the web: how its objects are addressed and what proves who asks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote, urlsplit


@dataclass(frozen=True, slots=True)
class Login:
    """Credentials for one reading, from the environment; never stored, shown or pickled.

    Attributes:
        headers: Header lines to send.
        sigv4: Provider, region and service for libcurl's AWS signature; empty: unsigned.
        user: ``key:secret`` to sign with.
    """

    headers: tuple[str, ...] = field(default=(), repr=False)
    sigv4: str = ""
    user: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Origin:
    """A root on the web.

    Attributes:
        base: Its http(s) URL, percent-encoded, no slash at the end.
        root: Its name for messages and provenance, as the user wrote it.
        service: Whose rules hold.
        query: Added to every URL; may hold a secret.
    """

    base: str
    root: str
    service: Literal["http", "s3", "gs"] = "http"
    query: str = field(default="", repr=False)

    @property
    def host(self) -> str:
        """Host with port."""
        return urlsplit(self.base).netloc

    @property
    def address(self) -> str:
        """The http(s) URL of the root itself, for a root that is one object."""
        return f"{self.base}?{self.query}" if self.query else self.base

    def url(self, key: str) -> str:
        """The http(s) URL of an object."""
        # Unreserved characters (RFC 3986, 2.3) and "/" stand for themselves, as AWS signs them.
        address = f"{self.base}/{quote(key, safe='/-_.~')}"
        return f"{address}?{self.query}" if self.query else address
