import gc
import multiprocessing
import pickle
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from segmend.core.errors import ReadFailedError
from segmend.store import transfer
from segmend.store.connections import IN_FLIGHT, Pool
from segmend.store.open import open_store
from segmend.store.options import StoreOptions
from segmend.store.retry import RetryPolicy, TimeLimits
from segmend.store.store import Request, Store
from segmend.testing import faults
from segmend.testing.servers import Server, range_server

FAST = RetryPolicy(attempts=4, base_s=0.01)
QUICK = TimeLimits(connect_s=0.4, first_byte_s=0.2, stall_s=0.2, stall_bytes=64, total_s=1.0)
COUNT = 40


def object_bytes(number: int) -> bytes:
    return bytes([number]) * (1000 + number)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("served")
    for number in range(COUNT):
        (root / str(number)).write_bytes(object_bytes(number))
    (root / "large").write_bytes(bytes(200_000))
    (root / "a b").mkdir()
    (root / "a b" / "ü%2F+#?").write_bytes(b"odd")
    return root


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Server]:
    with range_server(folder) as running:
        yield running


def opened(url: str, **options: object) -> Store:
    return open_store(url, StoreOptions(**{"retry": FAST, "limits": QUICK} | options))  # type: ignore[arg-type]


def failure(store: Store, key: str = "large", *span: int) -> ReadFailedError:
    with pytest.raises(ReadFailedError) as caught:
        store.read(key, *span)
    return caught.value


def test_every_request_is_answered_once_with_its_bytes(server: Server) -> None:
    numbers = [*range(COUNT), 3, 3]
    got = list(opened(server.url).read_many([Request(str(n)) for n in numbers]))
    assert sorted(position for position, _ in got) == list(range(len(numbers)))
    assert all(data == object_bytes(numbers[position]) for position, data in got)


def test_absent_is_none_and_not_an_error(server: Server) -> None:
    got = dict(opened(server.url).read_many([Request("0"), Request("nope"), Request("1")]))
    assert got == {0: object_bytes(0), 1: None, 2: object_bytes(1)}


def test_no_request_is_no_result(server: Server) -> None:
    assert list(opened(server.url).read_many([])) == []


@pytest.mark.parametrize("span", [(5, 9), (5,), (-7,), (1019,), (-5000,)])
def test_a_range_is_that_slice(server: Server, span: tuple[int, ...]) -> None:
    start, stop = (*span, None)[:2]
    assert opened(server.url).read("19", *span) == object_bytes(19)[start:stop]


def test_a_range_past_the_end_is_truncated_at_once(server: Server) -> None:
    error = failure(opened(server.url), "19", 1000, 1020)
    assert (error.reason, error.attempts) == ("truncated", 1)


def test_names_are_percent_encoded(server: Server) -> None:
    assert opened(server.url).read("a b/ü%2F+#?") == b"odd"
    assert opened(f"{server.url}/a%20b").read("ü%2F+#?") == b"odd"


def test_connections_are_kept_and_bounded(server: Server) -> None:
    store = opened(server.url, concurrency=3)
    server.log.clear()
    for _ in range(3):
        assert len(list(store.read_many([Request(str(n)) for n in range(COUNT)]))) == COUNT
    assert len(server.log) == 3 * COUNT
    assert len({asked.connection for asked in server.log}) <= 3


def test_nothing_new_starts_until_results_are_taken(server: Server) -> None:
    server.log.clear()
    results = opened(server.url, concurrency=4).read_many([Request(str(n)) for n in range(COUNT)])
    for taken in range(1, 6):
        next(results)
        time.sleep(0.02)
        assert len(server.log) <= taken + 4
    results.close()


