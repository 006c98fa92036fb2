"""What every source of served meshes does alike."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from segmend.core.box import Box
from segmend.core.errors import BadInputError, ReadFailedError, SegmentNotFoundError
from segmend.segments.mesh import Mesh

MAX_BYTES = 2**31
"""Encoded bytes of one mesh; more is a request nobody means."""

Winding = Literal["outward", "inward"]

Part = tuple[NDArray[Any], NDArray[np.uint32]]
"""Vertices ``(n, 3)`` and faces ``(m, 3)`` of one fragment."""


class MeshSource(ABC):
    """The meshes of one segmentation, wherever they lie. It pickles."""

    @property
    @abstractmethod
    def url(self) -> str:
        """Where the meshes lie."""

    @abstractmethod
    def mesh(self, segment_id: int, box: Box | None = None, pixel_nm: float | None = None) -> Mesh:
        """The mesh of a segment.

        Args:
            segment_id: uint64 id.
            box: Only triangles whose bounds touch this box (whole, none is cut); with the same
                normals as in the whole mesh. None: all of them.
            pixel_nm: Size of a pixel that the mesh is drawn with: the coarsest level of detail is
                chosen that loses nothing of this size. None: the finest.

        Returns:
            The mesh in nm; empty if the segment has no surface in the box.

        Raises:
            SegmentNotFoundError: if there is no mesh of this id.
            BadInputError: for a pixel size that is not positive, a mesh above 2 GiB or 20 million
                triangles, or a whole
                closed mesh that is wound the other way than the source was opened with.
            ReadFailedError: if a part cannot be read, is absent though the manifest names it, or
                is damaged. There is never a mesh with a hole.
        """


NOTHING: Part = (np.empty((0, 3)), np.empty((0, 3), np.uint32))
"""A fragment without triangles."""


def joined(
    parts: Sequence[Part],
) -> tuple[NDArray[np.float64], NDArray[np.uint32]]:
    """Vertices and faces of all fragments as one.

    Raises:
        BadInputError: if there are more vertices than uint32 can number.
    """
    parts = [*parts, NOTHING]
    counts = np.cumsum([0] + [len(vertices) for vertices, _ in parts])
    if counts[-1] >= 2**32:
        raise BadInputError(f"a mesh has {counts[-1]} vertices", fix="Read it by boxes")
    faces = [f + np.uint32(n) for (_, f), n in zip(parts, counts[:-1], strict=True)]
    vertices = np.concatenate([vertices for vertices, _ in parts]).astype(np.float64)
    return vertices, np.concatenate(faces)


def check_pixel(pixel_nm: float | None) -> None:
    """Refuse a pixel without a size."""
    if pixel_nm is not None and not (math.isfinite(pixel_nm) and pixel_nm > 0):
        raise BadInputError(f"a pixel must have a size, got {pixel_nm} nm")


def check_size(size: int, segment_id: int) -> int:
    """The number of encoded bytes of a mesh, unless it is above `MAX_BYTES`."""
    if size > MAX_BYTES:
        raise too_large(segment_id, f"more than {MAX_BYTES >> 30} GiB encoded")
    return size


def too_large(segment_id: int, found: str) -> BadInputError:
    """The error for a mesh that is not read because of its size."""
    return BadInputError(
        f"the mesh of segment {segment_id} is too large",
        found=found,
        fix="Read it by boxes, or at a coarser level of detail with a larger pixel_nm",
    )


def check_winding(mesh: Mesh, segment_id: int) -> Mesh:
    """The mesh, unless it is closed and turned inside out.

    An open one can enclose a negative volume and be sound: it is not judged.
    """
    corners = (mesh.vertices[mesh.faces[:, k]].astype(np.float64) for k in range(3))
    a, b, c = corners
    # Vectors (z, y, x) are a left-handed frame: the sign is the other one.
    volume = -np.einsum("ij,ij->", a, np.cross(b, c)) / 6
    if volume < 0 and _closed(mesh):
        raise BadInputError(
            f"the mesh of segment {segment_id} is turned inside out",
            found=f"it encloses {volume:.4g} nm3",
            fix="Open the meshes with the other winding: open_meshes(..., winding=...)",
        )
    return mesh


def _closed(mesh: Mesh) -> bool:
    """Whether every edge is walked as often in one direction as in the other."""
    a = mesh.faces.astype(np.uint64)
    b = np.roll(a, -1, axis=1)
    there = np.sort((a << np.uint64(32) | b).ravel())
    return bool(np.array_equal(there, np.sort((b << np.uint64(32) | a).ravel())))


def not_found(segment_id: int, url: str) -> SegmentNotFoundError:
    """The error for a segment of which a source certifies that it has no mesh."""
    return SegmentNotFoundError(
        f"there is no mesh of segment {segment_id} at {url}",
        found="the store has no manifest of it",
        fix="Check the id, and that it belongs to this version of the segmentation",
    )


def missing(where: str, segment_id: int) -> ReadFailedError:
    """The error for a part that a manifest names and the store does not have."""
    return ReadFailedError(
        f"cannot read {where}, a part of the mesh of segment {segment_id}",
        found="the manifest names it, the store does not have it",
        reason="missing",
        url=where,
    )


@contextmanager
def damage(where: str) -> Iterator[None]:
    """What a parser refuses in a served file is a failed read."""
    try:
        yield
    except BadInputError as error:
        raise ReadFailedError(
            f"{where} is damaged", found=str(error), reason="corrupt", url=where
        ) from error
