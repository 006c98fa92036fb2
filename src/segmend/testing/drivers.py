"""The contract every volume driver keeps."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from segmend.core.box import Box, VoxelBox
from segmend.core.errors import OutOfBoundsError
from segmend.volumes.volume import Volume


class DriverContract:
    """Subclass it, write the two fixtures, inherit the tests.

    The fixture ``volume`` opens at least 4 voxels on each axis, every one of them stored; the
    fixture ``expected`` is the whole array, obtained without the driver.
    """

    @pytest.fixture
    def volume(self) -> Volume:
        """The volume under test."""
        raise NotImplementedError

    @pytest.fixture
    def expected(self) -> NDArray[Any]:
        """All its voxels, ``(z, y, x)``."""
        raise NotImplementedError

    def test_whole_volume_equals_what_was_stored(
        self, volume: Volume, expected: NDArray[Any]
    ) -> None:
        """Every voxel, in the stored dtype."""
        block = volume.read(volume.box)
        np.testing.assert_array_equal(block.data, expected)
        assert block.data.dtype == expected.dtype == volume.dtype
        assert block.coverage.complete
        assert block.grid == volume.grid

    def test_any_box_equals_the_same_slice(self, volume: Volume, expected: NDArray[Any]) -> None:
        """Boxes of many shapes and places."""
        rng = np.random.default_rng(0)
        for _ in range(50):
            a, b = np.sort(rng.integers(0, np.array(expected.shape) + 1, (2, 3)), axis=0)
            voxels = VoxelBox(tuple(a), tuple(b))
            np.testing.assert_array_equal(volume.read_voxels(voxels).data, expected[voxels.slices])

    def test_box_in_nm_reads_the_voxels_it_touches(
        self, volume: Volume, expected: NDArray[Any]
    ) -> None:
        """A box within one voxel reads that voxel."""
        corner = volume.grid.to_box(VoxelBox((1, 2, 3), (2, 3, 4)))
        inner = Box.around(corner.center, [s / 2 for s in corner.size])
        np.testing.assert_array_equal(volume[inner], expected[1:2, 2:3, 3:4])

    def test_outside_is_an_error_unless_padding_was_asked_for(
        self, volume: Volume, expected: NDArray[Any]
    ) -> None:
        """Padding is reported absent, not data."""
        voxels = volume.grid.voxels.grow(2)
        with pytest.raises(OutOfBoundsError, match="reach outside"):
            volume.read_voxels(voxels)
        block = volume.read_voxels(voxels, pad=7)
        inner = (slice(2, -2),) * 3
        np.testing.assert_array_equal(block.data[inner], expected)
        stored = block.coverage.mask()
        assert stored[inner].all()
        assert stored.sum() == expected.size == stored.size - block.coverage.n_absent
        assert (block.data[~stored] == 7).all()

    def test_reads_do_not_share_memory(self, volume: Volume, expected: NDArray[Any]) -> None:
        """Changing what was read changes nothing else."""
        first = volume.read(volume.box).data
        first[...] = 0
        np.testing.assert_array_equal(volume.read(volume.box).data, expected)

    def test_volume_survives_pickling(self, volume: Volume, expected: NDArray[Any]) -> None:
        """Worker processes open it again."""
        again = pickle.loads(pickle.dumps(volume))  # noqa: S301  our own bytes
        np.testing.assert_array_equal(again.read(again.box).data, expected)
        assert again.grid == volume.grid
