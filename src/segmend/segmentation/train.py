"""One readable training loop: AdamW, warm-up and cosine, resumed exactly after a kill."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from segmend.catalog.labels import IGNORED
from segmend.core.errors import BadInputError, SegmendError
from segmend.patches.patches import Sample
from segmend.segmentation.inference import Report, quiet
from segmend.segmentation.lessons import Lessons
from segmend.segmentation.network import UNet

LogRow = Mapping[str, float]
"""What happened in one step; one row of ``log.csv``."""

WARM_UP = 0.05
"""Share of the steps in which the learning rate rises."""

CLIP = 1.0

LEAST_SHARE = 0.05
"""Of edges that join, or that cut; gunpowder's BalanceLabels clips at the same."""


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """How to train.

    Attributes:
        steps: Steps in all.
        crops: Patches per step.
        learning_rate: At its peak.
        seed: Key of every random draw.
        validate_every: Steps between validations, each also a point to resume from.
    """

    steps: int = 400
    crops: int = 1
    learning_rate: float = 2e-3
    seed: int = 0
    validate_every: int = 50

    def __post_init__(self) -> None:
        if min(self.steps, self.crops, self.validate_every) < 1 or not self.learning_rate > 0:
            raise BadInputError(
                "training needs at least one step, one crop and a positive learning rate",
                found=str(self),
            )


@dataclass(slots=True, eq=False)
class State:
    """Where training stands: all that it goes on from.

    Attributes:
        network: The network.
        optimiser: AdamW, with its moments.
        step: Steps done.
        log: One row per step.
        best: Weights of least validation loss so far.
        best_loss: That loss.
    """

    network: UNet
    optimiser: torch.optim.Optimizer
    step: int
    log: list[LogRow]
    best: dict[str, Tensor]
    best_loss: float


def new_state(network: UNet, settings: TrainSettings) -> State:
    """The state before the first step."""
    optimiser = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate)
    return State(network, optimiser, 0, [], _copy(network), math.inf)


def train(
    state: State,
    lessons: Lessons,
    settings: TrainSettings,
    *,
    class_weights: Sequence[float] = (),
    device: str = "cpu",
    save: Callable[[State], None] = lambda _state: None,
    report: Report = quiet,
) -> None:
    """Train from where the state stands to the last step; its network ends as the best one.

    On one device with one number of threads, a training that was killed and resumed gives the
    weights and losses of one that was not.

    Args:
        state: Changed in place.
        lessons: What is learnt from, and the patches that the best weights are chosen by; without
            those the last weights are kept.
        settings: How.
        class_weights: What a voxel of each class counts (`class_weights_of`).
        device: ``cpu`` or ``cuda``.
        save: Called after every validation, and so with a state to resume from.
        report: Told how many steps are done.

    Raises:
        SegmendError: if the loss is not finite.
    """
    network = state.network.to(device)
    weights = torch.tensor(class_weights, dtype=torch.float32, device=device)
    with closing(lessons.batches(state.step * settings.crops, settings.crops)) as coming:
        while state.step < settings.steps:
            started = time.perf_counter()
            rate = learning_rate(state.step, settings)
            for group in state.optimiser.param_groups:
                group["lr"] = rate
            losses = _learn(state, next(coming), weights)
            state.step += 1
            row = {"step": state.step, "learning_rate": rate, **losses}
            _check_finite(row)
            due = state.step % settings.validate_every == 0 or state.step == settings.steps
            if due and lessons.held_back:
                row["validation_loss"] = validate(network, lessons.held_back, weights)
                _check_finite(row)
            row["seconds"] = round(time.perf_counter() - started, 3)
            state.log.append(row)
            if due:
                _keep(state, row)
                save(state)
            report("training", state.step, settings.steps)
    network.load_state_dict(state.best)
    network.eval()


def _keep(state: State, row: LogRow) -> None:
    """Remember the weights if they are the best so far; the last ones where nothing tells."""
    loss = row.get("validation_loss", -float(state.step))
    if loss < state.best_loss:
        state.best, state.best_loss = _copy(state.network), loss


