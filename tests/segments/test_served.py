"""Meshes over HTTP: level of detail, ranges of fragments, shards; against cloud-volume."""

import dataclasses
import itertools
import json
import pickle

import numpy as np
import pytest
from scipy.spatial import cKDTree

from segmend.core.box import Box
from segmend.core.errors import BadInputError, ReadFailedError, SegmentNotFoundError
from segmend.core.sample import IMAGE_SIZE, VIEWS
from segmend.render.camera import CAMERAS, pixel_size
from segmend.render.frame import draw
from segmend.segments.canonical import crop, mesh_digest
from segmend.segments.formats.multires import manifest_levels, multires_info
from segmend.segments.served import open_meshes
from segmend.testing.servers import range_server

CENTER = np.array([600.3, 500.7, 450.1])
RADIUS = 380
SEGMENT = 2**63 + 77
"""An id that floats cannot hold."""


@pytest.fixture
def levels(ball):
    """The sphere at three levels of detail, (x, y, z)."""
    return [ball(RADIUS, CENTER, parts) for parts in (24, 12, 6)]


def signed_volume(mesh):
    a, b, c = (mesh.positions()[:, ::-1][mesh.faces[:, i]] for i in range(3))
    return np.einsum("ij,ij->", a, np.cross(b, c)) / 6


def open_edges(mesh):
    """Edges that are not shared by two triangles."""
    edges = np.concatenate([mesh.faces[:, [i, (i + 1) % 3]] for i in range(3)])
    _, count = np.unique(np.sort(edges, axis=1), axis=0, return_counts=True)
    return int((count != 2).sum())


def ranges_asked(server):
    return [asked.headers["range"] for asked in server.log if asked.path.strip("/") == str(SEGMENT)]


def test_fragments_are_stitched_to_a_closed_surface(multires, levels):
    made = multires(bits=16).write(SEGMENT, levels)
    with range_server(made.folder) as server:
        mesh = open_meshes(server.url).mesh(SEGMENT)
    assert len(made.fragments(*levels[0], 0)) > 30
    assert open_edges(mesh) == 0
    assert signed_volume(mesh) == pytest.approx(4 / 3 * np.pi * RADIUS**3, rel=0.004)
    radius = np.linalg.norm(mesh.positions() - CENTER[::-1], axis=1)
    assert np.abs(radius - RADIUS).max() < 0.7
    assert mesh.level_of_detail == 0


@pytest.mark.parametrize(
    ("pixel_nm", "level"),
    [(None, 0), (0.1, 0), (15.9, 0), (16.1, 1), (63.9, 1), (64.1, 2), (1e6, 2)],
)
def test_the_coarsest_level_that_a_pixel_cannot_tell_is_read(multires, levels, pixel_nm, level):
    """Scales 1, 8 and 32 with multiplier 2, in units of 1 nm."""
    made = multires(bits=16, multiplier=2.0).write(SEGMENT, levels)
    mesh = open_meshes(made.folder).mesh(SEGMENT, pixel_nm=pixel_nm)
    assert mesh.level_of_detail == level
    assert open_edges(mesh) == 0


def test_a_scale_of_zero_does_not_hide_how_coarse_the_vertices_are(multires, levels):
    """10 bits on chunks of 256 units of 8 nm: vertices lie on steps of 2 nm, then 4 and 8."""
    transform = (8, 0, 0, 0, 0, 8, 0, 0, 0, 0, 8, 0)
    made = multires(bits=10, scales=(0.0, 0.0, 0.0), transform=transform).write(SEGMENT, levels)
    source = open_meshes(made.folder)
    found = [source.mesh(SEGMENT, pixel_nm=pixel).level_of_detail for pixel in (1, 3.9, 4.1, 8.1)]
    assert found == [0, 0, 1, 2]


def test_a_level_without_triangles_is_not_chosen(multires, levels):
    """A simplifier may leave nothing of a small segment at the coarsest level."""
    nothing = (levels[2][0], np.zeros((0, 3), int))
    source = open_meshes(multires(bits=16).write(SEGMENT, [levels[0], levels[1], nothing]).folder)
    assert source.mesh(SEGMENT, pixel_nm=1e6).level_of_detail == 1


@pytest.fixture(scope="module")
def served_sphere(tmp_path_factory, make_multires, ball):
    made = make_multires(tmp_path_factory.mktemp("sphere"), bits=16)
    made.write(SEGMENT, [ball(RADIUS, CENTER, 20)])
    return made.folder, open_meshes(made.folder).mesh(SEGMENT)


