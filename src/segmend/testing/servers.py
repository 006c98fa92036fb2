"""Real HTTP servers on loopback: a folder with ranges, or a proxy in front of another server.

    with range_server(folder) as server:
        store = open_store(server.url)

Both speak HTTP/1.1 over TCP, keep connections alive, answer HEAD, write a log of requests, and
take *faults* (`segmend.testing.faults`), which spoil chosen answers the way networks do.
"""

from __future__ import annotations

import hashlib
import http.client
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit
from xml.sax.saxutils import escape

from segmend.testing.faults import Choose, Fault, Reply, deliver, no_fault


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it arrived.

    Attributes:
        method: ``GET``, ``HEAD``, ``POST`` or ``PUT``.
        path: Path with query, as sent.
        headers: Names in lower case.
        count: How many requests for this path with this body came before.
        connection: The client's port, which tells connections apart.
        body: What was sent with it; CAVE's clients send one with some GETs too.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    count: int
    connection: int
    body: bytes = b""


Respond = Callable[[Asked], Reply]


@dataclass(slots=True)
class Server:
    """A running server.

    Attributes:
        url: Its root, ``http://127.0.0.1:port``.
        log: The requests so far.
        most_at_once: The largest number of requests that were being answered at the same time.
        headers: Added to every 200 and 206; may be changed while it runs.
    """

    url: str
    log: list[Asked] = field(default_factory=list)
    most_at_once: int = 0
    headers: dict[str, str] = field(default_factory=dict)


@contextmanager
def range_server(
    folder: str | Path,
    *,
    latency_s: float = 0.0,
    faults: Choose = no_fault,
    gzip_static: bool = False,
    certificate: tuple[Path, Path] | None = None,
) -> Iterator[Server]:
    """Serve a folder: GET and HEAD with Range, If-Range, ETag, Last-Modified, 404 and 416.

    Args:
        folder: What to serve.
        latency_s: Wait before each answer.
        faults: Chooses a fault, or None, for each request.
        gzip_static: Serve a file ``KEY.gz`` as ``KEY`` with ``Content-Encoding: gzip`` where
            ``KEY`` is missing, as nginx can and as buckets do with cloud-volume's objects.
        certificate: For TLS: files of a certificate for ``localhost`` and its key.

    Yields:
        The server; it ends with the block, and every connection with it.
    """
    root = Path(folder)
    respond = partial(_from_folder, root, gzip_static=gzip_static)
    with serving(respond, latency_s=latency_s, faults=faults, certificate=certificate) as server:
        yield server


@contextmanager
def fault_proxy(
    upstream: str, *, latency_s: float = 0.0, faults: Choose = no_fault
) -> Iterator[Server]:
    """Pass requests on to another server, with faults in the answers.

    Args:
        upstream: ``http://host:port`` of the server behind, for example moto's S3.
        latency_s: Wait before each answer.
        faults: Chooses a fault, or None, for each request.

    Yields:
        The proxy.
    """
    address = urlsplit(upstream).netloc
    respond = partial(_from_upstream, address)
    with serving(respond, latency_s=latency_s, faults=faults) as server:
        yield server


@contextmanager
def serving(
    respond: Respond,
    *,
    latency_s: float = 0.0,
    faults: Choose = no_fault,
    certificate: tuple[Path, Path] | None = None,
) -> Iterator[Server]:
    """Serve whatever a function answers.

    Args:
        respond: Makes the answer to a request; called from many threads at once.
        latency_s: Wait before each answer.
        faults: Chooses a fault, or None, for each request.
        certificate: As `range_server`.

    Yields:
        The server; it ends with the block, and every connection with it.
    """
    listening = _Listening(respond, latency_s, faults)
    if certificate:
        listening.use_tls(*certificate)
    thread = threading.Thread(target=listening.serve_forever, args=(0.02,), name="test server")
    thread.start()
    try:
        yield listening.server
    finally:
        listening.shutdown()
        thread.join()
        listening.hang_up()
        listening.server_close()


