"""How others read patches: a bare h5py loop, torch_em, tensorstore with a warm cache."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import tensorstore as ts
import torch
from skimage.segmentation import find_boundaries

SIZE = (32, 256, 256)
OFFSETS = [
    (-1, 0, 0), (0, -1, 0), (0, 0, -1), (-2, 0, 0), (0, -3, 0), (0, 0, -3),
    (-3, 0, 0), (0, -9, 0), (0, 0, -9), (-4, 0, 0), (0, -27, 0), (0, 0, -27),
]  # fmt: skip


def random_boxes(shape: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    draw = np.random.default_rng(0)
    while True:
        start = [int(draw.integers(n - s + 1)) for n, s in zip(shape, SIZE, strict=True)]
        yield tuple(slice(a, a + s) for a, s in zip(start, SIZE, strict=True))


def numpy_affinities(labels: np.ndarray) -> np.ndarray:
    values = np.zeros((len(OFFSETS), *labels.shape), np.float32)
    for c, (z, y, x) in enumerate(OFFSETS):
        here = values[c, -z or None :, -y or None :, -x or None :]
        one = labels[-z or None :, -y or None :, -x or None :]
        stop = [n + o for n, o in zip(labels.shape, (z, y, x), strict=True)]
        here[...] = one == labels[: stop[0], : stop[1], : stop[2]]
    return values


def flipped(raw: Any, labels: Any, draw: np.random.Generator) -> tuple[Any, Any]:
    for axis in range(3):
        if draw.integers(2):
            raw, labels = np.flip(raw, axis), np.flip(labels, axis)
    return np.ascontiguousarray(raw), np.ascontiguousarray(labels)


def target_of(kind: str, labels: np.ndarray) -> np.ndarray:
    return numpy_affinities(labels) if kind == "affinities" else find_boundaries(labels)


def bare_h5py(path: Path, kind: str) -> Iterator[Any]:
    """What people write by hand: slices, flips, targets in NumPy and scikit-image."""
    draw = np.random.default_rng(0)
    with h5py.File(path) as file:
        for box in random_boxes(file["raw"].shape):
            raw, labels = flipped(file["raw"][box], file["labels"][box], draw)
            yield torch.from_numpy(raw), torch.from_numpy(target_of(kind, labels))


def warm_tensorstore(specs: dict[str, Any], kind: str) -> Iterator[Any]:
    """The same from tensorstore with all chunks in its cache; axes as they are stored."""
    context = ts.Context({"cache_pool": {"total_bytes_limit": 2**31}})
    opened = {k: ts.open(spec, context=context).result() for k, spec in specs.items()}
    turned = {k: v[..., 0].transpose([2, 1, 0]) if v.rank == 4 else v for k, v in opened.items()}
    for volume in turned.values():
        volume.read().result()
    draw = np.random.default_rng(0)
    for box in random_boxes(turned["raw"].shape):
        raw, labels = (turned[k][box].read().result() for k in ("raw", "labels"))
        raw, labels = flipped(raw, labels, draw)
        yield torch.from_numpy(raw), torch.from_numpy(target_of(kind, labels))


def torch_em_loader(path: Path, kind: str, workers: int) -> Callable[[], Iterator[Any]] | str:
    """torch_em's default data set in a DataLoader; why not, where it does not import."""
    _stub_torchvision()
    try:
        import torch_em
        from torch_em.transform.label import AffinityTransform, BoundaryTransform
    except ImportError as error:
        return str(error)
    transforms: dict[str, Any] = {}
    if kind == "affinities":
        transforms["label_transform2"] = AffinityTransform(offsets=OFFSETS, add_mask=True)
    else:
        transforms["label_transform"] = BoundaryTransform()
    made = torch_em.default_segmentation_dataset(
        str(path), "raw", str(path), "labels", SIZE, ndim=3, n_samples=10_000, **transforms
    )
    return lambda: iter(torch.utils.data.DataLoader(made, num_workers=workers))


def _stub_torchvision() -> None:
    """torch_em imports torchvision, which no CPU build of torch 2.13 goes with; data need none."""
    with suppress(ImportError, RuntimeError):
        import torchvision  # noqa: F401

        return
    names = {
        "torchvision": (),
        "torchvision.transforms": ("Compose", "RandomApply", "Resize"),
        "torchvision.utils": ("make_grid",),
        "torchvision.models": (),
        "torchvision.models._utils": ("_ovewrite_named_param",),
        "torchvision.models.feature_extraction": ("create_feature_extractor",),
    }
    for name, members in names.items():
        module = sys.modules[name] = ModuleType(name)
        for member in members:
            setattr(module, member, object)
        if "." in name:
            parent, _, leaf = name.rpartition(".")
            setattr(sys.modules[parent], leaf, module)