@pytest.mark.parametrize("seed", range(20))
def test_a_box_is_read_as_the_whole_mesh_cropped(seed, served_sphere):
    """Also its normals: those at the rim feel triangles of fragments outside the box."""
    folder, whole = served_sphere
    rng = np.random.default_rng(seed)
    start = rng.uniform(0, 900, 3)
    box = Box(start, start + rng.uniform(5, 400, 3))
    part, expected = open_meshes(folder).mesh(SEGMENT, box), crop(whole, box)
    assert part.vertices.shape == expected.vertices.shape
    for name in ("positions", "normals"):
        a, b = (
            (m.positions() if name == "positions" else m.normals)[m.faces] for m in (part, expected)
        )
        assert a == pytest.approx(b, abs=1e-4)


def test_only_fragments_that_meet_the_box_are_fetched(multires, levels):
    made = multires(bits=16).write(SEGMENT, levels)
    size = (made.folder / str(SEGMENT)).stat().st_size
    box = Box.around((450, 500, 980), 100)
    with range_server(made.folder) as server:
        mesh = open_meshes(server.url).mesh(SEGMENT, box)
        asked = [r.removeprefix("bytes=").split("-") for r in ranges_asked(server)]
    assert len(mesh.faces) > 10
    assert 0 < sum(int(stop) - int(start) + 1 for start, stop in asked) < size / 6


def test_a_box_away_from_the_segment_is_empty_without_a_fetch(multires, levels):
    made = multires().write(SEGMENT, levels)
    with range_server(made.folder) as server:
        assert open_meshes(server.url).mesh(SEGMENT, Box.around((9e5, 0, 0), 100)).empty
        assert ranges_asked(server) == []


def test_a_whole_level_is_fetched_in_few_requests(multires, levels):
    made = multires(bits=16).write(SEGMENT, levels)
    with range_server(made.folder) as server:
        open_meshes(server.url).mesh(SEGMENT)
        assert len(ranges_asked(server)) == 1


def test_a_mirroring_transform_leaves_the_surface_outside_out(multires, levels):
    made = multires(bits=16, transform=(-4, 0, 0, 9000, 0, 4, 0, 0, 0, 0, 4, 0))
    mesh = open_meshes(made.write(SEGMENT, levels).folder).mesh(SEGMENT)
    assert signed_volume(mesh) == pytest.approx(64 * 4 / 3 * np.pi * RADIUS**3, rel=0.004)
    outward = mesh.positions() - np.array([4 * CENTER[2], 4 * CENTER[1], 9000 - 4 * CENTER[0]])
    assert ((outward * mesh.normals).sum(axis=1) > 0).all()


def test_offsets_move_a_level_and_the_boxes_of_its_fragments(multires, levels):
    made = multires(bits=16)
    made.write(SEGMENT, levels[:1], offsets=[(5000.0, 0.0, -100.0)])
    mesh = open_meshes(made.folder).mesh(SEGMENT, Box.around((350, 500, 5600), 2000))
    middle = (mesh.positions().min(axis=0) + mesh.positions().max(axis=0)) / 2
    assert middle == pytest.approx(CENTER[::-1] + np.array([-100, 0, 5000]), abs=2)


@pytest.mark.parametrize("sharded", [False, True])
def test_cloud_volume_reads_the_same_surface(sharded, multires, levels, raw_shards, tmp_path):
    from cloudvolume import CloudVolume

    transform = (4, 0, 0, 100, 0, 4, 0, 200, 0, 0, 40, 300)
    made = multires(bits=16, transform=transform, sharding=raw_shards if sharded else None)
    made.write(77, levels)
    info = CloudVolume.create_new_info(
        1, "segmentation", "uint64", "raw", (8, 8, 8), (0, 0, 0), (64, 64, 64), mesh="multires"
    )
    (tmp_path / "info").write_text(json.dumps(info))
    peer = CloudVolume(f"file://{tmp_path}", progress=False)
    source = open_meshes(tmp_path)
    for level, pixel in enumerate((1, 8 * 40, 32 * 40)):
        theirs, ours = peer.mesh.get(77, lod=level), source.mesh(77, pixel_nm=pixel)
        theirs = theirs[77] if isinstance(theirs, dict) else theirs
        # It keeps float32 of nm from zero.
        for a, b in itertools.permutations([theirs.vertices[:, ::-1], ours.positions()]):
            assert cKDTree(a).query(b)[0].max() < 0.01
        assert len(ours.faces) == len(theirs.faces)


