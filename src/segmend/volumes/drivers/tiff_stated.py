"""What ImageJ and OME-XML say of a TIFF file: which page is which section, how large a voxel is.

Sources: the OME model 2016-06 (Pixels, TiffData); ImageJ's ``ij/io/FileInfo`` and TiffDecoder
documentation for its description (``images``, ``slices``, ``channels``, ``spacing``, ``unit``).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree as ET

from segmend.core.errors import BadInputError, SchemaError
from segmend.volumes.drivers.tiff_pages import Pages
from segmend.volumes.placement import nm_per_unit

MAX_XML = 2**26
"""Larger OME-XML is refused."""


@dataclass(frozen=True, slots=True)
class TiffStack:
    """How the images of a file make a volume.

    Attributes:
        names: Axes that the images run through, slowest first: ``z``, ``zc`` or ``cz``.
        lengths: Length of each of them.
        channel: The channel that is read; None where there is only one.
        voxel_size: nm per voxel ``(z, y, x)``, where the file says it.
    """

    names: str
    lengths: tuple[int, ...]
    channel: int | None = None
    voxel_size: tuple[float, float, float] | None = None


def stack_of(where: str, pages: Pages, channel: int | None, unit: str | None) -> TiffStack:
    """How the images of a file make a volume.

    Args:
        where: The file, for messages.
        pages: Its pages.
        channel: The channel asked for.
        unit: Unit of its lengths, in place of what it says.

    Raises:
        SchemaError: if it holds several volumes, lies in several files, or contradicts itself.
        BadInputError: if the channel does not fit.
    """
    if pages.ome:
        counts, order, size = _ome(where, pages, unit)
    elif pages.imagej:
        counts, order, size = _imagej(where, pages, unit)
    else:
        counts, order, size = {"z": len(pages.starts)}, "z", None
    if counts.get("t", 1) != 1:
        raise SchemaError(f"{where} cannot be a volume", found=f"it has {counts['t']} time points")
    channels = counts.get("c", 1)
    if channels == 1:
        order = "z"
    if (
        not (channel is None and channels == 1)
        and not 0 <= (-1 if channel is None else channel) < channels
    ):
        raise BadInputError(
            f"channel={channel} does not fit {where}",
            found=f"it has {channels} channel(s)",
            fix="Pass channel=0 to their number less one",
        )
    return TiffStack(order, tuple(counts[name] for name in order), channel, size)


Found = tuple[dict[str, int], str, tuple[float, float, float] | None]


def _imagej(where: str, pages: Pages, unit: str | None) -> Found:
    found = pages.imagej
    images = _count(where, found, "images", len(pages.starts))
    counts = {"c": _count(where, found, "channels", 1), "t": _count(where, found, "frames", 1)}
    counts["z"] = _count(where, found, "slices", max(1, images // (counts["c"] * counts["t"])))
    if math.prod(counts.values()) != images:
        raise SchemaError(f"{where} contradicts itself", found=f"{images} images, {counts}")
    stated = unit or str(found.get("unit", "pixel")).lower()
    lengths = [found.get(name) for name in ("spacing", "y_resolution", "x_resolution")]
    if stated in ("pixel", "pixels", "") or None in lengths:
        return counts, "zc", None
    scale = nm_per_unit(stated, where)
    z, y, x = (float(length or 0) for length in lengths)
    return counts, "zc", (z * scale, scale / y, scale / x)


def _ome(where: str, pages: Pages, unit: str | None) -> Found:
    pixels = _pixels(where, pages.ome)
    counts = {name.lower(): _count(where, pixels.attrib, f"Size{name}", 0) for name in "ZCT"}
    shape = tuple(_count(where, pixels.attrib, f"Size{name}", 0) for name in "YX")
    order = pixels.get("DimensionOrder", "")
    if sorted(order) != sorted("XYZCT") or not order.startswith("XY") or shape != pages.form.shape:
        raise SchemaError(
            f"{where} contradicts itself",
            found=f"OME-XML says {shape} (y, x), order '{order}', pages are {pages.form.shape}",
        )
    fastest = order[2:].lower()
    _check_places(where, pixels, fastest, counts)
    size = []
    for name in "ZYX":
        length, said = pixels.get(f"PhysicalSize{name}"), pixels.get(f"PhysicalSize{name}Unit")
        if length is None or said in ("pixel", "reference frame"):
            return counts, _slowest_first(fastest), None
        # The OME model: micrometres, unless another unit is named.
        size.append(_number(where, length) * nm_per_unit(unit or said or "um", where))
    return counts, _slowest_first(fastest), (size[0], size[1], size[2])


def _slowest_first(fastest: str) -> str:
    return fastest.replace("t", "")[::-1]


def _pixels(where: str, text: str) -> ET.Element:
    if len(text) > MAX_XML or "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise SchemaError(f"{where} has refused OME-XML", found="it declares entities or is huge")
    try:
        root = ET.fromstring(text)  # noqa: S314  entities cannot be declared, see above
    except ET.ParseError as error:
        raise SchemaError(f"{where} has unreadable OME-XML", found=str(error)) from error
    found = [element for element in root.iter() if element.tag.rpartition("}")[2] == "Pixels"]
    if len(found) != 1:
        raise SchemaError(
            f"{where} cannot be a volume",
            found=f"its OME-XML describes {len(found)} images",
            fix="Store one image per file",
        )
    return found[0]


def _check_places(where: str, pixels: ET.Element, fastest: str, counts: Mapping[str, int]) -> None:
    """Images must lie in this file, in the order that DimensionOrder says."""
    for element in pixels.iter():
        kind = element.tag.rpartition("}")[2]
        if (
            kind == "UUID"
            and element.get("FileName", where.rpartition("/")[2]) != (where.rpartition("/")[2])
        ):
            raise SchemaError(
                f"{where} is refused",
                found=f"its images lie in other files, such as {element.get('FileName')!r}",
                fix="Join them into one file: segmend never opens files that a file names",
            )
        if kind == "TiffData":
            at, step = 0, 1
            for name in fastest:
                at += step * _count(where, element.attrib, f"First{name.upper()}", 0)
                step *= counts[name]
            if _count(where, element.attrib, "IFD", at) != at:
                raise SchemaError(f"{where} cannot be a volume", found="its pages are in disorder")


def _count(where: str, found: Mapping[str, Any], name: str, default: int) -> int:
    value = str(found.get(name, default))
    if not value.isascii() or not value.isdigit() or len(value) > 12:
        raise SchemaError(f"{where} has unusable metadata", found=f"{name} is {value[:80]!r}")
    return int(value)


def _number(where: str, text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise SchemaError(f"{where} has unusable metadata", found=f"{text[:80]!r}") from error
