"""Drawing: what the cameras see, against analytic bodies, a slow rasteriser and voxel rays."""

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmend.core.errors import BadInputError
from segmend.core.grid import VoxelGrid
from segmend.core.sample import CHANNELS, IMAGE_SIZE, VIEWS, channel
from segmend.render.camera import CAMERAS, pixel_size
from segmend.render.encoding import write_half
from segmend.render.frame import draw, encode_geometry, split_masks
from segmend.segments.mesh import Mesh, mesh_from_mask

ORIGIN = (0.0, 0.0, 0.0)
EXTENT = 500.0


def by_xyz(axis_sign, points_zyx):
    """Signed world axis of positions given as (z, y, x)."""
    return points_zyx[..., 2 - axis_sign[0]] * axis_sign[1]


def pixel_plane(extent):
    """Right and up coordinates of all pixel centres, nm."""
    at = (np.arange(IMAGE_SIZE) + 0.5) * 2 * extent / IMAGE_SIZE - extent
    return np.meshgrid(at, -at)


def ball_mesh(center_nm, radius_nm, voxel_nm=10.0):
    n = int(2 * radius_nm / voxel_nm) + 6
    offset = np.round((np.array(center_nm) - n * voxel_nm / 2) / voxel_nm) * voxel_nm
    at = (np.indices((n, n, n)).transpose(1, 2, 3, 0) + 0.5) * voxel_nm + offset
    mask = ((at - center_nm) ** 2).sum(-1) < radius_nm**2
    return mesh_from_mask(mask, VoxelGrid((voxel_nm,) * 3, offset, (n, n, n)))


def triangles(points_zyx, normals=None):
    points = np.asarray(points_zyx, np.float32).reshape(-1, 3)
    if normals is None:
        normals = np.tile(np.array([1, 0, 0], np.float32), (len(points), 1))
    return Mesh(points, np.arange(len(points), dtype=np.uint32).reshape(-1, 3), normals)


def test_a_ball_is_drawn_as_the_disc_the_depths_and_the_normals_of_a_ball():
    center, radius = np.array([13.0, -27.0, 41.0]), 300.0
    frame = draw([ball_mesh(center, radius)], center_nm=ORIGIN, half_extent_nm=EXTENT)
    right, up = pixel_plane(EXTENT)
    pixel = pixel_size(EXTENT)
    for i, view in enumerate(VIEWS):
        camera = CAMERAS[view]
        dx, dy = right - by_xyz(camera.right, center), up - by_xyz(camera.up, center)
        inner = dx**2 + dy**2 < (0.9 * radius) ** 2
        assert frame.cover_a[i].sum() * pixel**2 == pytest.approx(np.pi * radius**2, rel=0.01)
        front = by_xyz(camera.forward, center) - np.sqrt(
            np.where(inner, radius**2 - dx**2 - dy**2, 0)
        )
        depth = frame.depth[i] * 2.4 * EXTENT - 1.2 * EXTENT
        assert np.abs(depth - front)[inner].max() < 10
        expected = np.zeros((3, IMAGE_SIZE, IMAGE_SIZE))
        expected[camera.right[0]] = camera.right[1] * dx / radius
        expected[camera.up[0]] = camera.up[1] * dy / radius
        expected[camera.forward[0]] = (
            camera.forward[1] * (front - by_xyz(camera.forward, center)) / radius
        )
        cosine = (expected * frame.normals[i]).sum(0)[inner]
        assert np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean() < 3


def test_each_view_looks_along_its_axis_with_its_up_and_right():
    """A small ball towards +x, +y and +z of the centre: where it must appear in each view."""
    frame = draw([ball_mesh((300, 200, 100), 40)], center_nm=ORIGIN, half_extent_nm=EXTENT)
    row, column, depth = {}, {}, {}
    for i, view in enumerate(VIEWS):
        rows, columns = np.nonzero(frame.cover_a[i])
        row[view], column[view] = rows.mean() + 0.5, columns.mean() + 0.5
        depth[view] = frame.depth[i][frame.cover_a[i]].min()
    middle, per_nm = IMAGE_SIZE / 2, IMAGE_SIZE / (2 * EXTENT)
    near = pytest.approx
    assert (row["front"], column["front"]) == near(
        (middle - 300 * per_nm, middle - 200 * per_nm), abs=1
    )
    assert (row["side"], column["side"]) == near(
        (middle - 300 * per_nm, middle + 100 * per_nm), abs=1
    )
    assert (row["top"], column["top"]) == near(
        (middle - 200 * per_nm, middle + 100 * per_nm), abs=1
    )
    face = {"front": 100 - 40, "side": 200 - 40, "top": -300 - 40}
    for view in VIEWS:
        assert depth[view] == near(0.5 + face[view] / (2.4 * EXTENT), abs=0.01)


