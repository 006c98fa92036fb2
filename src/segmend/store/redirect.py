"""Redirects: followed a few times, never to a less safe place."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from urllib.parse import urljoin, urlsplit

from segmend.store.response import AttemptFailedError

# As many as it takes from a short link over a log-in check to a bucket; browsers allow 20.
MOST = 5
REDIRECTS = (301, 302, 303, 307, 308)


def next_url(urls: Sequence[str], location: str | None) -> str:
    """Where a redirect leads.

    Args:
        urls: Those visited so far, the last one has just redirected.
        location: The ``Location`` header.

    Raises:
        AttemptFailedError: reason ``redirect``, for a cycle, too many, another scheme than http(s),
            https to http, or a user name in the URL.
    """
    here = urls[-1]
    if not location:
        raise _refused(here, "a redirect without Location")
    try:
        target = urlsplit(urljoin(here, location))
    except ValueError:
        raise _refused(here, "a redirect to something that is not a URL") from None
    if target.scheme not in ("http", "https") or not target.netloc:
        raise _refused(here, f"a redirect to the scheme '{target.scheme}'")
    if target.scheme == "http" and urlsplit(here).scheme == "https":
        raise _refused(here, f"a redirect from https to http://{target.hostname}")
    if "@" in target.netloc:
        raise _refused(here, "a redirect with a user name in it")
    url = target._replace(fragment="").geturl()
    if url in urls:
        raise _refused(here, f"a redirect in a circle of {len(urls) - urls.index(url)}")
    if len(urls) > MOST:
        raise _refused(here, f"more than {MOST} redirects")
    return url


def is_public(address: str) -> bool:
    """Whether an IP address is reachable from everywhere (not loopback, private, link-local...)."""
    return ipaddress.ip_address(address.partition("%")[0]).is_global


def private_target(url: str) -> AttemptFailedError:
    """The refusal of a redirect that leads to an address that is not public."""
    return _refused(
        url,
        "a redirect from a public host to a private or loopback address",
        fix="Set StoreOptions(private_redirects=True) if that is right",
    )


def _refused(url: str, found: str, *, fix: str = "") -> AttemptFailedError:
    parts = urlsplit(url)
    place = f"{parts.scheme}://{parts.netloc}{parts.path}"
    return AttemptFailedError("redirect", f"{found} (at {place})", fix=fix)
