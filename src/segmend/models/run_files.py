"""The files of a run folder, read strictly: nothing in them is ever executed."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segmend.core.errors import BadInputError, OutputError, ReadFailedError, require
from segmend.models.model import LogRow

CONFIG, WEIGHTS, LOG, LOG_JSON = "config.json", "weights.safetensors", "log.csv", "log.json"
FORMAT = 2


def check_empty(folder: Path) -> None:
    """Refuse a folder that holds something.

    Raises:
        OutputError: if it does, or is a file.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OutputError(
            f"cannot write the run to {folder}",
            found="it exists and is not empty" if folder.is_dir() else "it is a file",
            fix="Name a new folder",
        )


def write_log(path: Path, log: Sequence[LogRow]) -> None:
    """Write a log as CSV; a column that a row lacks stays empty."""
    columns = list(dict.fromkeys(name for row in log for name in row))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(log)


def read_config(folder: Path) -> dict[str, Any]:
    """The configuration of a run.

    Raises:
        BadInputError: if the folder is no run, or one of another format.
        ReadFailedError: if it cannot be read.
    """
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadInputError(
            f"{folder} is not a run", found=f"it has no {CONFIG}", fix="Give a folder of `train`"
        ) from error
    except (OSError, ValueError) as error:
        raise ReadFailedError(f"cannot read {folder / CONFIG}", found=str(error)) from error
    keys = {"format", "model", "tasks", "model_config"}
    if not isinstance(config, dict) or not keys <= set(config) or config["format"] != FORMAT:
        raise BadInputError(
            f"{folder / CONFIG} is not the configuration of a run of format {FORMAT}",
            fix="Train it again",
        )
    return config


def read_weights(path: Path) -> dict[str, Any]:
    """Arrays of a safetensors file by name.

    Raises:
        BadInputError: if there is none.
        ReadFailedError: if it holds anything else, a pickle for example.
    """
    require("safetensors", extra="torch")
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if not path.is_file():
        raise BadInputError(
            f"there are no weights at {path}",
            fix="Weights are read from safetensors alone: pickles could run any code",
        )
    try:
        weights: dict[str, Any] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ReadFailedError(
            f"{path} holds no safetensors",
            found=str(error),
            fix="Weights are read from safetensors alone: pickles could run any code",
        ) from error
    return weights
