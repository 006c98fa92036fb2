"""OBJ, PLY and STL: as trimesh reads them, or a named error."""

import struct

import numpy as np
import pytest
import trimesh

from segmend.core.errors import BadInputError, ReadFailedError, SegmendError, UnknownNameError
from segmend.segments import files
from segmend.segments.canonical import mesh_digest
from segmend.segments.files import read_mesh


@pytest.fixture
def body(ball):
    """A sphere far from the origin and off it, so that swapped axes show."""
    points, faces = ball(50.0, (1000.0, -200.0, 30.0), 5)
    return trimesh.Trimesh(points, faces, process=False)


def write(path, data):
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def big_endian(body):
    head = (
        "ply\nformat binary_big_endian 1.0\ncomment x\n"
        f"element vertex {len(body.vertices)}\n"
        "property double x\nproperty double y\nproperty double z\nproperty uchar quality\n"
        f"element face {len(body.faces)}\n"
        "property uchar flags\nproperty list ushort int vertex_index\nproperty float weight\n"
        "element edge 1\nproperty int vertex1\nproperty int vertex2\nend_header\n"
    )
    vertices = b"".join(struct.pack(">3dB", *v, 7) for v in body.vertices)
    faces = b"".join(struct.pack(">BH3if", 1, 3, *f, 0.5) for f in body.faces)
    return head.encode() + vertices + faces + struct.pack(">2i", 0, 1)


WRITERS = {
    "obj": (".obj", lambda body: body.export(file_type="obj")),
    "ply binary": (".ply", lambda body: body.export(file_type="ply", encoding="binary")),
    "ply ascii": (".ply", lambda body: body.export(file_type="ply", encoding="ascii")),
    "ply big endian": (".ply", big_endian),
    "stl binary": (".stl", lambda body: body.export(file_type="stl")),
    "stl ascii": (".STL", lambda body: body.export(file_type="stl_ascii")),
}


def triangle_set(corners):
    """Triangles (n, 3, 3), each begun at its lowest corner: equal sets have equal windings."""
    out = set()
    for triangle in np.asarray(corners).tolist():
        first = triangle.index(min(triangle))
        out.add(tuple(map(tuple, triangle[first:] + triangle[:first])))
    return out


@pytest.mark.parametrize("kind", WRITERS)
def test_a_file_holds_the_triangles_that_trimesh_reads(kind, body, tmp_path):
    """Coordinates of sixteenths are exact in every format."""
    suffix, export = WRITERS[kind]
    exact = trimesh.Trimesh(np.rint(body.vertices * 16) / 16, body.faces, process=False)
    path = write(tmp_path / f"body{suffix}", export(exact))
    mesh = read_mesh(path, unit_nm=8.0)
    # trimesh reads no big-endian lists behind other properties.
    peer = exact if kind == "ply big endian" else trimesh.load(path, process=False)
    found = mesh.positions()[mesh.faces][..., ::-1]
    assert triangle_set(found) == triangle_set(np.asarray(peer.triangles) * 8)
    assert len(mesh.vertices) == len(body.faces) // 2 + 2
    outward = mesh.positions() - np.array([30, -200, 1000]) * 8
    assert ((outward * mesh.normals).sum(axis=1) > 0.9 * 400).all()


def test_all_formats_of_one_body_are_one_mesh(body, tmp_path):
    exact = trimesh.Trimesh(np.rint(body.vertices * 16) / 16, body.faces, process=False)
    digests = set()
    for i, (suffix, export) in enumerate(WRITERS.values()):
        path = write(tmp_path / f"{i}{suffix}", export(exact))
        digests.add(mesh_digest(read_mesh(path, unit_nm=1.0)))
    assert len(digests) == 1


def test_axes_zyx_are_turned_round_and_stay_outside_out(body, tmp_path):
    turned = trimesh.Trimesh(body.vertices[:, ::-1], body.faces[:, ::-1], process=False)
    # A body mirrored by the swap is wound outwards again in its own frame.
    path = write(tmp_path / "b.ply", turned.export(file_type="ply"))
    mirrored = read_mesh(path, unit_nm=1.0, axes="zyx")
    plain = read_mesh(write(tmp_path / "a.ply", body.export(file_type="ply")), unit_nm=1.0)
    assert mesh_digest(mirrored) == mesh_digest(plain)


def test_normals_of_a_file_are_kept(body, tmp_path):
    odd = np.tile([0.0, 0.6, 0.8], (len(body.vertices), 1))
    ply = trimesh.Trimesh(body.vertices, body.faces, vertex_normals=odd, process=False)
    data = ply.export(file_type="ply", vertex_normal=True)
    obj = ply.export(file_type="obj", include_normals=True)
    for suffix, content in ((".ply", data), (".obj", obj)):
        mesh = read_mesh(write(tmp_path / f"odd{suffix}", content), unit_nm=3.0)
        assert mesh.normals == pytest.approx(np.tile([0.8, 0.6, 0], (len(mesh.normals), 1)))


OBJ_QUAD = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\n"


