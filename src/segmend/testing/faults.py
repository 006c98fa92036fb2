"""Faults of networks and servers, over real TCP, chosen by a seed.

A `Fault` changes an answer (status, headers, body) or its delivery (a reset, an early end, a
stall, a drip). A *choice* is any function from a request to a fault or None; `first` and `seeded`
make the usual ones.

    with range_server(folder, faults=first(2, status(503, {"Retry-After": "1"}))) as server:
        ...
"""

from __future__ import annotations

import gzip
import socket
import struct
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, Literal

import numpy as np

from segmend.core.random import keyed_generator


@dataclass(slots=True)
class Reply:
    """An answer before it is sent; ``Content-Length`` is added unless a fault has set it."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


Change = Callable[[Reply, Any], Reply]


def _unchanged(reply: Reply, _asked: object) -> Reply:
    return reply


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with one answer; the default is nothing.

    Attributes:
        change: Makes the answer that is sent.
        ignores_range: The server acts as if no Range had been asked for.
        stop_at: Bytes of the body after which delivery ends; None: all of it.
        ending: How it ends there: the connection is ``reset`` or ``closed``, or nothing more is
            sent (``stall``) until the server shuts down.
        piece: Bytes per write; 0: all at once.
        pause_s: Wait between writes.
        bare: No ``Content-Length`` is sent, so that only the end of the connection ends the body.
    """

    change: Change = _unchanged
    ignores_range: bool = False
    stop_at: int | None = None
    ending: Literal["reset", "closed", "stall"] = "closed"
    piece: int = 0
    pause_s: float = 0.0
    bare: bool = False


# From a request (`segmend.testing.servers.Asked`) to its fault.
Choose = Callable[[Any], Fault | None]


def no_fault(_asked: object) -> Fault | None:
    """The choice of a good day."""
    return None


def first(count: int, fault: Fault) -> Choose:
    """The first ``count`` requests of each path meet ``fault``."""
    return lambda asked: fault if asked.count < count else None


def always(fault: Fault) -> Choose:
    """Every request meets ``fault``."""
    return lambda _asked: fault


def seeded(seed: int, faults: Sequence[Fault], *, rate: float) -> Choose:
    """A share ``rate`` of requests meets a fault: which, depends on seed, path and count alone."""

    def choose(asked: Any) -> Fault | None:
        draw = keyed_generator("fault", seed, asked.path, asked.count)
        return faults[int(draw.integers(len(faults)))] if draw.random() < rate else None

    return choose


def status(code: int, headers: Mapping[str, str] | None = None) -> Fault:
    """Another status instead of the answer: 500, 503, 429 with ``Retry-After``, 403, 404, ..."""
    return Fault(lambda _reply, _asked: Reply(code, dict(headers or {}), b"no"))


def reset(at: int) -> Fault:
    """The connection is reset after ``at`` bytes of the body."""
    return Fault(stop_at=at, ending="reset")


def cut(at: int) -> Fault:
    """Right headers, then an orderly end of the connection after ``at`` bytes of the body."""
    return Fault(stop_at=at, ending="closed")


def stall(at: int) -> Fault:
    """Nothing more comes after ``at`` bytes of the body."""
    return Fault(stop_at=at, ending="stall")


def silence() -> Fault:
    """Not even a status line comes."""
    return Fault(stop_at=-1, ending="stall")


def hang_up() -> Fault:
    """The connection ends before the status line."""
    return Fault(stop_at=-1, ending="closed")


def drip(piece: int, pause_s: float) -> Fault:
    """The body comes ``piece`` bytes at a time, ``pause_s`` apart."""
    return Fault(piece=piece, pause_s=pause_s)


def shorter(by: int) -> Fault:
    """The body lacks its last ``by`` bytes; ``Content-Length`` promises them."""

    def change(reply: Reply, _asked: object) -> Reply:
        headers = reply.headers | {"Content-Length": str(len(reply.body))}
        return replace(reply, headers=headers, body=reply.body[: max(len(reply.body) - by, 0)])

    return Fault(change)


def longer(by: int) -> Fault:
    """The body goes on ``by`` bytes beyond ``Content-Length``."""

    def change(reply: Reply, _asked: object) -> Reply:
        headers = reply.headers | {"Content-Length": str(len(reply.body))}
        return replace(reply, headers=headers, body=reply.body + b"\x55" * by)

    return Fault(change)


