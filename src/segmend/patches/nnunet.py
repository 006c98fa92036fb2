"""Crops as an nnU-Net v2 data set: 3-D TIFFs with their spacing beside them.

Layout and keys: https://github.com/MIC-DKFZ/nnUNet, documentation/dataset_format.md and
nnunetv2/imageio/tif_reader_writer.py (``Tiff3DIO``). TIFF, because NIfTI would turn the axes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from segmend.catalog.labels import IGNORED, VOCABULARY
from segmend.core.errors import BadInputError, NoSamplesError, OutputError
from segmend.patches.patches import Patches, Sample
from segmend.patches.sampling import Query
from segmend.store.atomic import atomic_folder, output_errors

ENDING = ".tif"
FOLDERS = ("imagesTr", "labelsTr", "imagesTs")

IGNORE = "ignore"
"""nnU-Net's name for voxels that do not count; its value must be the largest of all."""


def export_nnunet(
    patches: Patches,
    folder: str | Path,
    *,
    number: int,
    name: str,
    train: Iterable[Query],
    test: Iterable[Query] = (),
) -> Path:
    """Write crops with their common classes as a data set of nnU-Net v2.

    Classes that do not occur in any crop are left out, so that values are consecutive; voxels whose
    class is unknown or ignored get nnU-Net's ignore label. Every case has a ``.json`` with its
    spacing (nm, ``(z, y, x)``), where it is from and under which terms. The folder appears whole or
    not at all.

    Args:
        patches: What answers; its sources need classes, its changes are not made.
        folder: nnU-Net's folder of raw data (``nnUNet_raw``).
        number: Of the data set, 1 to 999.
        name: Of the data set: letters, digits, ``_`` and ``-``.
        train: Crops with labels, from a sampler.
        test: Crops whose image alone is written.

    Returns:
        The folder of the data set.

    Raises:
        BadInputError: for a number or name that nnU-Net does not take, or sources without classes.
        NoSamplesError: if there is no crop to train on, or none of them has a class.
        OutputError: if the data set exists, or cannot be written.
    """
    if not 1 <= number <= 999 or not name or not set(name) <= _LETTERS:
        raise BadInputError(
            "nnU-Net names data sets by a number from 1 to 999 and letters, digits, '_' and '-'",
            found=f"number {number}, name '{name}'",
        )
    for source in patches.mix.sources:
        if source.classes is None:
            raise BadInputError(
                f"'{source.name}' has no classes to export",
                fix="Pass classes=True to sg.mix, or ignore=...",
            )
    out = Path(folder) / f"Dataset{number:03}_{name}"
    if out.exists():
        raise OutputError(f"{out} exists", fix="Choose another number, or remove it")
    with output_errors(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_folder(out) as work:
        _write(work, patches, list(train), list(test), name)
    return out


_LETTERS = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


def _write(work: Path, patches: Patches, train: list[Query], test: list[Query], name: str) -> None:
    for part in FOLDERS if test else FOLDERS[:2]:
        (work / part).mkdir()
    seen, unknown = _classes(patches, train)
    values = {VOCABULARY[k]: place for place, k in enumerate(seen)}
    table = np.zeros(256, np.uint8)
    table[seen] = np.arange(len(seen))
    table[IGNORED] = len(seen)
    for place, query in enumerate(train):
        sample, case = patches.answer(query, augmented=False), f"train_{place:04}"
        _write_image(work / "imagesTr", case, sample)
        _write_case(work / "labelsTr", case, case, table[patches.classes_of(query)], sample)
    for place, query in enumerate(test):
        _write_image(work / "imagesTs", f"test_{place:04}", patches.answer(query, augmented=False))
    about: dict[str, Any] = {
        "channel_names": {"0": "EM"},
        "labels": values | ({IGNORE: len(seen)} if unknown else {}),
        "numTraining": len(train),
        "file_ending": ENDING,
        "overwrite_image_reader_writer": "Tiff3DIO",
        "name": name,
        "licence": sorted({source.licence or "unstated" for source in patches.mix.sources}),
    }
    (work / "dataset.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def _classes(patches: Patches, queries: list[Query]) -> tuple[list[int], bool]:
    """Classes that occur, background always the first, and whether anything is unknown."""
    counts = np.zeros(256, np.int64)
    for query in queries:
        counts += np.bincount(patches.classes_of(query).ravel(), minlength=256)
    if not counts[:IGNORED].any():
        raise NoSamplesError(
            "there is nothing to train on", found=f"{len(queries)} crops, no voxel with a class"
        )
    counts[0] += 1  # nnU-Net reserves 0 for the background
    return np.flatnonzero(counts[:IGNORED]).tolist(), bool(counts[IGNORED])


def _write_image(folder: Path, case: str, sample: Sample) -> None:
    _write_case(folder, case, f"{case}_0000", sample["image"][0].numpy(), sample)


def _write_case(
    folder: Path, case: str, stem: str, array: NDArray[Any], sample: Mapping[str, Any]
) -> None:
    tifffile.imwrite(
        folder / f"{stem}{ENDING}", array, compression="zlib", photometric="minisblack"
    )
    box = sample["box"]
    about = {
        "spacing": list(sample["voxel_size"]),
        "unit": "nm, (z, y, x)",
        "dataset": sample["dataset"],
        "licence": sample["licence"],
        "box_nm": [list(box.start), list(box.stop)],
    }
    (folder / f"{case}.json").write_text(json.dumps(about) + "\n", encoding="utf-8")
