"""Objects of a web server or bucket, many at a time, through libcurl's multi interface."""

from __future__ import annotations

import heapq
import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pycurl

from segmend.core.errors import ReadFailedError
from segmend.store.connections import POOL
from segmend.store.credentials import login_to
from segmend.store.encoding import decompress
from segmend.store.options import StoreOptions
from segmend.store.origin import Login, Origin
from segmend.store.ranges import join_ranges
from segmend.store.redirect import REDIRECTS, next_url
from segmend.store.response import AttemptFailedError, Response, as_attempt, content, summary
from segmend.store.store import Request, Store
from segmend.store.transfer import NO_SOCKETS_S, Transfer, curl_failure, prepare

_SLOW_CONSUMER_S = 0.001


@dataclass(frozen=True, slots=True)
class HttpStore(Store):
    """A root on the web; make one with `open_store`.

    Attributes:
        origin: Where it is.
        options: How it is read.
    """

    origin: Origin
    options: StoreOptions = field(default_factory=StoreOptions)

    @property
    def url(self) -> str:
        """The root as the user named it, without query."""
        return self.origin.root

    @property
    def identity(self) -> str:
        """The web address: one bucket name may stand for buckets of several endpoints."""
        return self.origin.base

    def read_many(self, requests: Sequence[Request]) -> Iterator[tuple[int, bytes | None]]:
        """Read objects, up to ``options.concurrency`` at a time, in the order of arrival.

        A new transfer starts only when a result is taken: at most ``concurrency`` objects are in
        memory, fewer if they are large (`connections.IN_FLIGHT`). While the consumer works, no
        time-out runs. Ranges that lie side by side come as one.
        """
        joined = join_ranges(requests)
        reading = _Reading(self, [one.request for one in joined])
        try:
            for place, data in reading.results():
                yield from joined[place].split(data)
        finally:
            reading.close()