def chunked_cut(at: int) -> Fault:
    """Chunked transfer coding that ends after ``at`` bytes without its last chunk."""

    def change(reply: Reply, _asked: object) -> Reply:
        part = reply.body[:at]
        body = b"%x\r\n%s\r\n" % (len(part), part) if part else b""
        return replace(reply, headers=reply.headers | {"Transfer-Encoding": "chunked"}, body=body)

    return Fault(change, stop_at=2**62)


def flip(bits: int, seed: int) -> Fault:
    """``bits`` bits of the body are flipped; its length stays."""

    def change(reply: Reply, asked: Any) -> Reply:
        if not reply.body:
            return reply
        draw = keyed_generator("flip", seed, asked.path, asked.count)
        body = np.frombuffer(reply.body, np.uint8).copy()
        places = draw.choice(body.size * 8, size=min(bits, body.size * 8), replace=False)
        np.bitwise_xor.at(body, places // 8, (1 << (places % 8)).astype(np.uint8))
        return replace(reply, body=body.tobytes())

    return Fault(change)


def ignored_range() -> Fault:
    """The whole object with status 200, whatever range was asked for."""
    return Fault(ignores_range=True)


def wrong_content_range(shift: int) -> Fault:
    """A 206 whose body lies ``shift`` bytes off what was asked for, and says so."""

    def change(reply: Reply, _asked: object) -> Reply:
        words = reply.headers.get("Content-Range", "")
        if not words.startswith("bytes ") or "*/" in words:
            return reply
        span, _, size = words[6:].partition("/")
        low, _, high = span.partition("-")
        moved = f"bytes {int(low) + shift}-{int(high) + shift}/{size}"
        body = reply.body[shift:] + b"\xaa" * min(shift, len(reply.body))
        return replace(reply, headers=reply.headers | {"Content-Range": moved}, body=body)

    return Fault(change)


def changed(body: bytes, etag: str) -> Fault:
    """The object is another one from now on: its own bytes and ETag, Range not honoured."""

    def change(reply: Reply, _asked: object) -> Reply:
        headers = {k: v for k, v in reply.headers.items() if k != "Content-Range"}
        return Reply(200, headers | {"ETag": etag}, body)

    return Fault(change, ignores_range=True)


def redirect(location: str, code: int = 302) -> Fault:
    """A redirect to ``location``; to the request's own path, a loop."""
    return Fault(lambda _reply, _asked: Reply(code, {"Location": location}, b""))


def gzip_bomb(size: int) -> Fault:
    """A small ``Content-Encoding: gzip`` body that decodes to ``size`` zeros."""
    packed = gzip.compress(bytes(size), mtime=0)
    return Fault(lambda _reply, _asked: Reply(200, {"Content-Encoding": "gzip"}, packed))


def deliver(
    connection: socket.socket, reply: Reply, fault: Fault, closing: threading.Event
) -> bool:
    """Send an answer as its fault says.

    Args:
        connection: Socket of the client.
        reply: What to send.
        fault: How.
        closing: Set when the server shuts down, which ends a stall.

    Returns:
        Whether the client got all that was promised, so that it may ask again on the connection.
    """
    stop = fault.stop_at
    body = reply.body if stop is None else reply.body[: max(stop, 0)]
    head = b"" if stop is not None and stop < 0 else _head(reply, bare=fault.bare)
    if fault.piece:
        connection.sendall(head)
        _drip(connection, body, fault, closing)
    else:
        connection.sendall(head + body)
    if stop is None:
        return reply.headers.get("Content-Length", str(len(body))) == str(len(body))
    if fault.ending == "stall":
        closing.wait()
    if fault.ending == "reset":
        # SO_LINGER with no time: close() sends RST instead of FIN.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return False


def _head(reply: Reply, *, bare: bool) -> bytes:
    headers = dict(reply.headers)
    if not bare and "Transfer-Encoding" not in headers:
        headers.setdefault("Content-Length", str(len(reply.body)))
    line = f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}"
    return "\r\n".join([line, *(f"{k}: {v}" for k, v in headers.items()), "", ""]).encode()


def _drip(connection: socket.socket, body: bytes, fault: Fault, closing: threading.Event) -> None:
    for at in range(0, len(body), fault.piece):
        connection.sendall(body[at : at + fault.piece])
        if closing.wait(fault.pause_s):
            return
