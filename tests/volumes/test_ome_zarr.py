"""OME-Zarr images: scales, units, centres and corners, labels."""

import json

import numpy as np
import pytest
import zarr

from segmend.core.box import VoxelBox
from segmend.core.errors import BadInputError, SchemaError
from segmend.testing.drivers import DriverContract
from segmend.volumes.drivers.zarr import open_zarr

GREY = np.random.default_rng(5).integers(1, 256, (22, 30, 27), dtype=np.uint8)
NM = [{"name": name, "type": "space", "unit": "nanometer"} for name in "zyx"]


def means(array, factors):
    """A pyramid's next level: means of whole blocks, corner on corner."""
    z, y, x = (n // f * f for n, f in zip(array.shape, factors, strict=True))
    blocks = array[:z, :y, :x].reshape(z // factors[0], factors[0], y // factors[1], factors[1], -1)
    blocks = blocks.reshape(*blocks.shape[:4], x // factors[2], factors[2])
    return blocks.mean((1, 3, 5)).astype(array.dtype)


def level(path, scale, translation=None):
    steps = [{"type": "scale", "scale": list(scale)}]
    if translation is not None:
        steps.append({"type": "translation", "translation": list(translation)})
    return {"path": path, "coordinateTransformations": steps}


def write_image(folder, arrays, levels, *, axes=NM, version="0.5", **more):
    """An image group, attributes written by hand as the specification has them."""
    image = {"axes": axes, "datasets": levels, "name": "em", **more}
    v3 = version == "0.5"
    group = zarr.create_group(str(folder), zarr_format=3 if v3 else 2)
    if v3:
        group.attrs["ome"] = {"version": version, "multiscales": [image]}
    else:
        group.attrs["multiscales"] = [image | {"version": version}]
    names = [axis["name"] for axis in axes]
    for array, one in zip(arrays, levels, strict=True):
        stored = group.create_array(
            one["path"],
            shape=array.shape,
            chunks=(8,) * array.ndim,
            dtype=array.dtype,
            dimension_names=names if v3 else None,
        )
        stored[...] = array


def pyramid(folder, **how):
    """Two levels as the specification means them: translations name centres."""
    small = means(GREY, (1, 2, 2))
    levels = [level("0", (40, 7.481, 4)), level("1", (40, 14.962, 8), (0, 3.7405, 2))]
    write_image(folder, [GREY, small], levels, **how)
    return small


@pytest.fixture(params=["0.4", "0.5"])
def image(request, tmp_path):
    pyramid(tmp_path / "a.zarr", version=request.param)
    return tmp_path / "a.zarr"


class TestOmeZarr(DriverContract):
    @pytest.fixture
    def volume(self, image):
        return open_zarr(image)

    @pytest.fixture
    def expected(self):
        return GREY


def test_translations_name_centres_so_that_corners_of_a_pyramid_coincide_exactly(image):
    fine = open_zarr(image)
    coarse = fine.at((40, 14.962, 8))
    assert fine.grid.voxel_size == (40, 7.481, 4)
    # The centre of the first voxel is the origin of OME-Zarr.
    np.testing.assert_allclose(fine.grid.centers(np.zeros((1, 3), int)), 0, atol=1e-3)
    assert fine.grid.offset_pm == coarse.grid.offset_pm
    np.testing.assert_array_equal(coarse.read(coarse.box).data, means(GREY, (1, 2, 2)))
    # Two fine voxels fill one coarse one, also where they lie in space.
    box = coarse.grid.to_box(VoxelBox((3, 5, 6), (4, 6, 7)))
    assert fine.grid.to_voxels(box, "exact") == VoxelBox((3, 10, 12), (4, 12, 14))


def test_writers_that_mean_corners_are_believed_when_the_caller_says_so(tmp_path):
    levels = [level("0", (40, 8, 4), (400, 0, 8)), level("1", (40, 16, 8), (400, 0, 8))]
    write_image(tmp_path, [GREY, means(GREY, (1, 2, 2))], levels)
    corner = open_zarr(tmp_path, origin="corner")
    assert {scale.grid.offset for scale in corner.scales} == {(400, 0, 8)}
    center = open_zarr(tmp_path)
    assert [s.grid.offset for s in center.scales] == [(380, -4, 6), (380, -8, 4)]


def test_an_offset_of_the_callers_moves_all_scales(image):
    volume = open_zarr(image, offset=(0, 0, 0))
    assert {scale.grid.offset for scale in volume.scales} == {(0, 0, 0)}


def test_an_offset_that_contradicts_a_translation_is_refused(tmp_path):
    write_image(tmp_path, [GREY], [level("0", (40, 8, 4), (20, 4, 2))])
    assert open_zarr(tmp_path).grid.offset == (0, 0, 0)
    with pytest.raises(BadInputError, match="disagree about the offset"):
        open_zarr(tmp_path, offset=(1, 0, 0))


def test_units_are_converted_axis_by_axis(tmp_path):
    units = ["micrometer", "angstrom", "nanometer"]
    axes = [{"name": n, "type": "space", "unit": u} for n, u in zip("zyx", units, strict=True)]
    write_image(tmp_path, [GREY], [level("0", (0.04, 80, 4), (0.02, 40, 2))], axes=axes)
    grid = open_zarr(tmp_path).grid
    assert grid.voxel_size == (40, 8, 4)
    assert grid.offset == (0, 0, 0)


def test_the_transformation_of_the_image_comes_after_that_of_the_scale(tmp_path):
    after = [
        {"type": "scale", "scale": [10, 2, 2]},
        {"type": "translation", "translation": [20, 4, 102]},
    ]
    levels = [level("0", (4, 4, 2)), level("1", (4, 8, 4), (0, 2, 1))]
    write_image(tmp_path, [GREY, means(GREY, (1, 2, 2))], levels, coordinateTransformations=after)
    volume = open_zarr(tmp_path)
    assert volume.voxel_sizes == ((40, 8, 4), (40, 16, 8))
    assert {scale.grid.offset for scale in volume.scales} == {(0, 0, 100)}


def test_scales_without_units_need_a_voxel_size_of_the_callers(tmp_path):
    axes = [{"name": name, "type": "space"} for name in "zyx"]
    levels = [level("0", (1, 1, 1)), level("1", (1, 2, 2), (0, 0.5, 0.5))]
    write_image(tmp_path, [GREY, means(GREY, (1, 2, 2))], levels, axes=axes)
    with pytest.raises(SchemaError, match="in which unit"):
        open_zarr(tmp_path)
    volume = open_zarr(tmp_path, voxel_size=(40, 8, 4))
    assert volume.voxel_sizes == ((40, 8, 4), (40, 16, 8))
    assert {scale.grid.offset for scale in volume.scales} == {(-20, -4, -2)}
    # Of one of its scales opened by name, the caller gives that one's.
    assert open_zarr(tmp_path, "1", voxel_size=(40, 16, 8)).voxel_sizes == volume.voxel_sizes


def test_a_voxel_size_that_contradicts_the_file_is_refused(image):
    with pytest.raises(BadInputError, match="disagree about the voxel size"):
        open_zarr(image, voxel_size=(4, 8, 40))


def test_one_scale_opened_by_its_path_knows_its_image(image):
    volume = open_zarr(image, "1")
    assert volume.grid == open_zarr(image).at((40, 14.962, 8)).grid
    assert len(volume.voxel_sizes) == 2


def test_channels_and_axis_order_come_from_the_file(tmp_path):
    stack = np.stack([GREY, 255 - GREY]).transpose(0, 3, 2, 1)
    axes = [{"name": "c", "type": "channel"}, *NM[::-1]]
    write_image(tmp_path, [stack], [level("0", (1, 4, 8, 40))], axes=axes, version="0.4")
    volume = open_zarr(tmp_path, take={"c": 1})
    assert volume.grid.voxel_size == (40, 8, 4)
    np.testing.assert_array_equal(volume.read(volume.box).data, 255 - GREY)
    with pytest.raises(SchemaError, match="does not agree"):
        open_zarr(tmp_path, take={"c": 1}, axes="czyx")


def test_labels_are_images_of_their_own(image):
    version = "0.5" if (image / "zarr.json").exists() else "0.4"
    ids = GREY.astype(np.uint64) << np.uint64(55)
    write_image(image / "labels" / "cells", [ids], [level("0", (40, 8, 4))], version=version)
    volume = open_zarr(image, "labels/cells")
    assert volume.dtype == np.uint64
    block = volume.read(volume.box)
    np.testing.assert_array_equal(block.data, ids)


def test_a_group_of_labels_says_which_there_are(tmp_path):
    group = zarr.create_group(str(tmp_path), zarr_format=3)
    group.attrs["ome"] = {"version": "0.5", "labels": ["cells", "nuclei"]}
    with pytest.raises(SchemaError, match=r"labels \['cells', 'nuclei'\]"):
        open_zarr(tmp_path)


def test_one_of_several_images_is_chosen_by_name_or_number(tmp_path):
    small = pyramid(tmp_path)
    file = tmp_path / "zarr.json"
    document = json.loads(file.read_text())
    images = document["attributes"]["ome"]["multiscales"]
    images.append(images[0] | {"name": "small", "datasets": [level("1", (40, 16, 8))]})
    file.write_text(json.dumps(document))
    for chosen in ("small", 1):
        volume = open_zarr(tmp_path, multiscale=chosen)
        np.testing.assert_array_equal(volume.read(volume.box).data, small)
    for chosen in (None, "large", 2):
        with pytest.raises(BadInputError, match="2 multiscale images"):
            open_zarr(tmp_path, multiscale=chosen)


def _image(**changes):
    good = {"axes": NM, "datasets": [level("0", (40, 8, 4))]}
    return {"multiscales": [good | changes]}


def _steps(*steps):
    return _image(datasets=[{"path": "0", "coordinateTransformations": list(steps)}])


BAD = {
    "path that leaves": _image(datasets=[level("../../etc", (1, 1, 1))]),
    "absolute path": _image(datasets=[level("/etc/passwd", (1, 1, 1))]),
    "missing scale": _image(datasets=[level("7", (1, 1, 1))]),
    "no scale": _image(datasets=[]),
    "no transformation": _steps(),
    "scale by file": _steps({"type": "scale", "path": "scale.bin"}),
    "scale of two numbers": _steps({"type": "scale", "scale": [1, 1]}),
    "scale of text": _steps({"type": "scale", "scale": ["1", 1, 1]}),
    "zero": _steps({"type": "scale", "scale": [0, 8, 4]}),
    "negative": _steps({"type": "scale", "scale": [-40, 8, 4]}),
    "infinite": _steps({"type": "scale", "scale": [1e999, 8, 4]}),
    "not a number": _steps({"type": "scale", "scale": [float("nan"), 8, 4]}),
    "huge translation": _steps(
        {"type": "scale", "scale": [4, 4, 4]}, {"type": "translation", "translation": [1e300, 0, 0]}
    ),
    "rotation": _steps({"type": "rotation", "rotation": [1, 0, 0, 1]}),
    "unknown unit": _image(axes=[axis | {"unit": "furlong"} for axis in NM]),
    "two axes": _image(axes=NM[:2]),
    "axis twice": _image(axes=[NM[0], NM[0], NM[2]]),
    "axes of version 0.3": _image(axes=["z", "y", "x"]),
    "no axes": {"multiscales": [{"datasets": [{"path": "0"}]}]},
    "not a list": {"multiscales": {"0": 1}},
    "not images": {"multiscales": ["em"]},
}


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("attributes", BAD.values(), ids=BAD)
def test_metadata_that_lie_are_named(tmp_path, version, attributes):
    write_image(tmp_path, [GREY], [level("0", (40, 8, 4))], version=version)
    if version == "0.4":
        (tmp_path / ".zattrs").write_text(json.dumps(attributes))
    else:
        document = json.loads((tmp_path / "zarr.json").read_text())
        document["attributes"] = {"ome": attributes}
        (tmp_path / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(SchemaError):
        open_zarr(tmp_path)
