import gzip
import os
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from segmend.core.errors import BadInputError, ReadFailedError
from segmend.store.files import FileStore
from segmend.store.open import open_store
from segmend.store.store import Request
from segmend.testing.servers import range_server


@given(data=st.data(), content=st.binary(min_size=1, max_size=50))
def test_a_range_is_that_slice_and_never_less(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, content: bytes
) -> None:
    folder = tmp_path_factory.mktemp("files")
    (folder / "a").write_bytes(content)
    start = data.draw(st.integers(0, len(content)))
    stop = data.draw(st.integers(start + 1, len(content) + 3))
    store = FileStore(folder)
    assert store.read("a", start) == content[start:]
    assert store.read("a", -start - 1) == content[-start - 1 :]
    if stop <= len(content):
        assert store.read("a", start, stop) == content[start:stop]
    else:
        with pytest.raises(ReadFailedError) as caught:
            store.read("a", start, stop)
        assert caught.value.reason == "truncated"


@pytest.mark.parametrize("key", ["", "/etc/passwd", "a/../b", "..", "a//b", "./a", "a\0", "a\\b"])
def test_a_key_that_could_leave_the_root_is_refused(key: str) -> None:
    with pytest.raises(BadInputError):
        Request(key)


def test_a_folder_is_not_an_object(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(ReadFailedError) as caught:
        FileStore(tmp_path).read("folder")
    assert caught.value.reason == "refused"


def test_a_file_that_may_not_be_read_is_not_absent(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("a")  # refused even to root: a link to itself
    with pytest.raises(ReadFailedError) as caught:
        FileStore(tmp_path).read("a")
    assert caught.value.reason == "refused"
    assert caught.value.url == f"{tmp_path}/a"


@pytest.fixture(scope="module")
def cloud_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Chunks and all, written by cloud-volume, compressed as it does by default."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from cloudfiles import CloudFiles
        from cloudvolume import CloudVolume

    folder = tmp_path_factory.mktemp("cloud")
    labels = np.arange(64**3, dtype=np.uint64).reshape(64, 64, 64, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        CloudVolume.from_numpy(
            labels,
            vol_path=f"file://{folder}",
            resolution=(8, 8, 8),
            chunk_size=(32, 32, 32),
            layer_type="segmentation",
            progress=False,
        )
        files = CloudFiles(f"file://{folder}", progress=False)
        for compress in ("gzip", "br", "zstd", None):
            files.put(f"extra/{compress}", b"content" * 99, compress=compress, raw=False)
    return folder


def test_compressed_files_of_cloud_volume_are_seen(cloud_folder: Path) -> None:
    chunk = "8_8_8/0-32_0-32_0-32"
    assert not (cloud_folder / chunk).exists()
    assert (cloud_folder / f"{chunk}.gz").exists()
    expected = np.arange(64**3, dtype=np.uint64).reshape(64, 64, 64)[:32, :32, :32]
    found = FileStore(cloud_folder).read(chunk)
    assert found == expected.tobytes(order="F")
    assert FileStore(cloud_folder).read(chunk, 8, 16) == found[8:16]
    assert FileStore(cloud_folder).read("8_8_8/0-32_0-32_0-33") is None


@pytest.mark.parametrize("compress", ["gzip", "br", "zstd", "None"])
def test_every_compression_of_cloud_files_is_decoded(cloud_folder: Path, compress: str) -> None:
    assert FileStore(cloud_folder).read(f"extra/{compress}") == b"content" * 99


@pytest.mark.parametrize("gzip_static", [False, True])
def test_a_web_server_on_that_folder_gives_the_same(cloud_folder: Path, gzip_static: bool) -> None:
    local = FileStore(cloud_folder)
    keys = [f"8_8_8/{x}-{x + 32}_0-32_32-64" for x in (0, 32, 64)] + ["info", "extra/gzip"]
    with range_server(cloud_folder, gzip_static=gzip_static) as server:
        got = dict(open_store(server.url).read_many([Request(key) for key in keys]))
    assert got == {i: local.read(key) for i, key in enumerate(keys)}
    assert got[2] is None
    assert got[0] is not None


def test_a_damaged_compressed_file_fails_and_is_not_absent(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(b"no gzip")
    with pytest.raises(ReadFailedError) as caught:
        FileStore(tmp_path).read("a")
    assert caught.value.reason == "corrupt"


def test_a_compressed_bomb_stops_at_the_limit(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(bytes(2**20)))
    with pytest.raises(ReadFailedError, match="more than 4096"):
        FileStore(tmp_path, object_limit=4096).read("a")


def test_no_handle_stays_open(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        FileStore(tmp_path).read("a")
        with pytest.raises(ReadFailedError):
            FileStore(tmp_path).read("a", 2, 9)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_stamp_changes_with_the_file_and_is_kept_back_while_it_is_new(
    tmp_path: Path, suffix: str
) -> None:
    store, path = FileStore(tmp_path), tmp_path / f"a{suffix}"
    assert store.stamp("a") is None
    path.write_bytes(b"one")
    assert store.stamp("a") is None  # it may be written again within one tick of the clock
    os.utime(path, (1, 1))
    first = store.stamp("a")
    assert first is not None
    assert store.stamp("a") == first
    path.write_bytes(b"two")
    os.utime(path, (1, 2))
    assert store.stamp("a") not in (None, first)


def test_files_that_were_announced_are_soon_in_memory(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).write_bytes(bytes(100_000))
        with (tmp_path / name).open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    asked = [Request("missing"), Request("a"), Request("b", 50_000, 60_000), Request("c", -10)]
    FileStore(tmp_path).announce(asked)

    def in_memory(name: str, at: int) -> bool:
        with (tmp_path / name).open("rb") as file:
            try:
                return os.preadv(file.fileno(), [bytearray(1)], at, os.RWF_NOWAIT) == 1
            except BlockingIOError:
                return False

    until = time.monotonic() + 10
    while not (in_memory("a", 99_999) and in_memory("b", 55_000)):
        assert time.monotonic() < until
        time.sleep(0.01)
