"""What an HTTP answer says: the bytes, certified absent, or why the attempt failed."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

from segmend.core.errors import ReadFailedError
from segmend.store.digests import check_digests
from segmend.store.encoding import decompress
from segmend.store.retry import parse_retry_after
from segmend.store.store import Request


class AttemptFailedError(Exception):
    """One attempt at a read failed.

    Attributes:
        reason: As in `ReadFailedError`.
        found: What happened.
        fix: Next step for the caller.
        again: Whether another attempt may succeed.
        retry_after_s: Wait that the server asked for.
    """

    def __init__(
        self,
        reason: str,
        found: str,
        *,
        fix: str = "",
        again: bool = False,
        retry_after_s: float = 0.0,
    ) -> None:
        super().__init__(found)
        self.reason = reason
        self.found = found
        self.fix = fix
        self.again = again
        self.retry_after_s = retry_after_s


@dataclass(frozen=True)
class Response:
    """An answer that arrived whole as HTTP counts it.

    Attributes:
        status: Status code.
        head: Status line and header lines, as received.
        body: The body without transfer coding; a Content-Encoding is still on it.
    """

    status: int
    head: bytes
    body: bytes

    @cached_property
    def headers(self) -> Mapping[str, str]:
        """The headers that matter here, names in lower case, repeated ones joined by commas."""
        headers: dict[str, str] = {}
        text = self.head.decode("latin-1")
        last = text.rfind("HTTP/1")  # after any 1xx
        for name, value in _HEADER.findall(text, max(last, 0)):
            key = name.lower()
            headers[key] = f"{headers[key]},{value}" if key in headers else value
        return headers


_HEADER = re.compile(
    r"^(content-(?:length|range|encoding)|transfer-encoding|etag|last-modified|location|retry-after"
    r"|x-goog-hash|x-goog-stored-content-encoding|server|x-amz-request-id|x-amz-bucket-region"
    r"|x-amz-server-side-encryption(?:-customer-algorithm)?):[ \t]*([^\r\n]*)",
    re.IGNORECASE | re.MULTILINE,
)
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)", re.IGNORECASE)
_UNSATISFIED = re.compile(r"bytes \*/(\d+)", re.IGNORECASE)


def content(request: Request, response: Response, *, limit: int, s3: bool = False) -> bytes | None:
    """The bytes a request asked for, taken from an answer.

    Args:
        request: What was asked for.
        response: What came; not a redirect.
        limit: Bytes a Content-Encoding may decode to.
        s3: Whether the server is known to speak S3, whose ETag is a checksum.

    Returns:
        Exactly the bytes asked for, or None if the server certifies that there is no such object
        (404 or 410).

    Raises:
        AttemptFailedError: in every other case.
    """
    if response.status == 200:
        return _sliced(request, _whole(response, limit, s3=s3))
    if response.status == 206:
        return _partial(request, response)
    if response.status in (404, 410):
        return None
    if response.status == 416:
        return _beyond(request, response)
    raise refusal(response)


def _whole(response: Response, limit: int, *, s3: bool) -> bytes:
    headers = response.headers
    check_digests(headers, response.body, s3=s3)
    encoding = headers.get("content-encoding", "identity").lower()
    if encoding not in ("identity", ""):
        return decompress(response.body, encoding, limit=limit)
    if "content-length" not in headers and "transfer-encoding" not in headers:
        raise AttemptFailedError(
            "truncated",
            "the server sent neither Content-Length nor chunks, so a cut would go unseen",
        )
    return response.body


def _sliced(request: Request, whole: bytes) -> bytes:
    """The range of a whole object; a server may ignore Range (RFC 9110, 14.2)."""
    if request.whole:
        return whole
    span = request.span(len(whole))
    if span is None:
        raise AttemptFailedError("truncated", f"the object has {len(whole)} bytes")
    return whole[slice(*span)]


def _partial(request: Request, response: Response) -> bytes:
    said = response.headers.get("content-range", "")
    parts = _CONTENT_RANGE.fullmatch(said)
    wrong = AttemptFailedError(
        "corrupt", f"the server sent Content-Range '{said}' for {request}", again=True
    )
    if request.whole or parts is None:
        raise wrong
    if response.headers.get("content-encoding", "identity").lower() not in ("identity", ""):
        raise AttemptFailedError(
            "refused", "the object is stored compressed, so a range of it means nothing"
        )
    first, last = int(parts[1]), int(parts[2])
    if parts[3] == "*" and request.stop is None:
        raise wrong
    size = max(request.stop or 0, last + 1) if parts[3] == "*" else int(parts[3])
    span = request.span(size)
    if span is None and last + 1 == size:
        raise AttemptFailedError("truncated", f"the object has {size} bytes")
    if span != (first, last + 1):
        raise wrong
    start, stop = span
    if len(response.body) != stop - start:
        found = f"{len(response.body)} bytes came for Content-Range '{said}'"
        raise AttemptFailedError("truncated", found, again=True)
    return response.body


def _beyond(request: Request, response: Response) -> bytes:
    parts = _UNSATISFIED.fullmatch(response.headers.get("content-range", ""))
    if parts is not None:
        span = request.span(int(parts[1]))
        if span is not None and span[0] == span[1]:
            return b""
    size = f"the object has {parts[1]} bytes" if parts else "the object is shorter (status 416)"
    raise AttemptFailedError("truncated", size)


def refusal(response: Response) -> AttemptFailedError:
    """What a status that brings nothing means."""
    status = response.status
    if status in (404, 410):
        return AttemptFailedError("missing", f"status {status}")
    wait = parse_retry_after(response.headers.get("retry-after", ""), time.time())
    found = f"status {status}" + (f", Retry-After {wait:.0f} s" if wait else "")
    if status in (401, 403):
        return AttemptFailedError(
            "forbidden",
            found,
            fix="Check the address and whether it needs credentials; where listing is not allowed, "
            "S3 says 403 for an object that is not there",
        )
    if status == 429:
        return AttemptFailedError(
            "rate_limited", found, fix="Lower the concurrency", again=True, retry_after_s=wait
        )
    if status == 408:
        return AttemptFailedError("timeout", found, again=True)
    return AttemptFailedError("server_error", found, again=status >= 500, retry_after_s=wait)


def as_attempt(error: ReadFailedError) -> AttemptFailedError:
    """A decoder's error as the failure of an attempt: damage may be gone the next time."""
    found = f"{error.asked}: {error.found}"
    return AttemptFailedError(error.reason, found, fix=error.fix, again=error.reason == "corrupt")


def summary(failures: Sequence[AttemptFailedError]) -> str:
    """What became of every attempt, equal neighbours counted."""
    runs = [(found, len(list(run))) for found, run in groupby(f.found for f in failures)]
    return "; then ".join(f"{found} ({n} times)" if n > 1 else found for found, n in runs)
