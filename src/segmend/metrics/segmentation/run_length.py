"""Expected run length: how far one follows a neuron from anywhere before the first error.

Januszewski et al. 2018 (doi 10.1038/s41592-018-0049-4): a skeleton's edge is right if both its ends
lie in one segment that touches no other skeleton.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from segmend.core.errors import BadInputError
from segmend.core.ids import Ids


@dataclass(frozen=True, slots=True, eq=False)
class LabelledSkeleton:
    """One neuron's skeleton and what a segmentation says at its nodes.

    Attributes:
        nodes_nm: float64 ``(n, 3)`` nm, ``(z, y, x)``.
        edges: Positions of nodes, integers ``(m, 2)``.
        segments: Id of the segmentation at each node, uint64 ``(n,)``; 0 is none.
    """

    nodes_nm: NDArray[np.float64]
    edges: NDArray[np.int64]
    segments: Ids

    def __post_init__(self) -> None:
        n = len(self.nodes_nm)
        if self.nodes_nm.shape != (n, 3) or self.segments.shape != (n,):
            raise BadInputError(
                "a skeleton needs nodes (n, 3) and a segment for each",
                found=f"nodes {self.nodes_nm.shape}, segments {self.segments.shape}",
            )
        if self.edges.ndim != 2 or self.edges.shape[1] != 2:
            raise BadInputError(f"edges must be (m, 2), got {self.edges.shape}")
        if self.edges.size and not 0 <= self.edges.min() <= self.edges.max() < n:
            raise BadInputError(
                f"an edge names a node that is not there: there are {n}",
                found=f"nodes {self.edges.min()} to {self.edges.max()}",
            )

    @property
    def lengths(self) -> NDArray[np.float64]:
        """Length of every edge, nm."""
        ends = self.nodes_nm[self.edges]
        return np.asarray(np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1))


@dataclass(frozen=True, slots=True)
class RunLength:
    """Expected run length of a segmentation on skeletons.

    Attributes:
        expected_nm: Expected run length (ERL), nm.
        best_nm: That of a segmentation without errors, nm.
        right: Share of the length on edges that are right.
        split: Share on edges whose ends lie in two segments.
        merged: Share on edges in segments that touch several skeletons.
        omitted: Share on edges with an end in no segment.
    """

    expected_nm: float
    best_nm: float
    right: float
    split: float
    merged: float
    omitted: float

    @property
    def normalised(self) -> float:
        """NERL: expected run length as a share of the best, 0 to 1."""
        return self.expected_nm / self.best_nm


def expected_run_length(
    skeletons: Sequence[LabelledSkeleton], *, merge_tolerance: int = 0
) -> RunLength:
    """Expected run length of a segmentation on the skeletons of a ground truth.

    Args:
        skeletons: One per neuron.
        merge_tolerance: Nodes that a segment may have on a skeleton without touching it; 0 is
            strict.

    Raises:
        BadInputError: if the skeletons have no length.
    """
    total = sum(float(skeleton.lengths.sum()) for skeleton in skeletons)
    if not total:
        raise BadInputError("there is nothing to score", found="the skeletons have no length")
    merging = _merging(skeletons, merge_tolerance)
    runs, best = 0.0, 0.0
    by_kind = np.zeros(4)
    for skeleton in skeletons:
        lengths, kinds = skeleton.lengths, _kinds(skeleton, merging)
        by_kind += np.bincount(kinds, weights=lengths, minlength=4)
        best += float(lengths.sum()) ** 2
        right = kinds == RIGHT
        _, which = np.unique(skeleton.segments[skeleton.edges[right, 0]], return_inverse=True)
        # A start on a segment runs over all of it: its share times its length.
        runs += float((np.bincount(which, weights=lengths[right]) ** 2).sum())
    shares = (by_kind / total).tolist()
    return RunLength(runs / total, best / total, *shares)


RIGHT, SPLIT, MERGED, OMITTED = range(4)


def _kinds(skeleton: LabelledSkeleton, merging: Ids) -> NDArray[np.int64]:
    """What every edge is."""
    ends = skeleton.segments[skeleton.edges]
    kinds = np.where(ends[:, 0] == ends[:, 1], RIGHT, SPLIT)
    kinds[np.isin(ends, merging).any(axis=1)] = MERGED
    kinds[(ends == 0).any(axis=1)] = OMITTED
    return kinds


def _merging(skeletons: Sequence[LabelledSkeleton], tolerance: int) -> Ids:
    """Segments that touch several skeletons."""
    touched = [np.empty(0, np.uint64)]
    for skeleton in skeletons:
        segments, nodes = np.unique(skeleton.segments, return_counts=True)
        touched.append(segments[(nodes > tolerance) & (segments != 0)])
    segments, times = np.unique(np.concatenate(touched), return_counts=True)
    return np.asarray(segments[times > 1], np.uint64)
