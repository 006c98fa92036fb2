"""Seeded fault trials: a fault, a read through it, and what became of it.

An outcome is *recovered* (the very bytes), *typed error*, *silent wrong* (other bytes, or absent
for an object that is there) or *hang*. The last two must never happen. Families N1 to N8:

    N1  bursts of 500, 502, 503, 504 and 429, with and without Retry-After
    N2  the connection is reset, or ends, after some bytes
    N3  bodies shorter or longer than announced, cut chunked coding, no length at all
    N4  stalls and slow drips
    N5  flipped bits, right length, where a checksum is known: S3's ETag, x-goog-hash, gzip's own,
        the sha256 of `fetch`. Elsewhere HTTP has none, and such damage cannot be seen.
    N6  Range ignored, wrong Content-Range, the file changes midway
    N7  403 for an object that is there; 404 for one that is not
    N8  no such host, nobody listens, no TLS, redirect loops, gzip bombs
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

import numpy as np

from segmend.core.errors import SegmendError
from segmend.core.random import keyed_generator
from segmend.store.fetch import fetch
from segmend.store.open import open_store
from segmend.store.options import StoreOptions
from segmend.store.retry import RetryPolicy, TimeLimits
from segmend.store.store import Request
from segmend.testing import faults
from segmend.testing.faults import Choose, Fault, Reply
from segmend.testing.servers import range_server

Outcome = Literal["recovered", "typed error", "silent wrong", "hang"]
Way = Literal["whole", "range", "fetch", "absent"]

HANG_S = 20.0
CHANGES = "the file changes midway"
SIZES = (0, 1, 5_000, 60_000, 300_000)

# Every time-out in tenths of a second, so that a trial ends in one or two.
OPTIONS = StoreOptions(
    concurrency=4,
    retry=RetryPolicy(attempts=4, base_s=0.005, retry_after_cap_s=0.5),
    limits=TimeLimits(connect_s=1.0, first_byte_s=0.3, stall_s=0.3, stall_bytes=64, total_s=3.0),
    object_limit=2**22,
)


@dataclass(frozen=True, slots=True)
class Trial:
    """One trial.

    Attributes:
        family: ``N1`` to ``N8``.
        name: What goes wrong.
        way: How the bytes are read.
        fault: What goes wrong.
        times: How often it does before it stops.
        address: Read from here instead of the server; ``https``: from the server, with TLS.
        seed: Chooses sizes and ranges.
    """

    family: str
    name: str
    way: Way
    fault: Fault
    times: int
    seed: int
    address: str = ""

    @property
    def changes(self) -> bool:
        """Whether the file is another one, its bytes reversed, after the first request."""
        return self.name == CHANGES


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a trial."""

    trial: Trial
    outcome: Outcome
    seconds: float
    error: str = ""


def make_trials(count: int, seed: int) -> list[Trial]:
    """Trials spread evenly over all kinds; the same for the same count and seed."""
    made = []
    for number, kind in enumerate(islice(cycle(_KINDS), count)):
        draw = keyed_generator("fault trial", seed, number)
        family, name, ways, make = kind
        way = ways[int(draw.integers(len(ways)))]
        times = int(draw.choice([1, 1, 2, 3, 9]))
        trial = Trial(family, name, way, Fault(), times, int(draw.integers(2**31)))
        made.append(make(trial, draw))
    return made


def run_trials(trials: Sequence[Trial], folder: Path, *, threads: int = 8) -> list[Result]:
    """Run trials against a real server on loopback.

    Args:
        trials: From `make_trials`.
        folder: Empty; objects and downloads are kept here.
        threads: Trials at once; most of them wait.
    """
    served = folder / "served"
    served.mkdir()
    for size in SIZES:
        (served / str(size)).write_bytes(_content(size))
        (served / f"{size}.gz").write_bytes(gzip.compress(_content(size), 1, mtime=0))
    with range_server(served, faults=_by_trial(trials)) as server:
        pool = ThreadPoolExecutor(threads)
        started = [
            pool.submit(_run, trial, number, server.url, folder)
            for number, trial in enumerate(trials)
        ]
        results = []
        for trial, future in zip(trials, started, strict=True):
            try:
                results.append(future.result(timeout=HANG_S))
            except TimeoutError:
                results.append(Result(trial, "hang", HANG_S))
        pool.shutdown(wait=False)
    return results