@pytest.mark.parametrize(
    "corners", ["1 2 3 4", "-4 -3 -2 -1", "1/1 2/2 3/3 4/4", "1// 2// 3// 4//"]
)
def test_an_obj_polygon_is_cut_into_triangles(corners, tmp_path):
    text = f"# quad\no thing\n{OBJ_QUAD}vt 0 0\ns off\nf {corners}\n"
    mesh = read_mesh(write(tmp_path / "q.obj", text), unit_nm=2.0)
    assert len(mesh.faces) == 2
    a, b, c = (mesh.positions()[mesh.faces[:, k]] for k in range(3))
    assert np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2 == pytest.approx(4)


def test_ply_polygons_of_different_sizes_are_cut_into_triangles(tmp_path):
    head = (
        "ply\nformat {} 1.0\nelement vertex 5\nproperty float x\nproperty float y\n"
        "property float z\nelement face 2\nproperty list uchar int vertex_indices\nend_header\n"
    )
    points = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0.5, 2, 0]], "<f4")
    binary = points.tobytes() + struct.pack("<B4i", 4, 0, 1, 2, 3) + struct.pack("<B3i", 3, 3, 2, 4)
    text = "\n".join(" ".join(map(str, p)) for p in points.tolist()) + "\n4 0 1 2 3\n3 3 2 4\n"
    a = write(tmp_path / "a.ply", head.format("binary_little_endian").encode() + binary)
    b = write(tmp_path / "b.ply", head.format("ascii") + text)
    meshes = [read_mesh(path, unit_nm=1.0) for path in (a, b)]
    assert [len(m.faces) for m in meshes] == [3, 3]
    assert mesh_digest(meshes[0]) == mesh_digest(meshes[1])


def ply(vertices="3", faces="1", rows="0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n", kind="ascii", extra=""):
    return (
        f"ply\nformat {kind} 1.0\nelement vertex {vertices}\nproperty float x\nproperty float y\n"
        f"property float z\n{extra}element face {faces}\n"
        f"property list uchar int vertex_indices\nend_header\n{rows}"
    )


BINARY = "binary_little_endian"
FACET = (
    "facet normal 0 0 1\nouter loop\nvertex 0 0 0\nvertex 1 0 0\nvertex 0 1 0\nendloop\nendfacet\n"
)


def stl(old, new):
    return "solid x\n" + FACET.replace(old, new) + "endsolid x\n"


