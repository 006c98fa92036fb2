"""One readable training loop: AdamW, warm-up and cosine, the epoch that validation likes best."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from segmend.core.errors import SegmendError
from segmend.core.random import keyed_generator
from segmend.models.batches import Batch
from segmend.models.checkpoint import Course, keep, resume
from segmend.models.lessons import Lessons, Seat, epoch_batches, epoch_steps, in_order
from segmend.models.model import ALONE, LogRow, Session, TrainSettings
from segmend.models.net import SiteNetwork
from segmend.models.packed import Packed
from segmend.models.ranks import Ranks, ranks

Loss = Callable[[str, Tensor, Tensor], Tensor]
"""Takes a task, what a network gave and targets, gives one number per row."""

_WEIGHT_DECAY = 0.05
_CLIP = 1.0
_SLOW = 0.1
"""Learning rate of slow weights as a share of that of the others; the published one of a backbone
that was learnt elsewhere (reference 3.1)."""
_WARM_UP = 0.1
"""Share of the steps in which the learning rate rises; the published design warms up 5 of 20-50
epochs (reference 3.1)."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What training tells besides the weights.

    Attributes:
        log: One row per epoch: epoch, learning_rate, train_loss and, with validation rows,
            validation_loss (both classes counting the same). Of several tasks these are means
            over the tasks, and each task has columns of its own beside them.
        rows_per_second: Rows learnt from per second of the loop, validation left out.
        waiting: Share of that time spent waiting for batches.
    """

    log: list[LogRow]
    rows_per_second: float
    waiting: float


def device_of_choice() -> torch.device:
    """The GPU where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def mixed_precision(device: torch.device) -> Iterator[None]:
    """bfloat16 where it is fast; float32 on a CPU, so that equal seeds give equal losses."""
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        yield


def train(
    net: SiteNetwork,
    lessons: Lessons,
    settings: TrainSettings,
    session: Session = ALONE,
    *,
    loss: Loss | None = None,
) -> Trained:
    """Train a network in place and leave it in the state of its best epoch.

    Same settings, rows and number of threads give the same losses, also after a kill: each epoch
    draws from generators of its own, and a checkpoint holds the rest.

    Args:
        net: An untrained network, or one to go on with.
        lessons: Rows of each task that the network answers; every batch holds rows of all.
        settings: How.
        session: Who is told, and where the place is kept.
        loss: Loss per row; None for that of the network.
    """
    with ranks() as among:
        net.to(among.device)
        averaged = copy.deepcopy(net) if settings.ema else net
        course = Course(net, averaged, _optimiser(net, settings))
        if session.checkpoint is not None:
            resume(session.checkpoint, course, _identity(lessons, settings))
        pupil, clock = Pupil(course, among, among.together(net), loss or net.loss), _Clock()
        for epoch in range(len(course.log), settings.epochs):
            with _seeded(settings.seed, epoch, among.rank):
                row = _epoch(pupil, lessons, settings, clock)
            _check_finite(row)
            # Without validation rows the last epoch is the best.
            course.finish(row, row.get("validation_loss", -float(epoch)))
            if session.checkpoint is not None and among.rank == 0:
                keep(session.checkpoint, course, _identity(lessons, settings))
            session.note(row)
            session.report("training", epoch + 1, settings.epochs)
    net.load_state_dict(course.best)
    net.to("cpu").eval()
    return Trained(course.log, clock.rows / max(clock.total, 1e-9), clock.waited_share)


@dataclass(frozen=True, slots=True)
class Pupil:
    """A course as one process takes it.

    Attributes:
        course: The training under way.
        among: The process.
        together: The network of the course, whose gradients all processes share.
        loss: Loss per row.
    """

    course: Course
    among: Ranks
    together: torch.nn.Module
    loss: Loss


@dataclass(slots=True)
class _Clock:
    """Where the time of the loop went, s."""

    rows: int = 0
    total: float = 0.0
    waited: float = 0.0

    @property
    def waited_share(self) -> float:
        return self.waited / self.total if self.total else 0.0


def _epoch(
    pupil: Pupil, lessons: Lessons, settings: TrainSettings, clock: _Clock
) -> dict[str, float]:
    """Go through the rows once; the row of the log."""
    course = pupil.course
    epoch, steps = len(course.log), epoch_steps(lessons, settings)
    share = _shape(steps * settings.epochs)
    losses, began = [], time.perf_counter()
    batches = epoch_batches(lessons, settings, epoch, _seat(pupil))
    course.net.train()
    for step in range(steps):
        asked = time.perf_counter()
        batch, sizes = next(batches)
        clock.waited += time.perf_counter() - asked
        for group in course.optimiser.param_groups:
            group["lr"] = settings.learning_rate * share(epoch * steps + step) * group["scale"]
        losses.append(_step(pupil, batch, sizes))
        _follow(course, settings.ema, epoch * steps + step)
        clock.rows += sum(sizes.values())
    clock.total += time.perf_counter() - began
    row = {"epoch": float(epoch), "learning_rate": settings.learning_rate * share(epoch * steps)}
    held = {name: lesson.validation for name, lesson in lessons.items()}
    judged = {
        name: validation_loss(course.averaged, name, rows, pupil.loss)
        for name, rows in held.items()
        if rows is not None
    }
    row |= _told("train_loss", {name: [each[name] for each in losses] for name in losses[0]})
    return row | _told("validation_loss", {name: [loss] for name, loss in judged.items()})


