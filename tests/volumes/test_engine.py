"""The chunk engine: every chunk once, in threads, in bounded memory, failing as a whole."""

import json
import os
import subprocess
import sys
import threading
import time
import tracemalloc
from dataclasses import dataclass

import h5py
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from segmend.core.box import VoxelBox
from segmend.core.errors import ReadFailedError
from segmend.core.grid import VoxelGrid
from segmend.store.files import FileStore
from segmend.testing import faults
from segmend.testing.servers import range_server
from segmend.volumes import workers
from segmend.volumes.chunked import chunks_of
from segmend.volumes.drivers.hdf5 import open_hdf5
from segmend.volumes.drivers.precomputed import open_precomputed
from segmend.volumes.drivers.zarr import open_zarr

RNG = np.random.default_rng(5)
VOXELS = RNG.integers(0, 2**63, (128, 96, 160), dtype=np.uint64)
CHUNK = 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A raw uint64 volume of 480 chunks, 15 MiB."""
    folder = tmp_path_factory.mktemp("engine")
    scale = {
        "key": "s",
        "size": VOXELS.shape[::-1],
        "resolution": [4, 4, 40],
        "chunk_sizes": [[CHUNK] * 3],
        "encoding": "raw",
    }
    info = {"data_type": "uint64", "num_channels": 1, "scales": [scale]}
    (folder / "info").write_text(json.dumps(info))
    (folder / "s").mkdir()
    for cell in np.ndindex(*(n // CHUNK for n in VOXELS.shape)):
        part = tuple(slice(i * CHUNK, (i + 1) * CHUNK) for i in cell)
        name = "_".join(f"{s.start}-{s.stop}" for s in part[::-1])
        (folder / "s" / name).write_bytes(VOXELS[part].tobytes())
    return folder


@pytest.fixture
def four_cores(monkeypatch):
    """As on a machine with four cores, whatever runs this."""
    monkeypatch.setattr(workers, "usable_cores", lambda: 4)
    monkeypatch.setattr(workers, "_pool", None)
    yield
    workers._pool.shutdown()


@dataclass(frozen=True)
class Grid:
    chunk_shape: tuple[int, int, int]
    grid: VoxelGrid


@settings(deadline=None)
@given(st.data())
def test_chunks_hold_every_voxel_of_the_box_once_and_none_outside(data):
    three = st.tuples(*[st.integers(1, 9)] * 3)
    shape, chunk = data.draw(three), data.draw(three)
    corners = [sorted(data.draw(st.tuples(*[st.integers(0, n)] * 2))) for n in shape]
    box = VoxelBox(tuple(a for a, _ in corners), tuple(b for _, b in corners))
    layout = Grid(chunk, VoxelGrid((1, 1, 1), (0, 0, 0), shape))
    seen = np.zeros(shape, int)
    for one in chunks_of(box, layout):
        start = np.multiply(one.index, chunk)
        assert one.box == VoxelBox(tuple(start), tuple(np.minimum(start + chunk, shape)))
        assert one.box.contains(one.wanted)
        assert one.wanted.size > 0
        seen[one.wanted.slices] += 1
        place = np.arange(np.prod(shape)).reshape(shape)
        np.testing.assert_array_equal(place[one.wanted.slices], place[one.box.slices][one.source])
        inside = place[box.slices][one.target(box.start)]
        np.testing.assert_array_equal(inside, place[one.wanted.slices])
    expected = np.zeros(shape, int)
    expected[box.slices] = 1
    np.testing.assert_array_equal(seen, expected)


@pytest.mark.parametrize("remote", [False, True])
def test_peak_memory_stays_below_one_and_a_third_of_the_array(folder, remote, four_cores):
    with range_server(folder) as server:
        volume = open_precomputed(server.url if remote else folder)
        volume.read_voxels(VoxelBox((0, 0, 0), (1, 1, 1)))
        tracemalloc.start()
        try:
            data = volume.read(volume.box).data
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    np.testing.assert_array_equal(data, VOXELS)
    # The server lives in this process too, and holds what it is sending.
    assert peak < (1.5 if remote else 1.3) * VOXELS.nbytes


def test_a_refused_chunk_over_http_is_named_with_url_and_attempts(folder):
    name = "32-48_16-32_0-16"

    def refuse(asked):
        return faults.status(403) if asked.path.endswith(name) else None

    with range_server(folder, faults=refuse) as server:
        volume = open_precomputed(server.url)
        with pytest.raises(ReadFailedError, match=r"chunk \(0, 1, 2\)") as failed:
            volume.read(volume.box)
        assert failed.value.reason == "forbidden"
        assert failed.value.url == f"{server.url}/s/{name}"
        assert failed.value.attempts == 1
        beside = VoxelBox((16, 0, 0), (32, 96, 160))
        np.testing.assert_array_equal(volume.read_voxels(beside).data, VOXELS[beside.slices])


def test_transient_errors_are_recovered_without_a_trace(folder, four_cores):
    trouble = faults.seeded(3, [faults.status(503), faults.cut(100), faults.reset(50)], rate=0.2)
    with range_server(folder, faults=trouble) as server:
        volume = open_precomputed(server.url)
        box = VoxelBox((0, 0, 0), (64, 96, 64))
        np.testing.assert_array_equal(volume.read_voxels(box).data, VOXELS[box.slices])


def test_every_job_runs_once(four_cores):
    done = []
    workers.run(lambda i=i: done.append(i) for i in range(200))
    assert sorted(done) == list(range(200))


def test_every_position_is_taken_once_by_any_thread(four_cores):
    done, threads = [], set()

    def do(position):
        threads.add(threading.get_ident())
        time.sleep(0.001)
        done.append(position)

    workers.run_each(do, 200, shared=True)
    assert sorted(done) == list(range(200))
    assert len(threads) == 4
    workers.run_each(lambda _: threads.add(threading.get_ident()), 0, shared=True)
    alone = set()
    workers.run_each(lambda _: alone.add(threading.get_ident()), 20, shared=False)
    assert alone == {threading.get_ident()}


def test_after_an_error_no_position_is_still_running_and_none_is_taken(four_cores):
    running, taken = [], []

    def do(position):
        taken.append(position)
        if position == 7:
            raise ValueError("the eighth")
        running.append(position)
        time.sleep(0.02)
        running.remove(position)

    with pytest.raises(ValueError, match="the eighth"):
        workers.run_each(do, 500, shared=True)
    assert not running
    assert len(taken) < 20


def test_after_an_error_no_job_is_still_running_and_no_further_one_is_drawn(four_cores):
    running, drawn = [], []
    gate = threading.Event()

    def slow():
        running.append(1)
        gate.wait(0.2)
        running.pop()

    def fail():
        raise ValueError("the third")

    def jobs():
        for job in (slow, slow, fail, *[slow] * 50):
            drawn.append(job)
            yield job
            time.sleep(0.002)

    with pytest.raises(ValueError, match="the third"):
        workers.run(jobs())
    assert not running
    assert len(drawn) < 50


def test_jobs_are_drawn_only_a_few_ahead_of_what_is_done(four_cores):
    ahead, done = [], []

    def jobs():
        for i in range(100):
            ahead.append(i - len(done))
            yield lambda: done.append(1)

    workers.run(jobs())
    assert max(ahead) <= 4 * workers.PENDING_PER_CORE + 1


SMALL = VoxelBox((3, 3, 3), (13, 13, 13))
"""A part of the first chunk of `encoded`."""


def encoded(folder, driver, voxels):
    """A volume of one chunk, written some time ago; how to open it."""
    folder.mkdir(exist_ok=True)
    if driver == "hdf5":
        with h5py.File(folder / "a.h5", "w") as file:
            file.create_dataset("a", data=voxels, chunks=voxels.shape, compression="gzip")
    elif driver == "zarr":
        array = zarr.create_array(folder / "z", data=voxels, chunks=voxels.shape, overwrite=True)
        array.attrs.update(resolution=[1, 1, 1], offset=[0, 0, 0])
    else:
        scale = {
            "key": "s",
            "size": voxels.shape[::-1],
            "resolution": [1, 1, 1],
            "chunk_sizes": [voxels.shape[::-1]],
            "encoding": driver,
        }
        info = {"type": "image", "data_type": "uint8", "num_channels": 1, "scales": [scale]}
        (folder / "info").write_text(json.dumps(info))
        (folder / "s").mkdir(exist_ok=True)
        chunk = folder / "s" / "0-16_0-16_0-16"
        if driver == "raw":
            chunk.write_bytes(voxels.tobytes())
        else:
            Image.fromarray(voxels.reshape(-1, voxels.shape[2])).save(chunk, format="png")
    for path in folder.rglob("*"):
        os.utime(path, (1000, 1000))
    return {
        "hdf5": lambda place: open_hdf5(place / "a.h5", "a", voxel_size=(1, 1, 1)),
        "zarr": lambda place: open_zarr(f"{place}/z"),
        "png": open_precomputed,
        "raw": open_precomputed,
    }[driver]


def cubes(count):
    return RNG.integers(0, 256, (count, 16, 16, 16), dtype=np.uint8)


@pytest.fixture
def chunks_read(monkeypatch):
    """How many times bytes were read from a file, so far."""
    read, real = [], FileStore.read_many

    def counted(self, requests):
        read.extend(requests)
        return real(self, requests)

    monkeypatch.setattr(FileStore, "read_many", counted)
    return read


@pytest.mark.parametrize("driver", ["hdf5", "zarr", "png", "raw"])
def test_a_small_box_out_of_a_chunk_that_is_kept_reads_no_file(tmp_path, driver, chunks_read):
    (voxels,) = cubes(1)
    volume = encoded(tmp_path, driver, voxels)(tmp_path)
    np.testing.assert_array_equal(volume.read_voxels(SMALL).data, voxels[SMALL.slices])
    before = len(chunks_read)
    other = VoxelBox((0, 5, 6), (16, 7, 16))
    np.testing.assert_array_equal(volume.read_voxels(other).data, voxels[other.slices])
    assert len(chunks_read) == before


@pytest.mark.parametrize("driver", ["hdf5", "zarr", "png", "raw"])
def test_a_kept_chunk_never_stands_for_a_file_that_was_written_again(tmp_path, driver):
    old, new = cubes(2)
    opener = encoded(tmp_path, driver, old)
    volume = opener(tmp_path)
    volume.read_voxels(SMALL)
    encoded(tmp_path, driver, new)
    os.utime(tmp_path / "a.h5" if driver == "hdf5" else tmp_path, (1001, 1001))
    if driver == "hdf5":
        with pytest.raises(ReadFailedError, match="has changed since"):
            volume.read_voxels(SMALL)
    else:
        np.testing.assert_array_equal(volume.read_voxels(SMALL).data, new[SMALL.slices])
    np.testing.assert_array_equal(opener(tmp_path).read_voxels(SMALL).data, new[SMALL.slices])


def test_a_kept_chunk_whose_file_is_gone_is_absent(tmp_path):
    (voxels,) = cubes(1)
    volume = encoded(tmp_path, "png", voxels)(tmp_path)
    volume.read_voxels(SMALL)
    (tmp_path / "s" / "0-16_0-16_0-16").unlink()
    assert volume.read_voxels(SMALL).coverage.n_absent == SMALL.size


@pytest.mark.parametrize("driver", ["zarr", "png", "raw"])
def test_over_http_a_chunk_is_asked_for_once_until_the_volume_is_opened_again(
    tmp_path, driver, monkeypatch
):
    monkeypatch.setenv("SEGMEND_CACHE_BYTES", "0")
    old, new = cubes(2)
    opener = encoded(tmp_path, driver, old)
    with range_server(tmp_path) as server:
        volume = opener(server.url)
        volume.read_voxels(SMALL)
        asked = len(server.log)
        encoded(tmp_path, driver, new)
        np.testing.assert_array_equal(volume.read_voxels(SMALL).data, old[SMALL.slices])
        assert len(server.log) == asked
        again = opener(server.url).read_voxels(SMALL).data
    np.testing.assert_array_equal(again, new[SMALL.slices])


WITH_PROCESSES = """
import multiprocessing, os, sys
import numpy as np
from segmend.volumes import workers
from segmend.volumes.drivers.precomputed import open_precomputed
workers.usable_cores = lambda: 3

def total(volume):
    return int(volume[volume.box].sum())

if __name__ == "__main__":
    volume = open_precomputed(sys.argv[1])
    expected = total(volume)
    child = os.fork()
    if child == 0:
        os._exit(0 if total(volume) == expected else 1)
    assert os.waitpid(child, 0)[1] == 0
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(total, [volume]) == [expected]
    print(expected)
"""


def test_forked_and_spawned_processes_read_the_same(folder, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(WITH_PROCESSES)
    command = [sys.executable, str(script), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) == int(VOXELS.sum())
