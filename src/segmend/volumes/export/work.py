"""The hidden folder in which an export grows: chunk files, and a record of each finished block.

::

    .NAME.<plan>.partial/
      plan.json            what is being exported, for people
      data/...             chunk files, as the format names them
      blocks/<number>      a finished block: checksums of its voxels and of its chunk files

Files appear by rename and hold the same bytes whoever writes them, so that a killed export goes on
where it stopped and two at once do each other no harm.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from segmend.core.box import VoxelBox
from segmend.store.atomic import atomic_file, output_errors


class BlockRecord(msgspec.Struct, frozen=True):
    """A finished block.

    Attributes:
        start: First voxel of the block, in voxels of the export, ``(z, y, x)``.
        stop: First voxel outside.
        voxels_sha256: Of its voxels, C order ``(z, y, x)``, little-endian.
        chunks_sha256: Of its chunk files, one after the other, x fastest.
        absent: Certified absent boxes, as pairs of corners, in voxels of the export.
    """

    start: tuple[int, int, int]
    stop: tuple[int, int, int]
    voxels_sha256: str
    chunks_sha256: str
    absent: tuple[tuple[tuple[int, int, int], tuple[int, int, int]], ...]

    @property
    def n_absent(self) -> int:
        """Number of voxels that are certified absent."""
        return sum(VoxelBox(*box).size for box in self.absent)


@dataclass(frozen=True, slots=True)
class Work:
    """The hidden folder of one export.

    Attributes:
        folder: Beside the target.
    """

    folder: Path

    @classmethod
    def beside(cls, target: Path, digest: str) -> Work:
        """The folder for a target and a plan; another plan for the same target has its own."""
        return cls(target.with_name(f".{target.name}.{digest[:12]}.partial"))

    @property
    def data(self) -> Path:
        """The chunk files."""
        return self.folder / "data"

    def start(self, plan: bytes) -> None:
        """Make the folder, unless an earlier run left it.

        Raises:
            OutputError: if it cannot be made.
        """
        with output_errors(self.folder):
            self.data.mkdir(parents=True, exist_ok=True)
            (self.folder / "blocks").mkdir(exist_ok=True)
            self._write(self.folder / "plan.json", plan)

    def write_file(self, name: str, data: bytes) -> None:
        """Write a chunk file, or a file of metadata, among the data.

        Raises:
            OutputError: if it cannot be written; nothing half-written is left.
        """
        path = self.data / name
        with output_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._write(path, data)

    def read_file(self, name: str) -> bytes:
        """Read such a file back.

        Raises:
            OutputError: if it has gone.
        """
        with output_errors(self.data / name):
            return (self.data / name).read_bytes()

    def finish_block(self, number: int, record: BlockRecord) -> None:
        """Note that a block is complete.

        Raises:
            OutputError: if that cannot be written.
        """
        self._write(self.folder / "blocks" / str(number), msgspec.json.encode(record))

    def finished_block(
        self, number: int, block: VoxelBox, names: Sequence[str]
    ) -> BlockRecord | None:
        """The record of a block, if its chunk files are what the record says.

        Args:
            number: Place among the blocks.
            block: The block, in voxels of the export.
            names: Its chunk files, x fastest.
        """
        try:
            text = (self.folder / "blocks" / str(number)).read_bytes()
            record = msgspec.json.decode(text, type=BlockRecord)
            chunks = hashlib.sha256()
            for name in names:
                chunks.update((self.data / name).read_bytes())
        except (OSError, msgspec.DecodeError):
            # Not finished, torn by a power cut, or damaged: the block is made again.
            return None
        same = (record.start, record.stop) == (block.start, block.stop)
        return record if same and record.chunks_sha256 == chunks.hexdigest() else None

    def remove(self) -> None:
        """Remove the folder; another export may be using the same one, and find it gone."""
        with suppress(OSError):
            shutil.rmtree(self.folder)

    @staticmethod
    def _write(path: Path, data: bytes) -> None:
        with output_errors(path), atomic_file(path) as temporary:
            temporary.write_bytes(data)
