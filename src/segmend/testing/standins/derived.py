"""From a shipped record to that of its stand-in: what changes, and nothing else."""

from __future__ import annotations

import functools
import hashlib
import zipfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from segmend.catalog.record import File, Layer, Record
from segmend.core.box import Point, Triple
from segmend.core.ids import Ids, relabel_dense
from segmend.store.atomic import sha256_file
from segmend.synthetic.spec import TissueSpec
from segmend.synthetic.tissue import Tissue, generate

SYNAPSES = 30.0
"""Per cubic micrometre: far more than in tissue, so that a small stand-in has some."""


@functools.lru_cache(maxsize=8)
def tissue(seed: int, shape: Triple, voxel_size: Point) -> Tissue:
    """Synthetic tissue that a stand-in is written from."""
    return generate(TissueSpec(seed, shape, voxel_size, synapses=SYNAPSES))


def dense(ids: Ids, dtype: type[np.unsignedinteger]) -> NDArray[np.unsignedinteger]:
    """Ids numbered from 1, 0 stays 0, in the dtype of a published layer."""
    return relabel_dense(ids)[0].astype(dtype)


def published_file(file: File, path: Path, url: str) -> File:
    """The entry of a file as it now lies at ``path``, published below ``url``."""
    with path.open("rb") as opened:
        md5 = hashlib.file_digest(opened, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    return msgspec.structs.replace(
        file,
        urls=(f"{url}/{path.name.replace('+', '%2B')}",),
        # Only what is recorded of the real file: so that its way of checking is the one tested.
        sha256=sha256_file(path) if file.sha256 else "",
        md5=md5 if file.md5 else "",
        size_bytes=path.stat().st_size if file.size_bytes else 0,
    )


def write_zip(path: Path, members: dict[str, bytes]) -> None:
    """Write an archive; equal members give equal bytes."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            # An entry of its own, because writestr would note the time.
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)


def derive(
    record: Record, files: dict[str, File], change: Callable[[Layer], Layer] = lambda layer: layer
) -> Record:
    """The record of a stand-in.

    Args:
        record: The shipped one.
        files: Entries of the files that were written.
        change: What becomes of each layer, in every version and volume.
    """

    def changed(layers: dict[str, Layer]) -> dict[str, Layer]:
        return {name: change(layer) for name, layer in layers.items()}

    replace = msgspec.structs.replace
    return replace(
        record,
        title=f"Stand-in of synthetic tissue for {record.title}",
        files=record.files | files,
        layers=changed(record.layers),
        versions={k: replace(v, layers=changed(v.layers)) for k, v in record.versions.items()},
        volumes={k: replace(v, layers=changed(v.layers)) for k, v in record.volumes.items()},
    )


def of_shape(shape: Triple) -> Callable[[Layer], Layer]:
    """A change of layers: those that record a shape get this one."""

    def change(layer: Layer) -> Layer:
        return layer if layer.shape is None else msgspec.structs.replace(layer, shape=shape)

    return change
