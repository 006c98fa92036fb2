"""An export holds the source's voxels where the source has them, whatever happens on the way."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import compressed_segmentation
import h5py
import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from segmend.core.box import VoxelBox
from segmend.core.errors import (
    AbsentVoxelsError,
    BadInputError,
    OutOfBoundsError,
    OutputError,
    ReadFailedError,
    VerificationError,
)
from segmend.core.grid import VoxelGrid
from segmend.core.random import keyed_generator
from segmend.volumes.drivers.hdf5 import open_hdf5
from segmend.volumes.drivers.memory import from_array
from segmend.volumes.drivers.precomputed import open_precomputed
from segmend.volumes.drivers.zarr import open_zarr
from segmend.volumes.export.compressed_labels import encode_labels
from segmend.volumes.export.export import export_box, unfinished
from segmend.volumes.export.plan import BLOCK
from segmend.volumes.export.to_hdf5 import ToHdf5
from segmend.volumes.volume import Volume

SIZE, OFFSET = (40.0, 4.0, 4.0), (400.0, 8.0, 12.0)
TARGETS = ["box.h5", "box.zarr", "box"]
SHAPE = (140, 270, 70)
GRID = VoxelGrid(SIZE, OFFSET, SHAPE)
BOX = VoxelBox((3, 5, 7), (139, 268, 70))
"""Two by two blocks, cut off on every axis."""


def labels(shape: tuple[int, int, int] = SHAPE) -> NDArray[np.uint64]:
    """Some runs of equal ids above 2**53, some noise."""
    rng = keyed_generator(3, "labels")
    ids = rng.integers(2**53, 2**64 - 1, 50, dtype=np.uint64)
    z, y, x = np.indices(shape) // np.array([9, 14, 11]).reshape(3, 1, 1, 1)
    array = ids[(z * 7 + y * 3 + x) % 40]
    array[20:30, 20:30, 20:30] = ids[rng.integers(0, 50, (10, 10, 10))]
    return array


def image(dtype: str) -> NDArray[Any]:
    rng = keyed_generator(4, "image")
    if dtype == "float32":
        return rng.random(SHAPE, np.float32)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, SHAPE, np.dtype(dtype), endpoint=True)


def volume(array: NDArray[Any]) -> Volume:
    return from_array(array, SIZE, offset=OFFSET)


def reopen(path: Path, kind: str) -> Volume:
    """With the drivers that users have."""
    if path.suffix == ".h5":
        return open_hdf5(path, "volumes/raw" if kind == "image" else "volumes/labels/neuron_ids")
    return open_zarr(path) if path.suffix == ".zarr" else open_precomputed(path)


def contents(path: Path) -> dict[str, bytes]:
    """Every file of an export by name, deflated chunks as the voxels that they hold."""
    if path.is_file():
        with h5py.File(path) as file:
            data = file["volumes/labels/neuron_ids"]
            told = {name: str(value).encode() for name, value in file.attrs.items()}
            return {"": data[:].tobytes(), **told}
    files = {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}
    return {name: gzip.decompress(b) if "/c/" in name else b for name, b in files.items()}


@pytest.fixture(autouse=True)
def the_date(monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize(
    ("array", "kind"),
    [
        (image("uint8"), "image"),
        (labels(), "labels"),
        (labels().astype(np.uint32), "labels"),
        (image("uint16"), "image"),
        (image("int16"), "labels"),
        (image("float32").astype(">f4"), "image"),
    ],
    ids=["u8", "u64", "u32", "u16", "i16", "big-endian f32"],
)
def test_an_export_opens_with_the_same_voxels_in_the_same_place(tmp_path, name, array, kind):
    path = tmp_path / name
    made = export_box(volume(array), BOX, path, kind=kind)
    assert made.path == path
    assert list(tmp_path.iterdir()) == [path]
    opened = reopen(path, kind)
    assert opened.grid == GRID.crop(BOX)
    assert opened.dtype == array.dtype.newbyteorder("=")
    block = opened.read(opened.box)
    np.testing.assert_array_equal(block.data, array[BOX.slices])
    assert block.coverage.complete


def test_h5py_finds_the_cremi_layout(tmp_path):
    array = labels()
    export_box(volume(array), BOX, tmp_path / "box.h5")
    with h5py.File(tmp_path / "box.h5") as file:
        data = file["volumes/labels/neuron_ids"]
        np.testing.assert_array_equal(data[:], array[BOX.slices])
        assert data.dtype == np.uint64
        assert tuple(data.attrs["resolution"]) == SIZE
        assert tuple(data.attrs["offset"]) == (520.0, 28.0, 40.0)


def test_zarr_python_reads_it_and_ome_places_the_centre_of_the_first_voxel(tmp_path):
    array = image("uint8")
    export_box(volume(array), BOX, tmp_path / "box.zarr")
    group = zarr.open_group(tmp_path / "box.zarr", mode="r")
    ((name, member),) = list(group.members())
    np.testing.assert_array_equal(member[:], array[BOX.slices])
    (multiscale,) = group.attrs["ome"]["multiscales"]
    assert [axis["name"] for axis in multiscale["axes"]] == ["z", "y", "x"]
    assert {axis["unit"] for axis in multiscale["axes"]} == {"nanometer"}
    (dataset,) = multiscale["datasets"]
    assert dataset["path"] == name
    scale, translation = dataset["coordinateTransformations"]
    assert scale == {"type": "scale", "scale": [40.0, 4.0, 4.0]}
    assert translation == {"type": "translation", "translation": [540.0, 30.0, 42.0]}


@pytest.mark.parametrize("array", [image("uint8"), labels()], ids=["raw", "labels"])
def test_tensorstore_reads_the_precomputed_folder(tmp_path, array):
    import tensorstore

    export_box(volume(array), BOX, tmp_path / "box")
    spec = {"driver": "neuroglancer_precomputed", "kvstore": f"file://{tmp_path}/box/"}
    opened = tensorstore.open(spec).result()
    # Voxels from the origin of space: the offset is 10, 2, 3 voxels, the box starts at 3, 5, 7.
    assert opened.domain.origin[:3] == (10, 7, 13)
    read = opened.read().result()[..., 0].transpose(2, 1, 0)
    np.testing.assert_array_equal(read, array[BOX.slices])


@settings(deadline=None, max_examples=40)
@given(
    shape=st.tuples(*[st.integers(1, 20)] * 3),
    n=st.sampled_from([1, 2, 3, 5, 17, 300, 5000]),
    dtype=st.sampled_from(["uint32", "uint64"]),
    seed=st.integers(0, 10**6),
)
def test_compressed_labels_decode_with_the_fields_own_library(shape, n, dtype, seed):
    rng = keyed_generator(seed, "compressed")
    ids = rng.integers(0, np.iinfo(dtype).max, n, dtype, endpoint=True)
    array = ids[rng.integers(0, n, shape)]
    decoded = compressed_segmentation.decompress(
        encode_labels(array), shape[::-1], dtype, (8, 8, 8), order="F"
    )
    np.testing.assert_array_equal(decoded.reshape(shape[::-1], order="F").T, array)


def test_the_provenance_says_what_was_copied_and_its_checksum_can_be_made_again(tmp_path):
    array = labels()
    told = export_box(volume(array), BOX, tmp_path / "box").provenance
    assert told == json.loads((tmp_path / "box" / "provenance.json").read_text())
    assert told["source"] == "array"
    assert told["box_nm"] == {"start": [520.0, 28.0, 40.0], "stop": [5960.0, 1080.0, 292.0]}
    assert told["voxels"] == {"start": [3, 5, 7], "stop": [139, 268, 70]}
    assert told["voxel_size_nm"] == [40.0, 4.0, 4.0]
    assert told["date"] == "2023-11-14T22:13:20+00:00"
    assert told["absent_voxels"] == 0
    wanted, digests = array[BOX.slices], []
    for z in range(0, 136, told["block"][0]):
        for y in range(0, 263, told["block"][1]):
            block = wanted[z : z + told["block"][0], y : y + told["block"][1]]
            digests.append(hashlib.sha256(block.astype("<u8").tobytes()).digest())
    assert told["sha256"] == hashlib.sha256(b"".join(digests)).hexdigest()


def test_the_same_export_again_finds_it_there_and_another_does_not_touch_it(tmp_path):
    path = tmp_path / "box.h5"
    export_box(volume(labels()), BOX, path)
    before = path.read_bytes()
    assert export_box(volume(labels()), BOX, path).kept == 4
    with pytest.raises(OutputError, match="exists"):
        export_box(volume(labels()), VoxelBox((0, 0, 0), (5, 5, 5)), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", TARGETS)
def test_something_in_the_way_stays_as_it_was(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(OutputError, match="exists"):
        export_box(volume(labels()), BOX, tmp_path / name)
    assert (tmp_path / name).read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    ("array", "box", "name", "options", "message"),
    [
        (labels(), VoxelBox((0, 0, 0), (141, 5, 5)), "b.h5", {}, "no box inside"),
        (labels(), VoxelBox((-1, 0, 0), (5, 5, 5)), "b.h5", {}, "no box inside"),
        (labels(), VoxelBox((5, 5, 5), (5, 9, 9)), "b.h5", {}, "no box inside"),
        (image("uint16"), BOX, "b.h5", {}, "an image or labels"),
        (labels(), BOX, "b.tif", {}, "suffix '.tif'"),
        (image("uint8"), BOX, "b", {"absent": 256}, "cannot be written as 256"),
        (labels(), BOX, "b", {"absent": -1}, "cannot be written as -1"),
        (image("float32").astype("f8"), BOX, "b", {}, "its dtype is float64"),
    ],
)
def test_what_cannot_be_met_is_refused_before_anything_is_written(
    tmp_path, array, box, name, options, message
):
    with pytest.raises(BadInputError, match=message):
        export_box(volume(array), box, tmp_path / name, **options)
    assert list(tmp_path.iterdir()) == []


def test_precomputed_refuses_an_offset_that_it_cannot_say(tmp_path):
    odd = from_array(labels(), SIZE, offset=(400.0, 9.0, 12.0))
    with pytest.raises(BadInputError, match="cannot say where"):
        export_box(odd, BOX, tmp_path / "box")
    assert list(tmp_path.iterdir()) == []
    assert reopen(export_box(odd, BOX, tmp_path / "b.zarr").path, "labels").box.start[1] == 29.0


def test_out_of_bounds_is_its_own_error(tmp_path):
    with pytest.raises(OutOfBoundsError):
        export_box(volume(labels()), VoxelBox((0, 0, 0), (999, 5, 5)), tmp_path / "b.h5")


@pytest.mark.parametrize("name", TARGETS)
def test_certified_absent_voxels_are_an_error_unless_told_what_to_write(tmp_path, name):
    array = labels()
    source = export_box(volume(array), VoxelBox((0, 0, 0), SHAPE), tmp_path / "source").path
    # The chunk of voxels 0-64, 64-128, 64-70 (z, y, x), named x, y, z from the origin of space.
    (source / "4_4_40" / "67-73_66-130_10-74").unlink()
    opened = open_precomputed(source)
    with pytest.raises(AbsentVoxelsError, match="--absent"):
        export_box(opened, BOX, tmp_path / name)
    assert not (tmp_path / name).exists()
    made = export_box(opened, BOX, tmp_path / name, absent=7)
    expected = array.copy()
    expected[0:64, 64:128, 64:70] = 7
    again = reopen(made.path, "labels")
    np.testing.assert_array_equal(again.read(again.box).data, expected[BOX.slices])
    assert made.provenance["absent_voxels"] == 61 * 64 * 6
    assert made.provenance["absent_boxes"] == [[[0, 59, 57], [61, 123, 63]]]


@dataclass(frozen=True)
class Failing:
    """A source that can be read a number of times, and notes how much was asked for at once."""

    array: NDArray[Any]
    reads: int
    sizes: list[int] = field(default_factory=list)
    grid: VoxelGrid = GRID
    source: str = "array"

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.array.dtype

    def read(self, voxels: VoxelBox, out: NDArray[Any]) -> Sequence[VoxelBox]:
        if len(self.sizes) >= self.reads:
            raise ReadFailedError("cannot read the chunk", found="503", reason="server_error")
        self.sizes.append(voxels.size)
        out[...] = self.array[voxels.slices]
        return ()


@pytest.mark.parametrize("name", TARGETS)
def test_a_failed_block_keeps_the_others_for_the_next_run(tmp_path, name):
    with pytest.raises(ReadFailedError, match="503"):
        export_box(Volume(Failing(labels(), 2)), BOX, tmp_path / name)
    assert not (tmp_path / name).exists()
    assert len(unfinished(tmp_path / name)) == 1
    made = export_box(volume(labels()), BOX, tmp_path / name)
    assert made.kept == 2
    clean = tmp_path / "clean"
    clean.mkdir()
    assert contents(made.path) == contents(export_box(volume(labels()), BOX, clean / name).path)
    assert unfinished(tmp_path / name) == []


def test_it_never_asks_for_more_than_a_block(tmp_path):
    source = Failing(labels(), 99)
    export_box(Volume(source), BOX, tmp_path / "box")
    assert len(source.sizes) == 4
    assert max(source.sizes) <= np.prod(BLOCK)


@pytest.mark.parametrize(
    "damage",
    [
        lambda work: next((work / "data").rglob("0-0-0")).write_bytes(b""),
        lambda work: os.truncate(next((work / "data").rglob("0-0-0")), 100),
        lambda work: next((work / "data").rglob("0-0-0")).unlink(),
        lambda work: (work / "blocks" / "0").write_text("{"),
        lambda work: (work / "blocks" / "0").write_bytes((work / "blocks" / "1").read_bytes()),
    ],
    ids=["empty chunk", "torn chunk", "lost chunk", "torn record", "another's record"],
)
def test_a_block_that_was_damaged_since_is_made_again(tmp_path, damage):
    with pytest.raises(ReadFailedError):
        export_box(Volume(Failing(labels(), 2)), BOX, tmp_path / "box.h5")
    (work,) = unfinished(tmp_path / "box.h5")
    damage(work)
    made = export_box(volume(labels()), BOX, tmp_path / "box.h5")
    assert made.kept == 1
    with h5py.File(made.path) as file:
        np.testing.assert_array_equal(file["volumes/labels/neuron_ids"][:], labels()[BOX.slices])


def test_a_source_that_changed_midway_is_not_mixed(tmp_path):
    with pytest.raises(ReadFailedError):
        export_box(Volume(Failing(labels(), 2)), BOX, tmp_path / "box")
    with pytest.raises(BadInputError, match="has changed since this export began"):
        export_box(volume(labels() + np.uint64(1)), BOX, tmp_path / "box")
    assert not (tmp_path / "box").exists()


def test_what_does_not_read_back_is_never_published(tmp_path, monkeypatch):
    honest = ToHdf5.encode
    monkeypatch.setattr(ToHdf5, "encode", lambda s, p, v: honest(s, p, v ^ np.uint64(v[0, 0, 0])))
    with pytest.raises(VerificationError, match="read back"):
        export_box(volume(labels()), BOX, tmp_path / "box.h5")
    assert not (tmp_path / "box.h5").exists()


@pytest.mark.parametrize("name", TARGETS)
def test_a_full_disk_is_named_and_what_was_written_is_kept(tmp_path, name):
    """By the limit on file sizes, which the system enforces on every write."""
    array = image("uint8")
    array[: BLOCK[0]] = 0  # Compresses to less than the limit, and later blocks do not.
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(OutputError, match="File too large"):
            export_box(volume(array), BOX, tmp_path / name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not (tmp_path / name).exists()
    assert not list(tmp_path.rglob("*.tmp"))
    made = export_box(volume(array), BOX, tmp_path / name)
    again = reopen(made.path, "image")
    np.testing.assert_array_equal(again.read(again.box).data, array[BOX.slices])
    assert made.kept == (0 if name == "box" else 2)


EXPORT = """
import os, signal, sys
from segmend.core.box import VoxelBox
from segmend.volumes.drivers.precomputed import open_precomputed
from segmend.volumes.export.export import export_box

