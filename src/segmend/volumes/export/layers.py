"""Several layers of one box in one HDF5 file, each under its own key, as CREMI has them.

Each layer is exported as a volume is (`segmend.volumes.export.export.export_box`), so that it is
read back and goes on where it stopped; the finished ones are then put together chunk by chunk.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segmend.core.box import VoxelBox
from segmend.core.errors import BadInputError, OutputError, VerificationError, require
from segmend.store.atomic import output_errors
from segmend.volumes.export.export import Report, export_box, publish
from segmend.volumes.export.plan import Kind, plan_export
from segmend.volumes.export.to_hdf5 import KEYS, VERSIONS
from segmend.volumes.volume import Volume

PLAN = "segmend_plan_sha256"
"""Attribute of such a file that tells which layers of which box it holds."""

PROVENANCE = "segmend_provenance"
"""Attribute of each data set: where it comes from, as JSON."""


@dataclass(frozen=True, slots=True)
class BoxLayer:
    """One layer of an export.

    Attributes:
        volume: Where it comes from, at the scale that is wanted.
        voxels: What is wanted, in voxels of that scale.
        kind: Image or labels.
        absent: What certified absent voxels are written as; None: they are an error.
    """

    volume: Volume
    voxels: VoxelBox
    kind: Kind
    absent: int | None = None


def export_layers(
    layers: Mapping[str, BoxLayer],
    path: str | Path,
    *,
    report: Report = lambda _stage, _done, _total: None,
) -> dict[str, dict[str, Any]]:
    """Copy layers into an HDF5 file, which appears when every one was written and read back.

    Args:
        layers: By key in the file, for example ``volumes/raw``.
        path: The file, ``.h5``.
        report: Told the stage, how many blocks are done, and how many there are.

    Returns:
        Where each layer comes from, by key: the provenance that the file bears.

    Raises:
        BadInputError: if the name does not end in ``.h5``, or as `export_box`.
        AbsentVoxelsError: as `export_box`.
        ReadFailedError: if voxels cannot be read; what was read is kept.
        OutputError: if ``path`` is something else, or cannot be written.
        VerificationError: if what was written does not read back as it was read.
    """
    require("h5py", extra="build")
    final = Path(path).absolute()
    if final.suffix != ".h5":
        raise BadInputError(f"{final} cannot hold several layers", fix="Give a name ending in .h5")
    digest = _digest(layers)
    done = _finished(final, digest)
    if done is not None:
        return done
    if final.exists() or final.is_symlink():
        raise OutputError(
            f"{final} exists",
            found="and is not this export",
            fix="Remove it, or choose another name",
        )
    with output_errors(final):
        work = final.with_name(f".{final.name}.{digest[:12]}.layers")
        work.mkdir(parents=True, exist_ok=True)
    made = {}
    for number, (key, layer) in enumerate(layers.items()):
        part = work / f"{number}.h5"

        def told(stage: str, done: int, total: int, key: str = key) -> None:
            report(f"{key}: {stage}", done, total)

        exported = export_box(
            layer.volume, layer.voxels, part, kind=layer.kind, absent=layer.absent, report=told
        )
        made[key] = (part, layer.kind, exported.provenance)
    publish(_join(made, work, digest), final)
    with suppress(OSError):
        shutil.rmtree(work)
    return {key: provenance for key, (_, _, provenance) in made.items()}


def _digest(layers: Mapping[str, BoxLayer]) -> str:
    plans = {
        key: plan_export(
            layer.volume, layer.voxels, kind=layer.kind, absent=layer.absent, target="hdf5"
        ).digest()
        for key, layer in layers.items()
    }
    return hashlib.sha256(json.dumps(plans, sort_keys=True).encode()).hexdigest()


def _finished(final: Path, digest: str) -> dict[str, dict[str, Any]] | None:
    """The provenance of each layer, if the file is the one that was planned."""
    import h5py

    try:
        with h5py.File(final, "r") as file:
            if file.attrs[PLAN] != digest:
                return None
            keys = json.loads(file.attrs["segmend_layers"])
            return {key: json.loads(file[key].attrs[PROVENANCE]) for key in keys}
    except (OSError, KeyError, ValueError):
        return None


def _join(made: Mapping[str, tuple[Path, Kind, dict[str, Any]]], work: Path, digest: str) -> Path:
    import h5py

    path = work / f"{secrets.token_hex(8)}.h5"
    with output_errors(path), h5py.File(path, "w", libver=VERSIONS) as file:
        for key, (part, kind, provenance) in made.items():
            with h5py.File(part, "r") as source:
                file.require_group(key.rpartition("/")[0] or "/")
                source.copy(KEYS[kind], file, name=key)
                _compare(source[KEYS[kind]], file[key])
            file[key].attrs[PROVENANCE] = json.dumps(provenance)
        file.attrs["segmend_layers"] = json.dumps(list(made))
        file.attrs[PLAN] = digest
    return path


def _compare(source: Any, copy: Any) -> None:
    """Chunk by chunk, as stored: what was exported is what the user gets."""
    same = source.id.get_num_chunks() == copy.id.get_num_chunks()
    for number in range(source.id.get_num_chunks() if same else 0):
        start = source.id.get_chunk_info(number).chunk_offset
        same &= source.id.read_direct_chunk(start) == copy.id.read_direct_chunk(start)
    if not same:
        raise VerificationError(
            f"{copy.file.filename} does not read back as it was written",
            found=f"{copy.name} differs",
            fix="Run the same export again; check the disk",
        )
