"""From a candidate to the pictures of its row."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.core.box import Box, Point, VoxelBox
from segmend.core.errors import BadInputError, GridMismatchError, RenderError
from segmend.core.grid import VoxelGrid
from segmend.core.sample import VIEW_CUBE, VIEWS
from segmend.edits.operation import SideLayer, check_cut
from segmend.render.camera import pixel_size
from segmend.render.contact import CENTRAL, contact_point, inner_point
from segmend.render.frame import Encoding, Frame, draw, encode_geometry, split_masks
from segmend.render.labels import SIDE_A, SIDE_B, SideBlock, read_pair, read_sides
from segmend.render.slices import EmSite, EmViews, em_slices, window_voxels, window_width
from segmend.samples.candidate import Candidate
from segmend.segments.mesh import Mesh, mesh_from_codes
from segmend.segments.surface_nets import REACH
from segmend.volumes.volume import Volume

MARGIN = REACH + 1
"""Voxels read around the view cube, so that normals inside it do not feel where it was cut."""


@dataclass(frozen=True, slots=True)
class Layers:
    """The volumes a row is drawn from; all on one grid.

    Attributes:
        image: EM.
        automatic: The segmentation under question.
        neurons: The corrected segmentation.
        after: The segmentation after the edits.
        supervoxels: What the segments were agglomerated from.

    Of the last three a ``split_edit`` needs the one that its ``sides_in`` names.

    Raises:
        GridMismatchError: if they lie on different grids.
    """

    image: Volume
    automatic: Volume
    neurons: Volume | None = None
    after: Volume | None = None
    supervoxels: Volume | None = None

    def sides(self, name: SideLayer) -> Volume | None:
        """The layer that holds the sides of a split."""
        layers = {"neurons": self.neurons, "after": self.after, "supervoxels": self.supervoxels}
        return layers[name]

    def __post_init__(self) -> None:
        for volume in (self.automatic, self.neurons, self.after, self.supervoxels):
            if volume is not None and volume.grid != self.image.grid:
                raise GridMismatchError(
                    f"{volume.source} must lie on the grid of {self.image.source}",
                    found=f"{volume.grid} and {self.image.grid}",
                )


@dataclass(frozen=True, slots=True)
class ViewStyle:
    """What is the same for all rows of a data set.

    Attributes:
        em_pixel_size_nm: nm per pixel of the EM slices.
        encoding: Encoding of the geometry, see `encode_geometry`.
    """

    em_pixel_size_nm: float
    encoding: Encoding = "metric"


@dataclass(frozen=True, slots=True)
class Views:
    """The pictures of a row and the facts its metadata must state.

    Attributes:
        geometry: float16 ``(3, 7, 224, 224)``: view, channel, row, column.
        em: uint8 ``(224, 224, 3)`` by plane.
        split_masks: uint8 ``(224, 224)`` by view; empty unless the row is a ``split_edit``.
        facts: JSON-able; positions and directions as ``[x, y, z]``.
    """

    geometry: NDArray[np.float16]
    em: dict[str, NDArray[np.uint8]]
    split_masks: dict[str, NDArray[np.uint8]]
    facts: dict[str, Any]


def render_candidate(candidate: Candidate, layers: Layers, style: ViewStyle) -> Views:
    """Draw everything a row shows.

    A and B are the candidate's segments (or, for a split, its sides), in its order. Dual types
    are drawn as two meshes, the others as one; the split masks are a second drawing of the two
    sides with the same cameras. What a split leaves of the segment beyond its two sides (a third
    neuron, voxels without ground truth) goes with the larger one: A and B together are always the
    whole segment, so that a task on one segment cannot tell a split_edit by a gap in its mask.

    Raises:
        BadInputError: if ids and sample type do not fit together.
        RenderError: ``segment_not_in_view``, ``side_not_in_view`` or ``em_not_in_volume``.
        ReadFailedError: if voxels cannot be read.
    """
    _check(candidate, layers)
    sides = _read(candidate, layers, _voxels(candidate, layers.automatic.grid, style))
    cube = _inside(sides.voxels, layers.automatic.grid.to_voxels(candidate.view_cube).grow(MARGIN))
    rest_to = sides.crop(cube).larger_side() if candidate.sides else None
    sides = _whole(sides, rest_to)
    view = sides.crop(cube)
    frame, masks = _frames(candidate, view)
    center = _em_center(candidate, view)
    window = window_voxels(layers.image.grid, center, style.em_pixel_size_nm)
    if window is not None and not sides.voxels.contains(window):
        sides = _whole(_read(candidate, layers, window), rest_to)
    em = em_slices(EmSite(layers.image, sides, center, style.em_pixel_size_nm))
    geometry = encode_geometry(frame, style.encoding)
    return Views(geometry, em.images, masks, _facts(candidate, style, frame, em, center))


def _check(candidate: Candidate, layers: Layers) -> None:
    kind = candidate.sample_type
    wanted = 2 if kind.dual else 1
    if len(candidate.segments) != wanted or len(set(candidate.segments)) != wanted:
        raise BadInputError(
            f"a {kind.name} shows {wanted} segment(s)", found=f"ids {candidate.segments}"
        )
    split = kind.name == "split_edit"
    if len(candidate.sides) != (2 if split else 0) or len(set(candidate.sides)) == 1:
        raise BadInputError(
            f"a {kind.name} has {'two different sides' if split else 'no sides'}",
            found=f"ids {candidate.sides}",
        )
    check_cut(candidate.sides_in, candidate.cut, len(candidate.sides))
    if split and layers.sides(candidate.sides_in) is None:
        raise BadInputError(
            f"the sides of {candidate.combined_hash} are parts of '{candidate.sides_in}'",
            found="there is no such layer",
            fix=f"Give Layers({candidate.sides_in}=...)",
        )
    if 0 in candidate.segments + candidate.sides:
        raise BadInputError("id 0 is background and cannot be drawn")


def _voxels(candidate: Candidate, grid: VoxelGrid, style: ViewStyle) -> VoxelBox:
    """What is read of the labels: the view cube and, as far as foreseeable, the EM window."""
    center = candidate.render_center_nm
    # A contact point lies in the central part of the cube; a window around it reaches further.
    wander = CENTRAL * VIEW_CUBE * candidate.view_extent_nm
    window = window_width(grid, style.em_pixel_size_nm) + 2 * wander
    width = max(window, 2 * VIEW_CUBE * candidate.view_extent_nm)
    found = grid.to_voxels(Box.around(center, width)).grow(MARGIN).intersect(grid.voxels)
    if found is None:
        raise RenderError(
            "segment_not_in_view",
            f"the view of {candidate.combined_hash} lies outside the volume",
            found=f"view {candidate.view_cube}, volume {grid.box}",
        )
    return found


def _inside(voxels: VoxelBox, wanted: VoxelBox) -> VoxelBox:
    return voxels.intersect(wanted) or VoxelBox(voxels.start, voxels.start)


def _read(candidate: Candidate, layers: Layers, voxels: VoxelBox) -> SideBlock:
    layer = layers.sides(candidate.sides_in) if candidate.sides else None
    if layer is None:
        return read_pair(layers.automatic, candidate.segments, voxels)
    (segment,) = candidate.segments
    return read_sides(layers.automatic, segment, layer, candidate.side_ids, voxels)


def _whole(sides: SideBlock, rest_to: int | None) -> SideBlock:
    """The block with nothing of the segment on neither side of a split."""
    return sides if rest_to is None else sides.with_rest(rest_to)


def _frames(candidate: Candidate, view: SideBlock) -> tuple[Frame, dict[str, NDArray[np.uint8]]]:
    """The drawing of the geometry and, for a split, the masks of its two sides."""
    held = view.held()
    if candidate.sides:
        sides = [_mesh(view, held, SIDE_A), _mesh(view, held, SIDE_B)]
        pair = _drawn(candidate, sides, "side_not_in_view")
        meshes = [_mesh(view, held, SIDE_A, SIDE_B)]
        whole = _drawn(candidate, meshes, "segment_not_in_view")
        # Through an open crop face the cut itself could be seen, where the segment shows nothing.
        owner = np.where(whole.owner < 0, np.int8(-1), pair.owner)
        return whole, split_masks(dataclasses.replace(pair, owner=owner))
    shown = (SIDE_A, SIDE_B)[: len(candidate.segments)]
    meshes = [_mesh(view, held, side) for side in shown]
    return _drawn(candidate, meshes, "segment_not_in_view"), {}


def _mesh(view: SideBlock, held: dict[int, VoxelBox], *sides: int) -> Mesh:
    """The mesh of one or both sides, made from the part of the view that holds them."""
    part = view.around(*(held[side] for side in sides if side in held))
    return mesh_from_codes(part.codes, sides, part.grid)


def _drawn(candidate: Candidate, meshes: list[Mesh], reason: str) -> Frame:
    center, extent = candidate.render_center_nm, candidate.view_extent_nm
    frame = draw(meshes, center_nm=center, half_extent_nm=extent)
    for name, cover in zip("AB", (frame.cover_a, frame.cover_b)[: len(meshes)], strict=False):
        if not cover.any():
            raise RenderError(
                reason,
                f"{name} of {candidate.combined_hash} covers no pixel of any view",
                found=f"segments {candidate.segments}, sides {candidate.sides}, "
                f"view {candidate.view_cube}",
            )
    return frame


def _em_center(candidate: Candidate, view: SideBlock) -> Point:
    center = candidate.render_center_nm
    if not candidate.sample_type.dual:
        return inner_point(view.codes, view.grid, center)
    cube_nm = 2 * VIEW_CUBE * candidate.view_extent_nm
    return contact_point(view.codes, view.grid, center, cube_nm=cube_nm)


def _facts(
    candidate: Candidate, style: ViewStyle, frame: Frame, em: EmViews, center: Point
) -> dict[str, Any]:
    """Published keys and ours; absence of B is stated only where B was to be seen."""
    expected = ("mask_a", "mask_b") if candidate.sample_type.dual else ("mask_a",)
    in_slices = ("mask_a", "mask_b") if candidate.sides else expected
    covers = {"mask_a": frame.cover_a, "mask_b": frame.cover_b}
    return {
        "view_extent_nm": candidate.view_extent_nm,
        "pixel_size_nm": pixel_size(candidate.view_extent_nm),
        "encoding": style.encoding,
        "em_center_nm": [center[2], center[1], center[0]],
        "em_pixel_size_nm": style.em_pixel_size_nm,
        "em_best_axes": {
            "row": list(em.best.row),
            "column": list(em.best.column),
            "normal": list(em.best.normal),
        },
        "em_coverage": em.coverage,
        "em_flat_planes": list(em.flat),
        "empty_geometry_masks": [
            f"{view}.{name}"
            for i, view in enumerate(VIEWS)
            for name in expected
            if not covers[name][i].any()
        ],
        "empty_em_masks": [m for m in em.empty_masks if m.split(".")[1] in in_slices],
    }
