"""What a format must do to be exported to."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from segmend.core.box import VoxelBox
from segmend.core.errors import BadInputError
from segmend.volumes.export.plan import Plan
from segmend.volumes.export.work import Work
from segmend.volumes.volume import Volume


class Target(Protocol):
    """A format to export to: chunk files first, then what makes them a volume."""

    name: str

    def check(self, plan: Plan) -> None:
        """Refuse what the format cannot say.

        Raises:
            BadInputError: naming what cannot be written.
        """
        ...

    def chunk_name(self, plan: Plan, chunk: VoxelBox) -> str:
        """File name of a chunk, given in voxels of the export."""
        ...

    def encode(self, plan: Plan, voxels: NDArray[Any]) -> bytes:
        """The bytes of a chunk from its voxels ``(z, y, x)``; shorter than a chunk at the edge."""
        ...

    def assemble(self, plan: Plan, work: Work, provenance: bytes) -> Path:
        """Make the volume from all its chunk files; where it lies, inside the work folder.

        Raises:
            OutputError: if it cannot be written.
        """
        ...

    def open(self, plan: Plan, path: Path) -> Volume:
        """Open an export, assembled or published."""
        ...

    def provenance(self, path: Path) -> bytes | None:
        """The provenance that an export bears; None if ``path`` is not such an export."""
        ...


def target_for(path: Path) -> Target:
    """The format that a name asks for: ``.h5``, ``.zarr``, or none for a precomputed folder.

    Raises:
        BadInputError: for any other suffix.
    """
    # Imported here: one export needs one of them, and each has its own libraries.
    if path.suffix == ".h5":
        from segmend.volumes.export.to_hdf5 import ToHdf5

        return ToHdf5()
    if path.suffix == ".zarr":
        from segmend.volumes.export.to_zarr import ToZarr

        return ToZarr()
    if not path.suffix:
        from segmend.volumes.export.to_precomputed import ToPrecomputed

        return ToPrecomputed()
    raise BadInputError(
        f"cannot tell from the name '{path.name}' what to write",
        found=f"suffix '{path.suffix}'",
        fix="Use .h5 (CREMI), .zarr (OME-Zarr 0.5), or no suffix (Neuroglancer precomputed)",
    )
