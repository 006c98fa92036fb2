"""Servers on loopback for benchmarks, in processes of their own: nginx, and a line with latency."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

NGINX = """
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; sendfile on; keepalive_requests 1000000;
  client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder};
  server {{ listen 127.0.0.1:{port} backlog=1024; root {root}; }}
}}
"""


@contextlib.contextmanager
def nginx(root: Path, folder: Path) -> Iterator[str]:
    """Serve a folder by nginx; its URL."""
    port = _free_port()
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, port=port, root=root))
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    with _running([program, "-c", str(config)], port):
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def delayed(url: str, seconds: float) -> Iterator[str]:
    """A line to a server whose answers take ``seconds`` longer; its URL."""
    port, behind = _free_port(), url.rsplit(":", 1)[1]
    with _running([sys.executable, __file__, str(port), behind, str(seconds)], port):
        yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def _running(command: list[str], port: int) -> Iterator[None]:
    process = subprocess.Popen(command)
    try:
        _wait_for(port)
        yield
    finally:
        process.terminate()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int) -> None:
    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise TimeoutError(f"nothing listens on port {port}")


async def _serve(port: int, behind: int, seconds: float) -> None:
    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream = await asyncio.open_connection("127.0.0.1", behind)
        await asyncio.gather(_copy(reader, upstream[1], 0.0), _copy(upstream[0], writer, seconds))

    server = await asyncio.start_server(connect, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    """Pass bytes on, each ``seconds`` after it came; several are on the line at once."""
    line: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(64)

    async def put() -> None:
        while True:
            data = await reader.read(2**18)
            await line.put((time.monotonic() + seconds, data))
            if not data:
                return

    async def take() -> None:
        while True:
            due, data = await line.get()
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if not data:
                writer.close()
                return
            writer.write(data)
            await writer.drain()

    with contextlib.suppress(ConnectionError):
        await asyncio.gather(put(), take())


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
