"""The child's side of `segmend.store.sandbox`: limits, and one answer per request."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from segmend.store.sandbox import LENGTH

MEMORY_BYTES = 2 * 2**30
"""Address space that the child may take beyond what it starts with."""

CPU_SECONDS = 120
"""Processor time of one request."""

EXPECTED = (OSError, RuntimeError, ValueError, TypeError, LookupError, MemoryError, ArithmeticError)
"""What a library raises for a bad file; anything else ends the child."""

Handler = Callable[[Mapping[str, Any]], dict[str, Any]]


def serve(handlers: Mapping[str, Handler]) -> None:
    """Answer requests until the pipe closes.

    Args:
        handlers: What to do by the request's ``do``. An error becomes ``{"error": text}``.
    """
    _limit()
    stdin, stdout = sys.stdin.buffer, sys.stdout.buffer
    while len(head := stdin.read(LENGTH.size)) == LENGTH.size:
        request = msgspec.msgpack.decode(stdin.read(LENGTH.unpack(head)[0]), type=dict[str, Any])
        _limit_cpu()
        try:
            answer = handlers[request["do"]](request)
        except EXPECTED as error:
            answer = {"error": f"{type(error).__name__}: {error}"[:2000]}
        message = msgspec.msgpack.encode(answer)
        stdout.write(LENGTH.pack(len(message)))
        stdout.write(message)
        stdout.flush()


def _limit() -> None:
    with open("/proc/self/statm") as file:  # noqa: PTH123  pathlib is not loaded otherwise
        now = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY_BYTES,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def _limit_cpu() -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    soft = int(used.ru_utime + used.ru_stime) + CPU_SECONDS
    resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.RLIM_INFINITY))
