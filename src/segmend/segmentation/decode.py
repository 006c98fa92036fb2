"""From affinities to segments: watershed and agglomeration, or mutex watershed.

Both run through kept libraries: scikit-image and mwatershed (MIT; Wolf et al. 2018, "The mutex
watershed"). Segments are numbered 1, 2, ... in the order in which their first voxels come.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mwatershed
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import feature, segmentation

from segmend.core.box import Triple
from segmend.core.errors import BadInputError
from segmend.core.ids import Ids
from segmend.segmentation.affinities import NEAREST

# scikit-image is not fully typed.
_watershed: Any = segmentation.watershed
_peaks: Any = feature.peak_local_max

DECODERS = ("mutex", "watershed")
"""How affinities become segments."""

LONG_STRIDE = 2
"""Long-range edges are used at every second voxel of each axis that they span."""


def decode(
    affinities: NDArray[Any],
    offsets: Sequence[Triple],
    *,
    decoder: str = "mutex",
    threshold: float = 0.5,
    min_voxels: int = 0,
) -> Ids:
    """Segment a predicted box.

    Args:
        affinities: Shares of 255, uint8 ``(c, z, y, x)``, kept at the source of the edge.
        offsets: Of the channels, `NEAREST` first.
        decoder: One of `DECODERS`.
        threshold: Affinity from which on an edge joins, above 0 and below 1.
        min_voxels: Smaller segments go to the neighbour whose flood reaches them first.

    Returns:
        uint64 ``(z, y, x)``, every voxel in a segment.

    Raises:
        BadInputError: for an unknown decoder, offsets that do not fit, or a bad threshold.
    """
    if decoder not in DECODERS:
        raise BadInputError(f"there is no decoder '{decoder}'", found=f"known: {DECODERS}")
    if not 0 < threshold < 1:
        raise BadInputError(f"a threshold of affinities lies between 0 and 1, got {threshold}")
    if affinities.dtype != np.uint8 or affinities.ndim != 4 or len(affinities) != len(offsets):
        raise BadInputError(
            "affinities must be uint8 (c, z, y, x) with an offset for each channel",
            found=f"{affinities.dtype} {affinities.shape}, {len(offsets)} offsets",
        )
    if tuple(offsets[:3]) != NEAREST:
        raise BadInputError(f"the first offsets must be {NEAREST}", found=f"{offsets[:3]}")
    if decoder == "mutex":
        segments = mutex_watershed(affinities, offsets, threshold=threshold)
    else:
        boundary = boundary_of(affinities)
        fragments = fragments_of(boundary, threshold=1 - threshold)
        segments = join_fragments(fragments, affinities[:3], threshold=threshold)
    return numbered(without_small(segments, boundary_of(affinities), min_voxels))


def mutex_watershed(
    affinities: NDArray[np.uint8], offsets: Sequence[Triple], *, threshold: float
) -> Ids:
    """Edges from the surest to the least sure: nearest ones join, long ones forbid joining.

    A nearest edge is as sure as its affinity is high, a long one as it is low. A threshold above
    one half makes all that join less sure and all that forbid surer, by the difference.
    """
    shift = 0.5 - threshold
    weights = affinities.astype(np.float64) / 255 + shift
    weights[:3] = np.maximum(weights[:3], 0)
    weights[3:] = np.minimum(weights[3:] - 1, 0)
    strides = [
        [1, 1, 1] if number < 3 else [LONG_STRIDE if n else 1 for n in offset]
        for number, offset in enumerate(offsets)
    ]
    lists = [list(offset) for offset in offsets]
    return np.asarray(mwatershed.agglom(weights, lists, strides=strides), np.uint64)


def boundary_of(affinities: NDArray[np.uint8]) -> NDArray[np.float32]:
    """How much of a boundary a voxel is, in [0, 1]: one minus the mean of its six nearest edges."""
    total = np.zeros(affinities.shape[1:], np.float32)
    count = np.zeros(affinities.shape[1:], np.float32)
    for axis in range(3):
        inner = np.moveaxis(affinities[axis], axis, 0)[:-1]
        for side in (slice(None, -1), slice(1, None)):
            np.moveaxis(total, axis, 0)[side] += inner
            np.moveaxis(count, axis, 0)[side] += 255
    return np.subtract(1, total / np.maximum(count, 1), dtype=np.float32)


def fragments_of(boundary: NDArray[np.float32], *, threshold: float, seed_distance: int = 5) -> Ids:
    """Watershed of a boundary map from the voxels farthest from any boundary.

    Args:
        boundary: In [0, 1], ``(z, y, x)``.
        threshold: What counts as a boundary when distances are taken.
        seed_distance: Seeds are at least so many voxels apart.
    """
    inside = boundary < threshold
    distance = ndimage.gaussian_filter(ndimage.distance_transform_edt(inside), 1.0)
    peaks = _peaks(
        distance,
        min_distance=seed_distance,
        labels=inside.astype(np.int32),
        exclude_border=False,  # else thin boxes have no seeds
    )
    if not len(peaks):  # nothing is inside: it is all one fragment
        return np.ones(boundary.shape, np.uint64)
    seeds = np.zeros(boundary.shape, np.int32)
    seeds[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return np.asarray(_watershed(boundary, seeds), np.uint64)


def join_fragments(fragments: Ids, nearest: NDArray[np.uint8], *, threshold: float) -> Ids:
    """Join fragments by the mean affinity across their contacts, the surest contact first.

    A mean below the threshold forbids that its two sides come together (mutex watershed of the
    graph of fragments).
    """
    pairs, sums, faces = _contacts(fragments, nearest)
    means = sums / (255.0 * faces)
    order = np.argsort(-np.abs(means - threshold), kind="stable")
    edges = [(bool(means[k] >= threshold), int(pairs[k, 0]), int(pairs[k, 1])) for k in order]
    joined = dict(mwatershed.cluster(edges))
    ids = np.arange(int(fragments.max()) + 1, dtype=np.uint64)
    for fragment, cluster in joined.items():
        ids[fragment] = cluster
    return ids[fragments]


def _contacts(
    fragments: Ids, nearest: NDArray[np.uint8]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of fragments that touch, the sum of the affinities across, and the faces."""
    keys, values = [], []
    n = int(fragments.max()) + 1
    for axis in range(3):
        ids = np.moveaxis(fragments, axis, 0).astype(np.int64)
        one, other = ids[:-1], ids[1:]
        differ = one != other
        low, high = np.minimum(one, other)[differ], np.maximum(one, other)[differ]
        keys.append(low * n + high)
        values.append(np.moveaxis(nearest[axis], axis, 0)[:-1][differ])
    unique, which, faces = np.unique(np.concatenate(keys), return_inverse=True, return_counts=True)
    sums = np.bincount(which, weights=np.concatenate(values), minlength=len(unique))
    return np.stack([unique // n, unique % n], axis=1), sums.astype(np.int64), faces


def without_small(segments: Ids, boundary: NDArray[np.float32], min_voxels: int) -> Ids:
    """Flood segments of fewer voxels from their neighbours; all stay if none is large enough."""
    _, which, sizes = np.unique(segments, return_inverse=True, return_counts=True)
    which = which.reshape(segments.shape)
    large = sizes >= min_voxels
    if large.all() or not large.any():
        return segments
    seeds = np.where(large[which], which + 1, 0).astype(np.int32)
    return np.asarray(_watershed(boundary, seeds), np.uint64)


def numbered(segments: NDArray[Any]) -> Ids:
    """Segments numbered 1, 2, ... by their first voxels."""
    _, first, which = np.unique(segments, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.uint64)
    rank[np.argsort(first)] = np.arange(1, len(first) + 1, dtype=np.uint64)
    return rank[which.reshape(segments.shape)]
