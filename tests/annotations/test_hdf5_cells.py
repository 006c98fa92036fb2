"""Cell arrays read as one array, against HDF5 reading them one by one; odd files are left to it."""

import contextlib

import h5py
import numpy as np
import pytest

from segmend.annotations.hdf5_cells import Start, find_cells
from segmend.annotations.hdf5_child import MAX_CELL_BYTES
from segmend.annotations.matlab import open_matlab
from segmend.core.errors import SchemaError, SegmendError

KEY = "synapses/preSegIds"


def write(path, cells, **options):
    with h5py.File(path, "w", **options) as file:
        group = file.create_group(KEY)
        for number, cell in enumerate(cells, 1):
            group[str(number)] = cell
    return path


def lists(count, seed=0, dtype=np.uint32):
    rng = np.random.default_rng(seed)
    return [rng.integers(1, 2**31, size).astype(dtype) for size in rng.integers(1, 6, count)]


def found(path, field=""):
    with h5py.File(path) as file:
        group, first = file[KEY], file[f"{KEY}/1/{field}"]
        header = h5py.h5o.get_info(group.id).addr
        start = Start(file.userblock_size, header, first.dtype, len(first.shape), field)
        return find_cells(str(path), start)


def write_fields(path, count):
    """Skeletons: groups of three data sets each."""
    rng = np.random.default_rng(count)
    made = []
    with h5py.File(path, "w") as file:
        for number in range(1, count + 1):
            size = int(rng.integers(1, 9))
            fields = {
                "nodes": rng.integers(1, 99, (3, size)).astype(np.uint32),
                "edges": rng.integers(1, 9, (2, size)).astype(np.uint32),
                "segIds": rng.integers(1, 2**31, size).astype(np.uint32),
            }
            for name, values in fields.items():
                file[f"{KEY}/{number}/{name}"] = values
            made.append(fields)
    return made


def check(path, cells):
    """The reader gives these cells, whichever way it takes."""
    made = open_matlab(path).lists_of_ids(KEY)
    assert made.values.dtype == np.uint64
    assert len(made) == len(cells)
    for ours, theirs in zip(made, cells, strict=True):
        np.testing.assert_array_equal(ours, np.asarray(theirs).reshape(-1))


@pytest.mark.parametrize("count", [1, 9, 10, 3_000])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint32, np.uint64])
def test_a_plain_cell_array_is_read_as_one(tmp_path, count, dtype):
    cells = [cell % 200 for cell in lists(count)]
    cells = [cell.astype(dtype) for cell in cells]
    path = write(tmp_path / "a.h5", cells)
    made = found(path)
    assert made is not None
    assert made.dtype == dtype
    first, last = count // 3, max(1, 2 * count // 3)
    expected = np.concatenate(cells[first:last]) if last > first else np.empty(0, dtype)
    assert made.read(first, last) == expected.tobytes()
    check(path, cells)


def test_empty_and_long_cells_and_matrices(tmp_path):
    cells = [np.arange(5000, dtype=np.uint32), np.empty(0, np.uint32), np.arange(3, dtype="u4")]
    assert found(write(tmp_path / "a.h5", cells)) is not None
    check(tmp_path / "a.h5", cells)
    rows = [np.arange(n, dtype=np.uint32).reshape(1, -1) for n in (4, 7, 1)]
    made = found(write(tmp_path / "b.h5", rows))
    np.testing.assert_array_equal(made.dims, [[1, 4], [1, 7], [1, 1]])
    check(tmp_path / "b.h5", rows)


def test_a_user_block_shifts_every_address(tmp_path):
    cells = lists(700)
    path = write(tmp_path / "a.h5", cells, userblock_size=512)
    assert found(path) is not None
    check(path, cells)


@pytest.mark.parametrize("count", [1, 2, 700])
def test_fields_of_cells_are_read_as_one(tmp_path, count):
    path = tmp_path / "a.h5"
    cells = write_fields(path, count)
    for name in ("nodes", "edges", "segIds"):
        made = found(path, name)
        assert made is not None
        assert made.read(0, count) == b"".join(cell[name].tobytes() for cell in cells)
    file = open_matlab(path)
    ids = file.lists_of_ids(KEY, "segIds")
    matrices = file.lists_of_matrices(KEY, {"nodes": 3, "edges": 2})
    for row, cell in enumerate(cells):
        np.testing.assert_array_equal(ids[row], cell["segIds"])
        np.testing.assert_array_equal(matrices["nodes"][row], cell["nodes"].T)
        np.testing.assert_array_equal(matrices["edges"][row], cell["edges"].T)


def test_an_extent_beyond_64_bits_is_not_what_is_left_of_it(tmp_path):
    """2**64 + 4 elements are not 4."""
    path, rows = tmp_path / "a.h5", 4 * 5 * 5581 * 8681
    columns = (2**64 + 4) // rows
    assert rows * columns == 2**64 + 4
    with h5py.File(path, "w") as file:
        file[f"{KEY}/1/nodes"] = np.arange(4, dtype=np.uint32).reshape(1, 4)
    extent, data = np.array([1, 4], "<u8").tobytes(), path.read_bytes()
    assert data.count(extent) == 2  # as it is, and at the most
    path.write_bytes(data.replace(extent, np.array([rows, columns], "<u8").tobytes()))
    assert found(path, "nodes") is None
    with pytest.raises(SegmendError):
        open_matlab(path).lists_of_matrices(KEY, {"nodes": 3})