def test_depth_on_a_tilted_plane_is_linear_to_a_thousandth_of_a_pixel():
    corner = 400.0
    z, y = (
        np.array([-corner, corner, corner, -corner]),
        np.array([-corner, -corner, corner, corner]),
    )
    x = 0.3 * y - 0.5 * z
    corners = np.stack([z, y, x], 1)
    frame = draw([triangles(corners[[0, 1, 2, 0, 2, 3]])], center_nm=ORIGIN, half_extent_nm=EXTENT)
    right, up = pixel_plane(EXTENT)
    inside = (np.abs(right) < corner - 5) & (np.abs(up) < corner - 5)
    depth = frame.depth[0] * 2.4 * EXTENT - 1.2 * EXTENT
    assert np.abs(depth - (0.3 * -right - 0.5 * up))[inside].max() < 1e-3 * pixel_size(EXTENT)
    assert frame.cover_a[0][inside].all()


def slow_views(meshes, extent):
    """Every pixel against every triangle, in float64: depth of each mesh, infinity where none."""
    right, up = pixel_plane(extent)
    out = np.full((len(meshes), 3, IMAGE_SIZE, IMAGE_SIZE), np.inf)
    for m, mesh in enumerate(meshes):
        for i, view in enumerate(VIEWS):
            camera = CAMERAS[view]
            positions = mesh.positions()
            px, py = by_xyz(camera.right, positions), by_xyz(camera.up, positions)
            pz = by_xyz(camera.forward, positions)
            for a, b, c in mesh.faces.astype(int).tolist():
                area = (px[b] - px[a]) * (py[c] - py[a]) - (py[b] - py[a]) * (px[c] - px[a])
                if area == 0:
                    continue
                wa = ((px[b] - right) * (py[c] - up) - (py[b] - up) * (px[c] - right)) / area
                wb = ((px[c] - right) * (py[a] - up) - (py[c] - up) * (px[a] - right)) / area
                wc = ((px[a] - right) * (py[b] - up) - (py[a] - up) * (px[b] - right)) / area
                depth = (wa * pz[a] + wb * pz[b] + wc * pz[c]) / (2.4 * extent) + 0.5
                hit = (wa >= 0) & (wb >= 0) & (wc >= 0) & (depth >= 0) & (depth <= 1)
                out[m, i] = np.where(hit, np.minimum(out[m, i], depth), out[m, i])
    return out


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_two_clouds_of_triangles_are_drawn_as_by_a_slow_rasteriser(seed):
    rng = np.random.default_rng(seed)
    # With a pixel of 1 nm, quarters of a nm are exact and often hit edges and pixel centres.
    clouds = [
        triangles((rng.integers(-500, 500, (12, 1, 3)) + rng.integers(-160, 160, (12, 3, 3))) / 4)
        for _ in range(2)
    ]
    extent = IMAGE_SIZE / 2
    frame = draw(clouds, center_nm=ORIGIN, half_extent_nm=extent)
    a, b = slow_views(clouds, extent)
    assert np.array_equal(frame.cover_a, np.isfinite(a))
    assert np.array_equal(frame.cover_b, np.isfinite(b))
    nearest = np.minimum(a, b)
    seen = np.isfinite(nearest)
    assert np.array_equal(frame.owner >= 0, seen)
    assert frame.depth[seen] == pytest.approx(nearest[seen], abs=1e-6)
    clear = seen & (np.abs(np.where(seen, a, 0) - np.where(seen, b, 0)) > 1e-6)
    assert np.array_equal(frame.owner[clear], (b < a)[clear].astype(np.int8))