def _seat(pupil: Pupil) -> Seat:
    shapes = pupil.course.net.shapes
    masks = frozenset(task for task, shape in shapes.items() if shape.masks)
    return Seat(pupil.among.rank, pupil.among.world, masks)


def _told(name: str, losses: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The mean over tasks and, if there are several, that of each."""
    means = {task: float(np.mean(values)) for task, values in losses.items()}
    if not means:
        return {}
    each = {f"{name}_{task}": mean for task, mean in means.items()} if len(means) > 1 else {}
    return {name: float(np.mean(list(means.values())))} | each


def _optimiser(net: SiteNetwork, settings: TrainSettings) -> torch.optim.AdamW:
    slow = {id(weight) for weight in net.slow()}
    groups = [
        {"params": [w for w in net.parameters() if id(w) not in slow], "scale": 1.0},
        {"params": [w for w in net.parameters() if id(w) in slow], "scale": _SLOW},
    ]
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, weight_decay=_WEIGHT_DECAY)


def _step(pupil: Pupil, parts: Mapping[str, Batch], sizes: Mapping[str, int]) -> dict[str, float]:
    """Learn from this process's part of a batch of some sizes; the loss of all of it before."""
    course, among = pupil.course, pupil.among
    moved = {task: part.to(among.device) for task, part in parts.items()}
    with mixed_precision(among.device):
        out = pupil.together({task: part.sites for task, part in moved.items()})
    rows, values = sum(sizes.values()), {}
    for task, part in moved.items():
        values[task] = pupil.loss(task, out[task].float(), part.targets).sum()
    course.optimiser.zero_grad()
    among.mean(torch.stack(list(values.values())), rows).backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(course.net.parameters(), _CLIP)
    course.optimiser.step()
    return {
        task: among.total(among.mean(value.detach(), sizes[task])) for task, value in values.items()
    }


@torch.no_grad()
def _follow(course: Course, decay: float, step: int) -> None:
    """Move the averaged weights towards those of the network, faster in the first steps."""
    if not decay:
        return
    share = 1 - min(decay, (1 + step) / (10 + step))
    ours = course.averaged.state_dict()
    for name, value in course.net.state_dict().items():
        if value.is_floating_point():
            ours[name].lerp_(value, share)
        else:
            ours[name].copy_(value)


def _check_finite(row: LogRow) -> None:
    if not all(math.isfinite(value) for value in row.values()):
        raise SegmendError(
            f"training diverged in epoch {row['epoch']:.0f}",
            found=", ".join(f"{name} {value}" for name, value in row.items()),
            fix="Train with a smaller learning rate",
        )


def validation_loss(
    net: SiteNetwork, task: str, rows: Packed, loss: Loss, *, batch_size: int = 64
) -> float:
    """Mean loss over rows of a task, both classes counting the same if the targets are labels."""
    net.eval()
    device = next(net.parameters()).device
    parts = []
    with torch.inference_mode(), mixed_precision(device):
        for batch in in_order(rows, positions=net.shapes[task].masks, batch_size=batch_size):
            moved = batch.to(device)
            parts.append(loss(task, net.ask(task, moved.sites).float(), moved.targets).cpu())
    values = torch.cat(parts).double().numpy()
    if rows.targets is None or rows.targets.ndim > 1:
        return float(values.mean())
    return float(np.mean([values[rows.targets == c].mean() for c in np.unique(rows.targets)]))


def _identity(lessons: Lessons, settings: TrainSettings) -> str:
    """What a checkpoint must agree with to be gone on from."""
    rows = {task: [lesson.train.hashes[i] for i in lesson.rows] for task, lesson in lessons.items()}
    return repr((settings, rows))


def _shape(total: int) -> Callable[[int], float]:
    """Learning rate as a share of its peak: linear rise, then half a cosine down to zero."""
    rise = max(1, round(total * _WARM_UP))

    def share(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, total - rise)))

    return share


@contextmanager
def _seeded(seed: int, epoch: int, rank: int) -> Iterator[None]:
    """Seeded and deterministic torch inside, everything as it was afterwards."""
    key = ("training", seed, epoch, *((rank,) if rank else ()))
    before = torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng():
        torch.manual_seed(int(keyed_generator(*key).integers(2**63)))
        # A GPU has no deterministic form of some operations: there it is asked for, not forced.
        torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before)
