"""Volumes that are the cases of an nnU-Net folder: found when the folder is there.

The layout (reference/datasets.md, D, "MitoEM 2.0"): ``imagesTr/CASE_0000.nii.gz`` and
``labelsTr/CASE.nii.gz``, the same with ``Ts``, and ``split.json`` with the official roles. A label
layer whose folder a release lacks (``instancesTr``) is no layer of its cases.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from segmend.catalog.opening import Location
from segmend.catalog.record import MAIN, Layer, Part, Record, Role
from segmend.core.errors import SchemaError

SUFFIX = "_0000.nii.gz"
"""Ending of an image of one channel in the nnU-Net convention."""

HALVES: dict[str, Role] = {"Tr": "train", "Ts": "test"}
SPLIT_KEYS: dict[str, Role] = {"train": "train", "val": "validation", "test": "test"}


def with_cases(record: Record, at: Location) -> Record:
    """The record with a volume for every case that the folder holds.

    Layers are templates: ``{half}`` in a member is ``Tr`` or ``Ts``. What the record says of a
    case by name (a known defect, say) goes over what is found. A folder that is not there has no
    cases; opening a layer then says how to fetch it.

    A ``split.json`` that names no case that is there is another release's (the mirror of MitoEM
    2.0 names cases as they were called before): the roles are then those of the folders.

    Raises:
        SchemaError: if the folder is there and holds no case, or ``split.json`` cannot be read, or
            names only some cases that are there.
    """
    folder = at.of(record, MAIN)
    found: dict[str, Part] = {}
    for half, role in HALVES.items():
        for image in sorted((folder / f"images{half}").glob(f"*{SUFFIX}")):
            case = image.name.removesuffix(SUFFIX)
            layers = {name: _of_half(layer, half) for name, layer in record.layers.items()}
            known = record.volumes.get(case, Part())
            layers |= {name: _of_half(layer, half) for name, layer in known.layers.items()}
            lacking = tuple(n for n, layer in layers.items() if not _has_folder(folder, layer))
            found[case] = msgspec.structs.replace(known, role=role, layers=layers, without=lacking)
    if folder.is_dir() and not found:
        raise SchemaError(
            f"{folder} is not an nnU-Net folder",
            found=f"it has no file imagesTr/*{SUFFIX} or imagesTs/*{SUFFIX}",
            fix=f"Remove it and run: segmend fetch {record.name}",
        )
    split = _official_split(folder)
    if not set(split) & set(found):
        split = {}
    for case, role in split.items():
        if case not in found:
            raise SchemaError(
                f"{folder / 'split.json'} names the case '{case}', which is not there",
                found=f"cases: {', '.join(found) or 'none'}",
            )
        found[case] = msgspec.structs.replace(found[case], role=role)
    first = next(iter(found), "")
    return msgspec.structs.replace(record, volumes=found, volume=first)


def _of_half(layer: Layer, half: str) -> Layer:
    return msgspec.structs.replace(layer, member=layer.member.replace("{half}", half))


def _has_folder(folder: Path, layer: Layer) -> bool:
    return (folder / layer.member).parent.is_dir()


def _official_split(folder: Path) -> dict[str, Role]:
    """Roles by case; nnU-Net writes them as one dict or as a list of folds, of which the first."""
    file = folder / "split.json"
    if not file.is_file():
        return {}
    try:
        content: Any = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise SchemaError(f"{file} is not JSON", found=str(error)) from error
    split = content[0] if isinstance(content, list) and content else content
    if not isinstance(split, dict) or not set(split) <= set(SPLIT_KEYS):
        raise SchemaError(
            f"{file} is not an nnU-Net split",
            found=f"keys {sorted(split) if isinstance(split, dict) else type(split).__name__}",
            fix=f"It needs some of {', '.join(SPLIT_KEYS)}, each a list of cases",
        )
    return {str(case): SPLIT_KEYS[key] for key, cases in split.items() for case in cases}
