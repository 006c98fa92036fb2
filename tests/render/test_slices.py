"""EM slices, against scipy's interpolation and gradients whose direction is known."""

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from segmend.core.box import VoxelBox
from segmend.core.errors import BadInputError, RenderError
from segmend.core.grid import VoxelGrid
from segmend.core.sample import PLANES
from segmend.render.labels import SideBlock
from segmend.render.planes import CARDINAL, plane_axes, search_normals
from segmend.render.slices import EmSite, ImageBlock, cut_plane, em_slices
from segmend.volumes.drivers.memory import from_array
from segmend.volumes.volume import Block, Coverage, Volume

PIXEL = 2.0
"""nm: an image shows 448 nm."""


def site_of(image, size, codes=None, center=None, offset=(0.0, 0.0, 0.0)):
    volume = from_array(image, size, offset=offset)
    codes = np.zeros(image.shape, np.uint8) if codes is None else codes
    sides = SideBlock(codes, volume.grid.voxels, volume.grid)
    return EmSite(volume, sides, center or volume.box.center, PIXEL)


def plane_points(site, axes):
    """Sample positions in nm: slab, row, column, (z, y, x)."""
    at = (np.arange(224) - 111.5) * site.pixel_size_nm
    row, column, normal = (np.array(d[::-1]) for d in (axes.row, axes.column, axes.normal))
    slab = np.array([-1, 0, 1]) * min(site.image.grid.voxel_size)
    return (
        np.array(site.center_nm)
        + slab[:, None, None, None] * normal
        + at[:, None, None] * row
        + at[:, None] * column
    )


def all_axes():
    oblique = [plane_axes(search_normals()[i]) for i in (1, 5, 20, 33, 47)]
    return [*CARDINAL.values(), *oblique]


