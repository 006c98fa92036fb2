"""Backbones by name. What needs timm itself runs where timm imports (docs/models.md says where)."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from segmend.core.errors import BadInputError, MissingDependencyError, ReadFailedError
from segmend.models.cnn import Cnn
from segmend.models.model import Backbone, TrainSettings
from segmend.models.net import NetShape
from segmend.models.run import load_run, train_run
from segmend.models.sites import Sites
from segmend.models.timm_net import TimmNet, import_timm
from segmend.shards.reader import Benchmark
from segmend.tasks.registry import TASKS
from segmend.testing.rows import random_benchmark

TASK = TASKS["false_split_correction"]
SHAPES = {
    "pairs": NetShape(views=3, planes=4, masks=False, dual=True),
    "masks": NetShape(views=3, planes=3, masks=True, dual=False),
}


def few(folder: Path) -> Benchmark:
    rows = {"train": {"merge_edit": 2, "adjacent_control": 2}}
    return Benchmark.open(random_benchmark(folder / "rows", rows))


def timm_imports() -> bool:
    try:
        import_timm()
    except MissingDependencyError:
        return False
    return True


with_timm = pytest.mark.skipif(not timm_imports(), reason="timm does not import here")


def settings(name: str, *, imagenet: bool = False) -> TrainSettings:
    backbone = Backbone(name, imagenet)
    return TrainSettings(epochs=1, epoch_rows=1, train_rows=8, backbone=backbone)


def test_without_timm_cause_and_next_step_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)  # what Python itself does for a failed import
    rows, out = few(tmp_path), tmp_path / "run"
    with pytest.raises(MissingDependencyError, match=r"importing it failed.*pip install"):
        train_run(rows, (TASK,), "vit-tiny", out, settings=settings("any"))
    assert [path.name for path in tmp_path.iterdir()] == ["rows"]


def test_a_model_with_its_own_encoder_takes_no_backbone(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"takes no backbone.*timm:any"):
        Cnn().fit(few(tmp_path), (TASK,), settings("any"))


@with_timm
@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "resnet18", "convnext_atto"])
def test_any_kind_of_backbone_scores_pictures_and_paints_masks(name: str) -> None:
    net = TimmNet(SHAPES, name, 112, imagenet=False).eval()
    em = torch.rand(1, 4, 3, 112, 112)
    out = net({"pairs": Sites(torch.rand(1, 3, 7, 112, 112), em)})["pairs"]
    assert out.shape == (1, 7)
    masks = net.ask("masks", Sites(torch.rand(1, 3, 10, 112, 112), em[:, :3]))
    assert masks.shape == (1, 3, 112, 112)
    assert not list(net.slow())  # nothing was learnt elsewhere


@with_timm
def test_a_saved_backbone_predicts_the_same(tmp_path: Path) -> None:
    folder, rows = tmp_path / "run", few(tmp_path)
    run = train_run(rows, (TASK,), "vit-tiny", folder, settings=settings("vit_tiny_patch16_224"))
    again = load_run(folder)
    assert again.config["versions"]["timm"]
    one, other = (each.predict(rows, "train").scores for each in (run, again))
    np.testing.assert_array_equal(one, other)


@with_timm
def test_unknown_models_and_weights_that_cannot_be_had_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(BadInputError, match="has no model 'resnet1000'"):
        TimmNet(SHAPES, "resnet1000", 112, imagenet=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ReadFailedError, match=r"ImageNet weights.*without --imagenet"):
        TimmNet(SHAPES, "vit_tiny_patch16_224", 112, imagenet=True)
