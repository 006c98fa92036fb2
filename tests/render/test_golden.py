"""Pictures of analytic scenes never change unnoticed, and do not depend on threads.

Hashes are of decoded arrays, not of encoded bytes, so that no codec can change them. To renew them
after an intended change of a definition, look at the new pictures first, then run

    python tests/render/test_golden.py

and put what it prints into `GOLDEN`; say in the commit which definition changed, because published
rows drawn before it no longer match.
"""

import hashlib
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from segmend.core.grid import VoxelGrid
from segmend.render.frame import draw, encode_geometry, split_masks
from segmend.render.labels import SideBlock
from segmend.render.slices import EmSite, em_slices
from segmend.segments.mesh import Mesh, mesh_from_mask
from segmend.volumes.drivers.memory import from_array

GRID = VoxelGrid((40, 16, 16), (0, 0, 0), (40, 100, 100))
CENTER = (800.0, 800.0, 800.0)


def ball(center_nm, radius_nm):
    """Voxels whose centres lie in a ball: whole numbers, equal on every machine."""
    at = (2 * np.indices(GRID.shape).transpose(1, 2, 3, 0) + 1) * (20, 8, 8)
    return ((at - center_nm) ** 2).sum(-1) < radius_nm**2


def interlocked():
    a = ball((780, 700, 800), 330)
    return a, ball((860, 960, 840), 400) & ~a


def tilted_plane():
    corners = np.array([[-700, -700, -200], [700, -700, 300], [700, 700, 200], [-700, 700, -300]])
    normals = np.tile(np.array([0, 0, -1], np.float32), (4, 1))
    faces = np.array([[0, 1, 2], [0, 2, 3]], np.uint32)
    return Mesh(corners.astype(np.float32), faces, normals, CENTER)


def meshes():
    return [mesh_from_mask(mask, GRID) for mask in interlocked()]


def pair_frame():
    return draw(meshes(), center_nm=CENTER, half_extent_nm=700.0)


def slices():
    a, b = interlocked()
    z, y, x = np.indices(GRID.shape)
    image = ((7 * z + 3 * y + 5 * x + z * x) % 251).astype(np.uint8)
    sides = SideBlock((a + 2 * b).astype(np.uint8), GRID.voxels, GRID)
    return em_slices(EmSite(from_array(image, GRID.voxel_size), sides, CENTER, 6.0)).images


SCENES = {
    "mesh of a ball": lambda: [getattr(meshes()[0], k) for k in ("vertices", "faces", "normals")],
    "metric geometry of two interlocked bodies": lambda: [encode_geometry(pair_frame(), "metric")],
    "published geometry of two interlocked bodies": lambda: [
        encode_geometry(pair_frame(), "published")
    ],
    "split masks of two interlocked bodies": lambda: list(split_masks(pair_frame()).values()),
    "metric geometry of a tilted plane": lambda: [
        encode_geometry(draw([tilted_plane()], center_nm=CENTER, half_extent_nm=700.0), "metric")
    ],
    "four slices through two interlocked bodies": lambda: list(slices().values()),
}

GOLDEN = {
    "mesh of a ball": "b622b0eef5c526ee33d0be0ea6fa7fb5",
    "metric geometry of two interlocked bodies": "cbb2e4110eb75878d2f9616e396591c5",
    "published geometry of two interlocked bodies": "61d334deb0cf6030a4989ef770515d88",
    "split masks of two interlocked bodies": "b9e3069a97e03350d86f1c0689383dd3",
    "metric geometry of a tilted plane": "3772f32cc72e711141d1f8ba856378be",
    "four slices through two interlocked bodies": "82b2042a049b2064226f6bfde0310d9d",
}


def digest(arrays):
    sha = hashlib.sha256()
    for array in arrays:
        stored = array.astype(array.dtype.newbyteorder("<"), order="C")
        sha.update(f"{stored.dtype.str}{stored.shape}".encode() + stored.tobytes())
    return sha.hexdigest()[:32]


@pytest.mark.parametrize("scene", SCENES)
def test_an_analytic_scene_has_the_pictures_it_always_had(scene):
    assert digest(SCENES[scene]()) == GOLDEN[scene]


def test_four_threads_draw_what_one_draws():
    jobs = list(SCENES.values()) * 4
    alone = [digest(job()) for job in jobs]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda job: digest(job()), jobs)) == alone


if __name__ == "__main__":
    for name, scene in SCENES.items():
        sys.stdout.write(f'    "{name}": "{digest(scene())}",\n')