def test_cloud_volume_writes_single_resolution_meshes_we_read(levels, tmp_path):
    from cloudvolume import CloudVolume
    from cloudvolume import Mesh as TheirMesh

    info = CloudVolume.create_new_info(
        1, "segmentation", "uint64", "raw", (8, 8, 8), (0, 0, 0), (64, 64, 64), mesh="mesh"
    )
    (tmp_path / "info").write_text(json.dumps(info))
    points, faces = levels[0]
    theirs = TheirMesh(points.astype(np.float32), faces.astype(np.uint32), segid=9)
    CloudVolume(f"file://{tmp_path}", progress=False).mesh.put(theirs)
    with range_server(tmp_path) as server:
        # Its folder of meshes has no info: the volume's word for it is enough.
        over_http = open_meshes(f"precomputed://{server.url}").mesh(9)
    assert mesh_digest(over_http) == mesh_digest(open_meshes(tmp_path).mesh(9))
    assert len(over_http.faces) == len(faces)
    assert signed_volume(over_http) == pytest.approx(4 / 3 * np.pi * RADIUS**3, rel=0.004)


def test_legacy_fragments_are_stitched_whatever_their_order(legacy, levels):
    points, faces = levels[1]
    parts = [faces[i::3] for i in range(3)]
    legacy.write(1, [(points, part) for part in parts])
    legacy.write(2, [(points, part) for part in parts[::-1]])
    source = open_meshes(legacy.folder)
    assert open_edges(source.mesh(1)) == 0
    assert mesh_digest(source.mesh(1)) == mesh_digest(source.mesh(2))
    box = Box.around(CENTER[::-1], 500)
    assert mesh_digest(source.mesh(1, box)) == mesh_digest(crop(source.mesh(1), box))


def test_shards_hold_many_segments(multires, ball, raw_shards):
    made = multires(bits=10, sharding=raw_shards)
    radii = {1: 100, 2: 120, 3: 140, 8: 160, 12345: 180, 2**60: 200}
    for segment, radius in radii.items():
        made.write(segment, [ball(radius, CENTER, 8)])
    with range_server(made.folder) as server:
        source = open_meshes(server.url)
        for segment, radius in radii.items():
            mesh = source.mesh(segment)
            found = np.linalg.norm(mesh.positions() - CENTER[::-1], axis=1)
            assert np.abs(found - radius).max() < 4
            assert open_edges(mesh) == 0
        for absent in (4, 9, 2**60 + 1):
            with pytest.raises(SegmentNotFoundError, match=str(absent)):
                source.mesh(absent)


def test_a_segment_that_is_not_there_is_named(multires, legacy, levels):
    multires_folder = multires().write(1, levels).folder
    legacy.write(1, levels[2:])
    for folder in (multires_folder, legacy.folder):
        with pytest.raises(SegmentNotFoundError, match="segment 5"):
            open_meshes(folder).mesh(5)


