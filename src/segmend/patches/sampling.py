"""Which boxes a network sees. A sampler yields queries; `Patches` answers them.

Query i of epoch e is a pure function of (seed, e, i): workers, ranks and threads change nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from segmend.catalog.labels import VOCABULARY
from segmend.core.box import Triple, VoxelBox
from segmend.core.errors import BadInputError, NoSamplesError
from segmend.core.random import keyed_generator
from segmend.core.registry import unknown_name
from segmend.patches.resample import stored_size, stored_step
from segmend.patches.sources import Mix, Source


@dataclass(frozen=True, slots=True)
class Query:
    """One box of one source.

    Attributes:
        source: Position in the mix.
        voxels: In stored voxels of its image.
        key: What every random choice about the sample is keyed by.
    """

    source: int
    voxels: VoxelBox
    key: tuple[int, int, int] = (0, 0, 0)


class _Listed:
    """Queries that are all known beforehand, as `torch.utils.data.DataLoader` takes them."""

    def __init__(self) -> None:
        self._queries: list[Query] = []

    def __len__(self) -> int:
        return len(self._queries)

    def __getitem__(self, number: int) -> Query:
        return self._queries[number]

    def __iter__(self) -> Iterator[Query]:
        return iter(self._queries)


def patch_size(source: Source, size: Triple, mix: Mix) -> Triple:
    """Stored voxels of a patch of a source.

    Raises:
        BadInputError: if the source is smaller than the patch.
    """
    stored = stored_size(size, mix.scale(source))
    if min(size) < 1 or any(n > m for n, m in zip(stored, source.voxels.shape, strict=True)):
        raise BadInputError(
            f"a patch of {stored} voxels (z, y, x) does not fit into '{source.name}'",
            found=f"it offers {source.voxels.shape}",
            fix="Choose smaller patches, or leave this source out",
        )
    return stored


class Starts(Protocol):
    """Where patches of one source may start."""

    def draw(self, draw: np.random.Generator) -> Triple:
        """One start."""
        ...


@dataclass(frozen=True, slots=True)
class AnyStart:
    """Every start at which the patch fits, each as likely, the last included."""

    voxels: VoxelBox
    size: Triple

    def draw(self, draw: np.random.Generator) -> Triple:
        """One start."""
        free = [n - s + 1 for n, s in zip(self.voxels.shape, self.size, strict=True)]
        z, y, x = (a + int(draw.integers(n)) for a, n in zip(self.voxels.start, free, strict=True))
        return z, y, x


class MaskedStarts:
    """Starts of patches that hold enough of something, counted once for all of them.

    Counting needs about 13 bytes a voxel of the source; afterwards one bit a start is kept.

    Args:
        source: What the patches lie in.
        counts: How much the patch at each start holds, ``(z, y, x)`` from ``source.voxels.start``.
        least: How much a patch must hold, at least 1.

    Raises:
        NoSamplesError: if no patch holds as much.
    """

    def __init__(self, source: Source, counts: NDArray[Any], *, least: int = 1) -> None:
        fits = counts >= max(1, least)
        self._corner, self._shape = source.voxels.start, fits.shape
        self._bits = np.packbits(fits.reshape(-1, fits.shape[2]), axis=1)
        self._ends = np.cumsum(fits.sum(axis=2).ravel())
        if not self._ends[-1]:
            raise NoSamplesError(
                f"no patch of '{source.name}' holds enough of what was asked for",
                found=f"{max(1, least)} voxels are asked for, the best patch has {counts.max()}",
                fix="Lower the share, choose larger patches, or leave this source out",
            )

    def draw(self, draw: np.random.Generator) -> Triple:
        """One start, each as likely."""
        rank = int(draw.integers(self._ends[-1]))
        row = int(np.searchsorted(self._ends, rank, side="right"))
        before = int(self._ends[row - 1]) if row else 0
        x = int(np.flatnonzero(np.unpackbits(self._bits[row]))[rank - before])
        z, y = divmod(row, self._shape[1])
        return self._corner[0] + z, self._corner[1] + y, self._corner[2] + x


def box_sums(mask: NDArray[np.bool_], size: Triple) -> NDArray[Any]:
    """How many voxels of a mask each box of a size holds, by its start (integral image)."""
    sums: NDArray[Any] = mask.astype(np.int32 if mask.size < 2**31 else np.int64)
    for axis, n in enumerate(size):
        total = np.cumsum(sums, axis=axis, dtype=sums.dtype)
        total = np.concatenate([np.zeros_like(total.take([0], axis)), total], axis)
        after = total.take(range(n, total.shape[axis]), axis)
        sums = after - total.take(range(total.shape[axis] - n), axis)
    return sums


def contact_counts(ids: NDArray[Any], size: Triple) -> NDArray[np.int64]:
    """How many faces between two ids, both not 0, lie inside each box of a size, by its start."""
    counts = np.zeros([n - s + 1 for n, s in zip(ids.shape, size, strict=True)], np.int64)
    for axis in range(3):
        if size[axis] == 1:
            continue
        last = ids.shape[axis]
        here, there = ids.take(range(last - 1), axis), ids.take(range(1, last), axis)
        # A face lies in a box with both its voxels: one fewer start along its axis.
        z, y, x = (n - (a == axis) for a, n in enumerate(size))
        counts += box_sums((here != there) & (here != 0) & (there != 0), (z, y, x))
    return counts


Points = Mapping[str, Sequence[Sequence[float]]]
Want = Literal["anything", "known", "foreground", "contact"]
_WANTS: tuple[Want, ...] = ("anything", "known", "foreground", "contact")


@dataclass(slots=True)
class RandomSampler:
    """Random boxes of a mix; each source gets its share of the samples.

    Attributes:
        mix: The sources.
        size: Patch, voxels ``(z, y, x)`` of what the network sees.
        length: Samples per epoch.
        want: ``anything``: every start as likely; ``known``: patches of which a share is not
            unknown (invalid, ignored, not stored); ``foreground``: of which a share is labelled;
            ``contact``: patches in which two segments touch.
        share: Of the patch's voxels that must be known or foreground.
        balance: Classes of which each sample holds one, in equal parts; needs sources with classes.
        seed: Of everything random.
        epoch: Set it before each epoch.
    """

    mix: Mix
    size: Triple
    length: int
    want: Want = "anything"
    share: float = 0.05
    balance: tuple[str, ...] = ()
    seed: int = 0
    epoch: int = 0
    _starts: list[list[Starts]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.want not in _WANTS:
            raise unknown_name("want of a sampler", self.want, dict.fromkeys(_WANTS))
        if not 0 <= self.share <= 1 or self.length < 1:
            raise BadInputError(
                "a sampler needs a share in [0, 1] and a length of at least 1",
                found=f"share {self.share}, length {self.length}",
            )
        for name in self.balance:
            if name not in VOCABULARY:
                raise unknown_name("class", name, dict.fromkeys(VOCABULARY))
        self._starts = [self._of(source) for source in self.mix.sources]

    def _of(self, source: Source) -> list[Starts]:
        size = patch_size(source, self.size, self.mix)
        if self.balance:
            classes = source.read_classes(source.voxels)
            if classes is None:
                raise BadInputError(f"'{source.name}' has no classes to balance")
            present = [VOCABULARY.index(n) for n in self.balance]
            present = [value for value in present if (classes == value).any()]
            if not present:
                raise NoSamplesError(f"'{source.name}' holds none of {self.balance}")
            return [MaskedStarts(source, box_sums(classes == v, size)) for v in present]
        if self.want == "anything":
            return [AnyStart(source.voxels, size)]
        if self.want == "contact":
            if source.labels is None:
                raise BadInputError(f"'{source.name}' has no labels to look for contact in")
            ids, _ = source.read_labels(source.voxels)
            return [MaskedStarts(source, contact_counts(ids, size))]
        mask = source.mask(self.want)
        if mask.all():
            return [AnyStart(source.voxels, size)]
        least = int(np.ceil(self.share * np.prod(size)))
        return [MaskedStarts(source, box_sums(mask, size), least=least)]

    def set_epoch(self, epoch: int) -> None:
        """The epoch whose samples the next iteration yields."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, number: int) -> Query:
        """Sample ``number`` of the epoch."""
        if not 0 <= number < self.length:
            raise IndexError(number)
        draw = keyed_generator("patch", self.seed, self.epoch, number)
        edges = np.cumsum(self.mix.shares)
        source = min(int(np.searchsorted(edges, draw.random(), side="right")), len(edges) - 1)
        kinds = self._starts[source]
        start = kinds[int(draw.integers(len(kinds)))].draw(draw)
        size = patch_size(self.mix.sources[source], self.size, self.mix)
        return Query(source, _box(start, size), (self.seed, self.epoch, number))

    def __iter__(self) -> Iterator[Query]:
        return (self[number] for number in range(self.length))


