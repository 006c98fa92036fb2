"""Bounded requests for caveclient: time-outs, back-off, ``Retry-After``, one pace for all threads.

caveclient 8.2 sets no time-out, and retries 502, 503 and 504 only. This adapter replaces what its
sessions send through: what comes back is an answer, or a `ReadFailedError` with a reason.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ReadTimeoutError

from segmend.core.errors import ReadFailedError
from segmend.store.retry import RetryPolicy, TimeLimits, parse_retry_after

PIECE = 1 << 16
SHOWN = 200

ATTEMPTS_AT_TIMEOUT = 2
"""A log that times out is a heavy one: it is asked for twice, then in smaller parts."""


class Clock(Protocol):
    """Time and waiting, which tests replace."""

    def monotonic(self) -> float:
        """Seconds from some beginning."""

    def sleep(self, seconds: float, /) -> None:
        """Wait."""


class Pace:
    """When the next request may start, for all threads together.

    Args:
        per_second: Most requests started per second; None: no limit.
        clock: For tests.
    """

    def __init__(self, per_second: float | None = None, *, clock: Clock = time) -> None:
        self._gap = 1 / per_second if per_second else 0.0
        self._next = 0.0
        self._lock = threading.Lock()
        self._clock = clock

    def wait(self) -> None:
        """Wait for this request's turn."""
        with self._lock:
            now = self._clock.monotonic()
            turn = max(self._next, now)
            self._next = turn + self._gap
        if turn > now:
            self._clock.sleep(turn - now)

    def hold(self, seconds: float) -> None:
        """Start no request for a while: the server asked for it."""
        with self._lock:
            self._next = max(self._next, self._clock.monotonic() + seconds)


class Bounded(HTTPAdapter):
    """Sends requests of caveclient's sessions.

    Args:
        secret: Never shown in an error, whatever a server repeats.
        policy: When a failed attempt is followed by another.
        limits: Time-outs of one attempt.
        pace: Shared by all adapters of one server.
        connections: Connections kept.
    """

    def __init__(
        self,
        secret: str | None,
        *,
        policy: RetryPolicy,
        limits: TimeLimits,
        pace: Pace,
        connections: int,
    ) -> None:
        super().__init__(pool_connections=4, pool_maxsize=connections, max_retries=0)
        self._secret, self._policy, self._limits, self._pace = secret, policy, limits, pace

    def send(  # type: ignore[override]  # its limits are this adapter's own, whoever calls
        self, request: requests.PreparedRequest, **_settings: Any
    ) -> requests.Response:
        """Send a request until it is answered or the policy gives up.

        Raises:
            ReadFailedError: with the reason.
        """
        began, failed = time.monotonic(), 0
        while True:
            self._pace.wait()
            try:
                return self._once(request)
            except ReadFailedError as error:
                failed += 1
                wait = self._wait(error, failed, time.monotonic() - began)
                if wait is None:
                    error.attempts = failed
                    raise
            if wait:
                time.sleep(wait)

    def _wait(self, error: ReadFailedError, failed: int, elapsed: float) -> float | None:
        asked = float(getattr(error, "retry_after_s", 0.0))
        if error.reason not in (
            "timeout",
            "connection",
            "server_error",
            "rate_limited",
            "truncated",
        ):
            return None
        if error.reason == "timeout" and failed >= ATTEMPTS_AT_TIMEOUT:
            return None
        wait = self._policy.wait(failed, elapsed, retry_after_s=asked)
        if wait is not None and asked:
            self._pace.hold(asked)
        return wait

    def _once(self, request: requests.PreparedRequest) -> requests.Response:
        deadline = time.monotonic() + self._limits.total_s
        limits = (self._limits.connect_s, self._limits.first_byte_s)
        try:
            response = super().send(request, stream=True, timeout=limits)
            # requests offers no other way to hand over a body that was read under a deadline.
            response._content = self._body(response, deadline)  # noqa: SLF001
        except requests.Timeout as error:
            raise self._failure(request, "timeout", str(error)) from None
        except requests.exceptions.ChunkedEncodingError as error:
            raise self._failure(request, "truncated", str(error)) from None
        except requests.RequestException as error:
            # A stall within a body comes as a broken connection.
            stalled = error.args and isinstance(error.args[0], ReadTimeoutError)
            reason = "timeout" if stalled else "connection"
            raise self._failure(request, reason, str(error)) from None
        self._check(request, response)
        return response

    def _body(self, response: requests.Response, deadline: float) -> bytes:
        parts = []
        for part in response.iter_content(PIECE):
            parts.append(part)
            if time.monotonic() > deadline:
                response.close()
                raise requests.Timeout(f"the answer took more than {self._limits.total_s:g} s")
        return b"".join(parts)

    def _check(self, request: requests.PreparedRequest, response: requests.Response) -> None:
        code = response.status_code
        if 200 <= code < 300 or (code == 404 and str(request.url).endswith("version")):
            # A table is cut at the server's limit, and this header is all that says so.
            warning = str(response.headers.get("warning", ""))
            if "Limited query" in warning:
                raise self._failure(request, "too_many_rows", warning)
            return  # caveclient takes a service without a version to be an old one
        error = self._failure(request, reason_of(code), f"status {code}: {_said(response)}")
        if "retry-after" in response.headers:
            after = parse_retry_after(response.headers["retry-after"], time.time())
            error.__dict__["retry_after_s"] = after
        raise error

    def _failure(self, request: Any, reason: str, found: str) -> ReadFailedError:
        path = urlsplit(str(request.url)).path
        if self._secret:
            found = found.replace(self._secret, "<token>")
        fix = ""
        if reason == "forbidden":
            fix = "Save the token of a user who may read this with caveclient: see docs/edits.md"
        return ReadFailedError(
            f"CAVE did not answer {path}", found=found, fix=fix, reason=reason, url=path
        )


def _said(response: requests.Response) -> str:
    """The message of a refusal; services of CAVE send JSON, those before them HTML or text."""
    text = response.content.decode("utf-8", "replace")
    try:
        message = json.loads(text)["message"]
    except (ValueError, TypeError, LookupError):
        message = text
    return " ".join(str(message).split())[:SHOWN]


def reason_of(status: int) -> str:
    """Why a status is no answer, as a code of `ReadFailedError`."""
    if status in (401, 403) or 300 <= status < 400:  # a redirect leads to the login page
        return "forbidden"
    if status in (408, 504):
        return "timeout"
    if status == 429:
        return "rate_limited"
    if status == 404:
        return "missing"
    return "server_error" if status >= 500 else "refused"


def bounded(kind: type[Any], adapter: Callable[[], HTTPAdapter]) -> type[Any]:
    """A client class whose session sends through an adapter from its first request on."""

    class BoundedClient(kind):  # type: ignore[misc]
        def _get_version(self) -> Any:
            # The constructor's only request: the session exists, nothing was sent.
            for scheme in ("http://", "https://"):
                self.session.mount(scheme, adapter())
            return super()._get_version()

    return BoundedClient