class _Listening(ThreadingHTTPServer):
    daemon_threads = False  # so that closing waits for the handlers
    request_queue_size = 256

    def __init__(self, respond: Respond, latency_s: float, faults: Choose) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.respond, self.latency_s, self.faults = respond, latency_s, faults
        self.server = Server(f"http://127.0.0.1:{self.server_address[1]}")
        self.closing = threading.Event()
        self.connections: set[socket.socket] = set()
        self.counts: dict[tuple[str, bytes], int] = {}
        self.at_once = 0
        self.lock = threading.Lock()

    def use_tls(self, certificate: Path, key: Path) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        # The handshake waits for a handler's thread, so that a slow client holds up nobody.
        self.socket = context.wrap_socket(
            self.socket, server_side=True, do_handshake_on_connect=False
        )
        self.server.url = f"https://localhost:{self.server_address[1]}"

    def process_request(self, request: Any, client_address: Any) -> None:
        with self.lock:
            self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self.lock:
            self.connections.discard(request)
        self.close_request(request)  # with no shutdown() before it, which would spoil a reset

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is normal here."""

    def hang_up(self) -> None:
        """End every connection, so that no handler waits for a next request."""
        self.closing.set()
        with self.lock:
            open_now = list(self.connections)
        for connection in open_now:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # already gone


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Listening

    def setup(self) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().setup()

    def do_GET(self) -> None:
        asked = self._asked()
        try:
            self._answer(asked)
        finally:
            with self.server.lock:
                self.server.at_once -= 1

    do_HEAD = do_GET  # noqa: N815 - the name BaseHTTPRequestHandler calls
    do_POST = do_GET  # noqa: N815 - likewise
    do_PUT = do_GET  # noqa: N815 - likewise
    do_PROPFIND = do_GET  # noqa: N815 - likewise

    def _answer(self, asked: Asked) -> None:
        fault = self.server.faults(asked) or Fault()
        if self.server.latency_s:
            time.sleep(self.server.latency_s)
        seen = _without_range(asked) if fault.ignores_range else asked
        reply = self.server.respond(seen)
        if reply.status in (200, 206):
            reply.headers.update(self.server.server.headers)
        reply = fault.change(reply, asked)
        if asked.method == "HEAD":
            reply.headers.setdefault("Content-Length", str(len(reply.body)))
            fault = Fault(stop_at=0)
        self.close_connection = not deliver(self.connection, reply, fault, self.server.closing)

    def _asked(self) -> Asked:
        headers = {name.lower(): value for name, value in self.headers.items()}
        chunked = headers.get("transfer-encoding") == "chunked"
        body = self._chunks() if chunked else self.rfile.read(int(headers.get("content-length", 0)))
        key = (self.path, hashlib.sha256(body).digest() if body else b"")
        with self.server.lock:
            count = self.server.counts.get(key, 0)
            self.server.counts[key] = count + 1
            asked = Asked(self.command, self.path, headers, count, self.client_address[1], body)
            self.server.server.log.append(asked)
            self.server.at_once += 1
            server = self.server.server
            server.most_at_once = max(server.most_at_once, self.server.at_once)
        return asked

    def _chunks(self) -> bytes:
        """A body sent in chunks of stated size, the last of which is empty (RFC 9112, 7.1)."""
        parts = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def log_message(self, *_args: Any) -> None:
        """Quiet: the log is in `Server.log`."""


def _without_range(asked: Asked) -> Asked:
    headers = {name: value for name, value in asked.headers.items() if name != "range"}
    return replace(asked, headers=headers)


def _from_folder(folder: Path, asked: Asked, *, gzip_static: bool) -> Reply:
    key = unquote(urlsplit(asked.path).path).lstrip("/")
    path, headers = folder / key, {"Accept-Ranges": "bytes"}
    if ".." in key.split("/"):
        return Reply(400, {}, b"")
    if asked.method == "PROPFIND":
        return _listing(path, asked)
    if gzip_static and not path.is_file():
        path = folder / f"{key}.gz"
        headers["Content-Encoding"] = "gzip"
    if not path.is_file():
        return Reply(404, {}, b"not found")
    body = path.read_bytes()
    headers["ETag"] = f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'
    headers["Last-Modified"] = formatdate(path.stat().st_mtime, usegmt=True)
    condition = asked.headers.get("if-range")
    wanted = asked.headers.get("range")
    if wanted is None or condition not in (None, headers["ETag"], headers["Last-Modified"]):
        return Reply(200, headers, body)
    return _ranged(wanted, headers, body)


def _listing(folder: Path, asked: Asked) -> Reply:
    """A folder and its members, as WebDAV lists them (RFC 4918, 9.1); Depth: 1 only."""
    if not folder.is_dir():
        return Reply(404, {}, b"not found")
    if asked.headers.get("depth") != "1":
        return Reply(403, {}, b"Depth: 1 only")
    root = urlsplit(asked.path).path.rstrip("/")
    rows = [f"{root}/", *(f"{root}/{quote(p.name)}" + "/" * p.is_dir() for p in folder.iterdir())]
    answers = "".join(
        f"<D:response><D:href>{escape(href)}</D:href><D:propstat><D:prop><D:resourcetype>"
        f"{'<D:collection/>' * href.endswith('/')}</D:resourcetype></D:prop>"
        "<D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>"
        for href in rows
    )
    text = f'<?xml version="1.0"?>\n<D:multistatus xmlns:D="DAV:">{answers}</D:multistatus>'
    return Reply(207, {"Content-Type": "application/xml"}, text.encode())


def _ranged(wanted: str, headers: dict[str, str], body: bytes) -> Reply:
    parts = re.fullmatch(r"bytes=(\d*)-(\d*)", wanted)
    if parts is None or not any(parts.groups()):
        return Reply(200, headers, body)
    first, last = parts.groups()
    size = len(body)
    start = int(first) if first else max(size - int(last), 0)
    stop = min(int(last) + 1, size) if first and last else size
    if start >= stop:
        return Reply(416, {"Content-Range": f"bytes */{size}"}, b"")
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    return Reply(206, headers, body[start:stop])


_HOP_BY_HOP = ("connection", "keep-alive", "transfer-encoding", "content-length")


def _from_upstream(address: str, asked: Asked) -> Reply:
    connection = http.client.HTTPConnection(address, timeout=30)
    try:
        connection.request(asked.method, asked.path, asked.body or None, dict(asked.headers))
        response = connection.getresponse()
        body = response.read()
        headers = {k: v for k, v in response.getheaders() if k.lower() not in _HOP_BY_HOP}
        return Reply(response.status, headers, body)
    finally:
        connection.close()
