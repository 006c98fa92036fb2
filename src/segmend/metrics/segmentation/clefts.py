"""CREMI's score of synaptic clefts: how far what was found is from what is there, and back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from segmend.core.box import Triple
from segmend.core.errors import BadInputError

THRESHOLD_NM = 200.0
"""A voxel farther away than this is a false one (reference/datasets.md, "Official metrics")."""


@dataclass(frozen=True, slots=True)
class CleftScores:
    """What is reported of detected clefts.

    Attributes:
        found: Voxels detected.
        true: Voxels of the ground truth.
        false_positives: Voxels detected farther than the threshold from any true one.
        false_negatives: True voxels farther than the threshold from any detected one.
        adgt: Mean distance of a detected voxel to the nearest true one, nm: infinite if nothing is
            there to be found, NaN if nothing was detected.
        adf: Mean distance of a true voxel to the nearest detected one, nm: infinite if nothing was
            detected, NaN if nothing is there.
    """

    found: int
    true: int
    false_positives: int
    false_negatives: int
    adgt: float
    adf: float

    @property
    def cremi(self) -> float:
        """CREMI score: the mean of both mean distances, nm; 0 is perfect."""
        distances = np.array([self.adgt, self.adf])
        return float(distances[~np.isnan(distances)].mean()) if self.found + self.true else 0.0

    @property
    def f_score(self) -> float:
        """Harmonic mean of the shares of detected and of true voxels that are not false."""
        if not self.found or not self.true:
            return float(self.found == self.true)
        precision = 1 - self.false_positives / self.found
        recall = 1 - self.false_negatives / self.true
        both = precision + recall
        return 2 * precision * recall / both if both else 0.0


@dataclass(frozen=True, slots=True, eq=False)
class CleftVoxels:
    """Where clefts were detected and where they are, of a volume of any size.

    Clefts are few among the voxels of a volume: what is kept grows with them alone.

    Attributes:
        found: Voxels detected, int64 ``(n, 3)``, ``(z, y, x)`` of the whole volume.
        truth: Voxels of the ground truth, likewise.
    """

    found: NDArray[np.int64]
    truth: NDArray[np.int64]


def cleft_voxels(
    found: NDArray[Any],
    truth: NDArray[Any],
    *,
    start: Triple = (0, 0, 0),
    known: NDArray[np.bool_] | None = None,
) -> CleftVoxels:
    """The clefts of a volume, or of one block of it.

    Args:
        found: Where a cleft was detected, non-zero ``(z, y, x)``.
        truth: Where one is, non-zero, the same shape.
        start: First voxel of the block in the volume.
        known: Where ground truth exists; voxels elsewhere (CREMI's 2**64 - 2) do not count and are
            near nothing. By default everywhere.

    Raises:
        BadInputError: for unequal shapes, or arrays that are not 3-D.
    """
    if found.ndim != 3 or found.shape != truth.shape:
        raise BadInputError(
            "clefts are scored against a ground truth (z, y, x) of their own shape",
            found=f"{found.shape} against {truth.shape}",
        )
    said, there = found.astype(np.bool_), truth.astype(np.bool_)
    if known is not None:
        if known.shape != truth.shape:
            raise BadInputError(f"known must have shape {truth.shape}, got {known.shape}")
        said, there = said & known, there & known
    return CleftVoxels(np.argwhere(said) + start, np.argwhere(there) + start)


def merged(blocks: Iterable[CleftVoxels]) -> CleftVoxels:
    """The clefts of all blocks of a volume together."""
    none = np.zeros((0, 3), np.int64)
    found, truth = [none], [none]
    for block in blocks:
        found.append(block.found)
        truth.append(block.truth)
    return CleftVoxels(np.concatenate(found), np.concatenate(truth))


def cleft_scores(
    voxels: CleftVoxels, *, voxel_size: Sequence[float], threshold_nm: float = THRESHOLD_NM
) -> CleftScores:
    """Score detected clefts against true ones.

    Args:
        voxels: Of the whole volume: distances reach as far as they must.
        voxel_size: nm ``(z, y, x)``.
        threshold_nm: From where on a voxel is false.
    """
    to_truth = _distances(voxels.found, voxels.truth, voxel_size)
    to_found = _distances(voxels.truth, voxels.found, voxel_size)
    return CleftScores(
        found=len(to_truth),
        true=len(to_found),
        false_positives=int(np.count_nonzero(to_truth > threshold_nm)),
        false_negatives=int(np.count_nonzero(to_found > threshold_nm)),
        adgt=_mean(to_truth),
        adf=_mean(to_found),
    )


def _distances(
    at: NDArray[np.int64], to: NDArray[np.int64], voxel_size: Sequence[float]
) -> NDArray[np.float64]:
    """Distances of voxels from the nearest of others, nm."""
    if not len(to):
        return np.full(len(at), np.inf)
    distances, _ = KDTree(to * voxel_size).query(at * voxel_size, workers=-1)
    return np.asarray(distances)


def _mean(distances: NDArray[np.float64]) -> float:
    return float(distances.mean()) if distances.size else float("nan")