def table(results: Sequence[Result]) -> Iterator[tuple[str, Counter[str]]]:
    """Outcomes per family, and of all."""
    for family in sorted({result.trial.family for result in results}):
        yield family, Counter(r.outcome for r in results if r.trial.family == family)
    yield "all", Counter(result.outcome for result in results)


def _by_trial(trials: Sequence[Trial]) -> Choose:
    def choose(asked: Any) -> Fault | None:
        trial = trials[int(parse_qs(urlsplit(asked.path).query)["trial"][0])]
        return trial.fault if asked.count < trial.times else None

    return choose


def _run(trial: Trial, number: int, url: str, folder: Path) -> Result:
    start = time.monotonic()
    error = ""
    if trial.address:
        url = url.replace("http", "https") if trial.address == "https" else trial.address
    try:
        right = _read(trial, url, f"trial={number}", folder / f"f{number}")
        outcome: Outcome = "recovered" if right else "silent wrong"
    except SegmendError as failure:
        outcome, error = "typed error", str(failure)
    return Result(trial, outcome, time.monotonic() - start, error)


def _read(trial: Trial, url: str, query: str, path: Path) -> bool:
    """Read through the fault; whether the bytes are right."""
    draw = keyed_generator("fault trial read", trial.seed)
    size = int(draw.choice(SIZES[1:] if trial.way == "range" else SIZES))
    if trial.way == "fetch":
        digest = hashlib.sha256(_content(size)).hexdigest()
        known = digest if trial.family == "N5" or trial.seed % 2 else None
        fetch(f"{url}/{size}?{query}", path, sha256=known, options=OPTIONS)
        return path.read_bytes() in (_content(size), _content(size)[:: -1 if trial.changes else 1])
    store = open_store(f"{url}?{query}", OPTIONS)
    if trial.way == "absent":
        return store.read("not-there") is None
    sizes = [size, *(int(s) for s in draw.choice(SIZES[2:], 2))]
    if trial.way == "whole":
        requests = [Request(str(size)) for size in sizes]
    else:
        cuts = [np.sort(draw.choice(size + 1, 2, replace=False)) for size in sizes]
        requests = [Request(str(n), int(a), int(b)) for n, (a, b) in zip(sizes, cuts, strict=True)]
    got = dict(store.read_many(requests))
    return all(
        got[i] == _content(size)[request.start : request.stop]
        for i, (request, size) in enumerate(zip(requests, sizes, strict=True))
    )


def _content(size: int) -> bytes:
    return keyed_generator("content", size).bytes(size)


Make = Callable[[Trial, np.random.Generator], Trial]


def _with(make: Callable[[np.random.Generator], Fault]) -> Make:
    return lambda trial, draw: replace(trial, fault=make(draw))


def _at(draw: np.random.Generator) -> int:
    return int(draw.choice([0, 1, 700, 16_384, 59_999, 200_000]))


def _burst(code: int) -> Make:
    def make(draw: np.random.Generator) -> Fault:
        after = str(draw.choice(["", "0", "9999", "Wed, 21 Oct 2015 07:28:00 GMT", "soon"]))
        return faults.status(code, {"Retry-After": after} if after else {})

    return _with(make)


def _checksummed(kind: Literal["s3", "gs", "gzip"]) -> Make:
    """Bits flipped in a body whose checksum the headers, or its own trailer, tell."""

    def make(trial: Trial, draw: np.random.Generator) -> Trial:
        spoil = faults.flip(int(draw.choice([1, 8, 4096])), trial.seed).change

        def change(reply: Reply, asked: Any) -> Reply:
            if reply.status != 200:
                return reply
            if kind == "gzip":
                packed = gzip.compress(reply.body, 1, mtime=0)
                reply = replace(
                    reply, headers=reply.headers | {"Content-Encoding": "gzip"}, body=packed
                )
            if kind == "s3":
                reply.headers["x-amz-request-id"] = "1"
            if kind == "gs":
                md5 = hashlib.md5(reply.body, usedforsecurity=False).digest()
                reply.headers["x-goog-hash"] = f"md5={base64.b64encode(md5).decode()}"
            return spoil(reply, asked)

        return replace(trial, fault=Fault(change))

    return make