def test_a_cell_too_large_is_refused_whichever_way_it_is_read(tmp_path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        shape = (MAX_CELL_BYTES // 4 + 1,)
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        plist.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        space = h5py.h5s.create_simple(shape)
        group = file.create_group(KEY)
        h5py.h5d.create(group.id, b"1", h5py.h5t.NATIVE_UINT32, space, plist)
    assert path.stat().st_blocks * 512 < 2**20  # a file with a hole
    with pytest.raises(SchemaError, match="cell 1 has 134217729 elements"):
        open_matlab(path).lists_of_ids(KEY)


def fewer(file):
    del file[f"{KEY}/3/edges"]


def no_group(file):
    del file[f"{KEY}/3"]
    file[f"{KEY}/3"] = np.arange(3, dtype=np.uint32)


def link_inside(file):
    del file[f"{KEY}/3/segIds"]
    file[f"{KEY}/3/segIds"] = h5py.SoftLink(f"/{KEY}/1/segIds")


def another_name(file):
    file.move(f"{KEY}/3/segIds", f"{KEY}/3/segId")


@pytest.mark.parametrize("bad", [fewer, no_group, link_inside, another_name])
def test_odd_fields_are_left_to_hdf5(tmp_path, bad):
    path = tmp_path / "a.h5"
    cells = write_fields(path, 12)
    with h5py.File(path, "r+") as file:
        bad(file)
    assert found(path, "segIds") is None
    if bad is fewer:  # the other fields are there
        ids = open_matlab(path).lists_of_ids(KEY, "segIds")
        np.testing.assert_array_equal(ids.values, np.concatenate([c["segIds"] for c in cells]))
        return
    with pytest.raises(SegmendError, match="cell 3"):
        open_matlab(path).lists_of_ids(KEY, "segIds")


def test_whole_doubles_are_ids_and_others_are_not(tmp_path):
    cells = [cell.astype(np.float64) for cell in lists(9)]
    check(write(tmp_path / "a.h5", cells), cells)
    cells[4][0] = 0.5
    with pytest.raises(SchemaError, match="no whole number"):
        open_matlab(write(tmp_path / "b.h5", cells)).lists_of_ids(KEY)


def odd_files():
    def newest(path, cells):
        write(path, cells, libver="latest")

    def chunked(path, cells):
        with h5py.File(write(path, cells[:-1]), "r+") as file:
            file[KEY].create_dataset(str(len(cells)), data=cells[-1], chunks=(1,))

    def compressed(path, cells):
        with h5py.File(path, "w") as file:
            for number, cell in enumerate(cells, 1):
                file.create_dataset(f"{KEY}/{number}", data=cell, compression="gzip")

    def described(path, cells):
        with h5py.File(write(path, cells), "r+") as file:
            file[f"{KEY}/2"].attrs["class"] = "uint32"

    def two_ranks(path, cells):
        write(path, [*cells[:-1], cells[-1].reshape(-1, 1)])

    return {f.__name__: f for f in (newest, chunked, compressed, described, two_ranks)}


@pytest.mark.parametrize("odd", odd_files())
def test_what_is_not_plain_is_left_to_hdf5(tmp_path, odd):
    cells, path = lists(40), tmp_path / "a.h5"
    odd_files()[odd](path, cells)
    assert found(path) is None
    check(path, cells)


def big_endian(file):
    file[f"{KEY}/7"] = np.arange(3, dtype=">u4")


def linked(file):
    file[f"{KEY}/7"] = h5py.SoftLink(f"/{KEY}/1")


def unwritten(file):
    file.create_dataset(f"{KEY}/7", (3,), np.uint32)


def a_name(file):
    file[f"{KEY}/07"] = np.arange(3, dtype=np.uint32)


def a_gap(file):
    file[f"{KEY}/8"] = np.arange(3, dtype=np.uint32)


@pytest.mark.parametrize("bad", [big_endian, linked, unwritten, a_name, a_gap])
def test_a_bad_member_is_an_error_as_before(tmp_path, bad):
    path = write(tmp_path / "a.h5", lists(6))
    with h5py.File(path, "r+") as file:
        bad(file)
    assert found(path) is None
    if bad is big_endian:  # one number is as good as the other, once HDF5 has turned it round
        check(path, [*lists(6), np.arange(3)])
        return
    with pytest.raises(SchemaError):
        open_matlab(path).lists_of_ids(KEY)


def test_damaged_bytes_give_an_error_or_numbers_and_never_a_crash(tmp_path):
    path = write(tmp_path / "a.h5", lists(60))
    whole = path.read_bytes()
    rng = np.random.default_rng(3)
    for _ in range(40):
        damaged = bytearray(whole)
        for at in rng.integers(0, len(whole), 8).tolist():
            damaged[at] = int(rng.integers(256))
        path.write_bytes(damaged)
        with contextlib.suppress(SegmendError):
            assert open_matlab(path).lists_of_ids(KEY).values.dtype == np.uint64
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SegmendError):
        open_matlab(path).lists_of_ids(KEY)
