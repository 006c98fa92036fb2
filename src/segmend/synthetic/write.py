"""Synthetic tissue in an HDF5 file of the CREMI layout, written block by block."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from segmend.core.errors import OutputError, ReadFailedError, SchemaError, require
from segmend.synthetic.design import draw_blueprint
from segmend.synthetic.history import Synapse, TrueEdit
from segmend.synthetic.record import true_history
from segmend.synthetic.spec import TissueSpec
from segmend.synthetic.survey import Survey, survey_blocks
from segmend.synthetic.tissue import (
    LAYERS,
    Skeleton,
    present_neurons,
    skeletons,
    synapses,
)

KEYS = {
    "em": "volumes/raw",
    "neurons": "volumes/labels/neuron_ids",
    "automatic": "volumes/labels/automatic",
    "clefts": "volumes/labels/clefts",
    "mitochondria": "volumes/labels/mitochondria",
    "classes": "volumes/labels/classes",
}
"""Where each layer lies in the file."""

CHUNK = 64
FORMAT = "segmend synthetic tissue 1"


def write_tissue(spec: TissueSpec, path: str | Path) -> None:
    """Write a volume to an HDF5 file; memory does not grow with the volume.

    The file holds the layers under `KEYS`, each with attributes ``resolution`` and ``offset`` (nm,
    z y x), and groups ``edits``, ``synapses``, ``skeletons``. It appears under its name when it is
    complete. Equal specs give equal arrays (HDF5 does not promise equal files).

    Raises:
        OutputError: if the folder does not exist or cannot be written.
    """
    require("h5py", extra="build")
    target = Path(path).absolute()
    if target.is_dir():
        raise OutputError(
            f"cannot write synthetic tissue to {target}",
            found="it is a folder",
            fix="Give the name of a file",
        )
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
    except OSError as error:
        raise OutputError(
            f"cannot write synthetic tissue to {target}",
            found=str(error),
            fix="Give a file in an existing folder that you may write to",
        ) from error
    os.close(handle)
    try:
        _write(spec, Path(name))
        Path(name).replace(target)
    finally:
        Path(name).unlink(missing_ok=True)


def _write(spec: TissueSpec, path: Path) -> None:
    import h5py

    blueprint = draw_blueprint(spec)
    survey = Survey(blueprint)
    chunks = tuple(min(CHUNK, n) for n in spec.shape)
    with h5py.File(path, "w") as file:
        file.attrs["format"] = FORMAT
        file.attrs["spec"] = json.dumps(asdict(spec))
        layers = {
            layer: file.create_dataset(
                key,
                spec.shape,
                LAYERS[layer],
                chunks=chunks,
                compression="gzip",
                compression_opts=1,
                shuffle=True,  # ids have mostly equal bytes: smaller and faster
            )
            for layer, key in KEYS.items()
        }
        for dataset in layers.values():
            dataset.attrs["resolution"] = spec.voxel_size
            dataset.attrs["offset"] = (0.0, 0.0, 0.0)
        for box, block in survey_blocks(blueprint, survey):
            for layer, dataset in layers.items():
                dataset[box.slices] = getattr(block, layer)
        _write_records(file, "edits", TrueEdit, true_history(blueprint, survey))
        _write_records(file, "synapses", Synapse, synapses(blueprint))
        present = present_neurons(blueprint, survey)
        kinds = {int(blueprint.ids.neurons[n]): blueprint.kinds[n] for n in present}
        for neuron, skeleton in skeletons(blueprint, present).items():
            group = file.create_group(f"skeletons/{neuron}")
            group.attrs["kind"] = kinds[neuron]
            for part in fields(Skeleton):
                group[part.name] = getattr(skeleton, part.name)


def _write_records(
    file: Any, name: str, kind: type[Any], records: Iterable[TrueEdit] | Iterable[Synapse]
) -> None:
    """One column of JSON texts per field: ids above 2**53 stay decimal strings."""
    import h5py

    rows = [asdict(record) for record in records]
    group = file.create_group(name)
    for column in fields(kind):
        texts = [json.dumps(_plain(row[column.name])) for row in rows]
        group.create_dataset(column.name, data=texts, dtype=h5py.string_dtype(), shape=(len(rows),))


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, (int, np.integer)) else value


def read_edits(path: str | Path) -> tuple[TrueEdit, ...]:
    """The true history stored in a file of `write_tissue`.

    Raises:
        ReadFailedError: if the file is missing or is not HDF5.
        SchemaError: if it is not synthetic tissue.
    """
    return tuple(TrueEdit(**row) for row in _read_records(path, "edits"))


def read_synapses(path: str | Path) -> tuple[Synapse, ...]:
    """The synapses stored in a file of `write_tissue`; errors as `read_edits`."""
    return tuple(Synapse(**row) for row in _read_records(path, "synapses"))


def read_skeletons(path: str | Path) -> dict[int, Skeleton]:
    """The skeletons stored in a file of `write_tissue`, by neuron id; errors as `read_edits`."""
    with _open(path) as file:
        return {
            int(neuron): Skeleton(*(group[part.name][...] for part in fields(Skeleton)))
            for neuron, group in file["skeletons"].items()
        }


def _read_records(path: str | Path, name: str) -> list[dict[str, Any]]:
    with _open(path) as file:
        columns = {key: data.asstr()[...].tolist() for key, data in file[name].items()}
    keys = list(columns)
    rows = zip(*columns.values(), strict=True)
    return [dict(zip(keys, (_parsed(json.loads(v)) for v in row), strict=True)) for row in rows]


def _parsed(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_parsed(item) for item in value)
    return int(value) if isinstance(value, str) and value.isdigit() else value


def _open(path: str | Path) -> Any:
    require("h5py", extra="build")
    import h5py

    if not Path(path).is_file():
        raise ReadFailedError(
            f"there is no file {path}", fix="Write it first: write_tissue(spec, path)"
        )
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ReadFailedError(f"{path} is not a readable HDF5 file", found=str(error)) from error
    if file.attrs.get("format") != FORMAT:
        found = str(file.attrs.get("format", "no attribute 'format'"))
        file.close()
        raise SchemaError(f"{path} is not synthetic tissue of this version", found=found)
    return file
