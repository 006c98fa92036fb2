"""EM slices through a site: three cardinal planes and the best oblique one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segmend.core.box import Box, Point, Triple, VoxelBox
from segmend.core.errors import BadInputError, RenderError
from segmend.core.grid import VoxelGrid
from segmend.core.sample import EM_CHANNELS, IMAGE_SIZE, em_channel
from segmend.render.contrast import stretch_limits, write_image
from segmend.render.labels import SideBlock
from segmend.render.planes import CARDINAL, PlaneAxes, best_plane, voxel_steps
from segmend.render.sampling import sample_em, sample_sides
from segmend.volumes.volume import Block, Volume


@dataclass(frozen=True, slots=True)
class EmSite:
    """Where slices are made.

    Attributes:
        image: The EM volume.
        sides: Which voxels are A and B, on the image's grid; must hold `window_voxels`. Its codes
            are copied if they are not C-contiguous.
        center_nm: Where all four planes pass, ``(z, y, x)`` nm.
        pixel_size_nm: nm per pixel.
    """

    image: Volume
    sides: SideBlock
    center_nm: Point
    pixel_size_nm: float

    def __post_init__(self) -> None:
        if not self.sides.codes.flags.c_contiguous:
            codes = np.ascontiguousarray(self.sides.codes)
            sides = SideBlock(codes, self.sides.voxels, self.sides.grid)
            object.__setattr__(self, "sides", sides)


@dataclass(frozen=True, slots=True)
class EmViews:
    """Four slices.

    Attributes:
        images: uint8 ``(224, 224, 3)`` by plane: EM, mask A, mask B; masks are 0 or 255.
        coverage: Share of the pixels of all slices that lie in stored image, 0 to 1.
        best: Axes of the plane ``best``.
        empty_masks: ``plane.mask`` for each mask without a pixel.
        flat: Planes whose EM has no contrast.
    """

    images: dict[str, NDArray[np.uint8]]
    coverage: float
    best: PlaneAxes
    empty_masks: tuple[str, ...]
    flat: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ImageBlock:
    """A part of the image in memory.

    Attributes:
        data: EM, C-contiguous ``(z, y, x)``.
        stored: bool mask of stored voxels; one voxel for a complete block, which needs none.
        start: Its first voxel in the image's grid, ``(z, y, x)``.
        complete: Whether every voxel is stored.
    """

    data: NDArray[np.uint8]
    stored: NDArray[np.bool_]
    start: Triple
    complete: bool

    @classmethod
    def of(cls, block: Block, start: Triple) -> ImageBlock:
        """Lay out a block once for all planes cut from it."""
        complete = block.coverage.complete
        stored = np.ones((1, 1, 1), np.bool_) if complete else block.coverage.mask()
        return cls(block.data, stored, start, complete)


@dataclass(frozen=True, slots=True)
class Cut:
    """One slice before it becomes an image.

    Attributes:
        em: float32 ``(224, 224)``: mean of the covered samples of the slab.
        covered: bool: where at least one of them is stored image.
        sides: uint8: bit 0 set where a sample lies in A, bit 1 where one lies in B.
    """

    em: NDArray[np.float32]
    covered: NDArray[np.bool_]
    sides: NDArray[np.uint8]


def window_width(grid: VoxelGrid, pixel_size_nm: float) -> float:
    """Width in nm of a cube that holds every plane through its centre, and its slab."""
    return IMAGE_SIZE * pixel_size_nm * 2**0.5 + 2 * min(grid.voxel_size)


def window_voxels(grid: VoxelGrid, center_nm: Point, pixel_size_nm: float) -> VoxelBox | None:
    """The voxels that any plane through a point can show, or None if none lies in the volume."""
    cube = Box.around(center_nm, window_width(grid, pixel_size_nm))
    return grid.to_voxels(cube).intersect(grid.voxels)


def em_slices(site: EmSite) -> EmViews:
    """Cut the four slices of a site.

    Each pixel is the mean of three samples one finest voxel apart along the normal: EM trilinear
    between voxel centres, masks nearest (any of the three). EM is stretched so that the 1st and
    99th percentile of the slice's covered pixels become 0 and 255. Outside the volume, and where
    the image is certified absent, EM is 0.

    Raises:
        BadInputError: if the pixel size is not positive, or ``sides`` does not hold the window.
        RenderError: ``em_not_in_volume`` if a slice has no covered pixel.
        ReadFailedError: if the image cannot be read.
    """
    _check(site)
    size = np.array(site.image.grid.voxel_size)
    center = site.image.grid.continuous(np.array(site.center_nm))
    local = center - np.array(site.sides.voxels.start)
    best = best_plane(site.sides.codes, local, size, site.pixel_size_nm)
    planes = {**CARDINAL, "best": best}
    block_voxels = _planes_voxels(site, center, list(planes.values()))
    block = ImageBlock.of(site.image.read_voxels(block_voxels), block_voxels.start)
    cuts = {name: cut_plane(site, axes, block) for name, axes in planes.items()}
    if not all(cut.covered.any() for cut in cuts.values()):
        raise RenderError(
            "em_not_in_volume",
            f"no image is stored around {site.center_nm} nm (z, y, x)",
            found=f"{site.image.source} covers {site.image.box}",
        )
    limits = {name: stretch_limits(cut.em, cut.covered) for name, cut in cuts.items()}
    images = {name: _image(cut, limits[name]) for name, cut in cuts.items()}
    return EmViews(
        images,
        float(np.mean([cut.covered.mean() for cut in cuts.values()])),
        best,
        tuple(f"{n}.{m}" for n, image in images.items() for m in _empty_masks(image)),
        tuple(n for n, (low, high) in limits.items() if low == high),
    )


def cut_plane(site: EmSite, axes: PlaneAxes, image: ImageBlock) -> Cut:
    """Sample one plane from a block that holds the neighbours of all its samples."""
    size = np.array(site.image.grid.voxel_size)
    steps = np.array([voxel_steps(d, size) for d in (axes.row, axes.column, axes.normal)])
    steps *= np.array([site.pixel_size_nm, site.pixel_size_nm, size.min()])[:, None]
    shape = (IMAGE_SIZE, IMAGE_SIZE)
    cut = Cut(np.empty(shape, np.float32), np.empty(shape, np.bool_), np.empty(shape, np.uint8))
    center = site.image.grid.continuous(np.array(site.center_nm))
    sample_em(
        (image.data, image.stored, image.complete),
        (image.start, site.image.grid.shape),
        (center, steps),
        (cut.em, cut.covered),
    )
    local = center - np.array(site.sides.voxels.start)
    sample_sides(site.sides.codes, (local, steps), cut.sides)
    return cut


def _check(site: EmSite) -> None:
    if not (np.isfinite(site.pixel_size_nm) and site.pixel_size_nm > 0):
        raise BadInputError(f"an EM pixel must be larger than 0 nm, got {site.pixel_size_nm}")
    window = window_voxels(site.image.grid, site.center_nm, site.pixel_size_nm)
    if window is not None and not site.sides.voxels.contains(window):
        raise BadInputError(
            f"masks were read for voxels {site.sides.voxels}",
            found=f"the slices need {window}",
            fix="Read window_voxels(...) of the EM centre",
        )


def _planes_voxels(site: EmSite, center: NDArray[np.float64], planes: list[PlaneAxes]) -> VoxelBox:
    """The smallest box of voxels that holds every sample of some planes and its neighbours."""
    grid = site.image.grid
    size = np.array(grid.voxel_size)
    half = IMAGE_SIZE / 2 * site.pixel_size_nm
    reach = np.zeros(3)
    for axes in planes:
        row, column, normal = (
            np.abs(voxel_steps(d, size)) for d in (axes.row, axes.column, axes.normal)
        )
        reach = np.maximum(reach, (row + column) * half + normal * size.min())
    # A sample's two neighbouring centres lie within one voxel of it.
    start = np.floor(center - reach).astype(int) - 1
    stop = np.ceil(center + reach).astype(int) + 1
    found = VoxelBox(tuple(start), tuple(stop)).intersect(grid.voxels)
    return found or VoxelBox((0, 0, 0), (0, 0, 0))


def _image(cut: Cut, limits: tuple[np.float32, np.float32]) -> NDArray[np.uint8]:
    image = np.empty((IMAGE_SIZE, IMAGE_SIZE, len(EM_CHANNELS)), np.uint8)
    write_image((cut.em, cut.covered, cut.sides), limits, image)
    return image


def _empty_masks(image: NDArray[np.uint8]) -> list[str]:
    return [m for m in ("mask_a", "mask_b") if not image[..., em_channel(m)].any()]
