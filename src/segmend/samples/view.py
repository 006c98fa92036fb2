"""From a site to a view: half-width, centre and the order of A and B.

A draw depends on the seed and on the primary key of the sample alone: neither the order of the
candidates nor how many there are changes it (design, section 3, "Site and view").
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from segmend.core.box import Point, nanometres, picometres
from segmend.core.random import keyed_generator, keyed_unit
from segmend.core.sample import combined_hash, sample_type, source_archive
from segmend.samples.candidate import Candidate, sample_hash
from segmend.samples.context import SampleContext, SampleRules
from segmend.samples.site import Site
from segmend.segments.label_reader import Labels


def pose(context: SampleContext, site: Site) -> Candidate:
    """Draw the view of a site.

    Args:
        context: Gives the rules, the seed and the names.
        site: What to ask about.

    Returns:
        The candidate. Its half-width is uniform in the range of the rules, its centre the anchor
        plus a normal deviate per axis, and the segments of a dual type are exchanged with
        probability one half. ``sides`` is empty: `split_edit` chooses them by what the view shows.
    """
    archive = source_archive(context.dataset, site.kind)
    primary = combined_hash(archive, sample_hash(site.operation_id, site.kind, site.key))
    extent, centre = draw_view(context.rules, site.anchor_nm, key=(context.seed, primary))
    dual = sample_type(site.kind).dual
    swapped = dual and draw_swap(context.seed, primary)
    return Candidate(
        kind=site.kind,
        dataset=context.dataset,
        version=context.version,
        volume=context.volume,
        species=context.species,
        operation_id=site.operation_id,
        key=site.key,
        anchor_nm=site.anchor_nm,
        segments=site.segments[::-1] if swapped else site.segments,
        sides=(),
        swapped=swapped,
        render_center_nm=centre,
        view_extent_nm=extent,
        cluster_id=site.cluster_id,
        facts=site.facts,
        neurons=tuple(sorted(set(site.neurons))),
        parent_nm=site.parent_nm,
    )


def draw_view(
    rules: SampleRules, anchor_nm: Point, *, key: tuple[object, ...]
) -> tuple[float, Point]:
    """Half-width (nm) and centre (``(z, y, x)`` nm, whole picometres) of a view."""
    generator = keyed_generator("view", *key)
    extent = generator.uniform(*rules.half_extent_nm)
    jitter = generator.normal(0.0, rules.jitter_nm, size=3)
    z, y, x = (a + j for a, j in zip(anchor_nm, jitter.tolist(), strict=True))
    return round(extent, 3), nanometres(picometres((z, y, x)))


def draw_swap(seed: int, primary_key: str) -> bool:
    """Whether A and B are exchanged: a fair coin, so that their order never tells the label."""
    return keyed_unit("order", seed, primary_key) < 0.5


def labels_in_view(context: SampleContext, candidate: Candidate, labels: Labels) -> Counter[int]:
    """Voxels of the candidate's first segment in its view cube, by their other label.

    Args:
        context: Gives the segmentation.
        candidate: Gives segment and view.
        labels: The other labels, uint64 on the same grid: neurons, supervoxels, ...
    """
    voxels = context.grid.to_voxels(candidate.view_cube).intersect(context.grid.voxels)
    if voxels is None:
        return Counter()
    inside = context.automatic[voxels.slices] == np.uint64(candidate.segments[0])
    ids, counts = np.unique(labels[voxels.slices][inside], return_counts=True)
    return Counter(dict(zip(ids.tolist(), counts.tolist(), strict=True)))
