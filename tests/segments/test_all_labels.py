"""Meshes of all segments at once: as our own mesher makes them one by one; simplification."""

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial import cKDTree

from segmend.core.errors import BadInputError, GridMismatchError
from segmend.core.grid import VoxelGrid
from segmend.segments.all_labels import mesh_all
from segmend.segments.canonical import mesh_digest
from segmend.segments.mesh import Mesh, mesh_from_mask
from segmend.segments.simplify import simplified, surface_distance

SIZE = (20.0, 8.0, 10.0)
BIG = 2**63 + 11


def oriented(mesh):
    """The same surface in trimesh, in the right-handed frame (x, y, z)."""
    return trimesh.Trimesh(mesh.positions()[:, ::-1], mesh.faces, process=False)


@pytest.fixture(scope="module")
def tissue():
    """Round cells that touch, ids that floats cannot hold, clear of the border."""
    at = np.indices((30, 60, 50)).transpose(1, 2, 3, 0) * SIZE
    seeds = np.random.default_rng(2).uniform((150, 150, 150), (450, 330, 350), (9, 3))
    distance, nearest = cKDTree(seeds).query(at)
    labels = np.where(distance < 130, nearest + 1, 0).astype(np.uint64)
    labels[labels == 4] = BIG
    return labels, VoxelGrid(SIZE, (1e6, 2e6, 3e6), labels.shape)


def test_every_segment_has_the_volume_and_area_of_our_own_mesh(tissue):
    labels, grid = tissue
    meshes = dict(mesh_all(labels, grid))
    assert list(meshes) == np.unique(labels)[1:].tolist()
    assert BIG in meshes
    for segment, mesh in meshes.items():
        theirs, ours = oriented(mesh), oriented(mesh_from_mask(labels == segment, grid))
        assert theirs.is_watertight
        assert theirs.volume == pytest.approx(ours.volume, rel=0.05)
        assert theirs.area == pytest.approx(ours.area, rel=0.15)
        assert theirs.bounds == pytest.approx(ours.bounds, abs=max(SIZE) / 2)


def test_normals_point_out_as_those_of_our_own_mesh_do(tissue):
    labels, grid = tissue
    mesh = dict(mesh_all(labels, grid))[BIG]
    ours = mesh_from_mask(labels == BIG, grid)
    _, nearest = cKDTree(ours.positions()).query(mesh.positions())
    cosine = (mesh.normals * ours.normals[nearest]).sum(axis=1)
    assert np.degrees(np.arccos(np.clip(cosine, -1, 1))).mean() < 20


def test_a_segment_cut_by_the_border_stays_open():
    labels = np.zeros((12, 12, 16), np.uint32)
    labels[3:9, 3:9] = 5
    ((segment, mesh),) = mesh_all(labels, VoxelGrid(SIZE, (0, 0, 0), labels.shape))
    assert segment == 5
    assert not oriented(mesh).is_watertight
    assert np.abs(mesh.normals[:, 2]).max() < 0.9
    assert mesh.positions()[:, 2].min() == pytest.approx(SIZE[2] / 2)


@settings(max_examples=30, deadline=None)
@given(arrays(np.uint8, (6, 5, 7), elements=st.integers(0, 3)))
def test_meshes_of_any_block_enclose_their_voxels(labels):
    padded = np.pad(labels, 1)
    grid = VoxelGrid((1, 1, 1), (0, 0, 0), padded.shape)
    meshes = dict(mesh_all(padded, grid))
    assert list(meshes) == [i for i in np.unique(labels).tolist() if i]
    for segment, mesh in meshes.items():
        # Marching cubes cut between half a voxel's sixth and all but it of each voxel.
        voxels = int((labels == segment).sum())
        assert voxels / 7 < oriented(mesh).volume < 2.5 * voxels


@pytest.mark.parametrize("labels", [np.zeros((5, 5, 5), np.uint16), np.ones((1, 5, 5), np.uint16)])
def test_a_block_without_surfaces_has_no_meshes(labels):
    assert list(mesh_all(labels, VoxelGrid(SIZE, (0, 0, 0), labels.shape))) == []


def test_the_layout_and_type_of_labels_do_not_matter(tissue):
    labels, grid = tissue
    small = np.where(labels == BIG, 4, labels)
    expected = {i: mesh_digest(m) for i, m in mesh_all(small.astype(np.uint8), grid)}
    for other in (small.astype(np.int32), np.asfortranarray(small.astype(np.uint16)), small):
        assert {i: mesh_digest(m) for i, m in mesh_all(other, grid)} == expected


@pytest.mark.parametrize("error_nm", [4.0, 16.0])
def test_simplified_meshes_stay_within_the_stated_error(tissue, error_nm):
    labels, grid = tissue
    full = dict(mesh_all(labels, grid))
    fewer = dict(mesh_all(labels, grid, error_nm=error_nm))
    for segment, mesh in fewer.items():
        assert len(mesh.faces) <= len(full[segment].faces)
        for points, surface in ((full[segment], mesh), (mesh, full[segment])):
            _, distance, _ = trimesh.proximity.closest_point_naive(
                oriented(surface), points.positions()[::17, ::-1]
            )
            assert distance.max() <= error_nm + 1e-6
    total = [sum(len(m.faces) for m in meshes.values()) for meshes in (full, fewer)]
    assert total[1] < total[0] / (2 if error_nm == 4 else 4)


def test_the_distance_bound_is_exact_near_a_surface_and_never_too_small(tissue):
    labels, grid = tissue
    mesh = dict(mesh_all(labels, grid))[BIG]
    rng = np.random.default_rng(1)
    points = mesh.positions()[rng.integers(0, len(mesh.vertices), 200)]
    points += rng.normal(0, 15, points.shape)
    _, exact, _ = trimesh.proximity.closest_point_naive(oriented(mesh), points[:, ::-1])
    bound = surface_distance(points, mesh)
    assert (bound >= exact - 1e-6).all()
    assert np.mean(bound <= exact + 1e-6) > 0.95


def test_a_flat_sheet_is_simplified_to_few_triangles_and_keeps_its_border():
    labels = np.zeros((6, 40, 40), np.uint8)
    labels[:3] = 1
    grid = VoxelGrid((10, 10, 10), (0, 0, 0), labels.shape)
    ((_, full),) = mesh_all(labels, grid)
    few = simplified(full, 1.0)
    assert len(few.faces) < len(full.faces) / 8
    assert oriented(few).bounds == pytest.approx(oriented(full).bounds)
    assert oriented(few).area == pytest.approx(oriented(full).area)


def test_bad_input_is_refused():
    labels = np.zeros((4, 4, 4), np.uint8)
    grid = VoxelGrid(SIZE, (0, 0, 0), (4, 4, 4))
    with pytest.raises(GridMismatchError, match="one shape"):
        mesh_all(labels[:3], grid)
    with pytest.raises(BadInputError, match="z, y, x"):
        mesh_all(labels[0], grid)
    for bad in (labels.astype(np.float32), labels.astype(np.int32) - 1):
        with pytest.raises(BadInputError, match="ids must"):
            mesh_all(bad, grid)
    nothing = np.zeros((0, 3), np.float32)
    for error in (0, -1, float("nan")):
        with pytest.raises(BadInputError, match="positive error"):
            mesh_all(labels, grid, error_nm=error)
        with pytest.raises(BadInputError, match="positive error"):
            simplified(Mesh(nothing, np.zeros((0, 3), np.uint32), nothing), error)
