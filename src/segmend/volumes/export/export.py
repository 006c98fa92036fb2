"""A box of a volume, copied to this machine: resumable, checked, and never half there."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.core.box import VoxelBox
from segmend.core.errors import (
    AbsentVoxelsError,
    BadInputError,
    OutputError,
    SegmendError,
    VerificationError,
    require,
)
from segmend.store.atomic import output_errors
from segmend.volumes.export.plan import Kind, Plan, pieces, plan_export
from segmend.volumes.export.target import Target, target_for
from segmend.volumes.export.work import BlockRecord, Work
from segmend.volumes.volume import Volume

SHA256_OF = "sha256 of each block's voxels (C order z y x, little-endian), blocks with x fastest"
"""What the checksum in the provenance is the sha256 of, in words that travel with it."""

Report = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Exported:
    """An export that is complete.

    Attributes:
        path: Where it lies.
        provenance: What it says of itself.
        kept: Blocks that an earlier run had finished.
    """

    path: Path
    provenance: dict[str, Any]
    kept: int


def export_box(
    volume: Volume,
    voxels: VoxelBox,
    path: str | Path,
    *,
    kind: Kind | None = None,
    absent: int | None = None,
    report: Report = lambda _stage, _done, _total: None,
) -> Exported:
    """Copy a box of a volume into a file or folder.

    The export grows in a hidden folder beside ``path`` and appears there when every voxel was
    written, read back and compared. Killed or failed, the same call goes on where it stopped.

    Args:
        volume: Where it comes from, at the scale that is wanted (`Volume.at`).
        voxels: What is wanted, in voxels of that scale.
        path: ``.h5`` (CREMI), ``.zarr`` (OME-Zarr 0.5) or no suffix (precomputed).
        kind: Image or labels; None: by the dtype, see `plan_export`.
        absent: What certified absent voxels are written as; None: they are an error.
        report: Told the stage, how many blocks are done, and how many there are.

    Raises:
        BadInputError: if the request cannot be met, see `plan_export`.
        AbsentVoxelsError: if voxels are certified absent and ``absent`` is None.
        ReadFailedError: if voxels cannot be read; what was read is kept.
        OutputError: if ``path`` exists, or cannot be written; what was written is kept.
        VerificationError: if what was written does not read back as it was read.
    """
    require("h5py", extra="build")
    final = Path(path).absolute()
    target = target_for(final)
    plan = plan_export(volume, voxels, kind=kind, absent=absent, target=target.name)
    target.check(plan)
    done = _finished(target, plan, final)
    if done is not None:
        return done
    try:
        return _export(target, plan, final, report)
    except SegmendError:
        # Another export of the same plan may have been faster, and taken the work folder away.
        done = _finished(target, plan, final)
        if done is None:
            raise
        return done


def unfinished(path: str | Path) -> list[Path]:
    """Work folders of exports to ``path`` that were not completed."""
    final = Path(path).absolute()
    return sorted(final.parent.glob(f".{final.name}.{'[0-9a-f]' * 12}.partial"))


def _export(target: Target, plan: Plan, final: Path, report: Report) -> Exported:
    if final.exists() or final.is_symlink():
        raise OutputError(
            f"{final} exists",
            found="and is not this export",
            fix="Remove it, or choose another name",
        )
    if not final.parent.is_dir():
        raise OutputError(f"cannot write {final}", found="its folder does not exist")
    work = Work.beside(final, plan.digest())
    work.start(json.dumps(plan.to_json(), indent=1).encode())
    records, kept = _blocks(target, plan, work, report)
    provenance = _provenance(plan, records)
    text = json.dumps(provenance, indent=1).encode()
    made = target.assemble(plan, work, text)
    _compare(target.open(plan, made), plan, records, report)
    publish(made, final)
    work.remove()
    return Exported(final, provenance, kept)


def _blocks(
    target: Target, plan: Plan, work: Work, report: Report
) -> tuple[list[BlockRecord], int]:
    """Make every block that is not there yet."""
    blocks = plan.blocks()
    names = [[target.chunk_name(plan, c) for c in pieces(b, plan.chunk)] for b in blocks]
    found = [work.finished_block(i, b, names[i]) for i, b in enumerate(blocks)]
    kept = [record for record in found if record is not None]
    if kept:
        _check_source(plan, kept[-1], work)
    records = []
    for number, (block, record) in enumerate(zip(blocks, found, strict=True)):
        if record is None:
            record = _make_block(target, plan, block, work)
            work.finish_block(number, record)
        records.append(record)
        report("copying blocks", number + 1, len(blocks))
    return records, len(kept)


def _make_block(target: Target, plan: Plan, block: VoxelBox, work: Work) -> BlockRecord:
    data, absent = _read(plan, block)
    chunks = hashlib.sha256()
    back = tuple(-v for v in block.start)
    for chunk in pieces(block, plan.chunk):
        encoded = target.encode(plan, data[chunk.shift(back).slices])
        work.write_file(target.chunk_name(plan, chunk), encoded)
        chunks.update(encoded)
    return BlockRecord(
        start=block.start,
        stop=block.stop,
        voxels_sha256=_sha256(data),
        chunks_sha256=chunks.hexdigest(),
        absent=tuple((box.start, box.stop) for box in absent),
    )


def _read(plan: Plan, block: VoxelBox) -> tuple[NDArray[Any], Sequence[VoxelBox]]:
    """Voxels of a block, contiguous and little-endian, and those that are certified absent."""
    volume = plan.volume if plan.absent is None else plan.volume.with_absent(plan.absent)
    read = volume.read_voxels(block.shift(plan.voxels.start))
    if not read.coverage.complete and plan.absent is None:
        raise AbsentVoxelsError(
            f"{read.grid.box} of {plan.volume.source} is not all stored",
            found=f"{read.coverage.n_absent} of {read.data.size} voxels are certified absent",
            fix="Say what they are to be written as (--absent 0), or ask for another box",
        )
    absent = [box.shift(block.start) for box in read.coverage.absent]
    return np.ascontiguousarray(read.data.astype(plan.dtype, copy=False)), absent


def _sha256(data: NDArray[Any]) -> str:
    return hashlib.sha256(data.data).hexdigest()


def _check_source(plan: Plan, record: BlockRecord, work: Work) -> None:
    """Read one of the blocks that are done again: the source may not be what it was."""
    data, _ = _read(plan, VoxelBox(record.start, record.stop))
    if _sha256(data) != record.voxels_sha256:
        raise BadInputError(
            f"{plan.volume.source} has changed since this export began",
            found=f"voxels {record.start} to {record.stop} of the export are not what they were",
            fix=f"Remove {work.folder} and start again",
        )


def _provenance(plan: Plan, records: Sequence[BlockRecord]) -> dict[str, Any]:
    whole = hashlib.sha256(b"".join(bytes.fromhex(r.voxels_sha256) for r in records))
    return {
        **plan.to_json(),
        "plan_sha256": plan.digest(),
        "sha256": whole.hexdigest(),
        "sha256_of": SHA256_OF,
        "absent_voxels": sum(record.n_absent for record in records),
        "absent_boxes": [[list(a), list(b)] for record in records for a, b in record.absent],
        "segmend": version("segmend"),
        "date": _date(),
    }


def _date() -> str:
    """Now, or what reproducible-builds.org/specs/source-date-epoch says."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    if epoch and not (epoch.isascii() and epoch.isdigit()):
        raise BadInputError(f"SOURCE_DATE_EPOCH must be a whole number of seconds, got '{epoch}'")
    date = datetime.fromtimestamp(int(epoch), UTC) if epoch else datetime.now(UTC)
    return date.isoformat(timespec="seconds")


