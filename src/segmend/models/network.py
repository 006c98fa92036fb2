"""A network as a model: packed rows in, answers out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from segmend.core.errors import BadInputError, NoSamplesError
from segmend.core.sample import CHANNELS, EM_CHANNELS, IMAGE_SIZE
from segmend.loaders.examples import Examples, Reading, examples
from segmend.metrics.calibration import apply_temperature, fit_temperature
from segmend.models.batches import Batch
from segmend.models.features import feature_names
from segmend.models.lessons import Lesson, in_order
from segmend.models.model import (
    ALONE,
    Answers,
    Arrays,
    Backbone,
    LogRow,
    Report,
    Session,
    TrainSettings,
    pack_masks,
)
from segmend.models.net import NetShape, Shapes, SiteNetwork
from segmend.models.packed import Form, Packed, pack
from segmend.models.sites import swapped
from segmend.models.train import device_of_choice, mixed_precision, train
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
        measures: Whether it is shown what can be measured on the geometry, where scores are asked.
        takes_backbone: Whether it can be built on a backbone by name.
        backbone: The one it is built on; None for its own.
    """

    image_size = SIZE
    measures = False
    takes_backbone = False

    def __init__(self) -> None:
        self.backbone: Backbone | None = None
        self._net: SiteNetwork | None = None
        self._inputs = "both"
        self._temperatures: dict[str, float] = {}
        self._speed: dict[str, float] = {}

    def network(self, shapes: Shapes) -> SiteNetwork:
        """An untrained network with a head for each task."""
        raise NotImplementedError

    def fit(
        self,
        benchmark: Benchmark,
        tasks: Sequence[Task],
        settings: TrainSettings,
        session: Session = ALONE,
    ) -> Sequence[LogRow]:
        """Train on the training split, keep the epoch of least validation loss."""
        self._inputs = settings.inputs
        self._take(settings.backbone)
        net = self._new(tasks, settings, session)
        with TemporaryDirectory(prefix="segmend-") as place:
            lessons: dict[str, Lesson] = {}
            for task in tasks:
                folder = Path(place, task.name)
                folder.mkdir()
                reading = Reading(packed=session.packed)
                found = examples(benchmark, self._shown(task), "train", reading)
                rows = self._packed(found, folder / "train", session.report)
                held = self._validation(benchmark, task, folder / "validation", session)
                chosen = settings.chosen(rows.hashes)
                lessons[task.name] = Lesson(rows, held, swap=task.dual, chosen=chosen)
                _check_classes(task, lessons[task.name])
                if rows.measures is not None and session.start is None:
                    measured = rows.measures[lessons[task.name].rows]
                    net.scale(task.name, torch.from_numpy(measured))
            trained = train(net, lessons, settings, session)
            self._net = net
            self._speed = {
                "train_rows_per_second": round(trained.rows_per_second, 2),
                "waiting_share": round(trained.waiting, 4),
            }
            self._temperatures = {
                name: self._fitted_temperature(name, lesson.validation)
                for name, lesson in lessons.items()
            }
        return trained.log

    def predict(
        self, benchmark: Benchmark, task: Task, split: str, session: Session = ALONE
    ) -> Answers:
        """Probability of label 1, or side B of every view, for every row."""
        net = self._net
        if net is None or net.shapes.get(task.name) != self.shape(task):
            learnt = "it was never trained" if net is None else f"it learnt {', '.join(net.shapes)}"
            raise BadInputError(
                f"this model cannot answer '{task.name}'",
                found=learnt,
                fix="Train it on this task",
            )
        with TemporaryDirectory(prefix="segmend-") as place:
            folder = Path(place, split)
            reading = Reading(targets=False, packed=session.packed)
            found = examples(benchmark, self._shown(task), split, reading)
            rows = self._packed(found, folder, session.report)
            if task.target_kind == "binary":
                scores = self._probabilities(task.name, rows)
                scores = apply_temperature(scores, self._temperatures[task.name])
                return Answers(rows.hashes, scores=scores)
            return Answers(rows.hashes, masks=pack_masks(self._painted(task.name, rows)))

    def arrays(self) -> Arrays:
        """The weights."""
        return {name: value.numpy() for name, value in self._trained().state_dict().items()}

    def config(self) -> dict[str, Any]:
        """What each task asks of the network, what it is shown, its temperatures and speed."""
        return {
            "shapes": {task: asdict(shape) for task, shape in self._trained().shapes.items()},
            "inputs": self._inputs,
            "backbone": None if self.backbone is None else self.backbone.name,
            "channels": _CHANNELS,
            "temperatures": self._temperatures,
            "speed": self._speed,
        }

    def restore(self, arrays: Arrays, config: Mapping[str, Any]) -> None:
        """Become a saved network."""
        _check_channels(config.get("channels"))
        name = config["backbone"]
        self._take(None if name is None else Backbone(str(name)))
        net = self.network({task: NetShape(**shape) for task, shape in config["shapes"].items()})
        _load(net, arrays)
        self._net, self._inputs = net.eval(), str(config["inputs"])
        self._temperatures, self._speed = dict(config["temperatures"]), dict(config["speed"])

    def _take(self, backbone: Backbone | None) -> None:
        if backbone is not None and not self.takes_backbone:
            raise BadInputError(
                "this model has an encoder of its own and takes no backbone",
                found=f"backbone timm:{backbone.name}",
                fix="Train vit-base or vit-tiny with it",
            )
        self.backbone = backbone

    def _trained(self) -> SiteNetwork:
        if self._net is None:
            raise BadInputError("a model that was never trained has nothing to save")
        return self._net

    def _new(self, tasks: Sequence[Task], settings: TrainSettings, session: Session) -> SiteNetwork:
        """A network whose weights depend on the seed alone, or are those to start from."""
        shapes: dict[str, NetShape] = {task.name: self.shape(task) for task in tasks}
        net = new_net(self, shapes, seed=settings.seed)
        if session.start is not None:
            _load(net, session.start)
        return net

    def _views(self, task: Task) -> tuple[str, ...]:
        return () if self._inputs == "em" else task.views

    def shape(self, task: Task) -> NetShape:
        """What a task asks of the network."""
        masks = task.target_kind == "split_mask"
        if masks and self._inputs == "em":
            raise BadInputError(
                f"'{task.name}' cannot be learnt from EM alone",
                found="its masks are painted on the geometry views",
                fix="Train with inputs geometry or both",
            )
        planes = 0 if self._inputs == "geometry" else len(task.planes)
        views = len(self._views(task))
        measured = self.measures and views and not masks and self._inputs != "pictures"
        measures = len(feature_names(dual=task.dual)) if measured else 0
        return NetShape(views, planes, masks=masks, dual=task.dual, measures=measures)

    def _shown(self, task: Task) -> Task:
        """The task with what this model is shown: without EM, that is not even read."""
        return replace(task, input_columns=(GEOMETRY,)) if self._inputs == "geometry" else task

    def _packed(self, rows: Examples, folder: Path, report: Report) -> Packed:
        folder.mkdir()
        measured = self.shape(rows.task).measures > 0
        form = Form(self._views(rows.task), self.image_size, measured)
        return pack(rows, form, folder, report=report)

    def _validation(
        self, benchmark: Benchmark, task: Task, folder: Path, session: Session
    ) -> Packed | None:
        """The validation split, None where it has no rows for the task."""
        reading = Reading(packed=session.packed)
        try:
            rows = examples(benchmark, self._shown(task), "validation", reading)
        except NoSamplesError:
            return None
        return self._packed(rows, folder, session.report)

    def _fitted_temperature(self, task: str, rows: Packed | None) -> float:
        """1 where validation has no rows, or rows of one class only, and for masks."""
        if rows is None or rows.targets is None or rows.targets.ndim > 1:
            return 1.0
        if len(np.unique(rows.targets)) < 2:
            return 1.0
        said = self._probabilities(task, rows)
        return fit_temperature(rows.targets.astype(np.float64), said)

    def _probabilities(self, task: str, rows: Packed) -> NDArray[np.float64]:
        parts = self._asked(task, rows, _log_odds)
        return np.concatenate([torch.sigmoid(odds).cpu().numpy() for odds in parts])

    def _painted(self, task: str, rows: Packed) -> list[NDArray[np.bool_]]:
        return [mask for masks in self._asked(task, rows, _masks) for mask in masks.cpu().numpy()]

    def _asked(
        self, task: str, rows: Packed, answer: Callable[[SiteNetwork, str, Batch], Tensor]
    ) -> Iterator[Tensor]:
        """What the network answers to each batch of the rows in order."""
        net, device = self._trained(), device_of_choice()
        net.to(device)
        try:
            with torch.inference_mode(), mixed_precision(device):
                for batch in in_order(rows, positions=net.shapes[task].masks):
                    yield answer(net, task, batch.to(device))
        finally:
            net.to("cpu")