def test_two_interlocked_balls_hide_each_other_where_they_should():
    centers, radius = (np.array([0.0, 0, -90]), np.array([60.0, 40, 90])), 220.0
    balls = [ball_mesh(c, radius) for c in centers]
    frame = draw(balls, center_nm=ORIGIN, half_extent_nm=EXTENT)
    alone = [draw([b], center_nm=ORIGIN, half_extent_nm=EXTENT) for b in balls]
    assert np.array_equal(frame.cover_a, alone[0].cover_a)
    assert np.array_equal(frame.cover_b, alone[1].cover_a)
    right, up = pixel_plane(EXTENT)
    for i, view in enumerate(VIEWS):
        camera, front = CAMERAS[view], []
        for c in centers:
            rest = (
                radius**2
                - (right - by_xyz(camera.right, c)) ** 2
                - (up - by_xyz(camera.up, c)) ** 2
            )
            inside = rest > 0
            front.append(
                np.where(
                    inside, by_xyz(camera.forward, c) - np.sqrt(np.where(inside, rest, 0)), np.inf
                )
            )
        both = frame.cover_a[i] & frame.cover_b[i] & np.isfinite(front[0]) & np.isfinite(front[1])
        difference = np.where(both, front[1], 0) - np.where(both, front[0], 0)
        clear = both & (np.abs(difference) > 15)
        assert clear.sum() > 1000
        assert np.array_equal(frame.owner[i][clear] == 0, difference[clear] > 0)


def test_the_one_in_front_seen_from_ahead_is_behind_seen_from_the_other_side():
    """Mirroring the scene along the view axis is looking from behind."""
    near, far = (0, 0, -200), (0, 0, 200)
    ahead = draw(
        [ball_mesh(near, 100), ball_mesh(far, 150)], center_nm=ORIGIN, half_extent_nm=EXTENT
    )
    behind = draw(
        [ball_mesh(far, 100), ball_mesh(near, 150)], center_nm=ORIGIN, half_extent_nm=EXTENT
    )
    overlap = ahead.cover_a[0] & ahead.cover_b[0]
    assert overlap.sum() > 1000
    assert (ahead.owner[0][overlap] == 0).all()
    assert (behind.owner[0][overlap] == 1).all()


def touching_blobs(seed=5):
    rng = np.random.default_rng(seed)
    seeds = rng.uniform(0, 40, (6, 3))
    at = np.indices((40, 40, 40)).transpose(1, 2, 3, 0)
    labels = ((at[..., None, :] - seeds) ** 2).sum(-1).argmin(-1)
    grid = VoxelGrid((10, 10, 10), (0, 0, 0), labels.shape)
    return [mesh_from_mask(labels == i, grid) for i in (0, 1)]


def test_exchanging_a_and_b_exchanges_masks_and_nothing_else():
    a, b = touching_blobs()
    first = draw([a, b], center_nm=(200, 200, 200), half_extent_nm=160)
    second = draw([b, a], center_nm=(200, 200, 200), half_extent_nm=160)
    assert np.array_equal(first.cover_a, second.cover_b)
    assert np.array_equal(first.cover_b, second.cover_a)
    assert np.abs(first.depth - second.depth).max() < 1e-6
    # Where a pixel's centre hits the very edge in which A and B meet, A is drawn in both.
    same = np.where(first.owner < 0, -1, 1 - first.owner) == second.owner
    assert same.mean() > 0.9999
    alone = [draw([m], center_nm=(200, 200, 200), half_extent_nm=160).depth for m in (a, b)]
    assert np.abs(alone[0] - alone[1])[~same].max(initial=0) < 1e-6
    assert np.array_equal(
        first.normals.transpose(1, 0, 2, 3)[:, same], second.normals.transpose(1, 0, 2, 3)[:, same]
    )


def test_a_scene_moved_with_its_camera_is_the_same_picture():
    a, b = touching_blobs()
    shift = np.array([1_234_560.0, 777_000.0, 3_210_000.0])
    moved = [
        Mesh(m.vertices, m.faces, m.normals, tuple((m.origin_nm + shift).tolist())) for m in (a, b)
    ]
    here = draw([a, b], center_nm=(200, 200, 200), half_extent_nm=160)
    there = draw(moved, center_nm=tuple((shift + 200).tolist()), half_extent_nm=160)
    assert encode_geometry(here, "metric").tobytes() == encode_geometry(there, "metric").tobytes()