class GridSampler(_Listed):
    """Boxes side by side that cover every voxel of every source; the last ones are moved inside.

    Args:
        mix: The sources.
        size: Patch, voxels ``(z, y, x)`` of what the network sees.
        overlap: Stored voxels that neighbours share at least.

    Raises:
        BadInputError: if a patch does not fit, or is not larger than the overlap.
    """

    def __init__(self, mix: Mix, size: Triple, *, overlap: Triple = (0, 0, 0)) -> None:
        super().__init__()
        for number, source in enumerate(mix.sources):
            stored = patch_size(source, size, mix)
            if any(not 0 <= o < s for o, s in zip(overlap, stored, strict=True)):
                raise BadInputError(f"overlap {overlap} must be below the patch's {stored}")
            filled = stored_step(size, mix.scale(source))
            step = [max(1, f - o) for f, o in zip(filled, overlap, strict=True)]
            axes = zip(source.voxels.start, source.voxels.stop, stored, step, strict=True)
            for start in product(*(_grid_starts(*axis) for axis in axes)):
                self._queries.append(Query(number, _box(start, stored), (0, 0, len(self))))


class PointSampler(_Listed):
    """One box around each point, moved inside where it would reach out.

    Args:
        mix: The sources.
        size: Patch, voxels ``(z, y, x)`` of what the network sees.
        points: nm ``(z, y, x)`` by name of the source: synapses, edits.

    Raises:
        BadInputError: for a point outside its source.
        UnknownNameError: for a source that is not in the mix.
        NoSamplesError: for no point at all.
    """

    def __init__(
        self, mix: Mix, size: Triple, points: dict[str, Sequence[Sequence[float]]]
    ) -> None:
        super().__init__()
        names = [source.name for source in mix.sources]
        for name, listed in points.items():
            if name not in names:
                raise unknown_name("source of the mix", name, dict.fromkeys(names))
            number = names.index(name)
            source = mix.sources[number]
            stored, inside = patch_size(source, size, mix), source.voxels
            for point in listed:
                voxel = source.image.grid.voxel_at(point)
                axes = list(zip(voxel, inside.start, inside.stop, stored, strict=True))
                if any(not a <= v < b for v, a, b, _ in axes):
                    raise BadInputError(f"point {tuple(point)} nm lies outside '{name}'")
                start = [min(max(v - n // 2, a), b - n) for v, a, b, n in axes]
                self._queries.append(Query(number, _box(start, stored), (0, 0, len(self))))
        if not self._queries:
            raise NoSamplesError("there is no point to take patches around")


def _grid_starts(start: int, stop: int, size: int, step: int) -> list[int]:
    last = stop - size
    return [*range(start, last, step), last]


def _box(start: Sequence[int], size: Triple) -> VoxelBox:
    z, y, x = start
    return VoxelBox((z, y, x), (z + size[0], y + size[1], x + size[2]))
