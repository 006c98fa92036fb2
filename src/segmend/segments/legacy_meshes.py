"""Single-resolution meshes, served."""

from __future__ import annotations

from dataclasses import dataclass

from segmend.core.box import Box
from segmend.core.ids import as_id
from segmend.segments.canonical import Triangles, assemble, crop
from segmend.segments.formats.legacy import legacy_fragment, legacy_manifest
from segmend.segments.mesh import Mesh
from segmend.segments.mesh_source import (
    NOTHING,
    MeshSource,
    Winding,
    check_pixel,
    check_size,
    check_winding,
    damage,
    joined,
    missing,
    not_found,
)
from segmend.store.store import Request, Store


@dataclass(frozen=True, slots=True)
class LegacyMeshes(MeshSource):
    """Single-resolution meshes. Nothing says where a fragment lies: all of them are read.

    Attributes:
        store: The folder.
        winding: Where stored triangles are counter-clockwise from.
    """

    store: Store
    winding: Winding

    @property
    def url(self) -> str:
        """The folder."""
        return self.store.url

    def mesh(self, segment_id: int, box: Box | None = None, pixel_nm: float | None = None) -> Mesh:
        """See `MeshSource.mesh`."""
        check_pixel(pixel_nm)
        key = f"{as_id(segment_id)}:0"
        manifest = self.store.read(key)
        if manifest is None:
            raise not_found(segment_id, self.url)
        with damage(f"{self.url}/{key}"):
            names = legacy_manifest(manifest, key)
            requests = [Request(name) for name in names]
        parts = [NOTHING] * len(requests)
        size = 0
        for position, data in self.store.read_many(requests):
            where = f"{self.url}/{names[position]}"
            if data is None:
                raise missing(where, segment_id)
            size = check_size(size + len(data), segment_id)
            with damage(where):
                parts[position] = legacy_fragment(data, names[position])
        positions, faces = joined(parts)
        if self.winding == "inward":
            faces = faces[:, ::-1]
        with damage(f"{self.url}/{key}"):
            whole = assemble(Triangles(positions[:, ::-1], faces), f"segment {segment_id}")
        check_winding(whole, segment_id)
        return whole if box is None else crop(whole, box)