def _without_length(draw: np.random.Generator) -> Fault:
    def change(reply: Reply, _asked: object) -> Reply:
        return replace(reply, headers=reply.headers | {"Connection": "close"})

    return Fault(change, stop_at=_at(draw), bare=True)


def _changing(trial: Trial, draw: np.random.Generator) -> Trial:
    """Cut short at first; then another file, whose server may not know If-Range."""
    honours, short = bool(draw.integers(2)), faults.shorter(1 + _at(draw)).change

    def change(reply: Reply, asked: Any) -> Reply:
        if not asked.count:
            return short(reply, asked)
        body, etag = reply.body[::-1], '"another"'
        low = asked.headers.get("range", "bytes=0-")[6:-1]
        if honours or int(low) >= len(body) or not int(low):
            return Reply(200, {"ETag": etag}, body)
        said = f"bytes {low}-{len(body) - 1}/{len(body)}"
        return Reply(206, {"ETag": etag, "Content-Range": said}, body[int(low) :])

    return replace(trial, fault=Fault(change, ignores_range=True), times=99)


def _elsewhere(address: str) -> Make:
    return lambda trial, _draw: replace(trial, address=address)


_ANY: tuple[Way, ...] = ("whole", "range", "fetch")
_READ: tuple[Way, ...] = ("whole", "range")
_KINDS: tuple[tuple[str, str, tuple[Way, ...], Make], ...] = (
    *(("N1", f"status {code}", _ANY, _burst(code)) for code in (500, 502, 503, 504, 429)),
    ("N2", "reset", _ANY, _with(lambda draw: faults.reset(_at(draw)))),
    ("N2", "early end", _ANY, _with(lambda draw: faults.cut(_at(draw)))),
    ("N2", "hang up", _ANY, _with(lambda _draw: faults.hang_up())),
    ("N3", "shorter", _ANY, _with(lambda draw: faults.shorter(1 + _at(draw)))),
    ("N3", "longer", _ANY, _with(lambda draw: faults.longer(1 + _at(draw)))),
    ("N3", "chunked cut", _ANY, _with(lambda draw: faults.chunked_cut(_at(draw)))),
    ("N3", "no length", _ANY, _with(_without_length)),
    ("N4", "stall", _ANY, _with(lambda draw: faults.stall(_at(draw)))),
    ("N4", "silence", _READ, _with(lambda _draw: faults.silence())),
    ("N4", "drip", _READ, _with(lambda _draw: faults.drip(1, 0.1))),
    ("N5", "flips, S3 ETag", ("whole",), _checksummed("s3")),
    ("N5", "flips, x-goog-hash", ("whole",), _checksummed("gs")),
    ("N5", "flips, gzip", ("whole",), _checksummed("gzip")),
    ("N5", "flips, sha256", ("fetch",), _with(lambda draw: faults.flip(8, int(draw.integers(99))))),
    ("N6", "Range ignored", ("range",), _with(lambda _draw: faults.ignored_range())),
    ("N6", "wrong Content-Range", ("range",), _with(lambda _draw: faults.wrong_content_range(3))),
    ("N6", CHANGES, ("fetch",), _changing),
    ("N7", "status 403", _ANY, _with(lambda _draw: faults.status(403))),
    ("N7", "status 404, absent", ("absent",), _with(lambda _draw: Fault())),
    ("N8", "no such host", _ANY, _elsewhere("http://no-such-host.invalid")),
    ("N8", "nobody listens", _ANY, _elsewhere("http://127.0.0.1:9")),
    ("N8", "no TLS", _ANY, _elsewhere("https")),
    ("N8", "redirect loop", _ANY, _with(lambda _draw: faults.redirect("#again"))),
    ("N8", "gzip bomb", ("whole",), _with(lambda _draw: faults.gzip_bomb(2**23))),
)
