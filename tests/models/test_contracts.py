"""Every model on every task it supports."""

from __future__ import annotations

from segmend.models.model import TrainSettings
from segmend.tasks.registry import TASKS
from segmend.testing.models import ModelContract


class TestChanceOnPairs(ModelContract):
    model, task, learns = "chance", TASKS["false_split_correction"], False


class TestChanceOnMasks(ModelContract):
    model, task, learns = "chance", TASKS["split_mask_generation"], False


class TestGeometryOnPairs(ModelContract):
    model, task = "geometry", TASKS["false_split_correction"]


class TestGeometryOnSingles(ModelContract):
    model, task = "geometry", TASKS["false_merge_identification"]


class TestNeckOnMasks(ModelContract):
    model, task = "neck", TASKS["split_mask_generation"]


class TestCnnOnPairs(ModelContract):
    model, task = "cnn", TASKS["false_split_correction"]
    settings = TrainSettings(epochs=8, batch_size=8, epoch_rows=1, learning_rate=2e-3)


class TestCnnOnMasks(ModelContract):
    model, task = "cnn", TASKS["split_mask_generation"]
    settings = TrainSettings(epochs=12, batch_size=4, epoch_rows=1, learning_rate=2e-3)


class TestFusionOnPairs(ModelContract):
    model, task = "fusion", TASKS["false_split_correction"]
    settings = TrainSettings(epochs=1, batch_size=8, epoch_rows=1, ema=0.8, train_rows=8)
    learns = False  # not in one epoch; test_train.py shows that it learns