class _Reading:
    """One call of `read_many`."""

    def __init__(self, store: HttpStore, requests: Sequence[Request]) -> None:
        self.origin, self.options = store.origin, store.options
        self.login = login_to(store.origin, anonymous=store.options.anonymous)
        self.requests, self.begun = requests, 0
        self.host, self.slots = store.origin.host, POOL.slots
        self.link = POOL.borrow()
        self.idle: list[pycurl.Curl] = []
        self.running: dict[pycurl.Curl, Transfer] = {}
        self.waiting: list[tuple[float, int, Transfer]] = []
        self.arrived: deque[tuple[int, bytes | None]] = deque()
        self.room = POOL.room(store.origin.base, store.options.concurrency)
        self.away_s = 0.0
        limits = store.options.limits
        self.tick_s = min(limits.connect_s, limits.first_byte_s, limits.stall_s, limits.total_s) / 4
        self.next_check_s = self.now() + self.tick_s

    def now(self) -> float:
        """Seconds of attention: the clock stands still while the consumer works."""
        return time.monotonic() - self.away_s

    def results(self) -> Iterator[tuple[int, bytes | None]]:
        """All results, as they arrive."""
        while self._start() or self.running or self.waiting:
            self._advance()
            performed = time.monotonic()
            while self.arrived:
                left = time.monotonic()
                yield self.arrived.popleft()
                back = time.monotonic()
                self.away_s += back - left
                # Send the next requests while a slow consumer still has results to take.
                if self._start() and back - performed > _SLOW_CONSUMER_S:
                    self.link.multi.perform()
                    performed = back

    def close(self) -> None:
        """Break off what still runs, and keep the connections that are idle."""
        if self.link.pid == os.getpid():
            self.slots.give(self.host, len(self.running))
            for curl in self.running:
                self.link.multi.remove_handle(curl)
        # Also in a forked child, which must not free what its parent uses.
        self.link.idle += [*self.idle, *self.running]
        POOL.give_back(self.link)

    def _start(self) -> bool:
        """Start transfers as far as there is room; whether any was started."""
        before = len(self.running)
        while len(self.running) + len(self.arrived) < self.room and self._ready():
            if not self.slots.take(self.host, self.options.concurrency, own=len(self.running)):
                break
            self._send(self._next())
        return len(self.running) > before

    def _ready(self) -> bool:
        retry = bool(self.waiting) and self.waiting[0][0] <= self.now()
        return retry or self.begun < len(self.requests)

    def _next(self) -> Transfer:
        if self.waiting and self.waiting[0][0] <= self.now():
            return heapq.heappop(self.waiting)[2]
        position, self.begun = self.begun, self.begun + 1
        request = self.requests[position]
        return Transfer(position, request, [self.origin.url(request.key)], self.now())

    def _send(self, transfer: Transfer) -> None:
        login = self.login if transfer.at_home else Login()
        if self.idle and not transfer.redirected:
            curl = self.idle.pop()
        else:
            curl = self.link.idle.pop() if self.link.idle else pycurl.Curl()
            prepare(curl, self.options, login)
        transfer.start(curl, self.options, login, self.now())
        self.link.multi.add_handle(curl)
        self.running[curl] = transfer

    def _advance(self) -> None:
        """Move bytes; wait until there is something to do."""
        self.link.multi.perform()
        if not self._collect():
            self._wait()
        if self.now() >= self.next_check_s:
            self._check_time()
            self.next_check_s = self.now() + self.tick_s

    def _wait(self) -> None:
        wait = max(self.next_check_s - self.now(), 0.0)
        if self.waiting and self.waiting[0][0] > self.now():
            wait = min(wait, max(self.waiting[0][0] - self.now(), 0.0))
        if not self.running:
            time.sleep(wait)
        elif self.link.multi.select(wait) < 0:
            time.sleep(min(wait, NO_SOCKETS_S))

    def _collect(self) -> bool:
        """Settle the transfers that have ended; whether there were any."""
        any_ended = False
        queued = 1
        while queued:
            queued, complete, failed = self.link.multi.info_read()
            for curl in complete:
                self._settle(curl, None)
            for curl, code, text in failed:
                self._settle(curl, curl_failure(code, text))
            any_ended = any_ended or bool(complete) or bool(failed)
        return any_ended

    def _check_time(self) -> None:
        now = self.now()
        for curl, transfer in list(self.running.items()):
            late = transfer.overdue(curl, self.options.limits, now)
            if late:
                self._settle(curl, late)

    def _settle(self, curl: pycurl.Curl, failure: AttemptFailedError | None) -> None:
        transfer = self.running[curl]
        response = transfer.response(curl) if failure is None else None
        self._put_away(curl, transfer)
        try:
            if response is None:
                raise transfer.refused or failure or AssertionError
            if response.status in REDIRECTS:
                transfer.urls.append(next_url(transfer.urls, response.headers.get("location")))
                heapq.heappush(self.waiting, (0.0, transfer.position, transfer))
            else:
                self._deliver(transfer, response)
        except AttemptFailedError as error:
            self._again(transfer, error)

    def _deliver(self, transfer: Transfer, response: Response) -> None:
        data = self._content(transfer, response)
        most, base, request = self.options.concurrency, self.origin.base, transfer.request
        if data is not None:
            self.room = POOL.room(base, most, arrived=len(response.body))
        elif request.whole and self.origin.service == "http" and not transfer.packed:
            # A folder that cloud-files wrote has KEY.gz for KEY; a plain web server says 404.
            transfer.packed = True
            transfer.urls = [self.origin.url(f"{request.key}.gz")]
            heapq.heappush(self.waiting, (0.0, transfer.position, transfer))
            return
        self.arrived.append((transfer.position, data))

    def _content(self, transfer: Transfer, response: Response) -> bytes | None:
        limit, s3 = self.options.object_limit, self.origin.service == "s3"
        try:
            data = content(transfer.request, response, limit=limit, s3=s3)
            plain = data is None or not transfer.packed or "content-encoding" in response.headers
            return data if plain or data is None else decompress(data, "gzip", limit=limit)
        except ReadFailedError as error:
            raise as_attempt(error) from error

    def _put_away(self, curl: pycurl.Curl, transfer: Transfer) -> None:
        del self.running[curl]
        self.slots.give(self.host)
        self.link.multi.remove_handle(curl)
        # A handle that followed a redirect has other settings.
        (self.link.idle if transfer.redirected else self.idle).append(curl)

    def _again(self, transfer: Transfer, error: AttemptFailedError) -> None:
        """Put a failed transfer on the list for another attempt, or raise what became of it."""
        failures = [*transfer.failures, error]
        elapsed, asked = self.now() - transfer.began_s, error.retry_after_s
        wait = self.options.retry.wait(len(failures), elapsed, retry_after_s=asked)
        if wait is None or not error.again:
            raise self._failed(transfer.request, failures) from None
        transfer.failures = failures
        del transfer.urls[1:]
        heapq.heappush(self.waiting, (self.now() + wait, transfer.position, transfer))

    def _failed(self, request: Request, failures: list[AttemptFailedError]) -> ReadFailedError:
        last = failures[-1]
        return ReadFailedError(
            f"cannot read {self.origin.root}/{request}",
            found=summary(failures),
            fix=last.fix,
            reason=last.reason,
            url=f"{self.origin.root}/{request.key}",
            attempts=len(failures),
        )
