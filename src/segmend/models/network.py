"""A network as a model: packed rows in, answers out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from segmend.core.errors import BadInputError, NoSamplesError
from segmend.core.random import keyed_unit
from segmend.core.sample import CHANNELS, EM_CHANNELS, IMAGE_SIZE
from segmend.loaders.examples import Reading, examples
from segmend.metrics.calibration import apply_temperature, fit_temperature
from segmend.models.batches import Batch, swapped
from segmend.models.model import (
    ALONE,
    Answers,
    Arrays,
    LogRow,
    Report,
    Session,
    TrainSettings,
    pack_masks,
    quiet,
)
from segmend.models.net import NetShape, SiteNetwork
from segmend.models.packed import Packed, pack
from segmend.models.train import Lesson, device_of_choice, in_order, mixed_precision, train
from segmend.models.views import SIZE
from segmend.shards.reader import Benchmark
from segmend.tasks.task import GEOMETRY, Task

_CHANNELS = {"geometry": list(CHANNELS), "em": list(EM_CHANNELS)}
"""Kept beside the weights: they mean nothing for other channels."""


class NetworkModel:
    """What every network shares; a subclass says which network.

    Where two segments are compared and the network itself could tell A from B, the score is the
    mean log odds of both orders, so that it does not depend on the order. Scores are probabilities
    at a prevalence of one half, their temperature fitted on the validation rows.

    Attributes:
        image_size: Width of the pictures the network sees: `IMAGE_SIZE` or a half of it.
    """

    image_size = SIZE

    def __init__(self) -> None:
        self._net: SiteNetwork | None = None
        self._inputs = "both"
        self._temperature = 1.0
        self._speed: dict[str, float] = {}

    def network(self, shape: NetShape) -> SiteNetwork:
        """An untrained network of a shape."""
        raise NotImplementedError

    def fit(
        self, benchmark: Benchmark, task: Task, settings: TrainSettings, session: Session = ALONE
    ) -> Sequence[LogRow]:
        """Train on the training split, keep the epoch of least validation loss."""
        self._inputs = settings.inputs
        net = self._new(task, settings, session)
        with TemporaryDirectory(prefix="segmend-") as folder:
            rows = self._packed(benchmark, task, "train", Path(folder, "train"), session.report)
            held = self._validation(benchmark, task, Path(folder, "validation"), session.report)
            lesson = Lesson(rows, held, swap=task.dual, chosen=_chosen(rows, settings))
            _check_classes(task, lesson)
            trained = train(net, lesson, settings, session)
            self._net = net
            self._speed = {
                "train_rows_per_second": round(trained.rows_per_second, 2),
                "waiting_share": round(trained.waiting, 4),
            }
            self._temperature = self._fitted_temperature(held)
        return trained.log

    def predict(
        self, benchmark: Benchmark, task: Task, split: str, *, report: Report = quiet
    ) -> Answers:
        """Probability of label 1, or side B of every view, for every row."""
        net = self._net
        if net is None or net.shape != self._shape(task):
            raise BadInputError(
                f"this model cannot answer '{task.name}'",
                found="it was never trained" if net is None else f"it was trained for {net.shape}",
                fix="Train it on this task",
            )
        with TemporaryDirectory(prefix="segmend-") as place:
            folder = Path(place, split)
            rows = self._packed(benchmark, task, split, folder, report, targets=False)
            if task.target_kind == "binary":
                scores = apply_temperature(self._probabilities(rows), self._temperature)
                return Answers(rows.hashes, scores=scores)
            return Answers(rows.hashes, masks=pack_masks(self._painted(rows)))

    def arrays(self) -> Arrays:
        """The weights."""
        return {name: value.numpy() for name, value in self._trained().state_dict().items()}

    def config(self) -> dict[str, Any]:
        """The shape of the network, what it is shown, its temperature and speed."""
        return {
            "shape": asdict(self._trained().shape),
            "inputs": self._inputs,
            "channels": _CHANNELS,
            "temperature": self._temperature,
            "speed": self._speed,
        }

    def restore(self, arrays: Arrays, config: Mapping[str, Any]) -> None:
        """Become a saved network."""
        if config.get("channels") != _CHANNELS:
            raise BadInputError(
                "these weights are for other channels",
                found=f"{config.get('channels')}, rows have {_CHANNELS}",
                fix="Train it again",
            )
        net = self.network(NetShape(**config["shape"]))
        _load(net, arrays)
        self._net, self._inputs = net.eval(), str(config["inputs"])
        self._temperature, self._speed = float(config["temperature"]), dict(config["speed"])

    def _trained(self) -> SiteNetwork:
        if self._net is None:
            raise BadInputError("a model that was never trained has nothing to save")
        return self._net

    def _new(self, task: Task, settings: TrainSettings, session: Session) -> SiteNetwork:
        """A network whose weights depend on the seed alone, or are those to start from."""
        net = new_net(self, self._shape(task), seed=settings.seed)
        if session.start is not None:
            _load(net, session.start)
        return net

    def _views(self, task: Task) -> tuple[str, ...]:
        return () if self._inputs == "em" else task.views

    def _shape(self, task: Task) -> NetShape:
        masks = task.target_kind == "split_mask"
        if masks and self._inputs == "em":
            raise BadInputError(
                f"'{task.name}' cannot be learnt from EM alone",
                found="its masks are painted on the geometry views",
                fix="Train with inputs geometry or both",
            )
        planes = 0 if self._inputs == "geometry" else len(task.planes)
        return NetShape(len(self._views(task)), planes, masks=masks, dual=task.dual)

    def _packed(
        self,
        benchmark: Benchmark,
        task: Task,
        split: str,
        folder: Path,
        report: Report,
        *,
        targets: bool = True,
    ) -> Packed:
        if self._inputs == "geometry":  # then EM is not even read
            task = replace(task, input_columns=(GEOMETRY,))
        rows = examples(benchmark, task, split, Reading(targets=targets))
        folder.mkdir()
        return pack(rows, self._views(task), folder, size=self.image_size, report=report)

    def _validation(
        self, benchmark: Benchmark, task: Task, folder: Path, report: Report
    ) -> Packed | None:
        """The validation split, None where it has no rows for the task."""
        try:
            return self._packed(benchmark, task, "validation", folder, report)
        except NoSamplesError:
            return None

    def _fitted_temperature(self, rows: Packed | None) -> float:
        """1 where validation has no rows, or rows of one class only."""
        if rows is None or rows.targets is None or rows.targets.ndim > 1:
            return 1.0
        if len(np.unique(rows.targets)) < 2:
            return 1.0
        return fit_temperature(rows.targets.astype(np.float64), self._probabilities(rows))

    def _probabilities(self, rows: Packed) -> NDArray[np.float64]:
        parts = [torch.sigmoid(odds).cpu().numpy() for odds in self._asked(rows, self._log_odds)]
        return np.concatenate(parts)

    def _painted(self, rows: Packed) -> list[NDArray[np.bool_]]:
        return [mask for masks in self._asked(rows, _masks) for mask in masks.cpu().numpy()]

    def _asked(
        self, rows: Packed, answer: Callable[[SiteNetwork, Batch], Tensor]
    ) -> Iterator[Tensor]:
        """What the network answers to each batch of the rows in order."""
        net, device = self._trained(), device_of_choice()
        net.to(device)
        try:
            with torch.inference_mode(), mixed_precision(device):
                for batch in in_order(rows, positions=net.shape.masks):
                    yield answer(net, batch.to(device))
        finally:
            net.to("cpu")

    def _log_odds(self, net: SiteNetwork, batch: Batch) -> Tensor:
        odds = net.log_odds(net(batch.geometry, batch.em))
        if net.symmetric or not net.shape.dual:
            return odds
        other = swapped(batch)
        return (odds + net.log_odds(net(other.geometry, other.em))) / 2


def new_net(model: NetworkModel, shape: NetShape, *, seed: int) -> SiteNetwork:
    """An untrained network whose weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return model.network(shape)


