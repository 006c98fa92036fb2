"""Contacts agree with a slow reference and with connected-components-3d."""

from __future__ import annotations

import cc3d
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from segmend.core.errors import BadInputError, GridMismatchError
from segmend.core.grid import VoxelGrid
from segmend.segments.boxes import segment_boxes
from segmend.segments.contacts import find_contacts

IDS = (0, 1, 2, 2**53 + 1, 2**53 + 2, 2**64 - 1)  # the two in the middle are one float64
volumes = hnp.arrays(
    np.uint64,
    hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=5),
    elements=st.sampled_from(IDS),
)


def grid_of(labels, voxel_size=(40, 4, 8), offset=(100, 200, 300)) -> VoxelGrid:
    return VoxelGrid(voxel_size, offset, labels.shape)


def reference(labels, grid) -> dict[tuple[int, int], np.ndarray]:
    """Pair -> centres (nm) of its faces, in scan order, one voxel at a time."""
    faces: dict[tuple[int, int], list] = {}
    for at in np.ndindex(labels.shape):
        for axis in range(3):
            beside = tuple(v + (k == axis) for k, v in enumerate(at))
            if beside[axis] == labels.shape[axis]:
                continue
            a, b = sorted((int(labels[at]), int(labels[beside])))
            if a != b and a != 0:
                corner = np.array(at) + 0.5
                corner[axis] += 0.5
                centre = corner * grid.voxel_size + grid.offset
                faces.setdefault((a, b), []).append(centre)
    return {pair: np.array(points) for pair, points in faces.items()}


@given(volumes)
@settings(max_examples=150, deadline=None)
def test_pairs_faces_and_points_equal_the_slow_reference(labels):
    grid = grid_of(labels)
    contacts, expected = find_contacts(labels, grid), reference(labels, grid)
    assert [(c.a, c.b) for c in contacts] == sorted(expected)
    for contact in contacts:
        points = expected[contact.a, contact.b]
        assert contact.faces == len(points)
        distance = np.linalg.norm(points - points.mean(0), axis=1)
        chosen = np.linalg.norm(points - contact.point_nm, axis=1)
        assert chosen.min() < 1e-9, "the point must be the centre of a face of the pair"
        assert distance[chosen.argmin()] <= distance.min() + 1e-9


@given(volumes)
@settings(max_examples=100, deadline=None)
def test_face_counts_equal_connected_components_3d(labels):
    _, dense = np.unique(np.append(0, labels), return_inverse=True)
    dense = dense[1:].reshape(labels.shape).astype(np.uint32)
    peer = cc3d.contacts(dense, connectivity=6, surface_area=True, anisotropy=(1, 1, 1))
    table = np.unique(np.append(np.uint64(0), labels))
    peer_faces = {
        tuple(sorted(int(table[i]) for i in pair)): round(n)
        for pair, n in peer.items()
        if 0 not in pair
    }
    ours = {(c.a, c.b): c.faces for c in find_contacts(labels, grid_of(labels))}
    assert ours == peer_faces


@given(volumes)
@settings(max_examples=50, deadline=None)
def test_lookups_by_segment_and_by_pair_find_every_contact_from_both_sides(labels):
    contacts = find_contacts(labels, grid_of(labels))
    for contact in contacts:
        assert contacts.pair(contact.a, contact.b) == contact
        assert contacts.pair(contact.b, contact.a) == contact
        assert contact.other(contact.a) == contact.b
    for segment in IDS:
        mine = [c for c in contacts if segment in (c.a, c.b)]
        assert list(contacts.of(segment)) == sorted(mine, key=lambda c: c.other(segment))
    assert contacts.pair(2, 3) is None
    assert contacts.of(3) == ()


def test_point_lies_on_a_curved_contact_not_at_its_empty_centre():
    labels = np.full((1, 21, 21), 1, np.uint64)
    y, x = np.indices((21, 21)) - 10
    labels[0, np.hypot(y, x) < 6] = 2
    (contact,) = find_contacts(labels, VoxelGrid((10, 10, 10), (0, 0, 0), labels.shape))
    # The mean of the faces is the middle of the disc, 55 to 65 nm from the contact.
    assert 50 < np.hypot(contact.point_nm[1] - 105, contact.point_nm[2] - 105) < 65


def test_nearest_is_measured_in_nm_not_in_voxels():
    labels = np.zeros((9, 1, 9), np.uint64)
    labels[4, 0, 4], labels[4, 0, 5] = 1, 2  # near in voxels from the mean along z
    labels[8, 0, 0], labels[8, 0, 1] = 1, 2
    labels[8, 0, 7], labels[8, 0, 8] = 1, 2
    # Mean: z 20/3 + .5, x 13/3 + 2/3. With long z voxels the faces at z 8 are nearer.
    (thin,) = find_contacts(labels, VoxelGrid((1, 10, 10), (0, 0, 0), labels.shape))
    (thick,) = find_contacts(labels, VoxelGrid((100, 10, 10), (0, 0, 0), labels.shape))
    assert thin.point_nm[0] == 4.5
    assert thick.point_nm[0] == 850


def test_labels_that_are_not_uint64_or_off_the_grid_are_refused():
    labels = np.zeros((2, 2, 2), np.uint64)
    with pytest.raises(BadInputError, match="uint64"):
        find_contacts(labels.astype(np.int64), grid_of(labels))
    with pytest.raises(BadInputError, match="uint64"):
        find_contacts(labels[0], grid_of(labels))
    with pytest.raises(GridMismatchError, match="does not fit"):
        find_contacts(labels, VoxelGrid((1, 1, 1), (0, 0, 0), (2, 2, 3)))


@given(volumes)
@settings(max_examples=50, deadline=None)
def test_boxes_hold_each_segment_tightly(labels):
    boxes = segment_boxes(labels)
    assert list(boxes) == [int(i) for i in np.unique(labels) if i]
    for segment, box in boxes.items():
        where = np.argwhere(labels == np.uint64(segment))
        assert box.start == tuple(where.min(0))
        assert box.stop == tuple(where.max(0) + 1)
