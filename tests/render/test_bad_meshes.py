"""Drawing meshes that are empty, degenerate, misplaced or huge."""

import tracemalloc

import numpy as np
import pytest

from segmend.core.errors import BadInputError
from segmend.core.grid import VoxelGrid
from segmend.core.sample import channel
from segmend.render.frame import draw, encode_geometry, split_masks
from segmend.segments.mesh import Mesh, mesh_from_mask

ORIGIN = (0.0, 0.0, 0.0)
EXTENT = 500.0


def triangles(points_zyx):
    points = np.asarray(points_zyx, np.float32).reshape(-1, 3)
    normals = np.tile(np.array([1, 0, 0], np.float32), (len(points), 1))
    return Mesh(points, np.arange(len(points), dtype=np.uint32).reshape(-1, 3), normals)


def test_degenerate_triangles_are_passed_over():
    points = [[0, 0, 0], [0, 0, 0], [10, 10, 10], [0, 0, 0], [10, 10, 10], [20, 20, 20]]
    frame = draw([triangles(points)], center_nm=ORIGIN, half_extent_nm=EXTENT)
    assert not frame.cover_a.any()


def test_impossible_drawings_are_refused():
    mesh = triangles([[0, 0, 0], [1, 0, 0], [0, 1, 0]])
    for count in (0, 3):
        with pytest.raises(BadInputError, match="one or two"):
            draw([mesh] * count, center_nm=ORIGIN, half_extent_nm=EXTENT)
    for extent in (0.0, -1.0, float("nan")):
        with pytest.raises(BadInputError, match="positive"):
            draw([mesh], center_nm=ORIGIN, half_extent_nm=extent)
    with pytest.raises(BadInputError, match="Crop the mesh"):
        draw([mesh], center_nm=(1e9, 0, 0), half_extent_nm=EXTENT)
    for center in ((float("nan"), 0, 0), (0, float("inf"), 0), (0, 0)):
        with pytest.raises(BadInputError, match="three finite"):
            draw([mesh], center_nm=center, half_extent_nm=EXTENT)


def test_an_empty_mesh_is_drawn_as_background():
    nothing = mesh_from_mask(np.zeros((5, 5, 5), bool), VoxelGrid((1, 1, 1), (0, 0, 0), (5, 5, 5)))
    for meshes in ([nothing], [nothing, nothing]):
        frame = draw(meshes, center_nm=ORIGIN, half_extent_nm=EXTENT)
        assert (frame.owner == -1).all()
        for encoding in ("metric", "published"):
            assert not encode_geometry(frame, encoding).any()
        assert all((mask == 255).all() for mask in split_masks(frame).values())


def test_slivers_and_lines_among_triangles_do_not_change_the_picture():
    at = np.indices((46, 46, 46)).transpose(1, 2, 3, 0) - 22.5
    mask = (at**2).sum(-1) < 20**2
    body = mesh_from_mask(mask, VoxelGrid((10, 10, 10), (-230, -230, -230), mask.shape))
    rng = np.random.default_rng(3)
    i, j = rng.integers(0, len(body.vertices), (2, 500)).astype(np.uint32)
    # Lines: two corners are one vertex, or all three are.
    lines = np.concatenate([np.stack([i, j, j], 1), np.stack([i, i, i], 1)])
    order = rng.permutation(len(body.faces) + len(lines))
    faces = np.concatenate([body.faces, lines])[order]
    with_lines = Mesh(body.vertices, faces, body.normals, body.origin_nm)
    pictures = [
        encode_geometry(draw([m], center_nm=ORIGIN, half_extent_nm=EXTENT), "metric")
        for m in (body, with_lines)
    ]
    # A sliver drawn where it must not be would cover what is outside the silhouette.
    assert np.array_equal(pictures[0][:, channel("silhouette")], pictures[1][:, 0])
    depth = channel("depth")
    assert np.array_equal(pictures[0][:, depth], pictures[1][:, depth])


@pytest.mark.slow
def test_ten_million_triangles_are_drawn_in_bounded_memory():
    """A wavy sheet of 2237 x 2237 quads, seen from above; its height is known at every pixel."""
    n = 2238
    at = np.linspace(-EXTENT, EXTENT, n, dtype=np.float32)
    y, x = np.meshgrid(at, at, indexing="ij")
    z = 100 * np.sin(x / 150) * np.cos(y / 150)
    points = np.stack([z, y, x], 2).reshape(-1, 3)
    first = (
        np.arange(n - 1, dtype=np.uint32)[:, None] * n + np.arange(n - 1, dtype=np.uint32)
    ).ravel()
    faces = np.concatenate(
        [
            np.stack([first, first + 1, first + n], 1),
            np.stack([first + 1, first + n + 1, first + n], 1),
        ]
    ).astype(np.uint32)
    normals = np.zeros_like(points)
    normals[:, 0] = 1
    sheet = Mesh(points, faces, normals)
    assert len(faces) > 10_000_000
    tracemalloc.start()
    frame = draw([sheet], center_nm=ORIGIN, half_extent_nm=EXTENT)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # One int32 copy of the vertices and the buffers of a frame.
    assert peak < points.nbytes + 20e6
    pixels = (np.arange(224) - 111.5) * 2 * EXTENT / 224
    right, up = np.meshgrid(pixels, -pixels)
    height = 100 * np.sin(right / 150) * np.cos(up / 150)
    assert frame.cover_a[2].all()
    assert np.abs(frame.depth[2] - (0.5 - height / (2.4 * EXTENT))).max() < 1e-4
