"""The contract every volume driver keeps."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from segmend.core.box import Box, VoxelBox
from segmend.core.errors import (
    AbsentVoxelsError,
    BadInputError,
    OutOfBoundsError,
    ReadFailedError,
)
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

    def test_threads_may_read_at_once(self, volume: Volume, expected: NDArray[Any]) -> None:
        """Readers of overlapping boxes do not disturb one another."""
        boxes = [volume.grid.voxels.clip(i % 3, i % 4, 10**9) for i in range(12)]
        with ThreadPoolExecutor(4) as threads:
            for box, block in zip(boxes, threads.map(volume.read_voxels, boxes), strict=True):
                np.testing.assert_array_equal(block.data, expected[box.slices])

    def test_scales_are_chosen_by_voxel_size(self, volume: Volume) -> None:
        """Every scale is there under its own voxel size, and nothing between them."""
        before = volume.grid
        for voxel_size in volume.voxel_sizes:
            assert volume.at(voxel_size).grid.voxel_size == voxel_size
        assert volume.at(volume.voxel_sizes[0]).voxel_sizes == volume.voxel_sizes
        with pytest.raises(BadInputError, match="has no scale"):
            volume.at([size * 1.5 for size in max(volume.voxel_sizes)])
        assert volume.grid == before


class ThreeStatesContract:
    """For formats that may leave voxels out: data, certified absent and failed never mix.

    Subclass it, write the two fixtures, inherit the tests.
    """

    @pytest.fixture
    def sparse(self) -> tuple[Volume, NDArray[Any], VoxelBox]:
        """A volume, its voxels, and the box of them, not the whole, that is not stored."""
        raise NotImplementedError

    @pytest.fixture
    def broken(self) -> tuple[Volume, VoxelBox]:
        """A volume, and a box in it whose stored bytes are damaged or refused."""
        raise NotImplementedError

    def test_what_is_not_stored_is_reported_absent(
        self, sparse: tuple[Volume, NDArray[Any], VoxelBox]
    ) -> None:
        """Coverage tells absent voxels from data, and a bare array is refused."""
        volume, expected, absent = sparse
        stored = np.ones(expected.shape, np.bool_)
        stored[absent.slices] = False
        block = volume.read(volume.box)
        np.testing.assert_array_equal(block.coverage.mask(), stored)
        np.testing.assert_array_equal(block.data[stored], expected[stored])
        with pytest.raises(AbsentVoxelsError, match="certified absent"):
            volume[volume.box]

    def test_absent_voxels_count_as_what_the_caller_said(
        self, sparse: tuple[Volume, NDArray[Any], VoxelBox]
    ) -> None:
        """The value fills them, and they stay reported."""
        volume, expected, absent = sparse
        told = volume.with_absent(3)
        data = told[told.box]
        assert (data[absent.slices] == 3).all()
        stored = told.read(told.box).coverage.mask()
        np.testing.assert_array_equal(data[stored], expected[stored])
        assert not stored.all()

    def test_a_failure_is_raised_never_filled(self, broken: tuple[Volume, VoxelBox]) -> None:
        """The error says what was read, why it failed and how often it was tried."""
        volume, damaged = broken
        for told in (volume, volume.with_absent(0)):
            with pytest.raises(ReadFailedError) as failed:
                told.read_voxels(damaged)
            assert failed.value.reason
            assert failed.value.url
            assert failed.value.attempts >= 1
            with pytest.raises(ReadFailedError):
                told.read(told.box)
