"""Leases: who is making a shard just now, so that two builds in one folder share the work.

A lease saves work, it does not guard correctness: two workers on one shard write equal bytes. It
is a file that its holder keeps changing. Whether the holder lives is judged without comparing
clocks: on the same machine by its process, elsewhere by whether the file still changes.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from segmend.core.errors import OutputError

BEAT_S = 5.0
"""Seconds between two changes of a lease."""

DEAD_S = 60.0
"""Seconds after which a lease of another machine that did not change is nobody's."""


@dataclass(slots=True)
class LeaseWatch:
    """Tells leases that are held from those whose holder is gone.

    Attributes:
        dead_s: See `DEAD_S`.
        seen: Content of each lease and when, on this process's own clock, it was first seen so.
    """

    dead_s: float = DEAD_S
    seen: dict[Path, tuple[str, float]] = field(default_factory=dict)

    def held(self, path: Path) -> bool:
        """Whether somebody holds a lease; one whose holder is gone is removed."""
        try:
            text = path.read_text()
        except FileNotFoundError:
            return False
        holder = _parsed(text)
        if holder is not None and holder.get("host") == _host():
            alive = _lives(holder)
        else:
            first, since = self.seen.setdefault(path, (text, time.monotonic()))
            if first != text:
                self.seen[path] = (text, time.monotonic())
            alive = first != text or time.monotonic() - since < self.dead_s
        if not alive:
            path.unlink(missing_ok=True)
        return alive


@contextmanager
def lease(path: Path) -> Iterator[bool]:
    """Hold a lease while the block runs.

    Args:
        path: The file; its folder exists.

    Yields:
        Whether it was free; if not, somebody else has it and the block should do nothing.

    Raises:
        OutputError: if the file cannot be written.
    """
    facts = {"host": _host(), "pid": os.getpid(), "start": _start(os.getpid()), "beat": 0}
    facts["token"] = secrets.token_hex(8)
    # A holder of this machine that is gone is found out at once, and only then tried again.
    if not (_taken(path, facts) or (not LeaseWatch().held(path) and _taken(path, facts))):
        yield False
        return
    stop = threading.Event()
    beating = threading.Thread(target=_beat, args=(path, facts, stop), daemon=True)
    beating.start()
    try:
        yield True
    finally:
        stop.set()
        beating.join()
        path.unlink(missing_ok=True)


def _taken(path: Path, facts: dict[str, object]) -> bool:
    """Create the file of a lease; False if it is there."""
    try:
        with path.open("x") as file:
            file.write(json.dumps(facts))
    except FileExistsError:
        return False
    except OSError as error:
        raise OutputError(f"cannot write {path}", found=str(error)) from error
    return True


def _beat(path: Path, facts: dict[str, object], stop: threading.Event) -> None:
    beat = 0
    while not stop.wait(BEAT_S):
        beat += 1
        try:
            path.write_text(json.dumps(facts | {"beat": beat}))
        except OSError:
            continue  # a full disk ends the work itself, with its own error


def _parsed(text: str) -> dict[str, object] | None:
    try:
        holder = json.loads(text)
    except ValueError:
        return None  # seen between two of its bytes, or of a machine that died writing it
    return holder if isinstance(holder, dict) else None


def _lives(holder: dict[str, object]) -> bool:
    pid = holder.get("pid")
    return isinstance(pid, int) and _start(pid) == holder.get("start")


def _start(pid: int) -> str:
    """When a process of this machine began, in clock ticks since boot; empty if there is none.

    A number is given to another process some day; together with this it is not.
    """
    try:
        # The name, in parentheses, may hold anything; field 22 is the 20th behind it.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _host() -> str:
    """Names this boot of this machine: containers may share a host name, not a boot and a name."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        boot = ""
    return f"{socket.gethostname()} {boot}"
