"""Scores by blocks equal those of the whole, and class scores equal scikit-learn's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import jaccard_score, precision_recall_fscore_support

from segmend.core.box import VoxelBox
from segmend.core.errors import GridMismatchError
from segmend.core.grid import VoxelGrid
from segmend.metrics.segmentation.contingency import contingency
from segmend.metrics.segmentation.neurons import border_mask, neuron_scores
from segmend.segmentation import scores
from segmend.segmentation.scores import class_scores, score_box


def reader(array):
    return lambda voxels: array[voxels.slices]


def test_blocks_score_as_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    truth = np.kron(rng.integers(0, 9, (3, 5, 5)), np.ones((5, 8, 8), int)).astype(np.uint64)
    found = np.roll(truth, 2, axis=2) + np.uint64(864_691_136_617_970_907)
    grid = VoxelGrid((40, 4, 4), (0, 0, 0), truth.shape)
    box = VoxelBox((1, 3, 2), (14, 38, 39))
    monkeypatch.setattr(scores, "BLOCK", (4, 9, 11))
    ours = score_box(reader(found), reader(truth), grid, box, border_nm=10)
    inside, said = truth[box.slices], found[box.slices]
    far = np.where(border_mask(inside, 2.5), np.uint64(0), inside)
    assert ours.neurons == neuron_scores(contingency(said, far))
    assert ours.true_segments == len(np.unique(inside[inside > 0]))
    numbers = ours.numbers()
    assert numbers["vi"] == numbers["vi_split"] + numbers["vi_merge"]
    assert set(numbers) >= {"cremi_score", "snemi3d_arand", "ap75_all", "ap75_large"}


def test_pixels_must_be_square() -> None:
    grid = VoxelGrid((40, 4, 5), (0, 0, 0), (2, 2, 2))
    ids = np.ones((2, 2, 2), np.uint64)
    with pytest.raises(GridMismatchError, match="square pixels"):
        score_box(reader(ids), reader(ids), grid, grid.voxels)


def test_class_scores_equal_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    truth = rng.choice([0, 1, 2, 255], 500).astype(np.uint8)
    found = rng.integers(0, 3, 500).astype(np.uint8)
    ours = class_scores(found, truth, ("a", "b", "c", "never"), unknown=255)
    known = truth != 255
    precision, recall, f1, support = precision_recall_fscore_support(truth[known], found[known])
    iou = jaccard_score(truth[known], found[known], average=None)
    for k, name in enumerate("abc"):
        wanted = (precision[k], recall[k], f1[k], iou[k], support[k])
        np.testing.assert_allclose(list(ours[name].values()), wanted)
    assert math.isnan(ours["never"]["iou"])
