"""Reading many small objects over HTTP, against tensorstore's key-value store and cloud-files.

    python benchmarks/bench_store.py [--objects 512] [--repeat 5] [--json]

nginx serves the objects on loopback; a proxy adds 30 ms to each request for the second part. All
peers read the same keys in the same process, with their default concurrency.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import requests
import tensorstore as ts
from cloudfiles import CloudFiles
from table import Line, show, timed

from segmend.store.open import open_store
from segmend.store.store import Request

SIZE = 66_000
LATENCIES_MS = (0, 30)

NGINX = """
worker_processes 1; daemon off; pid {folder}/pid; error_log {folder}/log;
events {{ worker_connections 1024; }}
http {{ access_log off; sendfile on; keepalive_requests 1000000;
  client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder};
  server {{ listen 127.0.0.1:{port}; root {folder}/www; }} }}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objects", type=int, default=512)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print the table as JSON")
    arguments = parser.parse_args()
    if not shutil.which("nginx"):
        print("skipped: this benchmark needs nginx")
        return
    with tempfile.TemporaryDirectory() as folder:
        keys = write_objects(Path(folder) / "www", arguments.objects)
        show(measure(Path(folder), keys, arguments.repeat), as_json=arguments.json)


def write_objects(folder: Path, count: int) -> list[str]:
    folder.mkdir()
    folder.parent.chmod(0o755)
    draw = np.random.default_rng(0)
    for number in range(count):
        (folder / str(number)).write_bytes(draw.bytes(SIZE))
    return [str(number) for number in range(count)]


def measure(folder: Path, keys: list[str], repeat: int) -> Iterator[Line]:
    """Every peer at every latency."""
    with nginx(folder) as port:
        for latency in LATENCIES_MS:
            with delayed(port, latency) as url:
                jobs = peers(url, keys)
                ours, *others = timed(repeat, *jobs.values())
                for peer, taken in zip(list(jobs)[1:], others, strict=True):
                    job = f"{len(keys)} objects of {SIZE // 1000} kB, {latency} ms latency"
                    goal = 1.0 if peer == "tensorstore" else 2.0
                    yield Line(job, ours, peer, taken, goal)


def peers(url: str, keys: list[str]) -> dict[str, object]:
    total = len(keys) * SIZE

    def ours() -> None:
        store = open_store(url)
        wanted = [Request(key) for key in keys]
        assert sum(len(data or b"") for _, data in store.read_many(wanted)) == total

    def tensorstore() -> None:
        store = ts.KvStore.open(f"{url}/").result()
        futures = [store.read(key) for key in keys]
        assert sum(len(future.result().value) for future in futures) == total

    def cloud_files() -> None:
        files = CloudFiles(url, progress=False)
        assert sum(len(item["content"]) for item in files.get(keys)) == total

    def one_by_one() -> None:
        with requests.Session() as session:
            got = sum(len(session.get(f"{url}/{key}", timeout=9).content) for key in keys)
        assert got == total

    return {
        "ours": ours,
        "tensorstore": tensorstore,
        "cloud-files": cloud_files,
        "requests, one by one": one_by_one,
    }


@contextmanager
def nginx(folder: Path) -> Iterator[int]:
    port = free_port()
    (folder / "conf").write_text(NGINX.format(folder=folder, port=port))
    server = subprocess.Popen(
        ["nginx", "-c", str(folder / "conf"), "-p", str(folder)], stderr=subprocess.DEVNULL
    )
    try:
        wait_for(port)
        yield port
    finally:
        server.terminate()
        server.wait()


@contextmanager
def delayed(port: int, latency_ms: int) -> Iterator[str]:
    """The server's URL, or that of a proxy which passes each request on after ``latency_ms``."""
    if not latency_ms:
        yield f"http://127.0.0.1:{port}"
        return
    own = free_port()
    proxy = multiprocessing.get_context("spawn").Process(
        target=run_proxy, args=(own, port, latency_ms / 1000), daemon=True
    )
    proxy.start()
    try:
        wait_for(own)
        yield f"http://127.0.0.1:{own}"
    finally:
        proxy.terminate()
        proxy.join()


async def pass_on(
    source: asyncio.StreamReader, target: asyncio.StreamWriter, delay_s: float
) -> None:
    """Copy what comes, each piece ``delay_s`` after it came."""
    loop = asyncio.get_running_loop()
    while data := await source.read(2**20):
        if delay_s:
            loop.call_later(delay_s, target.write, data)
        else:
            target.write(data)
    target.close()


def run_proxy(own: int, port: int, delay_s: float) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pass_on(reader, back, delay_s), pass_on(there, writer, 0))

    async def serve() -> None:
        server = await asyncio.start_server(connected, "127.0.0.1", own)
        await server.serve_forever()

    asyncio.run(serve())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(port: int) -> None:
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    sys.exit(f"nothing listens on port {port}")


if __name__ == "__main__":
    main()
