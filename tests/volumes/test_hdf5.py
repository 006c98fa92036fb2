"""HDF5: every layout equals h5py; what was never written is absent; a child runs the library."""

import subprocess
import sys
import threading

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segmend.core.box import VoxelBox
from segmend.core.errors import (
    AbsentVoxelsError,
    BadInputError,
    ReadFailedError,
    SchemaError,
)
from segmend.testing.drivers import DriverContract
from segmend.volumes.drivers.hdf5 import open_hdf5

ARRAY = np.random.default_rng(1).integers(2**53, 2**64, (7, 9, 11), dtype=np.uint64)

LAYOUTS = {
    "contiguous": {},
    "plain chunks": {"chunks": (3, 4, 5)},
    "gzip": {"chunks": (3, 4, 5), "compression": "gzip"},
    "gzip, shuffle, checksum": {
        "chunks": (4, 4, 4),
        "compression": "gzip",
        "shuffle": True,
        "fletcher32": True,
    },
    "shuffle": {"chunks": (4, 4, 4), "shuffle": True},
    "lzf": {"chunks": (3, 4, 5), "compression": "lzf", "shuffle": True},
    "scale-offset, by the child": {"chunks": (3, 4, 5), "scaleoffset": 0},
}


@pytest.fixture
def written(tmp_path):
    """Write one data set; return its path."""

    def write(array, name="v.h5", *, attributes=None, **layout):
        path = tmp_path / name
        with h5py.File(path, "w", libver=layout.pop("libver", None)) as file:
            data = file.create_dataset("volumes/labels", data=array, **layout)
            data.attrs.update(attributes or {"resolution": (40.0, 4.0, 4.0)})
        return path

    return write


class TestContract(DriverContract):
    @pytest.fixture(params=LAYOUTS)
    def layout(self, request):
        return request.param

    @pytest.fixture
    def expected(self):
        return ARRAY

    @pytest.fixture
    def volume(self, written, layout):
        return open_hdf5(written(ARRAY, **LAYOUTS[layout]), "volumes/labels")


class TestOtherAxes(DriverContract):
    @pytest.fixture(params=[{}, {"chunks": (2, 3, 4, 5), "compression": "gzip"}])
    def layout(self, request):
        return request.param

    @pytest.fixture
    def stored(self):
        return np.random.default_rng(2).normal(size=(3, 11, 9, 7)).astype(">f4")

    @pytest.fixture
    def expected(self, stored):
        return stored[2].T.astype("f4")

    @pytest.fixture
    def volume(self, written, stored, layout):
        path = written(stored, attributes={"resolution": (4.0, 5.0, 40.0)}, **layout)
        return open_hdf5(path, "volumes/labels", axes="cxyz", channel=2)


def test_attributes_follow_the_stored_axes(written):
    path = written(ARRAY, attributes={"resolution": (4.0, 5.0, 40.0), "offset": (1.0, 2.0, 3.0)})
    volume = open_hdf5(path, axes="xyz")
    assert volume.grid.voxel_size == (40, 5, 4)
    assert volume.grid.offset == (3, 2, 1)
    assert volume.grid.shape == ARRAY.shape[::-1]


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_layout_reads_as_h5py_does(written, data):
    shape = data.draw(st.tuples(*[st.integers(1, 9)] * 3))
    dtype = data.draw(st.sampled_from(["u1", "i2", ">u2", "u4", ">i4", "u8", "<i8", "f4", "?"]))
    array = np.random.default_rng(len(shape)).integers(0, 2, shape).astype(dtype)
    layout = {"libver": data.draw(st.sampled_from(["earliest", "latest"]))}
    if data.draw(st.booleans()):
        layout |= {
            "chunks": tuple(data.draw(st.integers(1, n)) for n in shape),
            "compression": data.draw(st.sampled_from([None, "gzip", "lzf"])),
            "shuffle": data.draw(st.booleans()),
            "fletcher32": data.draw(st.booleans()),
        }
    path = written(array, **layout)
    start = tuple(data.draw(st.integers(0, n)) for n in shape)
    stop = tuple(data.draw(st.integers(a, n)) for a, n in zip(start, shape, strict=True))
    box = VoxelBox(start, stop)
    volume = open_hdf5(path)
    with h5py.File(path) as file:
        expected = file["volumes/labels"][box.slices]
    np.testing.assert_array_equal(volume.read_voxels(box).data, expected)
    assert volume.dtype.isnative


