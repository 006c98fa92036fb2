"""The small network as a model: packed rows in, answers out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from segmend.core.errors import BadInputError, NoSamplesError
from segmend.core.sample import IMAGE_SIZE
from segmend.loaders.examples import examples
from segmend.models.batches import Batch, swapped
from segmend.models.losses import label_loss, split_mask_loss
from segmend.models.model import Answers, Arrays, LogRow, Report, TrainSettings, pack_masks, quiet
from segmend.models.net import NetShape, SiteNet
from segmend.models.packed import Packed, pack
from segmend.models.train import Lesson, in_order, train
from segmend.shards.reader import Benchmark
from segmend.tasks.task import Task


class Cnn:
    """`SiteNet` on half-resolution images.

    Where two segments are compared the score is the mean log odds of both orders of A and B, so
    that it does not depend on the order.
    """

    def __init__(self) -> None:
        self._net: SiteNet | None = None
        self._dual = False

    def fit(
        self, benchmark: Benchmark, task: Task, settings: TrainSettings, *, report: Report = quiet
    ) -> Sequence[LogRow]:
        """Train on the training split, keep the epoch of least validation loss."""
        with TemporaryDirectory(prefix="segmend-") as folder:
            rows = _packed(benchmark, task, "train", Path(folder, "train"), report)
            lesson = Lesson(
                train=rows,
                validation=_validation(benchmark, task, Path(folder, "validation"), report),
                loss=label_loss if task.target_kind == "binary" else split_mask_loss,
                swap=task.dual,
            )
            if lesson.binary and len(np.unique(np.asarray(rows.targets))) < 2:
                raise NoSamplesError(
                    f"the training split of '{task.name}' has one class only",
                    found=f"{len(rows)} rows",
                    fix="Build a benchmark with edits and controls",
                )
            self._dual = task.dual
            self._net = new_net(_shape_for(task), seed=settings.seed)
            return train(self._net, lesson, settings, report=report)

    def predict(
        self, benchmark: Benchmark, task: Task, split: str, *, report: Report = quiet
    ) -> Answers:
        """Probability of label 1, or side B of every view, for every row."""
        net = self._net
        if net is None or net.shape != _shape_for(task) or self._dual != task.dual:
            raise BadInputError(
                f"this model cannot answer '{task.name}'",
                found="it was never trained" if net is None else f"it was trained for {net.shape}",
                fix="Train it on this task",
            )
        with TemporaryDirectory(prefix="segmend-") as folder, torch.inference_mode():
            rows = pack(
                examples(benchmark, task, split, targets=False),
                task,
                Path(folder),
                answers=False,
                report=report,
            )
            batches = in_order(rows, positions=net.shape.masks)
            if task.target_kind == "binary":
                parts = [torch.sigmoid(self._log_odds(net, b).double()).numpy() for b in batches]
                return Answers(rows.hashes, scores=np.concatenate(parts))
            masks = [mask for batch in batches for mask in _masks(net, batch)]
            return Answers(rows.hashes, masks=pack_masks(masks))

    def arrays(self) -> Arrays:
        """The weights."""
        if self._net is None:
            raise BadInputError("a model that was never trained has nothing to save")
        return {name: value.numpy() for name, value in self._net.state_dict().items()}

    def config(self) -> dict[str, Any]:
        """The shape of the network."""
        if self._net is None:
            raise BadInputError("a model that was never trained has nothing to save")
        return {"shape": asdict(self._net.shape), "dual": self._dual}

    def restore(self, arrays: Arrays, config: Mapping[str, Any]) -> None:
        """Become a saved network."""
        net = SiteNet(NetShape(**config["shape"]))
        wanted = {name: (tuple(v.shape), v.numpy().dtype) for name, v in net.state_dict().items()}
        given = {name: (v.shape, v.dtype) for name, v in arrays.items()}
        if wanted != given:
            wrong = sorted(n for n in wanted.keys() | given.keys() if wanted.get(n) != given.get(n))
            raise BadInputError(
                "these weights are those of another network",
                found=f"{len(wrong)} arrays differ, e.g. '{wrong[0]}'",
            )
        net.load_state_dict(
            {name: torch.from_numpy(value.copy()) for name, value in arrays.items()}
        )
        self._net, self._dual = net.eval(), bool(config["dual"])

    def _log_odds(self, net: SiteNet, batch: Batch) -> torch.Tensor:
        odds: torch.Tensor = net(batch.geometry, batch.em)
        if not self._dual:
            return odds
        other = swapped(batch)
        return (odds + net(other.geometry, other.em)) / 2


def new_net(shape: NetShape, *, seed: int) -> SiteNet:
    """An untrained network whose weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SiteNet(shape)


def _shape_for(task: Task) -> NetShape:
    return NetShape(
        views=len(task.views), planes=len(task.planes), masks=task.target_kind == "split_mask"
    )


def _packed(benchmark: Benchmark, task: Task, split: str, folder: Path, report: Report) -> Packed:
    rows = examples(benchmark, task, split)
    folder.mkdir()
    return pack(rows, task, folder, answers=True, report=report)


def _validation(benchmark: Benchmark, task: Task, folder: Path, report: Report) -> Packed | None:
    """The validation split, None where it has no rows for the task."""
    try:
        return _packed(benchmark, task, "validation", folder, report)
    except NoSamplesError:
        return None


def _masks(net: SiteNet, batch: Batch) -> list[NDArray[np.bool_]]:
    """Side B at full resolution, one array per row."""
    logits = net(batch.geometry, batch.em)
    full = functional.interpolate(
        logits, size=(IMAGE_SIZE, IMAGE_SIZE), mode="bilinear", align_corners=False
    )
    return list((full > 0).numpy())
