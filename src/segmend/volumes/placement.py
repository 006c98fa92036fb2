"""Where a chunked array lies in space: its axes and its grid, from its metadata or the caller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from segmend.core.box import Point, Triple
from segmend.core.errors import SchemaError
from segmend.core.grid import VoxelGrid
from segmend.volumes.named_axes import SPATIAL, Axes, find_axes
from segmend.volumes.stated import NM_PER_UNIT, Stated, agreed_grid

MAX_LENGTH = 1e12
"""Larger numbers in metadata are no lengths, in no unit: 10^12 pm are a metre."""


@dataclass(frozen=True, slots=True)
class Placed:
    """What the caller says of an array's place in space.

    Attributes:
        voxel_size: nm per voxel ``(z, y, x)``, where the file does not say.
        offset: Corner of the first voxel, nm ``(z, y, x)``, where the file does not say.
        axes: Names of the axes in their stored order, where the file does not say.
        take: Element to take of each axis that is not z, y or x, by name.
    """

    voxel_size: Sequence[float] | None = None
    offset: Sequence[float] | None = None
    axes: Sequence[str] | None = None
    take: Mapping[str, int] = field(default_factory=dict)


def choose_axes(
    shape: Sequence[int],
    stated: Sequence[str] | None,
    placed: Placed,
    *,
    where: str,
    habit: Sequence[str] = SPATIAL,
) -> Axes:
    """The axes of an array, from its file or the caller.

    Args:
        shape: Stored shape.
        stated: Names of the stored axes in its file, if there.
        placed: What the caller says.
        where: The array, for messages.
        habit: What three axes that nobody names are in this format.

    Raises:
        SchemaError: if they disagree, or are not those of a volume.
        BadInputError: as `find_axes`.
    """
    asked = None if placed.axes is None else [str(name).lower() for name in placed.axes]
    if asked is not None and stated is not None and asked != [name.lower() for name in stated]:
        raise SchemaError(
            f"axes={placed.axes!r} does not agree with {where}",
            found=f"the file names its axes {tuple(stated)}, in their stored order",
            fix="Leave axes out, or correct the file",
        )
    names = asked or stated or (habit if len(shape) == len(habit) else ())
    return find_axes(shape, names, take=placed.take, where=where)


def place(shape: Triple, stated: Stated, placed: Placed, where: str) -> VoxelGrid:
    """The grid of an array, as `agreed_grid`."""
    caller = Stated(placed.voxel_size, placed.offset)
    return agreed_grid(where, shape, file=stated, caller=caller)


def nm_per_unit(unit: Any, where: str) -> float:
    """Length of a unit in nm.

    Raises:
        SchemaError: if it is no unit of length we know.
    """
    scale = NM_PER_UNIT.get(unit.lower()) if isinstance(unit, str) else None
    if scale is None:
        raise SchemaError(
            f"{where} has lengths in an unknown unit",
            found=repr(unit)[:80],
            fix="Known: " + ", ".join(NM_PER_UNIT),
        )
    return scale


def stated_by_attributes(attributes: Mapping[str, Any], axes: Axes, where: str) -> Stated:
    """``resolution`` or ``voxel_size``, and ``offset``, as CREMI and funlib write them.

    Lists in the order of the stored axes, or of the spatial ones among them; nm, unless ``units``
    says otherwise; the offset is the corner of the first voxel (funlib.persistence).

    Raises:
        SchemaError: if one is unusable.
    """
    names = [name for name in ("resolution", "voxel_size") if name in attributes]
    if not names:
        return Stated()
    unit = _units(attributes.get("units"), axes, where)
    sizes = [_in_units(attributes, name, axes, unit, where) for name in names]
    if len(set(sizes)) > 1:
        raise SchemaError(
            f"{where} has a 'resolution' and another 'voxel_size'",
            found=f"{attributes['resolution']} and {attributes['voxel_size']}",
            fix="Remove the wrong one",
        )
    if "offset" not in attributes:
        return Stated(sizes[0])
    return Stated(sizes[0], _in_units(attributes, "offset", axes, unit, where))


def spatial_numbers(document: Mapping[str, Any], name: str, axes: Axes, where: str) -> Point:
    """A list of numbers for the stored axes, or the spatial ones among them, as ``(z, y, x)``.

    Raises:
        SchemaError: if it is something else.
    """
    rank = 3 + len(axes.fixed)
    try:
        found = msgspec.convert(document[name], list[float])
    except (KeyError, msgspec.ValidationError):
        found = []
    if len(found) not in (3, rank) or not all(abs(v) < MAX_LENGTH for v in found):
        raise SchemaError(
            f"{where} has an unusable '{name}'",
            found=repr(document.get(name))[:200],
            fix="It should be a list of one finite number per axis",
        )
    return axes.zyx(found) if len(found) == rank else axes.spatial_zyx(found)


def _in_units(
    attributes: Mapping[str, Any], name: str, axes: Axes, unit: Point, where: str
) -> Point:
    z, y, x = spatial_numbers(attributes, name, axes, where)
    return (z * unit[0], y * unit[1], x * unit[2])


def _units(units: Any, axes: Axes, where: str) -> Point:
    """Nm per unit along z, y and x."""
    if units is None:
        return (1.0, 1.0, 1.0)
    rank = 3 + len(axes.fixed)
    if not isinstance(units, list) or len(units) not in (3, rank):
        raise SchemaError(f"{where} has unusable 'units'", found=repr(units)[:200])
    z, y, x = axes.zyx(units) if len(units) == rank else axes.spatial_zyx(units)
    return (nm_per_unit(z, where), nm_per_unit(y, where), nm_per_unit(x, where))