source, path, start, last = sys.argv[1:]
left = int(last)

def count_down(event, args):
    global left
    if event in ("os.rename", "os.link", "os.rmdir") and os.path.dirname(path) in str(args[0]):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(count_down)
made = export_box(open_precomputed(source), VoxelBox((int(start), 5, 7), (139, 268, 70)), path)
print(made.kept)
"""


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    path = tmp_path_factory.mktemp("stored") / "labels"
    return export_box(volume(labels()), VoxelBox((0, 0, 0), SHAPE), path).path


def child(source: Path, path: Path, *, start: int = 3, last: int = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", EXPORT, *map(str, (source, path, start, last))]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)


@pytest.mark.parametrize("name", TARGETS)
def test_killed_at_any_point_it_goes_on_and_ends_with_the_same_export(tmp_path, stored, name):
    box = VoxelBox((3, 5, 7), (139, 268, 70))
    (tmp_path / "clean").mkdir()
    clean = contents(export_box(open_precomputed(stored), box, tmp_path / "clean" / name).path)
    # Renames: 1 the plan; 2 to 20 the chunks (8, 2, 4, 1) and records of four blocks; then the
    # metadata (2 files, none for HDF5), the export itself, and the removal of the work folder.
    for last in (5, 12, 21, 22 if name == "box.h5" else 24):
        path = tmp_path / str(last) / name
        path.parent.mkdir()
        killed = child(stored, path, last=last)
        _, said = killed.communicate(timeout=60)
        assert killed.returncode == -signal.SIGKILL, said
        assert path.exists() == (last > 21)
        assert last <= 21 or contents(path) == clean
        made = export_box(open_precomputed(stored), box, path)
        assert contents(made.path) == clean
        assert made.kept == {5: 0, 12: 1}.get(last, 4)
        assert [p.name for p in path.parent.iterdir()] == [name]


@pytest.mark.parametrize("name", TARGETS)
def test_two_equal_exports_at_once_both_end_well(tmp_path, stored, name):
    children = [child(stored, tmp_path / name) for _ in range(2)]
    said = [one.communicate(timeout=60)[1] for one in children]
    assert [one.returncode for one in children] == [0, 0], said
    again = reopen(tmp_path / name, "labels")
    np.testing.assert_array_equal(again.read(again.box).data, labels()[BOX.slices])


@pytest.mark.parametrize("name", TARGETS)
def test_two_different_exports_to_one_name_never_mix(tmp_path, stored, name):
    children = {start: child(stored, tmp_path / name, start=start) for start in (3, 4)}
    said = {start: one.communicate(timeout=60)[1] for start, one in children.items()}
    (won,) = [start for start, one in children.items() if one.returncode == 0]
    assert "OutputError" in said[7 - won]
    again = reopen(tmp_path / name, "labels")
    np.testing.assert_array_equal(again.read(again.box).data, labels()[won:139, 5:268, 7:70])