def _compare(volume: Volume, plan: Plan, records: Sequence[BlockRecord], report: Report) -> None:
    """Read the whole export back, as a user will."""
    if volume.grid != plan.grid or volume.dtype != plan.dtype:
        raise VerificationError(
            f"{volume.source} does not open as it was written",
            found=f"{volume.grid} of {volume.dtype}, written {plan.grid} of {plan.dtype}",
        )
    for done, record in enumerate(records, start=1):
        block = volume.read_voxels(VoxelBox(record.start, record.stop))
        data = np.ascontiguousarray(block.data.astype(plan.dtype, copy=False))
        same = _sha256(data) == record.voxels_sha256
        if not same or not block.coverage.complete:
            raise VerificationError(
                f"{volume.source} does not read back as it was written",
                found=f"voxels {record.start} to {record.stop} differ",
                fix="Run the same export again; check the disk",
            )
        report("reading back", done, len(records))


def _finished(target: Target, plan: Plan, final: Path) -> Exported | None:
    """The export that lies at ``final``, if it is the one that was planned."""
    text = target.provenance(final)
    try:
        told = json.loads(text or b"null")
    except ValueError:
        return None
    if not isinstance(told, dict) or told.get("plan_sha256") != plan.digest():
        return None
    Work.beside(final, plan.digest()).remove()
    return Exported(final, told, len(plan.blocks()))


def publish(made: Path, final: Path) -> None:
    """Give the export its name, unless something has that name; survives a power cut."""
    with output_errors(final):
        if made.is_dir():
            for folder in (made, *(path for path in made.rglob("*") if path.is_dir())):
                _flush(folder)
            made.rename(final)  # Fails where a folder with anything in it has the name.
            for left in final.rglob(".*.tmp"):
                left.unlink()  # Of a run that was killed; nobody can write here any more.
        else:
            _flush(made)
            final.hardlink_to(made)  # Fails where anything has the name.
        _flush(final.parent)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