def test_looking_into_an_opened_tube_shows_its_wall_with_outward_normals():
    mask = np.zeros((40, 40, 60), bool)
    at = np.indices(mask.shape)
    mask[((at[0] - 19.5) ** 2 + (at[1] - 19.5) ** 2) < 15**2] = True
    mesh = mesh_from_mask(mask, VoxelGrid((10, 10, 10), (0, 0, 0), mask.shape))
    # Turned a little, so that the inner wall covers pixels: shear x by z.
    sheared = mesh.vertices.copy()
    sheared[:, 0] += np.float32(0.3) * sheared[:, 2]
    tube = Mesh(sheared, mesh.faces, mesh.normals)
    frame = draw([tube], center_nm=(290, 200, 300), half_extent_nm=330)
    along = frame.normals[0, 0][frame.cover_a[0]]
    across = frame.normals[0, 2][frame.cover_a[0]]
    assert np.abs(along).max() < 1e-5
    # The far wall of the inside is above or below: both outer (up) and inner (down) sides show.
    assert across.max() > 0.9
    assert across.min() < -0.9


def test_what_lies_outside_the_view_cube_is_not_drawn():
    inside, outside = 1.19 * EXTENT, 1.21 * EXTENT
    for x, expected in ((-inside, True), (-outside, False), (inside, True), (outside, False)):
        plane = triangles([[-100, -100, x], [100, -100, x], [0, 100, x]])
        frame = draw([plane], center_nm=ORIGIN, half_extent_nm=EXTENT)
        assert frame.cover_a[0].any() == expected


def test_opposite_vertex_normals_leave_the_triangles_own_normal():
    points = [[-100, -100, 0], [100, -100, 0], [0, 100, 0]]
    up = np.array([[1, 0, 0], [-1, 0, 0], [0, 0, 0]], np.float32)
    frame = draw([triangles(points, up * 0)], center_nm=ORIGIN, half_extent_nm=EXTENT)
    seen = frame.normals[0][:, frame.cover_a[0]]
    assert np.abs(seen[0]) == pytest.approx(1)
    assert np.isfinite(seen).all()


@pytest.fixture(scope="module")
def real_mask(shared_data):
    """A large neurite of mouse cortex and its grid."""
    with h5py.File(shared_data / "mouse512" / "mouse512.h5") as file:
        labels = file["labels"][200:300, 200:320, 200:320]
        size = tuple(file["labels"].attrs["resolution"])
    ids, counts = np.unique(labels[labels > 0], return_counts=True)
    mask = labels == ids[np.argsort(counts)[-3]]
    return mask, VoxelGrid(size, (0, 0, 0), mask.shape)


def test_a_real_segment_has_the_silhouette_and_depth_that_rays_through_its_voxels_give(real_mask):
    mask, grid = real_mask
    extent = 1600.0
    center = grid.box.center
    frame = draw([mesh_from_mask(mask, grid)], center_nm=center, half_extent_nm=extent)
    right, up = pixel_plane(extent)
    size = np.array(grid.voxel_size)
    for i, view in enumerate(VIEWS):
        camera = CAMERAS[view]
        axes = [2 - camera.right[0], 2 - camera.up[0], 2 - camera.forward[0]]
        column = np.floor((right * camera.right[1] + center[axes[0]]) / size[axes[0]]).astype(int)
        row = np.floor((up * camera.up[1] + center[axes[1]]) / size[axes[1]]).astype(int)
        inside = (column >= 0) & (column < mask.shape[axes[0]])
        inside &= (row >= 0) & (row < mask.shape[axes[1]])
        rays = mask.transpose(axes)[np.where(inside, column, 0), np.where(inside, row, 0)]
        rays = rays[..., :: camera.forward[1]] & inside[..., None]
        cast = rays.any(-1)
        both, either = cast & frame.cover_a[i], cast | frame.cover_a[i]
        assert both.sum() / either.sum() > 0.97
        # A ray that starts inside the mask passes the open crop face and shows what is behind.
        clear = both & ~rays[..., :2].any(-1)
        first = rays.argmax(-1) * size[axes[2]]
        start = (grid.box.start, grid.box.stop)[camera.forward[1] < 0][axes[2]]
        expected = first + (start - center[axes[2]]) * camera.forward[1]
        error = np.abs(frame.depth[i] * 2.4 * extent - 1.2 * extent - expected)[clear]
        assert np.median(error) < 0.5 * size[axes[2]]
        assert (error < 2 * size[axes[2]]).mean() > 0.97