@pytest.mark.parametrize("layout", [{"compression": "gzip"}, {"scaleoffset": 0}])
def test_chunks_never_written_are_absent_not_zeros(tmp_path, layout):
    path = tmp_path / "half.h5"
    with h5py.File(path, "w") as file:
        data = file.create_dataset("a", (4, 8, 8), "u2", chunks=(2, 4, 4), **layout)
        data[:2] = 7
    volume = open_hdf5(path, "a", voxel_size=(1, 1, 1))
    block = volume.read(volume.box)
    assert (block.data[:2] == 7).all()
    stored = block.coverage.mask()
    assert stored[:2].all()
    assert not stored[2:].any()
    with pytest.raises(AbsentVoxelsError, match="128 of 256 voxels"):
        volume[volume.box]
    assert (volume.with_absent(9)[volume.box][2:] == 9).all()


def test_a_data_set_without_any_voxels_is_absent(tmp_path):
    path = tmp_path / "none.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("a", (4, 8, 8), "u2")
    volume = open_hdf5(path, "a", voxel_size=(1, 1, 1))
    assert volume.read(volume.box).coverage.n_absent == volume.grid.voxels.size


def test_compact_and_user_block_files_read(tmp_path):
    compact, block = tmp_path / "compact.h5", tmp_path / "block.h5"
    small = ARRAY[:3, :3, :3].copy()
    with h5py.File(compact, "w") as file:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple(small.shape)
        made = h5py.h5d.create(file.id, b"a", h5py.h5t.NATIVE_UINT64, space, plist)
        made.write(h5py.h5s.ALL, h5py.h5s.ALL, small)
    with h5py.File(block, "w", userblock_size=512) as file:
        file.create_dataset("a", data=small, chunks=(2, 2, 2))
    for path in (compact, block):
        volume = open_hdf5(path, "a", voxel_size=(1, 1, 1))
        np.testing.assert_array_equal(volume[volume.box], small)


def test_real_tissue_equals_h5py(shared_data):
    path = shared_data / "fib25" / "fib25.h5"
    for key in ("volumes/raw", "volumes/labels/neuron_ids"):
        volume = open_hdf5(path, key)
        box = VoxelBox((30, 60, 100), (130, 190, 250))
        with h5py.File(path) as file:
            expected = file[key][box.slices]
        np.testing.assert_array_equal(volume.read_voxels(box).data, expected)


def test_reading_never_loads_the_hdf5_library_here(written):
    path = written(ARRAY, chunks=(3, 4, 5), scaleoffset=0)
    code = (
        "import sys; from segmend.volumes.drivers.hdf5 import open_hdf5; "
        f"v = open_hdf5({str(path)!r}); v[v.box]; assert 'h5py' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_threads_read_the_same(written):
    volume = open_hdf5(written(ARRAY, **LAYOUTS["gzip"]))
    served = open_hdf5(written(ARRAY, "b.h5", **LAYOUTS["scale-offset, by the child"]))
    wrong = []

    def work():
        for source in (volume, served):
            for _ in range(20):
                if not np.array_equal(source[source.box], ARRAY):
                    wrong.append(source)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_file_that_changed_is_a_failure_not_other_voxels(written):
    volume = open_hdf5(written(ARRAY, chunks=(3, 4, 5)))
    written(ARRAY[:, :, ::-1].copy(), chunks=(7, 9, 11))
    with pytest.raises(ReadFailedError, match="has changed since"):
        volume[volume.box]


def test_the_caller_may_state_what_the_file_does_not(written):
    path = written(ARRAY, attributes={"note": "bare"})
    with pytest.raises(SchemaError, match="how large its voxels are"):
        open_hdf5(path)
    volume = open_hdf5(path, voxel_size=(40, 4, 4), offset=(80, 0, 0))
    assert volume.box.start == (80, 0, 0)


def test_file_and_caller_must_agree(written):
    path = written(ARRAY, attributes={"resolution": (40.0, 4.0, 4.0), "offset": (0.0, 0.0, 0.0)})
    assert open_hdf5(path, voxel_size=(40, 4, 4)).grid.voxel_size == (40, 4, 4)
    with pytest.raises(BadInputError, match=r"voxel size.*the file states \(40.0, 4.0, 4.0\)"):
        open_hdf5(path, voxel_size=(4, 4, 40))
    with pytest.raises(BadInputError, match="offset"):
        open_hdf5(path, offset=(1, 0, 0))


def test_the_only_data_set_needs_no_key(written, tmp_path):
    assert open_hdf5(written(ARRAY)).grid.shape == ARRAY.shape
    path = tmp_path / "two.h5"
    with h5py.File(path, "w") as file:
        file["a"], file["b"] = ARRAY, ARRAY
    with pytest.raises(BadInputError, match="its data sets: a, b"):
        open_hdf5(path)


def test_soft_links_within_the_file_are_followed(written):
    path = written(ARRAY)
    with h5py.File(path, "a") as file:
        file["volumes/again"] = h5py.SoftLink("labels")
        file["top"] = h5py.SoftLink("/volumes/again")
    volume = open_hdf5(path, "top")
    np.testing.assert_array_equal(volume[volume.box], ARRAY)
