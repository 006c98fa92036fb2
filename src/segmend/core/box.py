"""Boxes in nanometres and boxes in voxels: two types that only `VoxelGrid` converts.

A `Box` is half-open, in nanometres, axes ``(z, y, x)``. Inside it counts whole
picometres, so that a grid of 11.24 nm voxels converts without rounding error.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from segmend.core.errors import BadInputError

PM_PER_NM = 1000

Triple = tuple[int, int, int]
Point = tuple[float, float, float]


def picometres(nm: Sequence[float]) -> Triple:
    """Convert three lengths in nm to whole picometres, rounding to the nearest.

    Raises:
        BadInputError: if there are not three finite numbers within the range of int64.
    """
    if len(nm) != 3:
        raise BadInputError(
            f"a position in nm needs three numbers (z, y, x), got {len(nm)}", found=repr(nm)
        )
    values = [float(v) * PM_PER_NM for v in nm]
    if not all(math.isfinite(v) and abs(v) < 2**62 for v in values):
        raise BadInputError(f"a position in nm must be finite and below 4.6e15 nm, got {nm!r}")
    return (round(values[0]), round(values[1]), round(values[2]))


def nanometres(pm: Sequence[int]) -> Point:
    """Convert three whole picometres to nm."""
    return (pm[0] / PM_PER_NM, pm[1] / PM_PER_NM, pm[2] / PM_PER_NM)


@dataclass(frozen=True, slots=True)
class VoxelBox:
    """A half-open box of voxel indices, ``(z, y, x)``; it may be empty.

    Attributes:
        start: First voxel inside.
        stop: First voxel outside, on each axis at least ``start``.
    """

    start: Triple
    stop: Triple

    def __post_init__(self) -> None:
        if len(self.start) != 3 or len(self.stop) != 3:
            raise BadInputError(f"a voxel box needs three axes, got {self.start} and {self.stop}")
        object.__setattr__(self, "start", tuple(int(v) for v in self.start))
        object.__setattr__(self, "stop", tuple(int(v) for v in self.stop))
        if any(b < a for a, b in zip(self.start, self.stop, strict=True)):
            raise BadInputError(
                "a voxel box must not stop before it starts",
                found=f"start {self.start}, stop {self.stop}",
            )

    @property
    def shape(self) -> Triple:
        """Voxels per axis."""
        (a, b, c), (d, e, f) = self.start, self.stop
        return (d - a, e - b, f - c)

    @property
    def size(self) -> int:
        """Number of voxels."""
        return math.prod(self.shape)

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """Slices that cut this box out of an array whose origin is voxel (0, 0, 0)."""
        (a, b, c), (d, e, f) = self.start, self.stop
        return (slice(a, d), slice(b, e), slice(c, f))

    def shift(self, by: Sequence[int]) -> VoxelBox:
        """The same box moved by ``by`` voxels."""
        return VoxelBox(_add(self.start, by), _add(self.stop, by))

    def grow(self, by: int) -> VoxelBox:
        """The box with ``by`` voxels more (or fewer, if negative) at each of its six faces."""
        return VoxelBox(_add(self.start, (-by,) * 3), _add(self.stop, (by,) * 3))

    def intersect(self, other: VoxelBox) -> VoxelBox | None:
        """The common voxels, or None if there are none."""
        start, stop = _common(self.start, self.stop, other.start, other.stop)
        return VoxelBox(start, stop) if _nonempty(start, stop) else None

    def clip(self, axis: int, start: int, stop: int) -> VoxelBox:
        """The part between two indices of one axis, possibly empty."""
        low, high = list(self.start), list(self.stop)
        low[axis] = min(max(start, self.start[axis]), self.stop[axis])
        high[axis] = max(min(stop, self.stop[axis]), low[axis])
        return VoxelBox((low[0], low[1], low[2]), (high[0], high[1], high[2]))

    def without(self, other: VoxelBox) -> list[VoxelBox]:
        """The voxels that are not in ``other``, as disjoint boxes."""
        inner = self.intersect(other)
        if inner is None:
            return [self] if self.size else []
        whole, boxes = self, []
        for axis in range(3):
            # Two slabs per axis; what is left shrinks to the common part.
            low = whole.clip(axis, whole.start[axis], inner.start[axis])
            high = whole.clip(axis, inner.stop[axis], whole.stop[axis])
            boxes += [box for box in (low, high) if box.size]
            whole = whole.clip(axis, inner.start[axis], inner.stop[axis])
        return boxes

    def contains(self, other: VoxelBox) -> bool:
        """Whether every voxel of ``other`` lies in this box."""
        return _inside(other.start, other.stop, self.start, self.stop)


@dataclass(frozen=True, slots=True, init=False)
class Box:
    """A half-open, non-empty box in nanometres, ``(z, y, x)``.

    Two boxes are equal if they are equal to the picometre.

    Args:
        start: First corner, nm.
        stop: Opposite corner, nm; larger than ``start`` on every axis.

    Raises:
        BadInputError: if a coordinate is not finite or the box is empty.
    """

    start_pm: Triple
    stop_pm: Triple

    def __init__(self, start: Sequence[float], stop: Sequence[float]) -> None:
        _set_corners(self, picometres(start), picometres(stop))

    @classmethod
    def from_picometres(cls, start_pm: Triple, stop_pm: Triple) -> Box:
        """A box from whole picometres, without any rounding."""
        box = cls.__new__(cls)
        _set_corners(box, start_pm, stop_pm)
        return box

    @classmethod
    def around(cls, center: Sequence[float], size: float | Sequence[float]) -> Box:
        """The box of the given size (nm, full width) centred on a point (nm)."""
        sizes = (size,) * 3 if isinstance(size, (int, float)) else tuple(size)
        centre, width = picometres(center), picometres(sizes)
        start = _add(centre, tuple(-(w // 2) for w in width))
        return cls.from_picometres(start, _add(start, width))

    @property
    def start(self) -> Point:
        """First corner, nm."""
        return nanometres(self.start_pm)

    @property
    def stop(self) -> Point:
        """First point outside, nm."""
        return nanometres(self.stop_pm)

    @property
    def size(self) -> Point:
        """Width on each axis, nm."""
        return nanometres(_add(self.stop_pm, tuple(-v for v in self.start_pm)))

    @property
    def center(self) -> Point:
        """Midpoint, nm."""
        a, b = self.start_pm, self.stop_pm
        half = 2 * PM_PER_NM
        return ((a[0] + b[0]) / half, (a[1] + b[1]) / half, (a[2] + b[2]) / half)

    def shift(self, by: Sequence[float]) -> Box:
        """The same box moved by ``by`` nm."""
        delta = picometres(by)
        return Box.from_picometres(_add(self.start_pm, delta), _add(self.stop_pm, delta))

    def grow(self, by: float) -> Box:
        """The box with ``by`` nm more (or less, if negative) at each of its six faces."""
        (delta, _, _) = picometres((by, 0, 0))
        return Box.from_picometres(
            _add(self.start_pm, (-delta,) * 3), _add(self.stop_pm, (delta,) * 3)
        )

    def intersect(self, other: Box) -> Box | None:
        """The common part, or None if there is none."""
        start, stop = _common(self.start_pm, self.stop_pm, other.start_pm, other.stop_pm)
        return Box.from_picometres(start, stop) if _nonempty(start, stop) else None

    def contains(self, other: Box) -> bool:
        """Whether ``other`` lies wholly inside this box."""
        return _inside(other.start_pm, other.stop_pm, self.start_pm, self.stop_pm)

    def contains_point(self, point: Sequence[float]) -> bool:
        """Whether a point (nm) lies inside; start faces belong to the box, stop faces do not."""
        pm = picometres(point)
        return all(a <= p < b for a, p, b in zip(self.start_pm, pm, self.stop_pm, strict=True))

    def __repr__(self) -> str:
        return f"Box(start={self.start}, stop={self.stop})"


def _set_corners(box: Box, start_pm: Triple, stop_pm: Triple) -> None:
    if not _nonempty(start_pm, stop_pm):
        raise BadInputError(
            "a box in nm must have a positive length on every axis (z, y, x)",
            found=f"start {nanometres(start_pm)}, stop {nanometres(stop_pm)}",
        )
    object.__setattr__(box, "start_pm", start_pm)
    object.__setattr__(box, "stop_pm", stop_pm)


def _add(a: Sequence[int], b: Sequence[int]) -> Triple:
    return (a[0] + b[0], a[1] + b[1], a[2] + b[2])


def _common(
    a_start: Triple, a_stop: Triple, b_start: Triple, b_stop: Triple
) -> tuple[Triple, Triple]:
    start = tuple(max(a, b) for a, b in zip(a_start, b_start, strict=True))
    stop = tuple(min(a, b) for a, b in zip(a_stop, b_stop, strict=True))
    return (start[0], start[1], start[2]), (stop[0], stop[1], stop[2])


def _nonempty(start: Triple, stop: Triple) -> bool:
    return all(a < b for a, b in zip(start, stop, strict=True))


def _inside(start: Triple, stop: Triple, outer_start: Triple, outer_stop: Triple) -> bool:
    low = all(o <= s for o, s in zip(outer_start, start, strict=True))
    return low and all(s <= o for s, o in zip(stop, outer_stop, strict=True))
