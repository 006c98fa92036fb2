"""L4dense's cubes over a real server: what is absent, what is missing, and what was damaged."""

import msgspec
import numpy as np
import pytest

import segmend as sg
from segmend.catalog.fetching import fetch_files
from segmend.catalog.record import load_record
from segmend.core.box import VoxelBox
from segmend.core.errors import ReadFailedError, SchemaError
from segmend.testing.servers import range_server
from segmend.testing.standins import l4dense, write_standin
from segmend.testing.standins.toml import to_toml

CUBES = "electron-microscopy-volume"
END = tuple(n * size for n, size in zip(l4dense.SHAPE, l4dense.VOXEL_SIZE, strict=True))
WHOLE = {"box": sg.Box((0, 0, 0), END), "layers": ["image"]}


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A server of the published files, their folder, and the record."""
    folder = tmp_path_factory.mktemp("published")
    with range_server(folder) as server:
        record, _ = load_record(str(write_standin("l4dense2019", folder, url=server.url)))
        yield server, folder / "published", record


def opened(record, folder):
    (folder / "own.toml").write_text(to_toml(record))
    return sg.open(str(folder / "own.toml")).image


def asked(server):
    return {entry.path.rsplit("/", 1)[1] for entry in server.log if CUBES in entry.path}


def test_the_recorded_grid_is_216_cubes_and_the_stated_extent():
    record, _ = load_record("l4dense2019")
    for name in ("image", "supervoxels", "neurons", "vessels"):
        options = record.layers[name].options
        assert np.prod(options["grid_shape"]) == 216
        assert options["shape"] == [3538, 10048, 6793]


def test_beyond_the_cubes_is_certified_absent_and_nobody_is_asked(published, tmp_path):
    server, _, record = published
    server.log.clear()
    fetch_files(record, tmp_path, **WHOLE)
    every = {f"x{x}y{y}z{z}.hdf5" for z in range(2) for y in range(3) for x in range(2)}
    assert asked(server) == every
    image = opened(record, tmp_path)
    block = image.read(image.box)
    stored = np.zeros(l4dense.SHAPE, np.bool_)
    stored[:, :120, :80] = True
    np.testing.assert_array_equal(block.coverage.mask(), stored)
    np.testing.assert_array_equal(block.data, l4dense.layer_arrays()["image"])
    beyond = VoxelBox((0, 0, 81), (9, 9, 84))
    assert not image.read_voxels(beyond).coverage.mask().any()
    # A box that lies beyond the cubes needs no file at all.
    server.log.clear()
    assert fetch_files(record, tmp_path, box=image.grid.to_box(beyond), layers=["image"]) == ()
    assert asked(server) == set()


def test_a_cube_that_is_gone_from_the_server_is_a_named_failure(published, tmp_path):
    _, folder, record = published
    cube = folder / CUBES / "x1y1z0.hdf5"
    before = cube.read_bytes()
    cube.unlink()
    try:
        with pytest.raises(ReadFailedError, match=r"x1y1z0\.hdf5"):
            fetch_files(record, tmp_path, **WHOLE)
    finally:
        cube.write_bytes(before)
    image = opened(record, tmp_path)
    # What came before it is there; the cube is a failure and never zeros.
    np.testing.assert_array_equal(
        image.read_voxels(VoxelBox((0, 0, 0), (9, 9, 9))).data,
        l4dense.layer_arrays()["image"][:9, :9, :9],
    )
    with pytest.raises(ReadFailedError, match=r"x1y1z0\.hdf5.*is not downloaded") as caught:
        image.read_voxels(VoxelBox((0, 40, 40), (9, 49, 49)))
    assert caught.value.reason == "missing"
    with pytest.raises(ReadFailedError, match=r"is not downloaded"):
        image.read(image.box)
    # The next try fetches only what is missing.
    made = fetch_files(record, tmp_path, **WHOLE)
    assert image.read(image.box).coverage.mask()[:, :120, :80].all()
    fresh = {f.path.name for f in made if f.fresh}
    assert "x1y1z0.hdf5" in fresh
    assert "x0y0z0.hdf5" not in fresh


def test_a_cube_that_is_recorded_absent_is_neither_fetched_nor_a_failure(published, tmp_path):
    server, _, record = published
    layer = record.layers["image"]
    layer = msgspec.structs.replace(layer, options=layer.options | {"absent_cubes": [[0, 1, 1]]})
    record = msgspec.structs.replace(record, layers=record.layers | {"image": layer})
    server.log.clear()
    fetch_files(record, tmp_path, **WHOLE)
    assert "x1y1z0.hdf5" not in asked(server)
    image = opened(record, tmp_path)
    mask = image.read(image.box).coverage.mask()
    assert not mask[:40, 40:80, 40:80].any()
    assert mask[:, :40].sum() == 78 * 40 * 80


def test_a_cut_cube_is_damaged_and_one_of_another_shape_does_not_fit(published, tmp_path):
    _, folder, record = published
    cube = folder / CUBES / "x0y0z0.hdf5"
    before = cube.read_bytes()
    cube.write_bytes(before[: len(before) // 2])
    try:
        fetch_files(record, tmp_path, **WHOLE)
        with pytest.raises(ReadFailedError, match=r"x0y0z0\.hdf5"):
            opened(record, tmp_path).read_voxels(VoxelBox((0, 0, 0), (4, 4, 4)))
    finally:
        cube.write_bytes(before)
    layer = record.layers["image"]
    layer = msgspec.structs.replace(layer, options=layer.options | {"cube_shape": [40, 40, 20]})
    other = msgspec.structs.replace(record, layers=record.layers | {"image": layer})
    with pytest.raises(SchemaError, match="does not fit its grid of cubes"):
        opened(other, tmp_path).read_voxels(VoxelBox((0, 50, 0), (4, 54, 4)))