def test_a_failing_server_is_a_failed_read_never_a_hole(multires, levels):
    made = multires().write(SEGMENT, levels)
    fragments = made.folder / str(SEGMENT)
    data = fragments.read_bytes()
    with range_server(made.folder) as server:
        source = open_meshes(server.url)
        fragments.write_bytes(data[: len(data) // 8])
        with pytest.raises(ReadFailedError):
            source.mesh(SEGMENT)
        fragments.unlink()
        with pytest.raises(ReadFailedError) as caught:
            source.mesh(SEGMENT)
    assert caught.value.reason == "missing"
    assert str(SEGMENT) in caught.value.url


def test_a_served_sphere_is_drawn_as_a_sphere(multires, levels):
    """Through the kernels that draw meshes of voxels: silhouette, depth and normals."""
    made = multires(bits=16).write(SEGMENT, levels)
    center, extent = CENTER[::-1], 500.0
    box = Box.around(center, 2.4 * extent)
    mesh = open_meshes(made.folder).mesh(SEGMENT, box, pixel_size(extent))
    frame = draw([mesh], center_nm=tuple(center), half_extent_nm=extent)
    at = (np.arange(IMAGE_SIZE) + 0.5) * pixel_size(extent) - extent
    right, up = np.meshgrid(at, -at)
    inner = right**2 + up**2 < (0.9 * RADIUS) ** 2
    toward = np.sqrt(np.where(inner, RADIUS**2 - right**2 - up**2, 0))
    for i, view in enumerate(VIEWS):
        camera = CAMERAS[view]
        area = frame.cover_a[i].sum() * pixel_size(extent) ** 2
        assert area == pytest.approx(np.pi * RADIUS**2, rel=0.01)
        depth = (frame.depth[i] * 2.4 - 1.2) * extent
        assert np.abs(depth + toward)[inner].max() < 2
        expected = np.zeros((3, IMAGE_SIZE, IMAGE_SIZE))
        for (axis, sign), value in (
            (camera.right, right),
            (camera.up, up),
            (camera.forward, -toward),
        ):
            expected[axis] = sign * value / RADIUS
        cosine = (expected * frame.normals[i]).sum(axis=0)[inner]
        assert np.degrees(np.arccos(np.clip(cosine, -1, 1))).max() < 3


def test_meshes_wound_inwards_are_noticed_and_turned_on_request(multires, legacy, levels):
    points, faces = levels[1]
    folders = (
        multires(bits=16).write(1, [(points, faces[:, ::-1])]).folder,
        legacy.write(1, [(points, faces[:, ::-1])]).folder,
    )
    for folder in folders:
        with pytest.raises(BadInputError, match="inside out"):
            open_meshes(folder).mesh(1)
        mesh = open_meshes(folder, winding="inward").mesh(1)
        assert signed_volume(mesh) > 0
        assert (((mesh.positions() - CENTER[::-1]) * mesh.normals).sum(axis=1) > 0).all()
    with pytest.raises(BadInputError, match="'up'"):
        open_meshes(folders[0], winding="up")


def test_an_open_mesh_is_not_judged_by_its_volume(legacy, levels):
    """A bowl, the wall of a hollow: seen from its own corner it encloses less than nothing."""
    points, faces = levels[2]
    bowl = faces[points[faces].mean(axis=1)[:, 0] > CENTER[0]][:, ::-1]
    legacy.write(1, [(points, bowl)])
    mesh = open_meshes(legacy.folder).mesh(1)
    moved = dataclasses.replace(mesh, origin_nm=(0.0, 0.0, 0.0))
    assert signed_volume(moved) < 0
    assert len(mesh.faces) == len(bowl)


def test_a_folder_without_meshes_is_refused(tmp_path):
    with pytest.raises(BadInputError, match="no file 'info'"):
        open_meshes(tmp_path)
    (tmp_path / "info").write_text(json.dumps({"@type": "neuroglancer_multiscale_volume"}))
    with pytest.raises(BadInputError, match="names no folder"):
        open_meshes(tmp_path)


def test_a_folder_without_info_is_opened_as_legacy_on_request(legacy, levels):
    legacy.write(1, levels[2:])
    (legacy.folder / "info").unlink()
    assert len(open_meshes(legacy.folder, legacy=True).mesh(1).faces) == len(levels[2][1])


@pytest.mark.parametrize("pixel_nm", [0, -1, float("nan")])
def test_a_pixel_needs_a_size(multires, legacy, levels, pixel_nm):
    for folder in (multires().write(1, levels[2:]).folder, legacy.write(1, levels[2:]).folder):
        with pytest.raises(BadInputError, match="pixel"):
            open_meshes(folder).mesh(1, pixel_nm=pixel_nm)


def test_a_source_pickles(multires, levels):
    source = open_meshes(multires().write(1, levels[2:]).folder)
    again = pickle.loads(pickle.dumps(source))
    assert mesh_digest(again.mesh(1)) == mesh_digest(source.mesh(1))


def test_the_bytes_of_a_level_lie_where_the_specification_says(multires, ball):
    levels = [ball(RADIUS, CENTER, parts) for parts in (8, 5, 3)]
    made = multires().write(1, levels)
    info = multires_info((made.folder / "info").read_bytes(), "info")
    manifest, data = made.encoded(levels)
    found = manifest_levels(manifest, info, "it")
    assert [len(level.nodes) for level in found] == [
        len(made.fragments(*mesh, i)) for i, mesh in enumerate(levels)
    ]
    for i, level in enumerate(found):
        expected = list(made.fragments(*levels[i], i).items())
        for node, (start, stop), (where, encoded) in zip(
            level.nodes, level.ranges, expected, strict=True
        ):
            assert tuple(node) == where
            assert data[start:stop] == encoded
