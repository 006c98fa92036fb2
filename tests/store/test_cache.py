"""The cache answers with the origin's bytes or not at all, whatever happens to its files."""

from __future__ import annotations

import os
import pickle
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from segmend.core.errors import BadInputError, ReadFailedError
from segmend.store.cache import Cache, CachedStore, cached, version_of
from segmend.store.cache_files import Blob, room
from segmend.store.cache_room import shrink
from segmend.store.files import FileStore
from segmend.store.store import Request, Store


@dataclass
class Counting(Store):
    """A local folder that calls itself remote and notes what it was asked for."""

    folder: Path
    asked: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return "https://example.org/volume"

    def read_many(self, requests: Sequence[Request]) -> Iterator[tuple[int, bytes | None]]:
        self.asked += [str(request) for request in requests]
        return FileStore(self.folder).read_many(requests)


@pytest.fixture
def origin(tmp_path: Path) -> Counting:
    folder = tmp_path / "origin"
    folder.mkdir()
    for i in range(10):
        (folder / f"{i}").write_bytes(os.urandom(10_000) + bytes([i]))
    return Counting(folder)


def store(origin: Store, tmp_path: Path, budget: int = 10**7, version: str = "v1") -> CachedStore:
    return CachedStore(origin, Cache(tmp_path / "objects", budget), version)


def blobs(tmp_path: Path) -> list[Path]:
    return sorted(p for p in (tmp_path / "objects" / "blobs").rglob("*") if p.is_file())


def test_a_second_read_does_not_ask_the_origin(origin, tmp_path):
    first = store(origin, tmp_path)
    requests = [Request("3"), Request("4", 10, 90), Request("4", -7), Request("4")]
    expected = dict(FileStore(origin.folder).read_many(requests))
    assert dict(first.read_many(requests)) == expected
    origin.asked.clear()
    again = pickle.loads(pickle.dumps(first))
    assert dict(again.read_many(requests)) == expected
    assert again.origin.asked == []
    assert (again.cache.counts.hits, again.cache.counts.misses) == (4, 0)


def test_a_part_kept_and_a_part_not_come_back_in_their_places(origin, tmp_path):
    some = store(origin, tmp_path)
    assert some.read("2") == (origin.folder / "2").read_bytes()
    requests = [Request(str(i)) for i in range(10)]
    assert dict(some.read_many(requests)) == {
        i: (origin.folder / str(i)).read_bytes() for i in range(10)
    }
    assert origin.asked == ["2", *(str(i) for i in range(10) if i != 2)]


def test_certified_absent_is_asked_for_again(origin, tmp_path):
    some = store(origin, tmp_path)
    assert some.read("later") is None
    (origin.folder / "later").write_bytes(b"now it is there")
    assert some.read("later") == b"now it is there"


def test_a_failed_read_stays_failed_and_is_not_kept(origin, tmp_path):
    some = store(origin, tmp_path)
    with pytest.raises(ReadFailedError, match="10001 bytes"):
        some.read("1", 0, 99_999)
    assert blobs(tmp_path) == []


def test_an_empty_object_is_data(origin, tmp_path):
    (origin.folder / "empty").write_bytes(b"")
    some = store(origin, tmp_path)
    assert some.read("empty") == b""
    assert some.read("empty") == b""
    assert origin.asked == ["empty"]


def test_another_version_of_the_volume_is_read_anew(origin, tmp_path):
    assert store(origin, tmp_path, version="v1").read("1") is not None
    (origin.folder / "1").write_bytes(b"replaced, with another info file")
    assert store(origin, tmp_path, version="v2").read("1") == b"replaced, with another info file"


def test_the_version_depends_on_every_metadata_file_and_where_one_ends():
    versions = {
        version_of(b"ab", b"c"),
        version_of(b"a", b"bc"),
        version_of(b"abc"),
        version_of(b"abc", b""),
    }
    assert len(versions) == 4


def test_one_name_at_two_endpoints_is_two_volumes(origin, tmp_path):
    @dataclass
    class Elsewhere(Counting):
        @property
        def identity(self) -> str:
            return "http://127.0.0.1:9000/volume"

    assert store(origin, tmp_path).read("1") is not None
    other = Elsewhere(tmp_path / "other")
    other.folder.mkdir()
    (other.folder / "1").write_bytes(b"another server's")
    assert store(other, tmp_path).read("1") == b"another server's"


