"""The place in a training, in one file, so that a kill costs at most the epoch in work."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from segmend.core.errors import BadInputError, ReadFailedError
from segmend.models.model import LogRow
from segmend.models.net import SiteNetwork

CHECKPOINT = "checkpoint.safetensors"
_MOMENTS = ("exp_avg", "exp_avg_sq")


class Course:
    """A training under way: all that the next epoch depends on.

    Attributes:
        net: The network that learns.
        averaged: The one that is judged and kept: a moving average, or the same one.
        optimiser: Its optimiser.
        log: Rows of the epochs done.
        best: Weights of the best epoch so far.
        best_loss: What it was chosen by.
    """

    def __init__(
        self, net: SiteNetwork, averaged: SiteNetwork, optimiser: torch.optim.AdamW
    ) -> None:
        self.net, self.averaged, self.optimiser = net, averaged, optimiser
        self.log: list[LogRow] = []
        self.best = _copy(averaged)
        self.best_loss = math.inf

    def finish(self, row: LogRow, loss: float) -> None:
        """End an epoch: log it, and keep its weights if they are the best."""
        self.log.append(row)
        if loss < self.best_loss:
            self.best, self.best_loss = _copy(self.averaged), loss

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Every tensor of the course by name; writing into them changes the course."""
        yield from ((f"net/{name}", value) for name, value in self.net.state_dict().items())
        if self.averaged is not self.net:
            values = self.averaged.state_dict().items()
            yield from ((f"averaged/{name}", value) for name, value in values)
        yield from ((f"best/{name}", value) for name, value in self.best.items())
        for number, weight in enumerate(self.net.parameters()):
            state = self.optimiser.state[weight]
            if not state:  # as the optimiser itself begins
                state["step"] = torch.zeros((), dtype=torch.float32)
                state |= {name: torch.zeros_like(weight) for name in _MOMENTS}
            yield from ((f"optimiser/{number}/{name}", state[name]) for name in ("step", *_MOMENTS))


def keep(folder: Path, course: Course, identity: str) -> None:
    """Write the place, whole or not at all."""
    about = {"log": course.log, "best_loss": course.best_loss, "identity": _digest(identity)}
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{CHECKPOINT}.{os.getpid()}"
    # Copies: a weight and its average may be one tensor, which safetensors refuses.
    tensors = {name: value.detach().cpu().clone() for name, value in course.tensors()}
    save_file(tensors, temporary, metadata={"about": json.dumps(about)})
    temporary.replace(folder / CHECKPOINT)


def resume(folder: Path, course: Course, identity: str) -> None:
    """Go to the place that was kept, if one was.

    Raises:
        BadInputError: if it is the place of another training.
        ReadFailedError: if the file is damaged.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get("about", "null"))
            saved = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise ReadFailedError(f"cannot read {path}", found=str(error), fix="Delete it") from error
    wanted = dict(course.tensors())
    same = {name: value.shape for name, value in wanted.items()} == {
        name: value.shape for name, value in saved.items()
    }
    if not isinstance(about, dict) or about["identity"] != _digest(identity) or not same:
        raise BadInputError(
            f"{path} is the place of another training",
            found="its rows, settings or network differ",
            fix="Resume with the same command, or delete the folder to begin again",
        )
    with torch.no_grad():
        for name, value in wanted.items():
            value.copy_(saved[name])
    course.log, course.best_loss = about["log"], about["best_loss"]


def _digest(identity: str) -> str:
    return hashlib.blake2b(identity.encode(), digest_size=16).hexdigest()


def _copy(net: SiteNetwork) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in net.state_dict().items()}
