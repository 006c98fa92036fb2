"""MitoEM 2.0: a zipped nnU-Net folder with ``dataset.json``, ``split.json`` and ``.nii.gz``."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from zlib_ng import zlib_ng

from segmend.catalog.record import Record
from segmend.core.box import Point, Triple, VoxelBox
from segmend.testing.standins.derived import dense, derive, published_file, tissue, write_zip

PIECE: Triple = (32, 64, 48)
"""Voxels of a case: three lengths, so that turned axes are seen."""

CASES = {
    "beta": (4, 3), "jurkat": (2, 1), "macro": (2, 1), "mossy": (3, 2),
    "podo": (2, 1), "pyra": (17, 1), "sperm": (2, 1), "stem": (2, 1),
}  # fmt: skip
"""Training and test cases (seeds/neurons-datasets.md; macro: as the record says)."""

SEEDS = {16.0: 22, 30.0: 21}
"""Of tissue with mitochondria in every piece, by the thickness of its sections."""

REVERSED = "me2-jurkat_train02"
"""The case whose labels are published with reversed axes."""


def write(record: Record, published: Path, url: str) -> Record:
    """Write the files; see `segmend.testing.standins.WRITERS`."""
    name = record.name.removeprefix("mitoem2-")
    voxel_size = record.layers["image"].voxel_size_nm
    assert voxel_size is not None
    archive = published / Path(record.files["main"].path).name
    n_train, n_test = CASES[name]
    halves = {f"me2-{name}_train{n:02d}": "Tr" for n in range(1, n_train + 1)}
    halves |= {f"me2-{name}_test{n:02d}": "Ts" for n in range(1, n_test + 1)}
    members: dict[str, bytes] = {}
    for number, (case, half) in enumerate(halves.items()):
        layers = case_arrays(record, number)
        members[f"images{half}/{case}_0000.nii.gz"] = _nifti(layers["image"], voxel_size)
        labels = layers["labels"].T if case == REVERSED else layers["labels"]
        members[f"labels{half}/{case}.nii.gz"] = _nifti(labels, voxel_size)
        members[f"instances{half}/{case}.nii.gz"] = _nifti(layers["instances"], voxel_size)
    cases = list(halves)
    split = {"train": cases[: n_train - 1], "val": cases[n_train - 1 : n_train]}
    split["test"] = cases[n_train:]
    members["split.json"] = json.dumps([split]).encode()
    members["dataset.json"] = json.dumps({
        "name": archive.stem,
        "tensorImageSize": "3D",
        "spacing": list(voxel_size[::-1]),
        "channel_names": {"0": record.modality},
        "labels": {"background": 0, "mitochondria": 1, "boundary": 2},
        "numTraining": n_train,
        "numTest": n_test,
        "file_ending": ".nii.gz",
    }).encode()  # fmt: skip
    write_zip(archive, {f"{archive.stem}/{name}": data for name, data in members.items()})
    return derive(record, {"main": published_file(record.files["main"], archive, url)})


def case_arrays(record: Record, number: int) -> dict[str, Any]:
    """Image, labels (0, 1, 2) and instances of a case, ``(z, y, x)``."""
    voxel_size = record.layers["image"].voxel_size_nm
    assert voxel_size is not None
    shape = (2 * PIECE[0], 2 * PIECE[1], 2 * PIECE[2])
    made = tissue(SEEDS[voxel_size[0]], shape, voxel_size)
    corners = list(product(*((0, n) for n in PIECE)))
    box = VoxelBox((0, 0, 0), PIECE).shift(corners[number % len(corners)])
    classes = made.classes[box.slices]
    return {
        "image": made.em[box.slices],
        "labels": np.select([classes == 3, classes == 4], [1, 2], 0).astype(np.uint8),
        "instances": dense(made.mitochondria[box.slices], np.uint32),
    }


def _nifti(array: Any, voxel_size: Point) -> bytes:
    """As SimpleITK writes it: mm, x and y running against the axes of the header."""
    z, y, x = voxel_size
    make: Any = nib.Nifti1Image
    image = make(np.ascontiguousarray(array.T), np.diag([-x, -y, z, 1.0]))
    image.header.set_xyzt_units("mm")
    # As gzip, without a date.
    return zlib_ng.compress(image.to_bytes(), 1, 16 + zlib_ng.MAX_WBITS)
