import errno
import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from segmend.core.errors import BadInputError, OutputError, ReadFailedError
from segmend.store import download, partial
from segmend.store.fetch import FetchResult, fetch
from segmend.store.options import StoreOptions
from segmend.store.retry import RetryPolicy
from segmend.testing import faults
from segmend.testing.servers import Server, range_server

CONTENT = bytes(range(256)) * 12_000  # three pieces of a MiB
DIGEST = hashlib.sha256(CONTENT).hexdigest()
FAST = StoreOptions(retry=RetryPolicy(attempts=3, base_s=0.01))
ONCE = StoreOptions(retry=RetryPolicy(attempts=1))


@pytest.fixture
def served(tmp_path: Path) -> Path:
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "file").write_bytes(CONTENT)
    return folder


@pytest.fixture
def final(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder / "file"


def ranges(server: Server) -> list[str | None]:
    return [asked.headers.get("range") for asked in server.log]


def names(final: Path) -> list[str]:
    return sorted(path.name for path in final.parent.iterdir())


def test_a_file_is_fetched_and_says_whether_it_was_verified(served: Path, final: Path) -> None:
    told: list[tuple[int, int | None]] = []
    with range_server(served) as server:
        url = f"{server.url}/file"
        unknown = fetch(url, final, progress=lambda done, total: told.append((done, total)))
        assert unknown == FetchResult(final, DIGEST, verified=False, source=url)
        final.unlink()
        known = fetch(url, final, sha256=DIGEST, size=len(CONTENT))
        assert known == FetchResult(final, DIGEST, verified=True, source=url)
    assert final.read_bytes() == CONTENT
    assert names(final) == ["file"]
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in told] == sorted({done for done, _ in told})


def test_an_empty_file_is_a_file(served: Path, final: Path) -> None:
    (served / "file").write_bytes(b"")
    with range_server(served) as server:
        fetch(f"{server.url}/file", final, sha256=hashlib.sha256().hexdigest())
    assert final.read_bytes() == b""


def test_a_right_file_is_kept_and_a_wrong_one_replaced(served: Path, final: Path) -> None:
    final.write_bytes(b"old")
    with range_server(served) as server:
        fetch(f"{server.url}/file", final, sha256=DIGEST)
        again = fetch(f"{server.url}/file", final, sha256=DIGEST)
        assert len(server.log) == 1
    assert again.source == ""
    assert final.read_bytes() == CONTENT


def test_a_broken_download_goes_on_where_it_stopped(served: Path, final: Path) -> None:
    with range_server(served, faults=faults.first(1, faults.cut(2_000_000))) as server:
        fetch(f"{server.url}/file", final, options=FAST)
        assert ranges(server) == [None, "bytes=2000000-"]
        assert server.log[1].headers["if-range"].startswith('"')
    assert final.read_bytes() == CONTENT
    assert names(final) == ["file"]


def test_progress_renews_the_attempts(served: Path, final: Path) -> None:
    # Twelve breaks and three attempts: each break comes later in the file.
    broken = faults.first(12, faults.cut(200_000))
    with range_server(served, faults=broken) as server:
        fetch(f"{server.url}/file", final, sha256=DIGEST, options=FAST)
        assert len(server.log) == 13
    assert final.read_bytes() == CONTENT


def test_a_later_call_goes_on_too(served: Path, final: Path) -> None:
    with range_server(served, faults=faults.first(1, faults.reset(2_000_000))) as server:
        with pytest.raises(ReadFailedError) as caught:
            fetch(f"{server.url}/file", final, options=ONCE)
        assert not final.exists()
        fetch(f"{server.url}/file", final, options=ONCE)
        (_, resumed) = ranges(server)
    assert caught.value.reason == "connection"
    assert resumed is not None
    assert final.read_bytes() == CONTENT
    assert names(final) == ["file"]


FETCH = """
import sys
from segmend.store.fetch import fetch
print("started", flush=True)
fetch(sys.argv[1], sys.argv[2], progress=lambda done, total: print(done, flush=True))
"""