def test_equal_bytes_are_kept_once(origin, tmp_path):
    for name in ("x", "y"):
        (origin.folder / name).write_bytes(b"\0" * 5000)
    some = store(origin, tmp_path)
    assert some.read("x") == some.read("y") == b"\0" * 5000
    assert len(blobs(tmp_path)) == 1
    assert some.read("x") == some.read("y")
    assert origin.asked == ["x", "y"]


def test_only_remote_stores_are_cached_and_only_if_there_is_room(origin, tmp_path, monkeypatch):
    monkeypatch.setenv("SEGMEND_CACHE", str(tmp_path / "here"))
    monkeypatch.setenv("SEGMEND_CACHE_BYTES", "1000000")
    local = FileStore(origin.folder)
    assert cached(local, b"info") is local
    remote = cached(origin, b"info")
    assert remote.read("1") == (origin.folder / "1").read_bytes()
    assert (tmp_path / "here" / "objects" / "CACHEDIR.TAG").is_file()
    monkeypatch.setenv("SEGMEND_CACHE_BYTES", "0")
    assert cached(origin, b"info") is origin
    monkeypatch.setenv("SEGMEND_CACHE_BYTES", "20 GB")
    with pytest.raises(BadInputError, match="SEGMEND_CACHE_BYTES"):
        cached(origin, b"info")


@pytest.mark.parametrize(
    "damage",
    [
        lambda p: p.write_bytes(b""),
        lambda p: p.write_bytes(p.read_bytes()[:-1]),
        lambda p: p.write_bytes(p.read_bytes() + b"\0"),
        lambda p: p.write_bytes(b"\0" * p.stat().st_size),
        lambda p: p.write_bytes(p.read_bytes()[:5000] + b"\x01" + p.read_bytes()[5001:]),
        lambda p: (p.unlink(), p.symlink_to("/etc/passwd")),
    ],
    ids=["empty", "short", "long", "zeros", "garbled", "a link elsewhere"],
)
def test_a_damaged_blob_is_counted_removed_and_read_again(origin, tmp_path, damage):
    some = store(origin, tmp_path)
    expected = some.read("5")
    (blob,) = blobs(tmp_path)
    damage(blob)
    origin.asked.clear()
    assert some.read("5") == expected
    assert some.cache.counts.damaged == 1
    assert origin.asked == ["5"]


def test_a_reference_that_is_no_link_or_leads_astray_is_read_again(origin, tmp_path):
    some = store(origin, tmp_path)
    expected = some.read("5")
    (link,) = [p for p in (tmp_path / "objects" / "references").rglob("*") if p.is_symlink()]
    for replace in (
        lambda: link.write_bytes(b"torn"),
        lambda: link.symlink_to("/etc/passwd"),
        lambda: link.symlink_to("../../../blobs/00/" + Blob.of(b"gone").name),
    ):
        link.unlink()
        replace()
        origin.asked.clear()
        assert some.read("5") == expected
        assert origin.asked == ["5"]
    assert some.cache.counts.damaged == 2


def test_the_budget_holds_and_the_least_recently_used_go_first(origin, tmp_path):
    taken = room(10_001)
    some = store(origin, tmp_path, budget=5 * taken)
    for i in range(5):
        some.read(str(i))
    for blob in blobs(tmp_path):
        # An hour ago in the order of writing, told by the last byte.
        when = time.time() - 3600 + blob.read_bytes()[-1]
        os.utime(blob, (when, when))
    some.read("0")
    for i in range(5, 7):
        some.read(str(i))
    left = {blob.read_bytes()[-1] for blob in blobs(tmp_path)}
    assert 0 in left, "used a moment ago"
    assert 6 in left, "just written"
    assert 1 not in left, "the oldest use"
    assert left - {0, 5, 6} <= {3, 4}, "the oldest go first"
    for i in range(10):
        some.read(str(i))
        assert sum(room(p.stat().st_size) for p in blobs(tmp_path)) <= 5 * taken


def test_an_object_larger_than_the_budget_is_read_and_not_kept(origin, tmp_path):
    some = store(origin, tmp_path, budget=4096)
    assert some.read("1") == (origin.folder / "1").read_bytes()
    assert blobs(tmp_path) == []
    assert some.cache.counts.unwritten == 1


def test_blobs_from_the_future_are_not_kept_for_ever(origin, tmp_path):
    some = store(origin, tmp_path)
    for i in range(4):
        some.read(str(i))
    future = next(p for p in blobs(tmp_path) if p.read_bytes()[-1] == 2)
    os.utime(future, (time.time() + 10**8,) * 2)
    shrink(some.cache.folder, 10**7)
    assert future.stat().st_mtime <= time.time()
    assert len(blobs(tmp_path)) == 4


