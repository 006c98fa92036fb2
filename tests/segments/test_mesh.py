"""The surface of a mask: closed or open where it should be, wound and shaded outwards."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from segmend.core.errors import BadInputError, GridMismatchError
from segmend.core.grid import VoxelGrid
from segmend.segments.mesh import Mesh, mesh_from_codes, mesh_from_mask


def grid_of(mask, size=(1, 1, 1), offset=(0, 0, 0)):
    return VoxelGrid(size, offset, mask.shape)


def ball(radius, center, shape, size=(1, 1, 1)):
    at = np.indices(shape).astype(float).transpose(1, 2, 3, 0) + 0.5
    return (((at * size - center) ** 2).sum(-1)) < radius**2


def directed_edges(faces):
    return np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).astype(np.int64)


def unpaired(faces):
    """Directed edges that occur more often than their opposites."""
    count = {}
    for a, b in directed_edges(faces).tolist():
        count[a, b] = count.get((a, b), 0) + 1
    return [edge for edge, n in count.items() if n > count.get(edge[::-1], 0)]


def signed_volume(mesh):
    """Volume by the divergence theorem in the right-handed frame (x, y, z)."""
    a, b, c = (mesh.positions()[:, ::-1][mesh.faces[:, i]] for i in range(3))
    return np.einsum("ij,ij->", a, np.cross(b, c)) / 6


@pytest.mark.parametrize("size", [(1, 1, 1), (3, 1, 1), (2.5, 1, 1.5)])
def test_a_ball_becomes_a_closed_surface_of_its_volume_and_radius(size):
    shape = tuple(int(40 / s) for s in size)
    center = (19.7, 20.2, 20.1)
    mask = ball(14, center, shape, size)
    mesh = mesh_from_mask(mask, grid_of(mask, size))
    radius = np.linalg.norm(mesh.positions() - center, axis=1)
    assert unpaired(mesh.faces) == []
    assert signed_volume(mesh) == pytest.approx(4 / 3 * np.pi * 14**3, rel=0.03)
    assert np.abs(radius - 14).max() < np.linalg.norm(size) / 2


@pytest.mark.parametrize(("radius", "mean_degrees"), [(5, 3.5), (15, 2.5)])
def test_normals_of_a_ball_point_along_its_radius(radius, mean_degrees):
    center = (20.3, 19.8, 20.1)
    mask = ball(radius, center, (40, 40, 40))
    mesh = mesh_from_mask(mask, grid_of(mask))
    outward = mesh.positions() - center
    outward /= np.linalg.norm(outward, axis=1)[:, None]
    angle = np.degrees(np.arccos(np.clip((outward * mesh.normals).sum(1), -1, 1)))
    assert angle.mean() < mean_degrees
    assert angle.max() < 12


def test_normals_of_a_tilted_plane_are_right_where_voxels_are_anisotropic():
    size = np.array([40.0, 10, 20])
    normal = np.array([0.6, 0.64, 0.48])
    at = (np.indices((20, 60, 40)).transpose(1, 2, 3, 0) + 0.5) * size
    mask = (at @ normal) < at.reshape(-1, 3).mean(0) @ normal
    mesh = mesh_from_mask(mask, grid_of(mask, size))
    inner = ((mesh.positions() > 5 * size) & (mesh.positions() < at.max() - 5 * size)).all(1)
    mean = mesh.normals[inner].mean(0)
    assert mean / np.linalg.norm(mean) == pytest.approx(normal, abs=0.03)


def test_a_tube_through_the_array_is_open_at_both_ends():
    mask = np.zeros((20, 20, 30), bool)
    mask[6:14, 6:14, :] = True
    mesh = mesh_from_mask(mask, grid_of(mask))
    rim = {int(v) for edge in unpaired(mesh.faces) for v in edge}
    ends = mesh.vertices[sorted(rim), 2]
    # The surface ends at the centres of the outermost voxels of cells: one voxel inside.
    assert set(np.round(ends, 3).tolist()) == {1.0, 29.0}
    assert np.abs(mesh.normals[:, 2]).max() < 1e-6


def test_a_segment_cut_on_every_side_has_no_false_cap():
    full = np.ones((6, 7, 8), bool)
    assert mesh_from_mask(full, grid_of(full)).empty


@pytest.mark.parametrize("shape", [(5, 5, 5), (1, 5, 5), (0, 5, 5)])
def test_an_empty_mask_has_an_empty_mesh(shape):
    mask = np.zeros(shape, bool)
    mesh = mesh_from_mask(mask, grid_of(mask))
    assert mesh.empty
    assert mesh.vertices.shape == (0, 3)


def test_positions_far_from_the_origin_are_as_exact_as_near_it():
    mask = ball(6, (10, 10, 10), (20, 20, 20))
    near = mesh_from_mask(mask, grid_of(mask, (4, 4, 4)))
    far = mesh_from_mask(mask, grid_of(mask, (4, 4, 4), (1e6, 2e6, 3e6)))
    moved = far.positions() - np.array([1e6, 2e6, 3e6])
    assert np.abs(moved - near.positions()).max() < 1e-6


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(*[st.integers(2, 11)] * 3).flatmap(lambda s: arrays(np.bool_, s)),
    st.sampled_from([(1.0, 1.0, 1.0), (40.0, 4.0, 4.0), (8.0, 30.0, 3.0)]),
)
def test_every_crossed_voxel_edge_inside_the_array_has_its_two_triangles(mask, size):
    mesh = mesh_from_mask(mask, grid_of(mask, size))
    inner = slice(1, -1)
    crossed = [
        (mask[inner, inner, 1:] != mask[inner, inner, :-1]).sum(),
        (mask[inner, 1:, inner] != mask[inner, :-1, inner]).sum(),
        (mask[1:, inner, inner] != mask[:-1, inner, inner]).sum(),
    ]
    assert len(mesh.faces) == 2 * sum(crossed)
    if len(mesh.vertices):
        assert np.linalg.norm(mesh.normals, axis=1) == pytest.approx(1, abs=1e-5)
        voxels = mesh.vertices / np.array(size)
        assert voxels.min() >= 0.5
        assert (voxels.max(0) <= np.array(mask.shape) - 0.5).all()


@settings(max_examples=40, deadline=None)
@given(arrays(np.bool_, (6, 7, 9)))
def test_a_mask_clear_of_the_border_has_a_closed_surface_wound_outwards(mask):
    padded = np.pad(mask, 2)
    mesh = mesh_from_mask(padded, grid_of(padded))
    assert unpaired(mesh.faces) == []
    if mask.any():
        assert signed_volume(mesh) > 0


def test_the_same_mask_in_another_memory_layout_gives_the_same_mesh():
    mask = ball(7, (10, 11, 12), (20, 22, 26))
    turned = np.asfortranarray(mask)
    a, b = mesh_from_mask(mask, grid_of(mask)), mesh_from_mask(turned, grid_of(mask))
    assert np.array_equal(a.faces, b.faces)
    assert np.array_equal(a.vertices, b.vertices)


def test_bad_masks_and_meshes_are_refused():
    mask = np.zeros((4, 4, 4), bool)
    with pytest.raises(BadInputError, match="bool array"):
        mesh_from_mask(mask.astype(np.uint8), grid_of(mask))
    with pytest.raises(GridMismatchError, match="one shape"):
        mesh_from_mask(mask, VoxelGrid((1, 1, 1), (0, 0, 0), (4, 4, 5)))
    points = np.zeros((3, 3), np.float32)
    with pytest.raises(BadInputError, match="names vertex 3"):
        Mesh(points, np.array([[0, 1, 3]], np.uint32), points)
    with pytest.raises(BadInputError, match="NaN"):
        Mesh(points * np.float32(np.nan), np.array([[0, 1, 2]], np.uint32), points)
    with pytest.raises(BadInputError, match="float32"):
        Mesh(points.astype(np.float64), np.array([[0, 1, 2]], np.uint32), points)
    for origin in ((0.0, float("nan"), 0.0), (0.0, 0.0)):
        with pytest.raises(BadInputError, match="three finite"):
            Mesh(points, np.array([[0, 1, 2]], np.uint32), points, origin)


@pytest.mark.parametrize(
    "size", [(0, 1, 1), (1, -1, 1), (1, 1, float("nan")), (1, 1, float("inf"))]
)
def test_a_mesh_needs_voxels_of_a_size(size):
    mask = np.ones((4, 4, 4), bool)
    with pytest.raises(BadInputError):
        mesh_from_mask(mask, grid_of(mask, size))


def test_normals_do_not_depend_on_where_the_segment_lies_in_its_array():
    """Windows of 6 voxels cross words of 32: every phase must give the same numbers."""
    mask = ball(9, (12, 12, 12), (24, 24, 24))
    expected = mesh_from_mask(mask, grid_of(mask))
    for shift in range(1, 34):
        moved = np.pad(mask, ((0, 0), (0, 0), (shift, 40 - shift)))
        mesh = mesh_from_mask(moved, grid_of(moved))
        assert np.array_equal(mesh.normals, expected.normals)
        assert np.array_equal(mesh.faces, expected.faces)
        assert np.array_equal(mesh.vertices - np.float32([0, 0, shift]), expected.vertices)


def test_normals_are_the_gradient_of_the_smoothed_mask():
    """Against a sum over the window of every vertex, with the published weights."""
    rng = np.random.default_rng(4)
    mask = rng.random((9, 10, 70)) < 0.4
    size = np.array([3.0, 1, 2])
    mesh = mesh_from_mask(mask, grid_of(mask, size))
    across = np.array([0.309, 0.773, 1, 1, 0.773, 0.309])
    along = np.array([-1, -0.562, -0.266, 0.266, 0.562, 1])
    padded = np.pad(mask, 2, mode="edge").astype(float)
    cells = np.floor(mesh.vertices / size - 0.5).astype(int)
    for cell, normal in zip(cells[::7], mesh.normals[::7], strict=True):
        window = padded[tuple(slice(c, c + 6) for c in cell)]
        weights = [(along, across, across), (across, along, across), (across, across, along)]
        gradient = np.array([np.einsum("ijk,i,j,k", window, *w) for w in weights])
        outward = -gradient / size
        if np.linalg.norm(outward) > 1e-3:
            assert normal == pytest.approx(outward / np.linalg.norm(outward), abs=1e-5)


def test_codes_that_were_cut_out_are_meshed_like_the_mask_of_those_asked_for():
    wide = np.random.default_rng(3).integers(0, 4, (12, 13, 40)).astype(np.uint8)
    codes = wide[2:9, 1:11, 3:38]
    for wanted in ((1,), (2,), (1, 2)):
        expected = mesh_from_mask(np.isin(codes, wanted), grid_of(codes))
        mesh = mesh_from_codes(codes, wanted, grid_of(codes))
        assert np.array_equal(mesh.vertices, expected.vertices)
        assert np.array_equal(mesh.faces, expected.faces)
        assert np.array_equal(mesh.normals, expected.normals)
    turned = np.asfortranarray(codes)
    assert np.array_equal(mesh_from_codes(turned, (1, 2), grid_of(codes)).faces, mesh.faces)