def test_large_objects_are_read_fewer_at_a_time() -> None:
    pool = Pool()
    assert pool.room("http://h", 64) == 32
    assert pool.room("http://h", 64, arrived=60_000) == 64
    for _ in range(60):
        room = pool.room("http://h", 64, arrived=IN_FLIGHT // 8)
    assert 8 <= room <= 9
    assert pool.room("http://g", 64, arrived=IN_FLIGHT) == 4
    assert pool.room("http://g", 2, arrived=IN_FLIGHT) == 2


def test_a_slow_consumer_causes_no_time_out(server: Server) -> None:
    results = opened(server.url, concurrency=2).read_many([Request("large") for _ in range(6)])
    next(results)
    time.sleep(1.2)  # longer than any time-out of QUICK
    server.log.clear()
    assert len(list(results)) == 5
    assert len(server.log) <= 5


def test_a_reading_that_is_abandoned_leaves_the_next_one_alone(server: Server) -> None:
    store = opened(server.url, concurrency=4)
    for _ in range(5):
        results = store.read_many([Request(str(n)) for n in range(COUNT)])
        next(results)
        del results
    gc.collect()
    assert store.read("7") == object_bytes(7)


def test_two_readings_may_be_interleaved(server: Server) -> None:
    store = opened(server.url, concurrency=2)
    one = store.read_many([Request(str(n)) for n in range(9)])
    two = store.read_many([Request(str(n)) for n in range(9, 18)])
    pairs = list(zip(one, two, strict=True))
    assert sorted(p for (p, _), _ in pairs) == sorted(p for _, (p, _) in pairs) == list(range(9))
    assert all(b == object_bytes(p + 9) for _, (p, b) in pairs)


def test_threads_share_the_limit_of_a_host(folder: Path) -> None:
    with range_server(folder, latency_s=0.005) as slow:
        store = opened(slow.url, concurrency=4)

        def read(_: int) -> bool:
            got = dict(store.read_many([Request(str(n)) for n in range(20)]))
            return got == {n: object_bytes(n) for n in range(20)}

        with ThreadPoolExecutor(4) as pool:
            assert all(pool.map(read, range(4)))
        # Four are allowed, and each reading may always have one.
        assert 2 <= slow.most_at_once <= 7


def read_in_child(store: Store, queue: "multiprocessing.Queue[bool]") -> None:
    got = dict(store.read_many([Request(str(n)) for n in range(COUNT)]))
    queue.put(got == {n: object_bytes(n) for n in range(COUNT)})


@pytest.mark.filterwarnings("ignore:This process.*fork:DeprecationWarning")
def test_a_forked_child_reads_beside_its_parent(server: Server) -> None:
    store = opened(server.url, concurrency=4)
    context = multiprocessing.get_context("fork")
    queue: multiprocessing.Queue[bool] = context.Queue()
    midway = store.read_many([Request(str(n)) for n in range(COUNT)])
    first = next(midway)
    child = context.Process(target=read_in_child, args=(store, queue))
    child.start()
    rest = dict(midway) | dict([first])
    assert rest == {n: object_bytes(n) for n in range(COUNT)}
    assert queue.get(timeout=20)
    child.join(20)
    assert child.exitcode == 0


def test_a_store_pickles(server: Server) -> None:
    store = pickle.loads(pickle.dumps(opened(server.url)))
    assert store.read("5") == object_bytes(5)


def test_a_full_table_of_files_does_not_matter(server: Server, folder: Path) -> None:
    # select() knows no descriptor above 1023.
    files = [(folder / "0").open("rb") for _ in range(1100)]
    try:
        assert opened(f"{server.url}/?fresh").read("5") == object_bytes(5)
    finally:
        for file in files:
            file.close()


def test_a_burst_of_errors_is_outlived(folder: Path) -> None:
    with range_server(folder, faults=faults.first(3, faults.status(503))) as flaky:
        assert opened(flaky.url).read("5") == object_bytes(5)
        assert len(flaky.log) == 4


def test_an_error_names_object_reason_and_every_attempt(folder: Path) -> None:
    with range_server(folder, faults=faults.always(faults.status(500))) as broken:
        error = failure(opened(f"{broken.url}?token=secret"), "5", 0, 9)
    assert (error.reason, error.attempts) == ("server_error", 4)
    assert error.url == f"{broken.url}/5"
    assert "5 (bytes 0 to 9): status 500 (4 times)" in str(error)
    assert "secret" not in f"{error!r}{error}{error.url}"


def test_forbidden_is_final_and_says_what_may_be_meant(folder: Path) -> None:
    with range_server(folder, faults=faults.always(faults.status(403))) as closed:
        error = failure(opened(closed.url))
        assert len(closed.log) == 1
    assert error.reason == "forbidden"
    assert "S3 says 403 for an object that is not there" in str(error)


def test_retry_after_is_kept(folder: Path) -> None:
    busy = faults.status(429, {"Retry-After": "1"})
    with range_server(folder, faults=faults.first(1, busy)) as limited:
        start = time.monotonic()
        assert opened(limited.url).read("5") == object_bytes(5)
    assert time.monotonic() - start >= 1  # a lower bound: no machine is too slow for it


def test_a_server_that_asks_for_too_long_a_wait_is_given_up(folder: Path) -> None:
    busy = faults.status(429, {"Retry-After": "86400"})
    with range_server(folder, faults=faults.always(busy)) as limited:
        error = failure(opened(limited.url))
    assert (error.reason, error.attempts) == ("rate_limited", 1)
    assert "86400" in str(error)


@pytest.mark.parametrize(
    ("fault", "evidence"),
    [
        (faults.silence(), "no answer after"),
        (faults.stall(100), "stalled after 100 bytes"),
        (faults.drip(1, 0.05), "stalled after"),
        (faults.drip(30, 0.05), "not complete after"),
    ],
)
def test_every_phase_has_a_time_out(folder: Path, fault: faults.Fault, evidence: str) -> None:
    with range_server(folder, faults=faults.always(fault)) as slow:
        store = opened(slow.url, retry=RetryPolicy(attempts=1))
        error = failure(store)
    assert error.reason == "timeout"
    assert evidence in str(error)


def test_a_host_that_takes_no_connection_times_out() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        waiting = [socket.socket() for _ in range(3)]
        for other in waiting:
            other.setblocking(False)
            other.connect_ex(("127.0.0.1", port))
        error = failure(opened(f"http://127.0.0.1:{port}", retry=RetryPolicy(attempts=1)))
        for other in waiting:
            other.close()
    assert error.reason == "timeout"
    assert "no connection after 0.4 s" in str(error)


def test_an_object_beyond_the_limit_is_refused(server: Server) -> None:
    error = failure(opened(server.url, object_limit=100_000))
    assert (error.reason, error.attempts) == ("refused", 1)
    assert "object_limit" in str(error)


def test_a_gzip_bomb_is_refused(folder: Path) -> None:
    with range_server(folder, faults=faults.always(faults.gzip_bomb(10**7))) as bad:
        error = failure(opened(bad.url, object_limit=10**6))
    assert (error.reason, error.attempts) == ("refused", 1)


def test_a_redirect_is_followed(folder: Path, server: Server) -> None:
    there = faults.redirect(f"{server.url}/7")
    with range_server(folder, faults=faults.always(there)) as moved:
        assert opened(moved.url).read("5", 3, 9) == object_bytes(7)[3:9]


def test_a_redirect_from_a_public_host_to_a_private_one_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Every server here is on loopback: let the first that is asked play the public one.
    answers = iter([True, False])
    monkeypatch.setattr(transfer, "is_public", lambda _: next(answers))
    with range_server(folder) as private:
        there = faults.redirect(f"{private.url}/7")
        with range_server(folder, faults=faults.always(there)) as public:
            error = failure(opened(public.url))
            assert (error.reason, error.attempts) == ("redirect", 1)
            assert "private or loopback" in str(error)
            assert private.log == []


def test_a_certificate_nobody_signed_is_refused(
    folder: Path, certificate: tuple[Path, Path]
) -> None:
    with range_server(folder, certificate=certificate) as secure:
        error = failure(opened(secure.url))
    assert (error.reason, error.attempts) == ("connection", 1)
    assert "certificate" in str(error)


def test_a_certificate_that_is_trusted_is_taken(
    folder: Path, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    with range_server(folder, certificate=certificate) as secure:
        assert secure.url.startswith("https://localhost")
        assert opened(secure.url).read("5") == object_bytes(5)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for localhost, signed by itself, and its key."""
    root = tmp_path_factory.mktemp("tls")
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 "
        "-subj /CN=localhost -addext subjectAltName=DNS:localhost -keyout key.pem -out cert.pem"
    )
    subprocess.run(command.split(), cwd=root, check=True, capture_output=True)
    return root / "cert.pem", root / "key.pem"


def test_no_thread_and_no_descriptor_is_left(folder: Path) -> None:
    def count() -> tuple[int, int]:
        return threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))

    with range_server(folder) as first:
        opened(first.url).read("5")
    before = count()
    for _ in range(3):
        with range_server(folder, faults=faults.first(1, faults.reset(10))) as other:
            opened(other.url).read("5")
    threads, descriptors = count()
    assert threads == before[0]
    # A connection to a server that is gone may stay open until its place is needed.
    assert descriptors <= before[1] + 3