def _load(net: SiteNetwork, arrays: Arrays) -> None:
    wanted = {name: (tuple(v.shape), v.numpy().dtype) for name, v in net.state_dict().items()}
    given = {name: (v.shape, v.dtype) for name, v in arrays.items()}
    if wanted != given:
        wrong = sorted(n for n in wanted.keys() | given.keys() if wanted.get(n) != given.get(n))
        raise BadInputError(
            "these weights are those of another network",
            found=f"{len(wrong)} arrays differ, e.g. '{wrong[0]}'",
        )
    net.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in arrays.items()})


def _chosen(rows: Packed, settings: TrainSettings) -> NDArray[np.int64] | None:
    """The first rows in an order by key: a larger number holds the rows of a smaller one."""
    if settings.train_rows is None:
        return None
    keys = [keyed_unit("training rows", settings.seed, key) for key in rows.hashes]
    return np.sort(np.argsort(keys, kind="stable")[: settings.train_rows])


def _check_classes(task: Task, lesson: Lesson) -> None:
    targets = lesson.train.targets
    if targets is None or targets.ndim > 1:
        return
    found = np.unique(targets[lesson.rows])
    if len(found) < 2:
        raise NoSamplesError(
            f"the training split of '{task.name}' has one class only",
            found=f"{len(lesson.rows)} rows of label {found[0]:g}",
            fix="Build a benchmark with edits and controls",
        )


def _masks(net: SiteNetwork, batch: Batch) -> Tensor:
    """Side B at full resolution, bool (rows, views, 224, 224)."""
    logits = net(batch.geometry, batch.em)
    size = (IMAGE_SIZE, IMAGE_SIZE)
    full = functional.interpolate(logits.float(), size=size, mode="bilinear", align_corners=False)
    return full > 0