@pytest.mark.parametrize("size", [(10.0, 10.0, 10.0), (40.0, 8.0, 9.0)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_slices_equal_scipys_interpolation_and_the_voxels_that_hold_the_samples(size, dtype):
    rng = np.random.default_rng(1)
    shape = tuple(int(520 / s) for s in size)
    image = rng.integers(0, 255, shape).astype(dtype)
    codes = rng.integers(0, 4, shape).astype(np.uint8)
    site = site_of(image, size, codes, offset=(100.0, -30.0, 7.0), center=(370.0, 215.0, 260.0))
    block = Block(image, Coverage(shape), site.image.grid)
    for axes in all_axes():
        cut = cut_plane(site, axes, ImageBlock.of(block, (0, 0, 0)))
        voxel = site.image.grid.continuous(plane_points(site, axes))
        inside = ((voxel >= 0) & (voxel < shape)).all(-1)
        at = np.moveaxis(voxel, -1, 0) - 0.5
        em = map_coordinates(image.astype(np.float64), at, order=1, mode="nearest")
        count = inside.sum(0)
        expected = np.where(inside, em, 0).sum(0) / np.maximum(count, 1)
        assert np.array_equal(cut.covered, count > 0)
        assert cut.em == pytest.approx(expected, abs=1e-3)
        held = codes[tuple(np.moveaxis(np.where(inside[..., None], voxel, 0).astype(int), -1, 0))]
        for bit, side in enumerate((1, 2)):
            assert np.array_equal(cut.sides >> bit & 1, ((held == side) & inside).any(0))


def test_rows_and_columns_are_the_published_axes():
    """EM that grows along one axis grows along rows or columns of the planes that hold it."""
    directions = {"xy": ("x", "y"), "xz": ("x", "z"), "yz": ("y", "z")}
    for axis, name in enumerate("zyx"):
        ramp = np.indices((60, 60, 60))[axis].astype(np.uint8) * 4
        images = em_slices(site_of(ramp, (10.0, 10.0, 10.0))).images
        for plane, (row, column) in directions.items():
            em = images[plane][..., 0].astype(int)
            along_rows, along_columns = (
                em[-1].mean() - em[0].mean(),
                em[:, -1].mean() - em[:, 0].mean(),
            )
            assert (along_rows > 100) == (name == row)
            assert (along_columns > 100) == (name == column)
            assert min(along_rows, along_columns) > -1


def test_contrast_is_stretched_between_the_percentiles_of_the_slice():
    rng = np.random.default_rng(2)
    image = np.repeat(rng.integers(90, 140, (1, 60, 60)), 60, 0).astype(np.uint8)
    em = em_slices(site_of(image, (10.0, 10.0, 10.0))).images["xy"][..., 0]
    assert (em.min(), em.max()) == (0, 255)
    assert 0.005 < (em == 0).mean() < 0.02
    assert 0.005 < (em == 255).mean() < 0.02


def test_masks_are_binary_and_lie_where_the_segments_lie():
    codes = np.zeros((60, 60, 60), np.uint8)
    codes[:, :30, :30], codes[:, 30:, 30:] = 1, 2
    views = em_slices(site_of(codes * 50, (10.0, 10.0, 10.0), codes))
    xy = views.images["xy"]
    assert set(np.unique(xy[..., 1:]).tolist()) == {0, 255}
    # Rows are x, columns y; the slab is parallel to both borders.
    assert (xy[:112, :112, 1] == 255).all()
    assert not xy[112:, :, 1].any()
    assert (xy[112:, 112:, 2] == 255).all()
    assert views.empty_masks == ()


def test_a_mask_that_misses_a_plane_is_flagged():
    codes = np.zeros((60, 60, 60), np.uint8)
    codes[:, :, :10], codes[28:32, 28:32, 28:32] = 1, 2
    views = em_slices(site_of(codes * 50, (10.0, 10.0, 10.0), codes))
    assert "yz.mask_a" in views.empty_masks
    assert "xy.mask_a" not in views.empty_masks
    assert not any(m.endswith("mask_b") for m in views.empty_masks)


def test_outside_the_volume_is_black_and_counted():
    image = np.full((60, 60, 60), 100, np.uint8)
    image[::2] = 150
    site = site_of(image, (10.0, 10.0, 10.0), center=(300.0, 300.0, 0.0))
    views = em_slices(site)
    xy = views.images["xy"][..., 0]
    assert not xy[:111].any()
    assert xy[113:].all()
    assert views.images["yz"][..., 0].any()
    assert views.coverage == pytest.approx((0.5 + 0.5 + 1 + views_share(site, views)) / 4, abs=0.02)


def views_share(site, views):
    voxel = site.image.grid.continuous(plane_points(site, views.best))
    return ((voxel >= 0) & (voxel < site.image.grid.shape)).all(-1).any(0).mean()


class Holed:
    """A driver with a cube of certified absent voxels."""

    def __init__(self, array, grid):
        self.array, self.grid, self.dtype, self.source = array, grid, array.dtype, "holed"

    def read(self, voxels, out):
        out[...] = self.array[voxels.slices]
        hole = VoxelBox((20, 20, 20), (40, 40, 30)).intersect(voxels)
        return () if hole is None else (hole,)


def test_absent_voxels_are_black_and_do_not_darken_their_neighbours():
    grid = VoxelGrid((10, 10, 10), (0, 0, 0), (60, 60, 60))
    ramp = np.repeat(np.arange(60, dtype=np.uint8)[None, :, None] + 100, 60, 0).repeat(60, 2)
    volume = Volume(Holed(ramp, grid))
    codes = np.zeros(grid.shape, np.uint8)
    site = EmSite(volume, SideBlock(codes, grid.voxels, grid), grid.box.center, PIXEL)
    block = ImageBlock.of(volume.read_voxels(grid.voxels), (0, 0, 0))
    cut = cut_plane(site, CARDINAL["xy"], block)
    x, y = (plane_points(site, CARDINAL["xy"])[1][..., i] for i in (2, 1))
    hole = (x >= 200) & (x < 300) & (y >= 200) & (y < 400)
    assert np.array_equal(~cut.covered, hole)
    inner = ~hole & (y > 10) & (y < 590)
    assert np.abs(cut.em - (y / 10 - 0.5 + 100))[inner].max() < 0.51
    assert em_slices(site).coverage < 1


def test_an_image_without_contrast_is_grey_and_flagged():
    views = em_slices(site_of(np.full((60, 60, 60), 7, np.uint8), (10.0, 10.0, 10.0)))
    assert views.flat == PLANES
    assert (views.images["xy"][..., 0] == 128).all()


def test_impossible_sites_are_refused():
    image = np.zeros((60, 60, 60), np.uint8)
    with pytest.raises(RenderError) as caught:
        em_slices(site_of(image, (10.0, 10.0, 10.0), center=(5000.0, 5000.0, 5000.0)))
    assert caught.value.reason == "em_not_in_volume"
    site = site_of(image, (10.0, 10.0, 10.0))
    with pytest.raises(BadInputError, match="larger than 0"):
        em_slices(EmSite(site.image, site.sides, site.center_nm, 0.0))
    small = site.sides.crop(VoxelBox((20, 20, 20), (30, 30, 30)))
    with pytest.raises(BadInputError, match="slices need"):
        em_slices(EmSite(site.image, small, site.center_nm, PIXEL))


def test_sides_cut_from_a_larger_block_give_the_same_slices():
    rng = np.random.default_rng(2)
    image = rng.integers(0, 255, (60, 60, 60)).astype(np.uint8)
    codes = rng.integers(0, 3, image.shape).astype(np.uint8)
    site = site_of(image, (10.0, 10.0, 10.0), codes)
    padded = np.pad(codes, ((0, 0), (0, 0), (0, 5)))[:, :, :60]
    view = SideBlock(padded, site.sides.voxels, site.sides.grid)
    assert not padded.flags.c_contiguous
    whole = em_slices(site).images
    part = em_slices(EmSite(site.image, view, site.center_nm, PIXEL)).images
    assert all(np.array_equal(whole[plane], part[plane]) for plane in PLANES)


@pytest.mark.parametrize("offset", [-290.0, -200.0, 170.0, 290.0])
def test_slices_that_leave_the_volume_equal_scipys_interpolation(offset):
    """Rows that begin or end outside, beside the outermost voxel centres, or miss the volume."""
    rng = np.random.default_rng(6)
    image = rng.integers(0, 255, (60, 60, 60)).astype(np.uint8)
    codes = rng.integers(0, 4, image.shape).astype(np.uint8)
    site = site_of(
        image, (10.0, 10.0, 10.0), codes, center=(300.0 + offset / 3, 300.0, 300 + offset)
    )
    block = ImageBlock.of(site.image.read_voxels(site.image.grid.voxels), (0, 0, 0))
    for axes in all_axes():
        cut = cut_plane(site, axes, block)
        voxel = site.image.grid.continuous(plane_points(site, axes))
        inside = ((voxel >= 0) & (voxel < 60)).all(-1)
        em = map_coordinates(
            image.astype(np.float64), np.moveaxis(voxel, -1, 0) - 0.5, order=1, mode="nearest"
        )
        count = inside.sum(0)
        expected = np.where(inside, em, 0).sum(0) / np.maximum(count, 1)
        assert np.array_equal(cut.covered, count > 0)
        assert cut.em == pytest.approx(expected, abs=1e-3)
        held = codes[tuple(np.moveaxis(np.where(inside[..., None], voxel, 0).astype(int), -1, 0))]
        for bit, side in enumerate((1, 2)):
            assert np.array_equal(cut.sides >> bit & 1, ((held == side) & inside).any(0))
