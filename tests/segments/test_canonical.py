"""One form and one digest for a mesh, whatever order it comes in; smooth normals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmend.core.box import Box
from segmend.core.errors import BadInputError
from segmend.core.grid import VoxelGrid
from segmend.segments.canonical import (
    Triangles,
    assemble,
    canonical,
    crop,
    mesh_digest,
    sorted_order,
)
from segmend.segments.mesh import Mesh, mesh_from_mask
from segmend.segments.normals import smooth_normals


def shuffled(mesh, rng):
    """The same surface, its vertices and faces in another order and its triangles turned."""
    order = rng.permutation(len(mesh.vertices))
    place = np.argsort(order).astype(np.uint32)
    faces = place[mesh.faces][rng.permutation(len(mesh.faces))]
    turns = rng.integers(0, 3, len(faces))
    faces = np.take_along_axis(faces, (np.arange(3) + turns[:, None]) % 3, axis=1)
    return Mesh(mesh.vertices[order], faces, mesh.normals[order], mesh.origin_nm)


def exploded(mesh):
    """The same surface as STL would hold it: three vertices for each triangle."""
    corners = mesh.faces.ravel()
    faces = np.arange(corners.size, dtype=np.uint32).reshape(-1, 3)
    return Mesh(mesh.vertices[corners], faces, mesh.normals[corners], mesh.origin_nm)


def corners_of(mesh):
    """Corner positions of each triangle, begun at its lowest corner: a sorted list."""
    out = []
    for triangle in mesh.positions()[mesh.faces].tolist():
        first = triangle.index(min(triangle))
        out.append(triangle[first:] + triangle[:first])
    return sorted(out)


@pytest.fixture(scope="module")
def blob():
    rng = np.random.default_rng(3)
    mask = np.pad(rng.random((12, 13, 14)) < 0.4, 2)
    return mesh_from_mask(mask, VoxelGrid((40, 4, 6), (1e6, 2e6, 3e6), mask.shape))


def test_permuted_and_exploded_meshes_have_one_digest(blob):
    rng = np.random.default_rng(5)
    digests = {mesh_digest(m) for m in (blob, shuffled(blob, rng), shuffled(exploded(blob), rng))}
    assert len(digests) == 1
    far = Mesh(blob.vertices, blob.faces, blob.normals, (0.0, 0.0, 0.0))
    inside_out = Mesh(blob.vertices, blob.faces[:, ::-1], blob.normals, blob.origin_nm)
    dark = Mesh(blob.vertices, blob.faces, -blob.normals, blob.origin_nm)
    others = {mesh_digest(m) for m in (far, inside_out, dark)}
    assert len(others | digests) == 4


def test_the_place_of_the_origin_does_not_change_the_digest(blob):
    z, y, x = blob.origin_nm
    moved = Mesh(blob.vertices + np.float32(32), blob.faces, blob.normals, (z - 32, y - 32, x - 32))
    assert mesh_digest(moved) == mesh_digest(blob)


def test_canonical_form_keeps_every_triangle_and_its_winding(blob):
    form = canonical(shuffled(exploded(blob), np.random.default_rng(1)))
    assert len(form.vertices) == len(blob.vertices)
    assert np.array_equal(corners_of(form), corners_of(blob))


def test_canonical_form_is_sorted_and_its_own_canonical_form(blob):
    form = canonical(blob)
    assert np.array_equal(np.lexsort(form.vertices.T[::-1]), np.arange(len(form.vertices)))
    assert (form.faces[:, 0] == form.faces.min(axis=1)).all()
    assert np.array_equal(np.lexsort(form.faces.T[::-1]), np.arange(len(form.faces)))
    assert (form.vertices.min(axis=0) >= 0).all()
    assert (form.vertices.min(axis=0) < 1).all()
    again = canonical(form)
    assert again.origin_nm == form.origin_nm
    for name in ("vertices", "faces", "normals"):
        assert np.array_equal(getattr(again, name), getattr(form, name))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-6, 0.3, 1e4, 1e10]))
def test_canonical_form_is_stable_for_any_triangles(seed, scale):
    rng = np.random.default_rng(seed)
    positions = (rng.integers(-3, 4, (12, 3)) + rng.choice([0, 0.1], (12, 3))) * scale
    faces = rng.integers(0, 12, (9, 3)).astype(np.uint32)
    form = assemble(Triangles(positions, faces), "it")
    again = canonical(form)
    assert again.origin_nm == form.origin_nm
    assert np.array_equal(again.vertices, form.vertices)
    assert np.array_equal(again.faces, form.faces)
    # Nothing moves by more than float32 and the lattice round, and no triangle is a line.
    step = float(form.vertices.max(initial=1)) * 2**-23 + 2**-16
    for triangle in form.positions()[form.faces]:
        assert len({tuple(corner) for corner in triangle.tolist()}) == 3
        assert (np.abs(positions[:, None] - triangle).max(axis=2).min(axis=0) <= step).all()


def test_degenerate_triangles_and_unused_vertices_are_left_out():
    points = np.array([[0, 0, 0], [0, 0, 1], [0, 1, 0], [0, 0, 1], [-9, 9, 9]], np.float64)
    faces = np.array([[0, 1, 2], [0, 1, 3], [2, 2, 0]], np.uint32)
    mesh = assemble(Triangles(points, faces), "it")
    assert mesh.vertices.tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 0]]
    assert mesh.faces.tolist() == [[0, 1, 2]]


def test_a_mesh_of_lines_only_is_empty():
    points = np.array([[5, 5, 5], [6, 6, 6]], np.float64)
    mesh = assemble(Triangles(points, np.array([[0, 1, 1]], np.uint32)), "it")
    assert mesh.empty
    assert mesh_digest(mesh) == mesh_digest(canonical(mesh))


def test_a_hard_edge_of_a_file_keeps_both_normals():
    points = np.zeros((6, 3))
    points[:, 1:] = [[0, 0], [0, 1], [1, 0], [0, 0], [1, 0], [0, 1]]
    normals = np.repeat([[2.0, 0, 0], [-3.0, 0, 0]], 3, axis=0)
    mesh = assemble(Triangles(points, np.arange(6, dtype=np.uint32).reshape(2, 3), normals), "it")
    assert len(mesh.vertices) == 6
    assert sorted(mesh.normals[:, 0].tolist()) == [-1] * 3 + [1] * 3


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e12])
def test_positions_that_are_no_place_are_refused(value):
    points = np.zeros((3, 3))
    points[1, 2] = value
    with pytest.raises(BadInputError, match="1 of 3 vertices"):
        assemble(Triangles(points, np.array([[0, 1, 2]], np.uint32)), "it")


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 200), st.sampled_from([2, 70_000, 2**32]))
def test_rows_are_sorted_as_by_lexsort(seed, n, below):
    rows = np.random.default_rng(seed).integers(0, below, (n, 3)).astype(np.uint32)
    assert np.array_equal(sorted_order(rows), np.lexsort(rows.T[::-1]))


def test_smooth_normals_of_a_sphere_point_along_its_radius(ball):
    points, faces = ball(300, (10.0, -20.0, 30.0), 16)
    mesh = assemble(Triangles(points[:, ::-1], faces.astype(np.uint32)), "it")
    radius = (mesh.positions() - [30, -20, 10]) / 300
    angle = np.degrees(np.arccos(np.clip((radius * mesh.normals).sum(1), -1, 1)))
    assert angle.max() < 2
    assert np.linalg.norm(mesh.normals, axis=1) == pytest.approx(1, abs=1e-6)


def test_smooth_normals_do_not_depend_on_how_a_corner_is_cut():
    """Three faces of a cube meet in one direction, however many triangles each is made of."""
    corner = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.5, 0]], np.float32)
    whole = np.array([[0, 1, 2], [0, 2, 3], [0, 3, 1]], np.uint32)
    halved = np.array([[0, 1, 4], [0, 4, 2], [0, 2, 3], [0, 3, 1]], np.uint32)
    a, b = smooth_normals(corner, whole)[0], smooth_normals(corner, halved)[0]
    assert a == pytest.approx(b, abs=1e-4)
    assert np.abs(a) == pytest.approx(np.full(3, 3**-0.5), abs=1e-4)


def test_triangles_that_cancel_leave_no_normal():
    points = np.array([[0, 0, 0], [0, 0, 1], [0, 1, 0]], np.float32)
    both = np.array([[0, 1, 2], [0, 2, 1]], np.uint32)
    assert not smooth_normals(points, both).any()


def test_a_crop_keeps_whole_triangles_that_touch_the_box_and_their_normals(blob):
    low, high = blob.positions().min(axis=0), blob.positions().max(axis=0)
    box = Box(low + 0.3 * (high - low), low + 0.6 * (high - low))
    part = crop(blob, box)
    corners = blob.positions()[blob.faces]
    touches = (corners.min(1) <= box.stop).all(1) & (corners.max(1) >= box.start).all(1)
    assert 0 < touches.sum() < len(touches)
    assert np.array_equal(part.positions()[part.faces], corners[touches])
    assert np.array_equal(part.normals[part.faces], blob.normals[blob.faces[touches]])
    assert crop(blob, Box(high + 1, high + 2)).empty
