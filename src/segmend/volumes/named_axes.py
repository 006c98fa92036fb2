"""Which axes of a stored array are z, y and x, and what is taken of the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from segmend.core.box import Triple
from segmend.core.errors import BadInputError, SchemaError

SPATIAL = ("z", "y", "x")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Axes:
    """How a stored array is seen as a volume.

    Attributes:
        spatial: Places of z, y and x among the stored axes.
        fixed: The other stored axes, and the element taken of each.
    """

    spatial: Triple
    fixed: tuple[tuple[int, int], ...] = ()

    def zyx(self, stored: Sequence[T]) -> tuple[T, T, T]:
        """What belongs to z, y and x, of values in the order of the stored axes."""
        z, y, x = self.spatial
        return (stored[z], stored[y], stored[x])

    def spatial_zyx(self, values: Sequence[T]) -> tuple[T, T, T]:
        """As `zyx`, of values for the spatial axes only, in their stored order."""
        z, y, x = (sorted(self.spatial).index(axis) for axis in self.spatial)
        return (values[z], values[y], values[x])

    def chunk_index(self, index: Triple, chunk_shape: Sequence[int]) -> tuple[int, ...]:
        """Place of a chunk in the stored grid, from its place ``(z, y, x)`` in the volume's."""
        stored = [0] * len(chunk_shape)
        for axis, place in zip(self.spatial, index, strict=True):
            stored[axis] = place
        for axis, element in self.fixed:
            stored[axis] = element // chunk_shape[axis]
        return tuple(stored)

    def view(self, chunk: NDArray[Any], chunk_shape: Sequence[int]) -> NDArray[Any]:
        """A decoded chunk as ``(z, y, x)``, without copying."""
        if self.spatial == (0, 1, 2) and not self.fixed:
            return chunk
        key: list[slice | int] = [slice(None)] * chunk.ndim
        for axis, element in self.fixed:
            key[axis] = element % chunk_shape[axis]
        left = chunk[tuple(key)]
        return np.transpose(left, [sorted(self.spatial).index(axis) for axis in self.spatial])


def find_axes(
    shape: Sequence[int], names: Sequence[str], *, take: Mapping[str, int], where: str
) -> Axes:
    """Find z, y and x among named axes.

    Args:
        shape: Stored shape.
        names: Names of the stored axes, any case.
        take: Element to take of each other axis; one of length 1 need not be named.
        where: The array, for messages.

    Raises:
        SchemaError: if there is not one each of z, y and x.
        BadInputError: if an axis that is not spatial is not decided, or ``take`` does not fit.
    """
    lower = [name.lower() for name in names]
    fits = len(lower) == len(shape) == len(set(lower))
    if not fits or any(name not in lower for name in SPATIAL):
        raise SchemaError(
            f"{where} cannot be a volume",
            found=f"axes {tuple(names)} of an array of shape {tuple(shape)}",
            fix="A volume needs one axis each of z, y and x; name all its axes in their stored "
            "order with axes=, for example axes='czyx'",
        )
    others = [axis for axis, name in enumerate(lower) if name not in SPATIAL]
    _check_taken(take, {lower[axis]: shape[axis] for axis in others}, where)
    fixed = tuple((axis, take.get(lower[axis], 0)) for axis in others)
    return Axes((lower.index("z"), lower.index("y"), lower.index("x")), fixed)


def _check_taken(take: Mapping[str, int], lengths: Mapping[str, int], where: str) -> None:
    for name, length in lengths.items():
        if length > 1 and name not in take:
            raise BadInputError(
                f"{where} has an axis '{name}' of length {length}",
                fix=f"Say which element is the volume, for example take={{'{name}': 0}}",
            )
    for name, element in take.items():
        if not 0 <= element < lengths.get(name, 0):
            raise BadInputError(
                f"take={{'{name}': {element}}} does not fit {where}",
                found=f"its axes besides z, y and x: {dict(lengths) or 'none'}",
            )
