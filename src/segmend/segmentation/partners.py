"""Synaptic partners as CREMI scores them: each end with the true neuron it lies in."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segmend.annotations.cremi import SynapticPartners
from segmend.core.box import VoxelBox
from segmend.core.ids import Ids, as_ids
from segmend.metrics.segmentation.partners import PartnerPairs
from segmend.volumes.volume import Volume


def partner_pairs(partners: SynapticPartners, neurons: Volume) -> PartnerPairs:
    """Look up the neuron of the ground truth at both ends of every pair.

    Args:
        partners: Found ones or true ones.
        neurons: Ground truth of the neurons, as it is stored.

    Raises:
        OutOfBoundsError: if an end lies outside the ground truth.
        ReadFailedError: if voxels cannot be read.
    """
    return PartnerPairs(
        partners.pre_nm,
        partners.post_nm,
        ids_at(partners.pre_nm, neurons),
        ids_at(partners.post_nm, neurons),
    )


def ids_at(points: NDArray[np.float64], neurons: Volume) -> Ids:
    """Ids as they are stored at points in nm ``(n, 3)``, ``(z, y, x)``.

    Raises:
        OutOfBoundsError: if a point lies outside the volume.
        ReadFailedError: if voxels cannot be read.
    """
    found = np.zeros(len(points), np.uint64)
    for row, point in enumerate(points.tolist()):
        z, y, x = neurons.grid.voxel_at(point)
        voxel = VoxelBox((z, y, x), (z + 1, y + 1, x + 1))
        found[row] = as_ids(neurons.read_voxels(voxel).data)[0, 0, 0]
    return found
