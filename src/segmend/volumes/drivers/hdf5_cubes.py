"""A grid of HDF5 files, each one cube of the volume, as L4dense publishes it: ``x0y0z0.hdf5``."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.core.box import Triple, VoxelBox
from segmend.core.errors import BadInputError, ReadFailedError, SchemaError, require
from segmend.core.grid import VoxelGrid
from segmend.store.local_file import LocalFile, local_file
from segmend.volumes.drivers.hdf5 import open_hdf5
from segmend.volumes.stated import stored_dtype
from segmend.volumes.volume import Volume

CUBE_NAME = "x{x}y{y}z{z}.hdf5"
"""File name of a cube, as L4dense has it."""


@dataclass(frozen=True, slots=True)
class Hdf5CubesDriver:
    """Cubes, each opened on its first read.

    Attributes:
        folder: The folder that holds the files.
        key: The data set in each file.
        cube_shape: Voxels per cube, ``(z, y, x)``.
        grid_shape: Cubes that were published, ``(z, y, x)``.
        grid: Where the voxels lie.
        dtype: Dtype of every cube, in the machine's byte order.
        absent_cubes: Cubes within the grid that are recorded absent, ``(z, y, x)``.
        name: File name of a cube, with ``{x}``, ``{y}`` and ``{z}``.
        axes: Axes of every data set as HDF5 has them, slowest first.
    """

    folder: Path
    key: str
    cube_shape: Triple
    grid_shape: Triple
    grid: VoxelGrid
    dtype: np.dtype[Any]
    absent_cubes: frozenset[Triple]
    name: str
    axes: str

    @property
    def source(self) -> str:
        """Folder, name and key."""
        return f"{self.folder}/{self.name}:{self.key}"

    def read(self, voxels: VoxelBox, out: NDArray[Any]) -> Sequence[VoxelBox]:
        """Read a box cube by cube; absent cubes, and absent chunks within cubes, are returned."""
        absent: list[VoxelBox] = []
        if not voxels.size:
            return absent
        for index, cube, wanted in self._cubes(voxels):
            if index in self.absent_cubes or not self._recorded(index):
                absent.append(wanted)
                continue
            inside = wanted.shift([-s for s in cube.start])
            target = out[wanted.shift([-s for s in voxels.start]).slices]
            found = self._open(index, cube).driver.read(inside, target)
            absent += [box.shift(cube.start) for box in found]
        return absent

    def _cubes(self, voxels: VoxelBox) -> Iterator[tuple[Triple, VoxelBox, VoxelBox]]:
        """Index, extent and wanted part of each cube that a box touches."""
        ranges = (
            range(low // size, -(-high // size))
            for low, high, size in zip(voxels.start, voxels.stop, self.cube_shape, strict=True)
        )
        a, b, c = self.cube_shape
        for z, y, x in product(*ranges):
            cube = VoxelBox((z * a, y * b, x * c), (z * a + a, y * b + b, x * c + c))
            wanted = cube.intersect(voxels)
            assert wanted is not None
            yield (z, y, x), cube, wanted

    def _recorded(self, index: Triple) -> bool:
        return all(i < n for i, n in zip(index, self.grid_shape, strict=True))

    def _open(self, index: Triple, cube: VoxelBox) -> Volume:
        z, y, x = index
        path = self.folder / self.name.format(x=x, y=y, z=z)
        try:
            file = local_file(path)
        except ReadFailedError as error:
            if error.reason != "missing":
                raise
            raise ReadFailedError(
                f"the cube {path.name} (voxels {cube.start} to {cube.stop}) is not downloaded",
                found=f"there is no file {path}",
                fix=f"Fetch it with: segmend fetch URL/{path.name} --to {path}; or, if it was "
                f"never published, record it: absent_cubes=[({z}, {y}, {x})] (z, y, x)",
                reason="missing",
                url=str(path),
            ) from error
        return _open_cube(file, self)


@functools.lru_cache(maxsize=1024)
def _open_cube(file: LocalFile, cubes: Hdf5CubesDriver) -> Volume:
    """One cube, checked against what all cubes must be."""
    volume = open_hdf5(file.path, cubes.key, voxel_size=cubes.grid.voxel_size, axes=cubes.axes)
    if volume.grid.shape != cubes.cube_shape or volume.dtype != cubes.dtype:
        raise SchemaError(
            f"{volume.source} does not fit its grid of cubes",
            found=f"{volume.grid.shape} (z, y, x) of {volume.dtype}, not "
            f"{cubes.cube_shape} of {cubes.dtype}",
            fix="If its axes are reversed pass axes='xyz'; otherwise get the file again",
        )
    return volume


def open_hdf5_cubes(
    folder: str | Path,
    key: str,
    *,
    cube_shape: Triple,
    grid_shape: Triple,
    dtype: str | np.dtype[Any],
    voxel_size: Sequence[float],
    offset: Sequence[float] = (0, 0, 0),
    shape: Triple | None = None,
    absent_cubes: Collection[Triple] = (),
    name: str = CUBE_NAME,
    axes: str = "zyx",
    absent: int | None = None,
) -> Volume:
    """Open a grid of HDF5 cubes as one volume; files are looked at when they are read.

    Args:
        folder: The folder that holds them; not all need to be there.
        key: The data set in each file, for example ``data``.
        cube_shape: Voxels per cube, ``(z, y, x)``.
        grid_shape: Cubes that were published, ``(z, y, x)``; their indices start at 0.
        dtype: Dtype of the data sets.
        voxel_size: nm per voxel ``(z, y, x)``.
        offset: Corner of the first voxel of cube (0, 0, 0), nm ``(z, y, x)``. L4dense counts voxels
            from one: its voxel 1 is our voxel 0, so that its cubes start at 0 nm.
        shape: Voxels of the whole volume ``(z, y, x)``, where it is larger or smaller than the
            cubes together; what lies outside the published cubes is certified absent.
        absent_cubes: Cubes of the grid that were never published, ``(z, y, x)``: certified absent.
        name: File name of a cube, with ``{x}``, ``{y}`` and ``{z}``.
        axes: Axes of every data set as HDF5 has them, slowest first. MATLAB writes its
            ``(x, y, z)`` reversed, so that its files are ``"zyx"``.
        absent: What absent voxels count as in bare arrays.

    Raises:
        ReadFailedError: on reading a published cube that is not there, with reason ``missing``.
        SchemaError: on reading a cube of another shape or dtype.
        BadInputError: if the arguments contradict one another.
    """
    require("h5py", extra="build")
    place = Path(folder).absolute()
    if not place.is_dir():
        raise ReadFailedError(f"there is no folder {place}", reason="missing", url=str(place))
    _check_grid(cube_shape, grid_shape, absent_cubes, name)
    a, b, c = (size * count for size, count in zip(cube_shape, grid_shape, strict=True))
    grid = VoxelGrid(voxel_size, offset, shape or (a, b, c))
    driver = Hdf5CubesDriver(
        folder=place,
        key=key,
        cube_shape=cube_shape,
        grid_shape=grid_shape,
        grid=grid,
        dtype=stored_dtype(str(place), np.dtype(dtype)),
        absent_cubes=frozenset((int(z), int(y), int(x)) for z, y, x in absent_cubes),
        name=name,
        axes=axes,
    )
    return Volume(driver, absent=absent)


def _check_grid(
    cube_shape: Triple, grid_shape: Triple, absent_cubes: Collection[Triple], name: str
) -> None:
    if min(*cube_shape, *grid_shape) < 1 or any(f"{{{n}}}" not in name for n in "xyz"):
        raise BadInputError(
            f"cubes of {cube_shape}, {grid_shape} of them named '{name}', are not a grid",
            fix="Give positive shapes (z, y, x) and a name with {x}, {y} and {z}",
        )
    outside = [
        i for i in absent_cubes if not all(0 <= a < n for a, n in zip(i, grid_shape, strict=True))
    ]
    if outside:
        raise BadInputError(f"absent_cubes names {outside[0]}", found=f"the grid is {grid_shape}")