BAD = {
    "no vertex.obj": "f 1 2 3\n",
    "corner past the end.obj": OBJ_QUAD + "f 1 2 5\n",
    "corner zero.obj": OBJ_QUAD + "f 0 1 2\n",
    "corner before the start.obj": OBJ_QUAD + "f -5 1 2\n",
    "corner beyond uint32.obj": OBJ_QUAD + "f 1 2 99999999999999999999\n",
    "corner no number.obj": OBJ_QUAD + "f 1 2 x\n",
    "corner with underscore.obj": OBJ_QUAD + "f 1 2 0_3\n",
    "two corners.obj": OBJ_QUAD + "f 1 2\n",
    "normal past the end.obj": OBJ_QUAD + "vn 0 0 1\nf 1//1 2//1 3//2\n",
    "normal not finite.obj": OBJ_QUAD + "vn 0 0 nan\nf 1//1 2//1 3//1\n",
    "vertex nan.obj": "v 0 nan 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n",
    "vertex overflows.obj": "v 0 1e999 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n",
    "vertex with underscore.obj": "v 0 1_0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n",
    "vertex too short.obj": "v 0 0\nf 1 1 1\n",
    "long line.obj": b"v " + b"1" * 200_000,
    "long number.obj": b"v 0 0 " + b"1" * 5000 + b"\n",
    "empty.ply": b"",
    "other magic.ply": "plx\n",
    "no end of header.ply": "ply\nformat ascii 1.0\n" + "comment x\n" * 9000,
    "no format.ply": "ply\nelement vertex 0\nproperty float x\nend_header\n",
    "unknown format.ply": ply(kind="ascii_strange"),
    "unknown type.ply": ply(extra="property quad w\n"),
    "property before element.ply": "ply\nformat ascii 1.0\nproperty float x\nend_header\n",
    "negative count.ply": ply(vertices="-3"),
    "count no number.ply": ply(vertices="1e1"),
    "claims 10^18 vertices.ply": ply(vertices="1000000000000000000"),
    "claims 10^18 faces.ply": ply(faces="1000000000000000000", kind=BINARY),
    "claims 10^18 binary vertices.ply": ply(vertices="1000000000000000000", kind=BINARY),
    "claims one face more.ply": ply(faces="2"),
    "binary cut off.ply": ply(kind=BINARY, rows="\0" * 40),
    "binary list past the end.ply": ply(kind=BINARY, rows="\0" * 36 + "\x7f" + "\0" * 12),
    "binary face of two.ply": ply(kind=BINARY, rows="\0" * 36 + "\x02" + "\0" * 12),
    "binary corner out of range.ply": ply(kind=BINARY, rows="\0" * 36 + "\x03" + "\x05" * 12),
    "corner negative.ply": ply(rows="0 0 0\n1 0 0\n0 1 0\n3 0 1 -2\n"),
    "corner out of range.ply": ply(rows="0 0 0\n1 0 0\n0 1 0\n3 0 1 3\n"),
    "list longer than its line.ply": ply(rows="0 0 0\n1 0 0\n0 1 0\n9 0 1 2\n"),
    "list shorter than its line.ply": ply(rows="0 0 0\n1 0 0\n0 1 0\n3 0 1 2 2\n"),
    "vertex nan.ply": ply(rows="0 0 nan\n1 0 0\n0 1 0\n3 0 1 2\n"),
    "two elements vertex.ply": ply(extra="element vertex 3\nproperty float x\n"),
    "x twice.ply": ply(extra="property float x\n"),
    "list in a vertex.ply": ply(extra="property list uchar int w\n"),
    "no faces.ply": "ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nproperty float y\n"
    "property float z\nend_header\n0 0 0\n",
    "corners as floats.ply": ply().replace("uchar int vertex", "uchar float vertex"),
    "empty.stl": b"",
    "only a header.stl": b"\0" * 83,
    "claims one triangle more.stl": b"\0" * 80 + struct.pack("<I", 2) + b"\0" * 50,
    "claims 4 billion.stl": b"\0" * 80 + b"\xff" * 4 + b"\0" * 50,
    "trailing bytes.stl": b"\0" * 80 + struct.pack("<I", 1) + b"\0" * 51,
    "nan.stl": b"\0" * 80 + struct.pack("<I", 1) + b"\0" * 12 + b"\xff" * 36 + b"\0" * 2,
    "not to its end.stl": "solid x\n" + FACET,
    "cut in a facet.stl": "solid x\n" + FACET[:-20],
    "vertex missing.stl": stl("vertex 0 1 0\n", ""),
    "fourth vertex.stl": stl("endloop", "vertex 0 0 0\nendloop"),
    "number missing.stl": stl("vertex 1 0 0", "vertex 1 0"),
    "infinite.stl": stl("vertex 1 0 0", "vertex inf 0 0"),
    "line without end.stl": b"solid " + b"x" * 3_000_000,
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_by_name(name, tmp_path):
    path = write(tmp_path / name.replace(" ", "_"), BAD[name])
    with pytest.raises(BadInputError) as caught:
        read_mesh(path, unit_nm=1.0)
    assert path.name in str(caught.value)


def test_a_file_without_faces_is_an_empty_mesh(tmp_path):
    assert read_mesh(write(tmp_path / "a.obj", ""), unit_nm=1.0).empty
    assert read_mesh(write(tmp_path / "b.obj", OBJ_QUAD), unit_nm=1.0).empty
    assert read_mesh(write(tmp_path / "a.stl", "solid x\nendsolid x\n"), unit_nm=1.0).empty


@pytest.mark.parametrize("suffix", [".obj", ".ply", ".stl"])
def test_damaged_files_give_a_mesh_or_a_named_error(suffix, body, tmp_path):
    """Bit flips and cuts of every format: nothing else ever comes out."""
    kinds = [export for s, export in WRITERS.values() if s.lower() == suffix]
    rng = np.random.default_rng(11)
    refused = 0
    for case in range(150):
        data = kinds[case % len(kinds)](body)
        damaged = bytearray(data if isinstance(data, bytes) else data.encode())
        for _ in range(int(rng.integers(1, 9))):
            damaged[int(rng.integers(len(damaged)))] ^= 1 << int(rng.integers(8))
        if case % 3 == 0:
            del damaged[int(rng.integers(len(damaged))) :]
        path = write(tmp_path / f"{case}{suffix}", bytes(damaged))
        try:
            assert np.isfinite(read_mesh(path, unit_nm=1.0).positions()).all()
        except SegmendError:
            refused += 1
    assert refused > 30


@pytest.mark.parametrize("unit", [0, -1, float("nan"), float("inf")])
def test_a_file_needs_a_unit(unit, tmp_path):
    with pytest.raises(BadInputError, match="must have a length"):
        read_mesh(write(tmp_path / "a.obj", OBJ_QUAD), unit_nm=unit)


def test_other_suffixes_axes_and_missing_files_are_named(tmp_path):
    with pytest.raises(UnknownNameError, match=r"\.obj, \.ply, \.stl"):
        read_mesh(tmp_path / "a.glb", unit_nm=1.0)
    with pytest.raises(UnknownNameError, match="'xyz' or 'zyx'"):
        read_mesh(write(tmp_path / "a.obj", OBJ_QUAD), unit_nm=1.0, axes="yxz")
    with pytest.raises(ReadFailedError, match="No such file"):
        read_mesh(tmp_path / "none.obj", unit_nm=1.0)


def test_a_file_above_the_limit_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MAX_BYTES", 10)
    with pytest.raises(BadInputError, match="too large"):
        read_mesh(write(tmp_path / "a.obj", OBJ_QUAD), unit_nm=1.0)