def test_metric_geometry_keeps_foreground_apart_from_background():
    a, b = touching_blobs()
    frame = draw([a, b], center_nm=(200, 200, 200), half_extent_nm=160)
    geometry = encode_geometry(frame, "metric")
    assert geometry.shape == (3, 7, 224, 224)
    assert geometry.dtype == np.float16
    seen = frame.owner >= 0
    channels = {name: geometry[:, channel(name)] for name in CHANNELS}
    assert np.array_equal(channels["silhouette"], seen.astype(np.float16))
    assert np.array_equal(channels["mask_a"], frame.cover_a.astype(np.float16))
    assert np.array_equal(channels["mask_b"], frame.cover_b.astype(np.float16))
    assert np.array_equal(
        channels["depth"][seen], np.maximum(frame.depth[seen], 2**-11).astype(np.float16)
    )
    normals = geometry[:, 2:5].astype(np.float64)
    assert np.linalg.norm(normals, axis=1)[seen] == pytest.approx(1, abs=2e-3)
    assert not geometry[:, :, ~seen.any(0)].any()
    assert not normals.transpose(0, 2, 3, 1)[~seen].any()


def test_a_surface_on_the_front_face_has_the_smallest_foreground_depth():
    x = -1.2 * EXTENT
    plane = triangles([[-100, -100, x], [100, -100, x], [0, 100, x]])
    frame = draw([plane], center_nm=ORIGIN, half_extent_nm=EXTENT)
    geometry = encode_geometry(frame, "metric")
    assert (geometry[0, channel("depth")][frame.cover_a[0]] == 2**-11).all()


def test_published_encoding_has_the_depth_and_the_normals_of_published_rows():
    frame = draw([ball_mesh((0, 0, 100), 200)], center_nm=ORIGIN, half_extent_nm=EXTENT)
    geometry = encode_geometry(frame, "published").astype(np.float64)
    for i in range(3):
        depth = geometry[i, channel("depth")][frame.cover_a[i]]
        assert (depth.min(), depth.max()) == (0, 1)
    coded = geometry[:, 2:5].transpose(0, 2, 3, 1)[frame.cover_a]
    # Reference 1.6: a component of 0 reads as 0.467 to 0.475, -0.9 as about -0.50, 0.9 as 0.953.
    linear = frame.normals.transpose(0, 2, 3, 1)[frame.cover_a]
    for value, low, high in ((0.0, 0.465, 0.477), (-0.9, -0.53, -0.47), (0.9, 0.945, 0.96)):
        read = coded[np.abs(linear - value) < 0.005]
        assert len(read) > 20
        assert read.min() > low - 0.02
        assert read.max() < high + 0.02
    rgb = (coded + 1) / 2
    undone = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    assert np.linalg.norm(2 * undone - 1, axis=1).mean() == pytest.approx(1, abs=0.01)


def test_an_unknown_encoding_is_refused():
    frame = draw([ball_mesh(ORIGIN, 50)], center_nm=ORIGIN, half_extent_nm=EXTENT)
    with pytest.raises(BadInputError, match="no geometry encoding 'rgb'"):
        encode_geometry(frame, "rgb")


def test_split_masks_name_the_nearer_side():
    frame = draw(
        [ball_mesh((0, 0, -100), 80), ball_mesh((0, 0, 100), 150)],
        center_nm=ORIGIN,
        half_extent_nm=EXTENT,
    )
    masks = split_masks(frame)
    assert tuple(masks) == VIEWS
    for i, view in enumerate(VIEWS):
        assert masks[view].dtype == np.uint8
        assert np.array_equal(masks[view] == 255, frame.owner[i] < 0)
        assert np.array_equal(masks[view] == 128, frame.owner[i] == 1)
        assert np.array_equal(masks[view] == 0, frame.owner[i] == 0)
    middle = IMAGE_SIZE // 2
    assert masks["front"][middle, middle] == 0


def test_half_precision_is_rounded_as_numpy_rounds_it():
    rng = np.random.default_rng(0)
    steps = np.arange(1 << 11) / 2**26
    values = np.concatenate(
        [
            rng.uniform(-1, 1, 50_000),
            10 ** rng.uniform(-12, 4.8, 50_000),
            steps,
            [0, -0.0, 1, 65504],
        ]
    ).astype(np.float32)[None, None]
    out = np.zeros(values.shape, np.float16)
    write_half(values, np.ones(values.shape, bool), out)
    assert np.array_equal(out.view(np.uint16), values.astype(np.float16).view(np.uint16))
    write_half(values, np.zeros(values.shape, bool), out)
    assert not out.view(np.uint16).any()
