"""The segmentation that a plan makes by putting errors into a proofread one, kept in the cache."""

from __future__ import annotations

import hashlib
from collections import Counter
from importlib import resources
from pathlib import Path

import msgspec
import numpy as np

from segmend.build.settings import PlanSettings
from segmend.catalog.dataset import Dataset
from segmend.core.settings import settings as machine
from segmend.edits.injected import Injection, inject
from segmend.edits.logged import LoggedEdit
from segmend.edits.operation import Identity
from segmend.store.atomic import atomic_file
from segmend.volumes.drivers.numpy_file import open_numpy
from segmend.volumes.volume import Volume


def injected_layer(
    dataset: Dataset, neurons: str, name: str, settings: PlanSettings
) -> tuple[Volume, tuple[LoggedEdit | str, ...]]:
    """The segmentation with errors, and what repairs it; made once.

    Errors that were asked for and found no place are reasons in the log, one for each.

    Args:
        dataset: Whose neurons.
        neurons: The layer of them.
        name: Name of the source within the plan.
        settings: Which errors; its seed is the key of every choice.
    """
    volume = dataset.labels[neurons]
    rules = Injection(**msgspec.structs.asdict(settings.edits.injected))
    key = f"injected|{settings.seed}|{name}"
    stem = _stem(repr((dataset.fingerprint(), neurons, rules, key)))
    array, log = stem.with_suffix(".npy"), stem.with_suffix(".json")
    if not (array.exists() and log.exists()):
        identity = Identity(dataset.record.name, dataset.record.version, name)
        made = inject(
            dataset.segments(neurons), volume.grid, rules=rules, key=key, identity=identity
        )
        stem.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(log) as temporary:
            temporary.write_bytes(msgspec.json.encode((made.log, made.short)))
        with atomic_file(array) as temporary, temporary.open("wb") as file:
            np.save(file, made.automatic)
    opened = open_numpy(array, voxel_size=volume.grid.voxel_size, offset=volume.grid.offset)
    edits, short = msgspec.json.decode(log.read_bytes(), type=_Log)
    return opened, (*edits, *(f"{cause}: no place for it" for cause in Counter(short).elements()))


_Log = tuple[tuple[LoggedEdit, ...], dict[str, int]]


def _stem(key: str) -> Path:
    """Key and code: changed code must never answer with the errors of the old one."""
    digest = hashlib.sha256(key.encode())
    for name in ("build/injected_layer.py", "edits/injected.py", "segments/contacts.py"):
        digest.update(resources.files("segmend").joinpath(name).read_bytes())
    return machine().cache_dir / "injected" / digest.hexdigest()[:20]