def class_weights_of(lessons: Lessons, classes: int, *, sample: int = 16) -> list[float]:
    """What a voxel of each class counts: rare classes more, by the root of how rare they are.

    Args:
        lessons: Where the classes are counted, in their first patches.
        classes: How many there are; 0: none are learnt.
        sample: Patches.

    Returns:
        One number per class; 1 on the average voxel, and for a class not seen.
    """
    counts = np.zeros(classes, np.int64)
    for number in range(min(sample, len(lessons.sampler)) if classes else 0):
        made = lessons.sample(number)
        known = made["semantic"][made["semantic_valid"] > 0].numpy()
        counts += np.bincount(known, minlength=classes)
    if not counts.any():
        return [1.0] * classes
    seen = counts.astype(np.float64)
    weights = np.where(seen > 0, 1 / np.sqrt(np.maximum(seen, 1)), 0)
    mean = (weights * seen).sum() / seen.sum()
    return [float(w) if w else 1.0 for w in weights / mean]


def learning_rate(step: int, settings: TrainSettings) -> float:
    """Linear rise, then half a cosine down to zero."""
    rise = max(1, round(settings.steps * WARM_UP))
    if step < rise:
        return settings.learning_rate * (step + 1) / rise
    share = (step - rise) / max(1, settings.steps - rise)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * share))


def _learn(state: State, batch: Sample, weights: Tensor) -> dict[str, float]:
    network = state.network.train()
    affinity, classes = losses_of(network, batch, weights)
    loss = affinity + classes
    state.optimiser.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP)
    state.optimiser.step()
    return {
        "loss": loss.item(),
        "affinity_loss": affinity.item(),
        "class_loss": classes.item(),
    }


def losses_of(network: UNet, batch: Sample, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Binary cross-entropy of valid affinities and cross-entropy of known classes."""
    device = weights.device
    logits = network(scaled(batch["image"].to(device)))
    split = len(network.shape.offsets)
    affinity = classes = logits.sum() * 0
    if split:
        wanted, valid = (batch[k].to(device) for k in ("affinities", "affinities_valid"))
        loss = functional.binary_cross_entropy_with_logits(
            logits[:, :split], wanted.float(), reduction="none"
        )
        weight = _balanced(wanted, valid)
        affinity = (loss * weight).sum() / weight.sum().clamp(min=1)
    if logits.shape[1] > split:
        said, known = (batch[k][:, 0].to(device) for k in ("semantic", "semantic_valid"))
        if known.any():
            said = torch.where(known > 0, said, IGNORED)
            classes = functional.cross_entropy(
                logits[:, split:], said.long(), weight=weights, ignore_index=IGNORED
            )
    return affinity, classes


def _balanced(wanted: Tensor, valid: Tensor) -> Tensor:
    """Weights by which edges that join and edges that cut count the same in every channel.

    Few edges cut: unbalanced, a half-trained network says of all that they join. Shares are taken
    to be at least `LEAST_SHARE`, so that one edge never outweighs everything.
    """
    axes = (0, 2, 3, 4)
    share = (wanted * valid).sum(axes) / valid.sum(axes).clamp(min=1)
    share = share.clamp(LEAST_SHARE, 1 - LEAST_SHARE)[:, None, None, None]
    return valid * torch.where(wanted > 0, 0.5 / share, 0.5 / (1 - share))


def scaled(image: Tensor) -> Tensor:
    """uint8 to what the network sees, about -1 to 1."""
    return (image.float() - 128) / 64


def validate(network: UNet, patches: Sequence[Sample], weights: Tensor) -> float:
    """Mean loss over patches, nothing changed at random."""
    network.eval()
    with torch.inference_mode():
        losses = [losses_of(network, patch, weights) for patch in patches]
        values = [(affinity + classes).item() for affinity, classes in losses]
    return float(np.mean(values))


def _check_finite(row: LogRow) -> None:
    if not all(math.isfinite(value) for value in row.values()):
        raise SegmendError(
            f"training diverged in step {row['step']:.0f}",
            found=", ".join(f"{name} {value}" for name, value in row.items()),
            fix="Train with a smaller learning rate",
        )


def _copy(network: UNet) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}
