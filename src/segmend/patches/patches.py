"""A data set that answers boxes with tensors, and threads that answer ahead."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from segmend.catalog.labels import IGNORED
from segmend.core.box import Triple
from segmend.core.errors import BadInputError, NoSamplesError
from segmend.core.ids import Ids
from segmend.core.random import keyed_generator
from segmend.patches.relabel import dense
from segmend.patches.resample import linear, nearest
from segmend.patches.sampling import Query, patch_size
from segmend.patches.sources import Mix, Source
from segmend.patches.targets import COMPARING, Semantic, Target, Truth, check_targets
from segmend.patches.turns import in_order

Augmentation = Callable[
    [list[NDArray[Any]], tuple[float, float, float], np.random.Generator], list[NDArray[Any]]
]
Sample = dict[str, Any]

TRIED = 8
"""Patches of a source that are tried before it is said that nothing of it counts."""

FIRST = 256
"""Queries among which those are looked for."""


class Patches(Dataset[Sample]):
    """Tensors of boxes of a mix.

    A sample holds ``image`` uint8 ``(1, z, y, x)``; per target ``NAME`` and ``NAME_valid``
    ``(c, z, y, x)``, uint8 unless the target is a distance or a vector; where there are labels and
    they are wanted, ``labels`` int64 ``(z, y, x)``, dense, and ``ids``, their inverse table, uint64
    (NumPy); and
    ``dataset``, ``licence``, ``box`` (nm), ``voxel_size`` (nm, after a turn as before it).

    Workers must be spawned: a forked process would share the locks and connections of the readers.
    In a forked process this raises. Threads (`batches`) are faster than either.

    Args:
        mix: As `sg.mix` gives it, or one source.
        size: Patch, voxels ``(z, y, x)``.
        targets: What to learn; each under its own name.
        augment: Applied in order.
        labels: Give ``labels`` and ``ids`` as well; a network that learns from targets alone needs
            neither, and they are three quarters of a sample's bytes.

    Raises:
        BadInputError: before the first sample: a patch that does not fit, a target that is none or
            that a source cannot give.
    """

    def __init__(
        self,
        mix: Mix | Source,
        size: Sequence[int],
        *,
        targets: Sequence[Target] = (),
        augment: Sequence[Augmentation] = (),
        labels: bool = True,
    ) -> None:
        self.mix = mix if isinstance(mix, Mix) else Mix((mix,), (1.0,))
        z, y, x = (int(n) for n in size)
        self.size: Triple = (z, y, x)
        self.targets = tuple(targets)
        self.augment = tuple(augment)
        self.labels = labels
        self._dense = labels or not all(type(target) in COMPARING for target in self.targets)
        self._process = os.getpid()
        check_targets(self.targets)
        for source in self.mix.sources:
            patch_size(source, self.size, self.mix)
            self._check(source)

    def _check(self, source: Source) -> None:
        for target in self.targets:
            layer = source.classes if isinstance(target, Semantic) else source.labels
            if layer is None:
                missing = "classes" if isinstance(target, Semantic) else "labels"
                raise BadInputError(
                    f"'{source.name}' cannot give the target '{target.name}'",
                    found=f"it has no {missing}",
                    fix="Pass classes=True to sg.mix" if missing == "classes" else "",
                )

    def __setstate__(self, state: dict[str, Any]) -> None:
        # A spawned worker gets a pickle and readers of its own; a forked one gets neither.
        self.__dict__.update(state, _process=os.getpid())

    def __getitem__(self, query: Query) -> Sample:
        """The sample of a query, the same wherever it is made.

        Raises:
            BadInputError: in a forked process.
            ReadFailedError: if voxels cannot be read.
        """
        return self.answer(query)

    def answer(self, query: Query, *, augmented: bool = True) -> Sample:
        """As ``patches[query]``, or the tissue as it is."""
        if os.getpid() != self._process:
            raise BadInputError(
                "patches cannot be read in a forked process",
                found="it would share locks and connections with its parent",
                fix="Pass multiprocessing_context='spawn' to the DataLoader, or use batches()",
            )
        source = self.mix.sources[query.source]
        image, layers, ids = self._layers(source, query)
        voxel_size = self.mix.voxel_size or source.image.grid.voxel_size
        draw = keyed_generator("augment", *query.key)
        arrays = [image, *(a for a in layers if a is not None)]
        for change in self.augment if augmented else ():
            arrays = change(arrays, voxel_size, draw)
        image = arrays.pop(0)
        labels, known, classes = (None if a is None else arrays.pop(0) for a in layers)
        sample: Sample = {"image": _tensor(in_order(image))[None]}
        self._add_truth(sample, voxel_size, (labels, known, classes))
        if labels is not None and self.labels:
            sample["labels"] = torch.from_numpy(in_order(labels, np.int64))
            sample["ids"] = ids
        return sample | {
            "dataset": source.name,
            "licence": source.licence,
            "box": self.mix.box(source, query.voxels, self.size),
            "voxel_size": tuple(voxel_size),
        }

    def _layers(
        self, source: Source, query: Query
    ) -> tuple[NDArray[Any], list[NDArray[Any] | None], Ids]:
        """Image; labels, where they are known, classes, resampled where the mix says so; ids.

        Labels that must be dense are made so at once: 4 bytes a voxel are moved faster than 8.
        """
        image, stored = source.read_image(query.voxels)
        labels = known = None
        ids = np.zeros(1, np.uint64)
        if source.labels is not None:
            labels, known = source.read_labels(query.voxels)
            if self._dense:
                found = dense(labels)
                labels, ids = found.labels, found.ids
            if stored is not None:
                known = known & stored.view(np.uint8)
        classes = source.read_classes(query.voxels)
        if classes is not None and stored is not None:
            classes = np.where(stored, classes, np.uint8(IGNORED))
        layers = [labels, known, classes]
        scale = self.mix.scale(source)
        if scale == (1.0, 1.0, 1.0):
            return image, layers, ids
        moved = [None if a is None else nearest(a, self.size, scale) for a in layers]
        return linear(image, self.size, scale), moved, ids

    def _add_truth(
        self,
        sample: Sample,
        voxel_size: tuple[float, float, float],
        layers: tuple[NDArray[Any] | None, ...],
    ) -> None:
        labels, known, classes = layers
        if labels is None or known is None:
            labels, known = np.zeros(self.size, np.int32), np.zeros(self.size, np.uint8)
        if self._dense:
            labels = in_order(labels)
        classes = None if classes is None else in_order(classes)
        truth = Truth(labels, in_order(known), classes, voxel_size)
        for target in self.targets:
            values, valid = target.of(truth)
            sample[target.name] = _tensor(values)
            sample[f"{target.name}_valid"] = _tensor(valid)

    def classes_of(self, query: Query) -> NDArray[np.uint8]:
        """Common classes of a query as they are, `IGNORED` where nothing is known.

        Raises:
            BadInputError: if its source has no classes.
        """
        source = self.mix.sources[query.source]
        _, (_, _, classes), _ = self._layers(source, query)
        if classes is None:
            raise BadInputError(f"'{source.name}' has no classes")
        return classes

    def check_counts(self, queries: Iterable[Query]) -> None:
        """Refuse a source of whose first samples no voxel counts for any target.

        Up to `TRIED` samples of a source are made, usually one, without augmentation.

        Raises:
            NoSamplesError: naming the source.
        """
        tried: dict[int, int] = {}
        counting: set[int] = set()
        for query in queries if self.targets else ():
            number = query.source
            if number in counting or tried.get(number, 0) == TRIED:
                continue
            tried[number] = tried.get(number, 0) + 1
            if _counts(self.targets, self.answer(query, augmented=False)):
                counting.add(number)
            if len(counting) == len(self.mix.sources):
                break
        for number in sorted(set(tried) - counting):
            raise NoSamplesError(
                f"no voxel of '{self.mix.sources[number].name}' counts for any target",
                found=f"{tried[number]} patches were tried for "
                f"{', '.join(target.name for target in self.targets)}",
                fix="Sample want='known' or want='foreground', ignore less, or leave it out",
            )


def collate(samples: Sequence[Sample]) -> Sample:
    """One batch: tensors stacked, everything else as lists. The ``collate_fn`` of a DataLoader.

    Raises:
        BadInputError: if samples do not have the same keys (sources with and without labels).
    """
    keys = set(samples[0])
    for sample in samples:
        if set(sample) != keys:
            raise BadInputError(
                f"'{samples[0]['dataset']}' and '{sample['dataset']}' cannot share a batch",
                found=f"only one has {sorted(keys ^ set(sample))}",
            )
    batch: Sample = {}
    for key in samples[0]:
        values = [sample[key] for sample in samples]
        if not isinstance(values[0], torch.Tensor):
            batch[key] = values
        elif len(values) == 1:  # without a copy
            batch[key] = values[0][None]
        else:
            batch[key] = torch.stack(values)
    return batch


def batches(
    patches: Patches, queries: Iterable[Query], *, batch_size: int = 1, threads: int = 2
) -> Generator[Sample, None, None]:
    """Batches in the order of the queries, made ahead by threads of this process.

    Kernels and codecs hold no lock of the interpreter, so threads need no copies between
    processes. At most ``threads + 1`` samples more than a batch are in memory.

    Args:
        patches: What answers.
        queries: A sampler.
        batch_size: The last batch may be smaller.
        threads: 0: make each sample when it is asked for.

    Raises:
        BadInputError: for a batch size below 1 or a negative number of threads.
        NoSamplesError: at once, for a source of which nothing counts; later for a batch in which
            nothing does, which samplers that want ``known`` or ``foreground`` do not yield.
    """
    if batch_size < 1 or threads < 0:
        raise BadInputError(
            "batches need a size of at least 1, and threads of at least 0",
            found=f"batch_size {batch_size}, threads {threads}",
        )
    coming = iter(queries)
    first = list(islice(coming, FIRST))
    patches.check_counts(first)
    return _batched(patches, _answers(patches, chain(first, coming), threads), batch_size)


def _batched(
    patches: Patches, samples: Iterator[Sample], size: int
) -> Generator[Sample, None, None]:
    kept: list[Sample] = []
    for sample in samples:
        kept.append(sample)
        if len(kept) == size:
            yield _counting(patches, collate(kept))
            kept = []
    if kept:
        yield _counting(patches, collate(kept))


def _counting(patches: Patches, batch: Sample) -> Sample:
    if patches.targets and not _counts(patches.targets, batch):
        raise NoSamplesError(
            "no voxel of a batch counts for any target",
            found=f"boxes {batch['box']} of {batch['dataset']}",
            fix="Sample want='known' or want='foreground', or ignore less",
        )
    return batch


def _counts(targets: Sequence[Target], sample: Sample) -> bool:
    # As bool, which NumPy stops to look at with the first that is true.
    masks = (sample[f"{target.name}_valid"].numpy().view(np.bool_) for target in targets)
    return any(bool(mask.any()) for mask in masks)


def _answers(patches: Patches, queries: Iterable[Query], threads: int) -> Iterator[Sample]:
    if not threads:
        yield from (patches[query] for query in queries)
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="segmend-patches") as pool:
        ahead: deque[Future[Sample]] = deque()
        try:
            for query in queries:
                ahead.append(pool.submit(patches.__getitem__, query))
                if len(ahead) > threads:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _tensor(values: NDArray[Any]) -> torch.Tensor:
    # Torch refuses views with negative strides; masks may be read-only views.
    whole = np.ascontiguousarray(values)
    return torch.from_numpy(whole if whole.flags.writeable else whole.copy())
