"""A run folder: what was learnt from what, how it went, and weights that execute nothing.

config.json  log.csv  checkpoint.safetensors (to resume from)  weights.safetensors (when finished)
"""

from __future__ import annotations

import csv
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from segmend.core.box import Triple
from segmend.core.errors import BadInputError, OutputError, ReadFailedError
from segmend.segmentation.inference import Network
from segmend.segmentation.network import NetworkShape, UNet, new_network
from segmend.segmentation.train import LogRow, State, TrainSettings, new_state, scaled
from segmend.store.atomic import atomic_file

CONFIG, LOG = "config.json", "log.csv"
CHECKPOINT, WEIGHTS = "checkpoint.safetensors", "weights.safetensors"
FORMAT = 1

_PACKAGES = ("numpy", "torch", "safetensors", "scikit-image", "mwatershed")


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Where a run lies.

    Attributes:
        path: The folder.
    """

    path: Path

    def begin(
        self, shape: NetworkShape, settings: TrainSettings, told: Mapping[str, Any], *, resume: bool
    ) -> State:
        """The state to train from: a new one, or that of the last checkpoint.

        Args:
            shape: The network.
            settings: How it is trained.
            told: Where the data come from: it must be the same when a run is resumed.
            resume: Go on with what is there; otherwise the folder must be new or empty.

        Raises:
            OutputError: if the folder is not empty and not to be resumed, or cannot be written.
            BadInputError: if what is there is another run, or there is none.
        """
        config = {
            "format": FORMAT,
            "shape": asdict(shape),
            "settings": asdict(settings),
            "told": dict(told),
            "versions": {name: version(name) for name in _PACKAGES},
            "python": platform.python_version(),
            "threads": torch.get_num_threads(),
        }
        state = new_state(new_network(shape, seed=settings.seed), settings)
        if not resume:
            self._make_empty()
            self._write_json(config)
            return state
        before = read_config(self.path)
        now = json.loads(json.dumps(config))
        changed = [key for key in ("shape", "settings", "told") if before[key] != now[key]]
        if changed:
            raise BadInputError(
                f"{self.path} is a run of something else",
                found=f"its {', '.join(changed)} differ: {before[changed[0]]}",
                fix="Resume with the options it was started with, or name a new folder",
            )
        if (self.path / CHECKPOINT).is_file():
            self._restore(state)
        return state

    def save(self, state: State) -> None:
        """Write the log and the checkpoint; a kill in between leaves the last checkpoint whole."""
        self._write_log(state.log)
        tensors = {f"network.{k}": v for k, v in state.network.state_dict().items()}
        tensors |= {f"best.{k}": v for k, v in state.best.items()}
        for index, moments in state.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{k}": v for k, v in moments.items()}
        about = {"step": str(state.step), "best_loss": repr(state.best_loss)}
        self._write_tensors(CHECKPOINT, tensors, about)

    def finish(self, state: State) -> None:
        """Write the weights of the best step."""
        self._write_tensors(WEIGHTS, state.network.state_dict(), {"step": str(state.step)})

    def _make_empty(self) -> None:
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise OutputError(
                f"cannot write the run to {self.path}",
                found="it exists and is not empty" if self.path.is_dir() else "it is a file",
                fix="Name a new folder, or resume",
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot write the run to {self.path}", found=str(error)) from error

    def _write_json(self, config: Mapping[str, Any]) -> None:
        with atomic_file(self.path / CONFIG) as temporary:
            temporary.write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")

    def _write_log(self, log: list[LogRow]) -> None:
        columns = list(dict.fromkeys(name for row in log for name in row))
        with (
            atomic_file(self.path / LOG) as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(log)

    def _write_tensors(
        self, name: str, tensors: Mapping[str, torch.Tensor], about: dict[str, str]
    ) -> None:
        whole = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
        with atomic_file(self.path / name) as temporary:
            # Copies: a network and its best state may share memory, which safetensors refuses.
            save_file({key: value.clone() for key, value in whole.items()}, temporary, about)

    def _restore(self, state: State) -> None:
        tensors, about = _read_tensors(self.path / CHECKPOINT)
        state.step, state.best_loss = int(about["step"]), float(about["best_loss"])
        state.network.load_state_dict(_part(tensors, "network."))
        state.best = _part(tensors, "best.")
        saved = state.optimiser.state_dict()
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for key, value in _part(tensors, "optimiser.").items():
            index, _, name = key.partition(".")
            moments.setdefault(int(index), {})[name] = value
        state.optimiser.load_state_dict(saved | {"state": moments})
        state.log = [row for row in read_log(self.path) if row["step"] <= state.step]


def _part(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def read_config(folder: Path) -> dict[str, Any]:
    """The configuration of a run.

    Raises:
        BadInputError: if the folder is no run.
        ReadFailedError: if it cannot be read.
    """
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadInputError(
            f"{folder} is not a run",
            found=f"it has no {CONFIG}",
            fix="Give a folder of train-segmentation",
        ) from error
    except (OSError, ValueError) as error:
        raise ReadFailedError(f"cannot read {folder / CONFIG}", found=str(error)) from error
    keys = {"format", "shape", "settings", "told"}
    if not isinstance(config, dict) or not keys <= set(config) or config["format"] != FORMAT:
        raise BadInputError(
            f"{folder / CONFIG} is not the configuration of a run of format {FORMAT}",
            fix="Train it again",
        )
    return config


def read_log(folder: Path) -> list[LogRow]:
    """The log of a run, one row per step; what a step did not measure is not in its row."""
    try:
        with (folder / LOG).open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise ReadFailedError(f"cannot read {folder / LOG}", found=str(error)) from error
    return [
        {k: int(v) if k == "step" else float(v) for k, v in row.items() if v != ""} for row in rows
    ]


def load_network(folder: Path) -> UNet:
    """The network of a finished run, ready to predict.

    Raises:
        BadInputError: if the folder is no run, was not finished, or its weights are others.
        ReadFailedError: if its files are damaged.
    """
    shape = shape_of(read_config(folder))
    if not (folder / WEIGHTS).is_file():
        raise BadInputError(
            f"{folder} holds no weights",
            found="the run was not finished",
            fix="Finish it: segmend train-segmentation ... --resume",
        )
    tensors, _ = _read_tensors(folder / WEIGHTS)
    network = UNet(shape)
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise BadInputError(
            f"{folder / WEIGHTS} are the weights of another network", found=str(error)[:300]
        ) from error
    return network.eval()


def shape_of(config: Mapping[str, Any]) -> NetworkShape:
    """The shape of a network from a configuration."""
    stored = config["shape"]
    return NetworkShape(
        offsets=_triples(stored["offsets"]),
        classes=tuple(stored["classes"]),
        scaling=_triples(stored["scaling"]),
        width=stored["width"],
    )


def _triples(lists: list[list[int]]) -> tuple[Triple, ...]:
    return tuple((z, y, x) for z, y, x in lists)


def as_function(network: UNet, *, device: str = "cpu") -> Network:
    """A trained network as what `segmend.segmentation.inference` calls: probabilities."""
    network = network.to(device).eval()
    split = len(network.shape.offsets)

    def answer(image: NDArray[Any]) -> NDArray[np.float32]:
        with torch.inference_mode():
            logits = network(scaled(torch.from_numpy(image)[None, None].to(device)))[0]
            parts = [torch.sigmoid(logits[:split]), torch.softmax(logits[split:], dim=0)]
            return np.asarray(torch.cat(parts).cpu().numpy(), np.float32)

    return answer


def device_of_choice() -> str:
    """``cuda`` where there is one, else ``cpu``; SEGMEND_DEVICE overrides."""
    return os.environ.get("SEGMEND_DEVICE") or ("cuda" if torch.cuda.is_available() else "cpu")


def _read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    try:
        tensors: dict[str, torch.Tensor] = load_file(path)
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise ReadFailedError(
            f"{path} holds no safetensors",
            found=str(error),
            fix="Weights are read from safetensors alone: pickles could run any code",
        ) from error
    return tensors, about