def _log_odds(net: SiteNetwork, task: str, batch: Batch) -> Tensor:
    odds = net.log_odds(net.ask(task, batch.sites))
    if net.symmetric or not net.shapes[task].dual:
        return odds
    return (odds + net.log_odds(net.ask(task, swapped(batch.sites)))) / 2


def new_net(model: NetworkModel, shapes: Shapes, *, seed: int) -> SiteNetwork:
    """An untrained network whose weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return model.network(shapes)


def _check_channels(channels: Any) -> None:
    """Check that weights are for the channels that rows have, in their order."""
    learnt = channels if isinstance(channels, dict) else {}
    wrong = [
        f"{kind} {place}: {one or 'none'} instead of {other or 'none'}"
        for kind, ours in _CHANNELS.items()
        for place, (one, other) in enumerate(zip_longest(learnt.get(kind, ()), ours))
        if one != other
    ]
    if wrong:
        raise BadInputError(
            f"these weights are for other channels: {len(wrong)} differ",
            found=f"e.g. {'; '.join(wrong[:3])}",
            fix="Train it again",
        )


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


def _masks(net: SiteNetwork, task: str, batch: Batch) -> Tensor:
    """Side B at full resolution, bool (rows, views, 224, 224)."""
    logits = net.ask(task, batch.sites)
    size = (IMAGE_SIZE, IMAGE_SIZE)
    full = functional.interpolate(logits.float(), size=size, mode="bilinear", align_corners=False)
    return full > 0
