"""An annotation: skeleton trees and what people wrote beside them, exactly as a file says it.

Positions stay the voxels ``x, y, z`` of the file, so that nothing is lost on the way back; they
become nm, ``(z, y, x)``, in one place (`positions_nm`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from segmend.annotations.elements import Element
from segmend.core.box import Box, Point, Triple, VoxelBox
from segmend.core.errors import BadInputError
from segmend.core.grid import VoxelGrid

NM_PER_UNIT = {
    "picometer": 1e-3,
    "angstrom": 0.1,
    "nanometer": 1.0,
    "micrometer": 1e3,
    "millimeter": 1e6,
}
"""Length units of a scale; none stated means nanometres (webKnossos documentation, "Skeleton
annotations"). Others are kept, and refused once nm are asked for."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node of a tree.

    Attributes:
        id: Unique in its annotation.
        xyz: Voxels ``(x, y, z)``, as in the file.
        radius: In voxels or nm, as its program means it; None if not stated.
        attributes: Everything else the file says of it, as text.
        children: Elements inside it (metadata).
    """

    id: int
    xyz: Point
    radius: float | None = None
    attributes: dict[str, str] = field(default_factory=dict)
    children: tuple[Element, ...] = ()


@dataclass(frozen=True, slots=True)
class Edge:
    """A link between two nodes of one tree, by id."""

    source: int
    target: int
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tree:
    """A skeleton; it may be empty, and in several pieces.

    Attributes:
        id: Unique among the trees of an annotation.
        name: None if not stated.
        group: Id of its group, None outside groups.
        nodes: In file order.
        edges: In file order.
        attributes: Everything else (colour, type, ...), as text.
        children: Other elements inside it (metadata).
    """

    id: int
    name: str | None = None
    group: int | None = None
    nodes: tuple[Node, ...] = ()
    edges: tuple[Edge, ...] = ()
    attributes: dict[str, str] = field(default_factory=dict)
    children: tuple[Element, ...] = ()


@dataclass(frozen=True, slots=True)
class BranchPoint:
    """A node marked as a place to continue from."""

    node: int
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Comment:
    """What somebody wrote at a node."""

    node: int
    content: str
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Group:
    """A named group of trees, and the groups inside it."""

    id: int
    name: str | None = None
    groups: tuple[Group, ...] = ()
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NamedBox:
    """A bounding box of an annotation.

    Attributes:
        kind: The element that holds it: ``userBoundingBox`` or ``taskBoundingBox``.
        start_xyz: First voxel ``(x, y, z)``.
        size_xyz: Voxels ``(width, height, depth)``.
        attributes: Everything else (name, colour, ...), as text.
    """

    kind: str
    start_xyz: Triple
    size_xyz: Triple
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Parameters:
    """What holds for a whole annotation.

    Attributes:
        experiment: Attributes of the experiment (``name``, ``organization``, ...), None if absent.
        scale_xyz: Size of a voxel ``(x, y, z)``, in ``unit``; None if absent.
        unit: Unit of the scale; None means nanometres.
        offset_xyz: As stated; None if absent.
        boxes: Bounding boxes.
        others: Other elements (time, edit position, active node, ...).
    """

    experiment: dict[str, str] | None = None
    scale_xyz: Point | None = None
    unit: str | None = None
    offset_xyz: Point | None = None
    boxes: tuple[NamedBox, ...] = ()
    others: tuple[Element, ...] = ()


@dataclass(frozen=True, slots=True)
class Annotation:
    """A whole NML file as a value.

    Attributes:
        parameters: What holds for all of it.
        trees: In file order, empty ones included.
        branch_points: Marked nodes.
        comments: In file order.
        groups: Outermost groups.
        attributes: Of the root element.
        others: Other elements of the file (meta, volume, ...).
    """

    parameters: Parameters = field(default_factory=Parameters)
    trees: tuple[Tree, ...] = ()
    branch_points: tuple[BranchPoint, ...] = ()
    comments: tuple[Comment, ...] = ()
    groups: tuple[Group, ...] = ()
    attributes: dict[str, str] = field(default_factory=dict)
    others: tuple[Element, ...] = ()


def annotation_grid(annotation: Annotation, *, offset_nm: Point | None = None) -> VoxelGrid:
    """The grid that an annotation's voxels lie on; without extent: its shape is 0.

    Args:
        annotation: The annotation.
        offset_nm: Corner of voxel (0, 0, 0), ``(z, y, x)`` nm. Must be given if the file states an
            offset that is not 0, because programs differ in what they mean by it.

    Raises:
        BadInputError: if the file states no scale, an unknown unit, or an offset without
            ``offset_nm``.
    """
    parameters = annotation.parameters
    if parameters.scale_xyz is None:
        raise BadInputError(
            "the positions of an annotation cannot become nm",
            found="it states no scale",
            fix="Add the size of a voxel: <scale x=... y=... z=... unit='nanometer'/>",
        )
    unit = parameters.unit or "nanometer"
    if unit not in NM_PER_UNIT:
        raise BadInputError(
            f"the scale of an annotation is in '{unit}'",
            fix=f"Known units: {', '.join(NM_PER_UNIT)}",
        )
    if offset_nm is None and any(parameters.offset_xyz or ()):
        raise BadInputError(
            "the positions of an annotation cannot become nm",
            found=f"it states an offset of {parameters.offset_xyz} (x, y, z), whose meaning "
            "differs between programs",
            fix="Pass offset_nm=, the corner of voxel (0, 0, 0), for example (0, 0, 0)",
        )
    x, y, z = (v * NM_PER_UNIT[unit] for v in parameters.scale_xyz)
    return VoxelGrid((z, y, x), offset_nm or (0, 0, 0), (0, 0, 0))


def positions_nm(nodes: Sequence[Node], grid: VoxelGrid) -> NDArray[np.float64]:
    """Where nodes lie.

    A whole number names a voxel, so its node lies in the voxel's centre.

    Args:
        nodes: Nodes of an annotation.
        grid: Its grid (`annotation_grid`).

    Returns:
        float64 ``(n, 3)`` nm, ``(z, y, x)``.
    """
    xyz = np.array([node.xyz for node in nodes], np.float64).reshape(-1, 3)
    return grid.points(xyz[:, ::-1] + 0.5)


def box_nm(box: NamedBox, grid: VoxelGrid) -> Box:
    """The space of a bounding box.

    Raises:
        BadInputError: if the box is empty.
    """
    x, y, z = box.start_xyz
    width, height, depth = box.size_xyz
    return grid.to_box(VoxelBox((z, y, x), (z + depth, y + height, x + width)))
