"""One site as pictures: drawn from volumes, or read from a benchmark."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from segmend.apps.sheet.sheet import SitePictures
from segmend.catalog.dataset import Dataset
from segmend.core.box import Box, Point
from segmend.core.errors import BadInputError, SegmentNotFoundError, UnknownNameError
from segmend.core.ids import as_id
from segmend.core.sample import (
    EM_COLUMNS,
    PLANES,
    SPLIT_MASK_COLUMNS,
    VIEWS,
    em_column,
    split_mask_column,
)
from segmend.samples.candidate import Candidate
from segmend.shards.reader import Benchmark
from segmend.volumes.volume import Volume

KEY = "combined_sample_hash"
SHOWN_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class SiteRequest:
    """A site to draw from volumes.

    Attributes:
        segments: One or two ids in ``layer``: A and B.
        center_nm: Centre of the views, ``(z, y, x)`` nm.
        extent_nm: Half-width of the views, nm.
        layer: Label layer that the ids belong to.
        em_pixel_nm: Pixel of the EM slices; None: such that they show as much as the views.
    """

    segments: tuple[int, ...]
    center_nm: Point
    extent_nm: float
    layer: str = "automatic"
    em_pixel_nm: float | None = None


def draw_site(dataset: Dataset, request: SiteRequest) -> SitePictures:
    """Draw a site from the volumes of a data set, exactly as a row of a benchmark is drawn.

    Raises:
        BadInputError: for no or more than two segments, or a half-width that is not positive.
        SegmentNotFoundError: if a segment does not occur in the view.
        RenderError: if the site cannot be drawn.
        ReadFailedError: if voxels cannot be read.
    """
    from segmend.render.camera import pixel_size
    from segmend.render.site import Layers, ViewStyle, render_candidate

    if len(request.segments) not in (1, 2) or request.extent_nm <= 0:
        raise BadInputError(
            "a site shows one or two segments in a view of positive width",
            found=f"segments {request.segments}, half-width {request.extent_nm} nm",
        )
    layers = Layers(dataset.image, dataset.labels[request.layer])
    style = ViewStyle(request.em_pixel_nm or pixel_size(request.extent_nm))
    candidate = _candidate(dataset, request)
    _check_present(layers.automatic, request, candidate.view_cube)
    views = render_candidate(candidate, layers, style)
    ids = " and ".join(map(str, request.segments))
    return _pictures(
        f"{dataset.name} {dataset.record.version}  {request.layer} {ids}",
        {"render_center_nm": [*reversed(request.center_nm)], **views.facts},
        {
            "geometry": views.geometry,
            **{em_column(plane): image for plane, image in views.em.items()},
        },
    )


def show_sample(benchmark: Benchmark, prefix: str) -> SitePictures:
    """The pictures of one row of a benchmark.

    Args:
        benchmark: The benchmark.
        prefix: Its ``combined_sample_hash``, or enough of its beginning to be unique.

    Raises:
        UnknownNameError: if no row or several rows begin so.
    """
    keys = [str(key) for key in benchmark.sidecar().column(KEY).to_pylist()]
    found = [i for i, key in enumerate(keys) if key.startswith(prefix)]
    if len(found) != 1:
        raise UnknownNameError(
            f"'{prefix}' does not name one row of {benchmark.folder}",
            found=f"{len(found)} of {len(keys)} hashes begin so",
            fix=f"For example: {', '.join(keys[:SHOWN_EXAMPLES])}",
        )
    plain = (KEY, "sample_type", "split", "metadata")
    (row,) = benchmark.rows(found, (*plain, "geometry", *EM_COLUMNS, *SPLIT_MASK_COLUMNS))
    values = row.values
    title = f"{values['sample_type']}  {values['split']}  {values[KEY]}"
    return _pictures(title, json.loads(values["metadata"]), values)


def _candidate(dataset: Dataset, request: SiteRequest) -> Candidate:
    dual = len(request.segments) == 2
    return Candidate(
        # Only how many segments a type draws matters here: a site asks no question.
        kind="adjacent_control" if dual else "junction_control",
        dataset=dataset.name,
        version=dataset.record.version,
        volume=dataset.name,
        species=dataset.record.species,
        operation_id="",
        key="",
        anchor_nm=request.center_nm,
        segments=request.segments,
        sides=(),
        swapped=False,
        render_center_nm=request.center_nm,
        view_extent_nm=request.extent_nm,
        cluster_id=0,
    )


def _check_present(labels: Volume, request: SiteRequest, view_cube: Box) -> None:
    voxels = labels.grid.to_voxels(view_cube).intersect(labels.grid.voxels)
    present = np.unique(labels.read_voxels(voxels).data) if voxels is not None else np.array([])
    for segment in request.segments:
        if as_id(segment) not in present:
            raise SegmentNotFoundError(
                f"segment {segment} does not occur in the view around {request.center_nm} nm",
                found=f"{present.size} ids do, for example {present[:SHOWN_EXAMPLES].tolist()}",
                fix="Check the id, the layer, and that --at is z y x in nm",
            )


def _pictures(title: str, facts: Mapping[str, Any], images: Mapping[str, Any]) -> SitePictures:
    center = facts.get("render_center_nm")
    masks = {view: images.get(split_mask_column(view)) for view in VIEWS}
    em = {plane: images.get(em_column(plane)) for plane in PLANES}
    return SitePictures(
        title=title,
        geometry=np.asarray(images["geometry"]),
        em={plane: image for plane, image in em.items() if image is not None},
        split_masks={view: mask for view, mask in masks.items() if mask is not None},
        view_extent_nm=facts.get("view_extent_nm"),
        em_pixel_size_nm=facts.get("em_pixel_size_nm"),
        center_nm=(center[2], center[1], center[0]) if center else None,
        best_axes=facts.get("em_best_axes") or {},
    )
