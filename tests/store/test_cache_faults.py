"""Killed writers, full disks and processes that share one cache never change what is read."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from segmend.core.random import keyed_generator
from segmend.store.cache import Cache, CachedStore
from segmend.store.cache_files import Blob, room
from segmend.store.files import FileStore
from segmend.store.store import Request

N = 40
BUDGET = 15 * room(10_000)


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("origin")
    rng = keyed_generator(1, "objects")
    for i in range(N):
        (folder / str(i)).write_bytes(rng.bytes(int(rng.integers(1, 10_000))))
    return folder


def store(origin: Path, place: Path) -> CachedStore:
    return CachedStore(FileStore(origin), Cache(place / "objects", BUDGET), "v")


READ = """
import os, random, signal, sys
from pathlib import Path
from segmend.store.cache import Cache, CachedStore
from segmend.store.files import FileStore
from segmend.store.store import Request

origin, place, budget, last, seed = sys.argv[1:]
store = CachedStore(FileStore(Path(origin)), Cache(place, int(budget)), "v")
left = int(last)

def count_down(event, args):
    global left
    if event in WATCHED and str(args[0]).startswith(place):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

WATCHED = {"open", "os.rename", "os.symlink", "os.remove", "os.mkdir", "os.utime", "os.listdir"}
sys.addaudithook(count_down)
random.seed(int(seed))
for _ in range(3):
    order = random.sample(range(40), 40)
    for i, data in store.read_many([Request(str(n)) for n in order]):
        assert data == Path(origin, str(order[i])).read_bytes()
print(store.cache.counts)
"""


def reader(origin: Path, place: Path, *, last: int = 10**9, seed: int = 0) -> subprocess.Popen[str]:
    arguments = [origin, place / "objects", BUDGET, last, seed]
    return subprocess.Popen(
        [sys.executable, "-c", READ, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def check(origin: Path, place: Path) -> CachedStore:
    """Every object reads as the origin has it, no blob is torn, and the budget holds."""
    some = store(origin, place)
    for i, data in some.read_many([Request(str(i)) for i in range(N)]):
        assert data == (origin / str(i)).read_bytes()
    blobs = [Blob.named(entry.name) for entry, _ in some.cache.folder.blobs()]
    assert sum(blob.room for blob in blobs) <= BUDGET
    return some


def test_kills_at_seeded_points_cost_nothing_but_reads(origin, tmp_path):
    rng = keyed_generator(2, "kills")
    for trial in range(12):
        place = tmp_path / str(trial % 4)  # Some caches are killed again and again.
        child = reader(origin, place, last=int(rng.integers(1, 300)), seed=trial)
        assert child.wait(60) == -signal.SIGKILL, child.stderr.read()
        child.communicate()
        # A process that dies between write and rename leaves a temporary file, never a torn blob.
        assert check(origin, place).cache.counts.damaged == 0


def test_processes_share_one_cache(origin, tmp_path):
    children = [reader(origin, tmp_path, seed=seed) for seed in (1, 2)]
    for child in children:
        _, said = child.communicate(timeout=60)
        assert child.returncode == 0, said
    some = check(origin, tmp_path)
    assert some.cache.counts.hits > 0


def test_a_write_that_the_system_cuts_short_leaves_reading_alone(origin, tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    some = store(origin, tmp_path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, before[1]))
    try:
        with pytest.warns(RuntimeWarning, match="cannot be written \\(EFBIG\\)") as said:
            got = dict(some.read_many([Request(str(i)) for i in range(N)]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert got == {i: (origin / str(i)).read_bytes() for i in range(N)}
    assert len(said) == 1
    assert some.cache.counts.unwritten > 0
    assert not list((tmp_path / "objects").rglob("*.tmp"))
    assert check(origin, tmp_path).cache.counts.damaged == 0


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO])
@pytest.mark.parametrize("call", ["open", "write", "replace", "utime"])
def test_a_cache_that_cannot_be_written_says_so_once(origin, tmp_path, monkeypatch, code, call):
    some = store(origin, tmp_path)
    assert some.read("0") is not None
    for entry, _ in list(some.cache.folder.blobs()):
        os.utime(entry.path, (0, 0))

    def refuse(*arguments, **named):
        if call == "open" and not arguments[1] & os.O_CREAT:
            return really(*arguments, **named)
        raise OSError(code, os.strerror(code))

    really = getattr(os, call)
    monkeypatch.setattr(os, call, refuse)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        got = dict(some.read_many([Request(str(i)) for i in range(N)]))
        again = dict(some.read_many([Request(str(i)) for i in range(N)]))
    monkeypatch.undo()
    assert got == again == {i: (origin / str(i)).read_bytes() for i in range(N)}
    # The time of use alone is not worth a word: the cache still serves.
    assert len(said) == (0 if call == "utime" else 1)
    assert not list((tmp_path / "objects").rglob("*.tmp"))
    assert check(origin, tmp_path).cache.counts.damaged == 0


def test_writing_starts_again_after_the_pause(origin, tmp_path, monkeypatch):
    some = store(origin, tmp_path)

    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", refuse)
        with pytest.warns(RuntimeWarning, match="ENOSPC"):
            some.read("1")
    some.read("2")
    assert some.cache.counts.unwritten == 2
    monkeypatch.setattr("segmend.store.cache.PAUSE_SECONDS", 0)
    some.cache._paused_until = 1e-9
    some.read("2")
    some.read("2")
    assert some.cache.counts.hits == 1


FORK = """
import os, sys
from pathlib import Path
from segmend.store.cache import Cache, CachedStore
from segmend.store.files import FileStore

store = CachedStore(FileStore(Path(sys.argv[1])), Cache(sys.argv[2], 10**6), "v")
store.read("1")
store.cache._room._lock.acquire()
child = os.fork()
if child == 0:
    store.read("2")
    # With the parent's accounts it would have found the lock held, and left them unsettled.
    os._exit(1 if store.cache._room._lock.locked() else 0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_child_keeps_its_own_accounts(origin, tmp_path):
    command = [sys.executable, "-c", FORK, str(origin), str(tmp_path / "objects")]
    assert subprocess.run(command, timeout=60, check=False).returncode == 0
