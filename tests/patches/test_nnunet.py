"""Crops for nnU-Net, read back as its documentation says, without any code of ours."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

import segmend as sg
from segmend.catalog.labels import IGNORED
from segmend.core.errors import BadInputError, NoSamplesError, OutputError
from segmend.patches.augment import Flips
from segmend.patches.nnunet import export_nnunet
from segmend.patches.sources import Source
from segmend.volumes.drivers.memory import from_array

SHAPE = (6, 20, 24)


def source(classes=None) -> Source:
    draw = np.random.default_rng(0)
    image = draw.integers(0, 255, SHAPE).astype(np.uint8)
    if classes is None:
        classes = draw.choice([0, 1, 3], SHAPE).astype(np.uint8)  # no cleft
        classes[0, :5] = IGNORED
    return Source(
        "a",
        from_array(image, (40, 4, 4)),
        None,
        classes=from_array(classes, (40, 4, 4)),
        licence="CC-BY-4.0",
    )


def read_case(folder: Path, case: str, *, labels: bool):
    """As Tiff3DIO reads: the spacing lies in a .json named as the case, without the channel."""
    stem = case if labels else f"{case}_0000"
    array = tifffile.imread(folder / f"{stem}.tif")
    spacing = json.loads((folder / f"{case}.json").read_text())["spacing"]
    assert array.ndim == len(spacing) == 3
    return array, spacing


def test_the_layout_that_nnunet_documents(tmp_path) -> None:
    made = source()
    patches = sg.Patches(made, (3, 10, 12), augment=[Flips()])
    queries = list(sg.GridSampler(patches.mix, (3, 10, 12)))
    raw = tmp_path / "nnUNet_raw"
    out = export_nnunet(patches, raw, number=7, name="Fly", train=queries[:5], test=queries[5:])
    assert out == raw / "Dataset007_Fly"
    about = json.loads((out / "dataset.json").read_text())
    assert about["channel_names"] == {"0": "EM"}
    # Consecutive from the background on, and what does not count is the largest.
    assert about["labels"] == {"background": 0, "neuron": 1, "mitochondria": 2, "ignore": 3}
    assert about["file_ending"] == ".tif"
    assert about["numTraining"] == 5
    assert sorted(p.name for p in raw.iterdir()) == ["Dataset007_Fly"]
    cases = sorted(p.name.removesuffix("_0000.tif") for p in (out / "imagesTr").glob("*_0000.tif"))
    assert len(cases) == 5 == len(list((out / "labelsTr").glob("*.tif")))
    meaning = {0: 0, 1: 1, 3: 2, IGNORED: 3}
    for case, query in zip(cases, queries, strict=False):
        image, spacing = read_case(out / "imagesTr", case, labels=False)
        labels, same = read_case(out / "labelsTr", case, labels=True)
        assert spacing == same == [40, 4, 4]
        assert (image.shape, image.dtype, labels.dtype) == ((3, 10, 12), np.uint8, np.uint8)
        assert np.array_equal(image, made.read_image(query.voxels)[0])
        classes = made.read_classes(query.voxels)
        assert np.array_equal(labels, np.vectorize(meaning.get)(classes))
    assert len(list((out / "imagesTs").glob("*_0000.tif"))) == len(queries) - 5
    terms = json.loads((out / "imagesTr" / f"{cases[0]}.json").read_text())
    assert terms["licence"] == "CC-BY-4.0"
    assert terms["box_nm"] == [[0, 0, 0], [120, 40, 48]]


def test_without_unknown_voxels_there_is_no_ignore_label(tmp_path) -> None:
    patches = sg.Patches(source(np.ones(SHAPE, np.uint8)), SHAPE)
    queries = list(sg.GridSampler(patches.mix, SHAPE))
    out = export_nnunet(patches, tmp_path, number=1, name="A", train=queries)
    assert json.loads((out / "dataset.json").read_text())["labels"] == {
        "background": 0,
        "neuron": 1,
    }
    assert not (out / "imagesTs").exists()


def test_what_cannot_be_exported_leaves_nothing(tmp_path) -> None:
    patches = sg.Patches(source(), SHAPE)
    queries = list(sg.GridSampler(patches.mix, SHAPE))
    for number, name in ((0, "A"), (1000, "A"), (1, ""), (1, "a b"), (1, "../a")):
        with pytest.raises(BadInputError, match="number from 1 to 999"):
            export_nnunet(patches, tmp_path, number=number, name=name, train=queries)
    with pytest.raises(NoSamplesError, match="0 crops"):
        export_nnunet(patches, tmp_path, number=1, name="A", train=[])
    blind = sg.Patches(source(np.full(SHAPE, IGNORED, np.uint8)), SHAPE)
    with pytest.raises(NoSamplesError, match="no voxel with a class"):
        export_nnunet(blind, tmp_path, number=1, name="A", train=queries)
    bare = sg.Patches(Source("a", source().image, None), SHAPE)
    with pytest.raises(BadInputError, match="no classes"):
        export_nnunet(bare, tmp_path, number=1, name="A", train=queries)
    assert list(tmp_path.iterdir()) == []
    out = export_nnunet(patches, tmp_path, number=1, name="A", train=queries)
    with pytest.raises(OutputError, match="exists"):
        export_nnunet(patches, tmp_path, number=1, name="A", train=queries)
    assert out.is_dir()
