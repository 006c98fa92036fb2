"""OME-Zarr 0.4 and 0.5: which arrays are scales of one image, and where they lie.

https://ngff.openmicroscopy.org/0.4/ and https://ngff.openmicroscopy.org/0.5/. Coordinates there are
those of voxel *centres*: voxel ``i`` of an axis has its centre at ``i * scale + translation``, so
that the corner of the first voxel lies half a voxel before the translation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec

from segmend.core.box import Point, nanometres, picometres
from segmend.core.errors import BadInputError, SchemaError
from segmend.volumes.metadata import convert
from segmend.volumes.named_axes import Axes
from segmend.volumes.placement import MAX_LENGTH, Placed, nm_per_unit
from segmend.volumes.stated import Stated

Origin = Literal["center", "corner"]


class Axis(msgspec.Struct, frozen=True):
    """One entry of ``axes``."""

    name: str
    unit: str | None = None


class Transform(msgspec.Struct, frozen=True):
    """One entry of ``coordinateTransformations``."""

    type: str
    scale: list[float] | None = None
    translation: list[float] | None = None


class Dataset(msgspec.Struct, frozen=True, rename="camel"):
    """One scale."""

    path: str
    coordinate_transformations: Annotated[list[Transform], msgspec.Meta(min_length=1)]


class Multiscale(msgspec.Struct, frozen=True, rename="camel"):
    """One entry of ``multiscales``."""

    axes: Annotated[list[Axis], msgspec.Meta(min_length=1, max_length=8)]
    datasets: Annotated[list[Dataset], msgspec.Meta(min_length=1, max_length=64)]
    name: str | None = None
    coordinate_transformations: list[Transform] = []

    @property
    def axis_names(self) -> tuple[str, ...]:
        """Names of the stored axes."""
        return tuple(axis.name for axis in self.axes)

    @property
    def paths(self) -> tuple[str, ...]:
        """Arrays of the scales, below the group."""
        return tuple(dataset.path for dataset in self.datasets)


@dataclass(frozen=True, slots=True)
class _Affine:
    """Scale and translation per stored axis, in the units of the file."""

    scale: tuple[float, ...]
    translation: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Reference:
    """The scale that the caller speaks of.

    Attributes:
        scale: Its number.
        placed: Its voxel size and offset, used where the file has no units and no translation.
        origin: What a translation names: the centre of the first voxel, as the specification says,
            or its corner, as some writers mean.
    """

    scale: int
    placed: Placed
    origin: Origin


def find_multiscale(
    attributes: Mapping[str, Any], *, chosen: int | str | None, where: str
) -> Multiscale | None:
    """The multiscale image of a group; None if the group has none.

    Args:
        attributes: Attributes of the group.
        chosen: Which one, by name or number; needed only where there are several.
        where: The group, for messages.

    Raises:
        SchemaError: if the metadata are not valid.
        BadInputError: if the choice is open, or there is no such one.
    """
    ome = attributes.get("ome")
    listed = (ome if isinstance(ome, dict) else attributes).get("multiscales")
    if listed is None:
        return None
    # One by one: of an image that nobody asked for, the metadata may be as they like.
    entries = convert(listed, list[dict[str, Any]], f"'multiscales' of {where}")
    names = [entry.get("name") for entry in entries]
    if chosen is None and len(entries) == 1:
        chosen = 0
    if isinstance(chosen, str) and names.count(chosen) == 1:
        chosen = names.index(chosen)
    if not isinstance(chosen, int) or not 0 <= chosen < len(entries):
        raise BadInputError(
            f"{where} holds {len(entries)} multiscale images",
            found=f"names {names}, asked for {chosen!r}",
            fix="Choose one by name or number with multiscale=",
        )
    return convert(entries[chosen], Multiscale, f"multiscale {chosen} of {where}")


def stated_scales(image: Multiscale, axes: Axes, reference: Reference, where: str) -> list[Stated]:
    """Voxel size and corner of every scale, nm ``(z, y, x)``.

    Offsets are taken relative to one scale in whole picometres, so that scales whose corners
    coincide do so exactly.

    Raises:
        SchemaError: if a transformation cannot be used, or nobody says how large a voxel is.
    """
    affines = [_combined(image, dataset, where) for dataset in image.datasets]
    own, placed = affines[reference.scale], reference.placed
    unit = _units(image, axes, own, placed, where)
    sizes = [_times(axes.zyx(affine.scale), unit) for affine in affines]
    half = 0.5 if reference.origin == "center" else 0.0
    corners = [
        [t - half * s for t, s in zip(_times(axes.zyx(a.translation), unit), size, strict=True)]
        for a, size in zip(affines, sizes, strict=True)
    ]
    start = corners[reference.scale]
    if placed.offset is not None and not any(own.translation):
        first = picometres(placed.offset)
    else:
        first = picometres(start)
    stated = []
    for size, corner in zip(sizes, corners, strict=True):
        by = picometres([a - b for a, b in zip(corner, start, strict=True)])
        stated.append(Stated(size, nanometres([a + b for a, b in zip(first, by, strict=True)])))
    return stated


def _combined(image: Multiscale, dataset: Dataset, where: str) -> _Affine:
    """The transformations of a scale, then those of the whole image."""
    rank = len(image.axes)
    scale, translation = [1.0] * rank, [0.0] * rank
    for transform in (*dataset.coordinate_transformations, *image.coordinate_transformations):
        if transform.type == "identity":
            continue
        known = {"scale": transform.scale, "translation": transform.translation}
        values = known.get(transform.type)
        finite = values is not None and all(abs(v) < MAX_LENGTH for v in values)
        if values is None or len(values) != rank or not finite:
            raise SchemaError(
                f"scale '{dataset.path}' of {where} has a transformation that cannot be used",
                found=repr(msgspec.to_builtins(transform))[:200],
                fix=f"Known: identity, scale and translation, of {rank} finite numbers each",
            )
        if transform.type == "scale":
            scale = [a * b for a, b in zip(scale, values, strict=True)]
            translation = [a * b for a, b in zip(translation, values, strict=True)]
        else:
            translation = [a + b for a, b in zip(translation, values, strict=True)]
    return _Affine(tuple(scale), tuple(translation))


def _units(image: Multiscale, axes: Axes, own: _Affine, placed: Placed, where: str) -> Point:
    """Nm per unit of the file along z, y and x."""
    named = axes.zyx([axis.unit for axis in image.axes])
    if None not in named:
        z, y, x = (nm_per_unit(unit, where) for unit in named)
        return (z, y, x)
    size = axes.zyx(own.scale)
    if placed.voxel_size is None or len(placed.voxel_size) != 3 or not all(size):
        raise SchemaError(
            f"{where} does not say in which unit its scales are",
            found=f"units {named}, scale {size} (z, y, x)",
            fix="Pass voxel_size=(z, y, x) in nm; segmend never guesses it",
        )
    z, y, x = (
        asked / stored if unit is None else nm_per_unit(unit, where)
        for unit, asked, stored in zip(named, placed.voxel_size, size, strict=True)
    )
    return (z, y, x)


def _times(values: Sequence[float], by: Point) -> Point:
    return (values[0] * by[0], values[1] * by[1], values[2] * by[2])