def test_a_killed_process_is_continued_by_another(served: Path, final: Path) -> None:
    with range_server(served, faults=faults.first(1, faults.stall(2_500_000))) as server:
        command = [sys.executable, "-c", FETCH, f"{server.url}/file", str(final)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            assert child.stdout.readline().strip() == "started"
            while (done := int(child.stdout.readline())) < 2_000_000:
                pass
            child.send_signal(signal.SIGKILL)
        assert not final.exists()
        fetch(f"{server.url}/file", final)
        assert ranges(server) == [None, f"bytes={done}-"]
    assert final.read_bytes() == CONTENT
    assert names(final) == ["file"]


def test_a_running_process_keeps_its_part(served: Path, final: Path) -> None:
    with range_server(served, faults=faults.first(1, faults.drip(200_000, 0.02))) as server:
        command = [sys.executable, "-c", FETCH, f"{server.url}/file", str(final)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            assert child.stdout.readline().strip() == "started"
            while not server.log:
                time.sleep(0.01)
            fetch(f"{server.url}/file", final, sha256=DIGEST)
            assert child.wait(20) == 0
        assert ranges(server) == [None, None]
    assert final.read_bytes() == CONTENT
    assert names(final) == ["file"]


def test_a_server_that_ignores_range_makes_it_start_over(served: Path, final: Path) -> None:
    def choose(asked: object) -> faults.Fault:
        return faults.cut(2_000_000) if not server.log[1:] else faults.ignored_range()

    with range_server(served, faults=choose) as server:
        fetch(f"{server.url}/file", final, options=FAST)
    assert final.read_bytes() == CONTENT


@pytest.mark.parametrize("honours_if_range", [True, False])
def test_a_file_that_changes_midway_is_never_mixed(
    served: Path, final: Path, honours_if_range: bool
) -> None:
    new = CONTENT[::-1]

    def change(reply: faults.Reply, asked: object) -> faults.Reply:
        (served / "file").write_bytes(new)
        return reply

    def forget_condition(reply: faults.Reply, asked: object) -> faults.Reply:
        if len(server.log) > 2:
            return reply
        said = f"bytes 2000000-{len(new) - 1}/{len(new)}"
        return faults.Reply(206, {"Content-Range": said, "ETag": '"new"'}, new[2_000_000:])

    def choose(asked: object) -> faults.Fault | None:
        if len(server.log) == 1:
            return faults.Fault(change, stop_at=2_000_000)
        return None if honours_if_range else faults.Fault(forget_condition)

    with range_server(served, faults=choose) as server:
        fetch(f"{server.url}/file", final, options=FAST)
    assert final.read_bytes() == new


@pytest.mark.parametrize(
    ("fault", "reason", "evidence"),
    [
        (faults.shorter(7), "truncated", "7 bytes missing"),
        (faults.flip(1, 3), "corrupt", f"should be {DIGEST}"),
    ],
)
def test_damage_is_named_and_leaves_no_file(
    served: Path, final: Path, fault: faults.Fault, reason: str, evidence: str
) -> None:
    with (
        range_server(served, faults=faults.always(fault)) as server,
        pytest.raises(ReadFailedError, match=evidence) as caught,
    ):
        fetch(f"{server.url}/file", final, sha256=DIGEST, options=FAST)
    assert caught.value.reason == reason
    assert not final.exists()


def test_a_wrong_resume_is_noticed_by_the_sha256_and_started_over(
    served: Path, final: Path
) -> None:
    with range_server(served, faults=faults.first(1, faults.cut(2_000_000))) as server:
        with pytest.raises(ReadFailedError):
            fetch(f"{server.url}/file", final, options=ONCE)
        (part,) = final.parent.glob(".file.*.part")
        with part.open("r+b") as file:
            file.write(b"garbage")
        fetch(f"{server.url}/file", final, sha256=DIGEST, options=FAST)
        assert ranges(server) == [None, "bytes=2000000-", None]
    assert final.read_bytes() == CONTENT


def test_mirrors_are_tried_in_order_and_every_failure_is_named(served: Path, final: Path) -> None:
    (served / "wrong").write_bytes(CONTENT[:-1])
    with range_server(served) as server:
        bad = [f"{server.url}/missing", f"{server.url}/wrong", "http://127.0.0.1:9/x", "/no/file"]
        with pytest.raises(ReadFailedError) as caught:
            fetch(bad, final, sha256=DIGEST, options=FAST)
        result = fetch([*bad, f"{server.url}/file"], final, sha256=DIGEST, options=FAST)
    assert result.source == f"{server.url}/file"
    message = str(caught.value)
    for mirror, evidence in zip(
        bad, ["status 404", "sha256 of 3071999 bytes", "connect", "no such file"], strict=True
    ):
        assert mirror in message
        assert evidence in message
    assert caught.value.attempts == 6


def test_a_wrong_length_is_refused_before_anything_is_read(served: Path, final: Path) -> None:
    with range_server(served) as server, pytest.raises(ReadFailedError, match="99 were expected"):
        fetch(f"{server.url}/file", final, size=99)
    assert names(final) == []


def test_a_local_file_may_be_a_mirror(served: Path, final: Path) -> None:
    result = fetch(str(served / "file"), final, sha256=DIGEST)
    assert result.verified
    assert final.read_bytes() == CONTENT


def test_a_signed_url_is_not_written_down(served: Path, final: Path) -> None:
    with range_server(served, faults=faults.first(1, faults.cut(99_999))) as server:
        with pytest.raises(ReadFailedError) as caught:
            fetch(f"{server.url}/file?Signature=secret", final, options=ONCE)
        assert not [p for p in final.parent.iterdir() if b"secret" in p.read_bytes()]
        result = fetch(f"{server.url}/file?Signature=secret", final, options=ONCE)
    assert "secret" not in f"{caught.value}{result}"


def test_a_full_disk_is_named_and_leaves_nothing(
    served: Path, final: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(partial.os, "pwrite", full)
    with range_server(served) as server, pytest.raises(OutputError, match="No space left"):
        fetch(f"{server.url}/file", final)
    assert names(final) == []


def test_too_little_room_is_noticed_before_writing(
    served: Path, final: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: usage)
    with range_server(served) as server, pytest.raises(OutputError, match="1000 are free"):
        fetch(f"{server.url}/file", final)
    assert names(final) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_an_error_of_the_caller_comes_through_and_the_part_stays(
    served: Path, final: Path, error: type[BaseException]
) -> None:
    def stop(done: int, total: int | None) -> None:
        raise error

    with range_server(served, faults=faults.first(1, faults.cut(2_000_000))) as server:
        with pytest.raises(error):
            fetch(f"{server.url}/file", final, progress=stop)
        fetch(f"{server.url}/file", final)
        assert ranges(server)[-1] not in (None, "bytes=0-")
    assert final.read_bytes() == CONTENT


@pytest.mark.parametrize(("sha256", "resumed"), [(None, False), (DIGEST, True)])
def test_after_a_power_cut_only_a_checksum_allows_to_go_on(
    served: Path, final: Path, sha256: str | None, resumed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with range_server(served, faults=faults.first(1, faults.cut(2_000_000))) as server:
        with pytest.raises(ReadFailedError):
            fetch(f"{server.url}/file", final, options=ONCE)
        monkeypatch.setattr(download, "boot", lambda: "the next")
        fetch(f"{server.url}/file", final, sha256=sha256)
        assert ranges(server) == [None, "bytes=2000000-" if resumed else None]
    assert final.read_bytes() == CONTENT


@pytest.mark.parametrize("sha256", ["", "abc", DIGEST.upper(), DIGEST + "0"])
def test_what_is_no_sha256_is_refused(final: Path, sha256: str) -> None:
    with pytest.raises(BadInputError, match="64 hex digits"):
        fetch("http://127.0.0.1:9/x", final, sha256=sha256)


def test_a_missing_folder_and_no_url_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="folder does not exist"):
        fetch("http://127.0.0.1:9/x", tmp_path / "no" / "file")
    with pytest.raises(BadInputError, match="no URL"):
        fetch([], tmp_path / "file")