def test_what_killed_writers_left_is_swept_and_what_live_ones_write_is_not(origin, tmp_path):
    some = store(origin, tmp_path)
    some.read("1")
    folder = blobs(tmp_path)[0].parent
    for name, age in (("old", 7200), ("future", -(10**6)), ("new", 5)):
        (folder / f".{name}.tmp").write_bytes(b"half")
        os.utime(folder / f".{name}.tmp", (time.time() - age,) * 2)
    shrink(some.cache.folder, 10**7)
    assert [p.name for p in folder.glob(".*")] == [".new.tmp"]


def test_a_lost_or_lying_estimate_is_put_right(origin, tmp_path):
    taken = room(10_001)
    some = store(origin, tmp_path, budget=4 * taken)
    for text in ("0", "-3", "", "nine", str(10**15)):
        for i in range(10):
            (tmp_path / "objects").mkdir(exist_ok=True)
            (tmp_path / "objects" / "size").write_text(text)
            store(origin, tmp_path, budget=4 * taken).read(str(i))
            some.read(str(9 - i))
        # One object at a time in each process: the sum is off by what is written unseen.
        assert sum(room(p.stat().st_size) for p in blobs(tmp_path)) <= 6 * taken


def test_a_cache_removed_under_a_reader_is_made_again(origin, tmp_path):
    some = store(origin, tmp_path)
    some.read("1")
    shutil.rmtree(tmp_path / "objects")
    assert some.read("1") == (origin.folder / "1").read_bytes()
    origin.asked.clear()
    assert some.read("1") == (origin.folder / "1").read_bytes()
    assert origin.asked == []


class AnyOrder(RuleBasedStateMachine):
    """Reads, damage, eviction and replaced volumes in any order, against a dict."""

    @initialize()
    def start(self) -> None:
        self.place = Path(tempfile.mkdtemp(prefix="segmend-cache-"))
        (self.place / "origin").mkdir()
        self.objects: dict[str, bytes] = {}
        self.version = 0
        self.origin = Counting(self.place / "origin")

    def store(self) -> CachedStore:
        return store(self.origin, self.place, budget=60_000, version=str(self.version))

    @rule(key=st.sampled_from("abcdef"), data=st.binary(max_size=64), times=st.integers(0, 300))
    def replace_volume(self, key: str, data: bytes, times: int) -> None:
        self.objects[key] = data * times
        (self.place / "origin" / key).write_bytes(data * times)
        self.version += 1

    @rule(keys=st.lists(st.sampled_from("abcdef"), max_size=8), fresh=st.booleans())
    def read(self, keys: list[str], fresh: bool) -> None:
        some = self.store() if fresh or not hasattr(self, "held") else self.held
        self.held = self.store() if some.version != str(self.version) else some
        got = dict(self.held.read_many([Request(key) for key in keys]))
        assert got == {i: self.objects.get(key) for i, key in enumerate(keys)}

    @rule(which=st.integers(0, 99), at=st.integers(0, 10**6), bit=st.integers(0, 7))
    def flip_a_bit(self, which: int, at: int, bit: int) -> None:
        found = [p for p in blobs(self.place) if p.stat().st_size]
        if found:
            path = found[which % len(found)]
            raw = bytearray(path.read_bytes())
            raw[at % len(raw)] ^= 1 << bit
            path.write_bytes(raw)

    @rule(which=st.integers(0, 99), to=st.floats(0, 1))
    def truncate(self, which: int, to: float) -> None:
        found = blobs(self.place)
        if found:
            path = found[which % len(found)]
            os.truncate(path, int(path.stat().st_size * to))

    @rule(to=st.integers(0, 60_000))
    def evict(self, to: int) -> None:
        used = shrink(self.store().cache.folder, to)
        assert used == sum(room(Blob.named(p.name).size) for p in blobs(self.place)) <= to

    @rule()
    def clear(self) -> None:
        self.store().cache.folder.remove()
        assert not (self.place / "objects").exists()

    @invariant()
    def the_budget_holds(self) -> None:
        if hasattr(self, "place"):
            assert sum(room(Blob.named(p.name).size) for p in blobs(self.place)) <= 60_000

    def teardown(self) -> None:
        if hasattr(self, "place"):
            shutil.rmtree(self.place)


AnyOrder.TestCase.settings = hypothesis_settings(
    max_examples=30, stateful_step_count=30, deadline=None
)
TestAnyOrder = AnyOrder.TestCase
