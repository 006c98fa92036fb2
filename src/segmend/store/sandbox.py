"""A child process with limits, for libraries that a hostile file can crash.

The child answers one request at a time over its pipes. Whatever happens to it (a crash, too much
memory, too much time), the caller gets a `ReadFailedError` and the next request a fresh child.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import select
import struct
import subprocess
import sys
import threading
import time
from typing import IO, Any

import msgspec

from segmend.core.errors import ReadFailedError

MAX_ANSWER_BYTES = 2**30
"""An answer that claims more is not believed."""

LENGTH = struct.Struct("<Q")
"""Before every message: its bytes. Messages are MessagePack."""


class Sandbox:
    """A child process, started at its first request. Safe for threads.

    Args:
        module: Module that the child runs; it answers requests (`segmend.store.sandboxed`).
    """

    def __init__(self, module: str) -> None:
        self._module = module
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._owner = os.getpid()
        atexit.register(self.close)

    def ask(self, request: dict[str, Any], *, what: str, seconds: float) -> dict[str, Any]:
        """Send a request and wait for the answer.

        Args:
            request: What to do; anything MessagePack can hold.
            what: What is being read, for messages.
            seconds: Time after which the child is killed.

        Raises:
            ReadFailedError: with reason ``corrupt`` or ``timeout``, if the child dies at it.
        """
        message = msgspec.msgpack.encode(request)
        with self._lock:
            deadline = time.monotonic() + seconds
            try:
                answer = self._exchange(message, deadline)
            except (BrokenPipeError, EOFError, msgspec.DecodeError, ValueError) as error:
                raise self._lost(what, str(error), "corrupt") from error
            except TimeoutError as error:
                raise self._lost(what, f"it took more than {seconds:g} s", "timeout") from error
        return answer

    def close(self) -> None:
        """End the child."""
        if os.getpid() != self._owner:
            return  # a forked process must leave it to its parent
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.wait()
            for pipe in (child.stdin, child.stdout):
                assert pipe is not None
                _close(pipe)

    def _exchange(self, message: bytes, deadline: float) -> dict[str, Any]:
        if self._child is None or self._child.poll() is not None:
            self.close()
            self._child = _start(self._module)
        stdin, stdout = self._child.stdin, self._child.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(LENGTH.pack(len(message)) + message)
        stdin.flush()
        (length,) = LENGTH.unpack(_receive(stdout, LENGTH.size, deadline))
        if length > MAX_ANSWER_BYTES:
            raise ValueError(f"its answer claims {length} bytes")
        return msgspec.msgpack.decode(_receive(stdout, length, deadline), type=dict[str, Any])

    def _lost(self, what: str, found: str, reason: str) -> ReadFailedError:
        status = None
        if self._child is not None and reason != "timeout":
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = self._child.wait(1)
        ended = f" (signal {-status})" if status is not None and status < 0 else ""
        self.close()
        return ReadFailedError(
            f"reading {what} ended the process that parses it",
            found=f"{found}{ended}",
            fix="The file is damaged or hostile, or asks for more than the limits of the parser",
            reason=reason,
        )


_of_process: dict[tuple[int, str], Sandbox] = {}


def sandbox(module: str) -> Sandbox:
    """This process's child for a module; a forked process gets its own."""
    key = (os.getpid(), module)
    if key not in _of_process:
        _of_process.setdefault(key, Sandbox(module))
    return _of_process[key]


def _start(module: str) -> subprocess.Popen[bytes]:
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        # One thread each: their stacks and pools count against the limit of memory.
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }
    return subprocess.Popen(  # noqa: S603  this very Python, a module of ours
        [sys.executable, "-P", "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        bufsize=0,
    )


def _receive(pipe: IO[bytes], count: int, deadline: float) -> bytearray:
    data = bytearray()
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    while len(data) < count:
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise TimeoutError
        part = os.read(pipe.fileno(), min(count - len(data), 2**20))
        if not part:
            raise EOFError("it ended without an answer")
        data += part
    return data


def _close(pipe: IO[bytes]) -> None:
    # What was still to be written has no reader any more.
    with contextlib.suppress(BrokenPipeError):
        pipe.close()
