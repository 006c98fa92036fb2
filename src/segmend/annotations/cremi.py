"""CREMI's annotations: synaptic partners beside the volumes of an HDF5 file, format 0.2.

Layout: https://cremi.org/data (reference/datasets.md, D). Types and comments of the sites are not
read: which site is presynaptic follows from its place in a pair.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from segmend.annotations.matlab import open_matlab
from segmend.core.ids import Ids

GROUP = "annotations"
PARTNERS = f"{GROUP}/presynaptic_site/partners"


@dataclass(frozen=True, slots=True, eq=False)
class SynapticPartners:
    """Synapses as pairs of annotated sites.

    Attributes:
        ids: Ids of both sites, presynaptic first, uint64 ``(n, 2)``.
        pre_nm: Presynaptic sites, float64 ``(n, 3)`` nm, ``(z, y, x)``, in the space of the image.
        post_nm: Postsynaptic sites, the same.
    """

    ids: Ids
    pre_nm: NDArray[np.float64]
    post_nm: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.ids)


def read_partners(path: str | Path) -> SynapticPartners:
    """Read the synaptic partners of a CREMI file.

    Raises:
        ReadFailedError: if the file is missing or damaged.
        SchemaError: if it holds no annotations, an id occurs twice, a pair names a site that is not
            there, or a place is not finite.
    """
    file = open_matlab(path)
    ids = file.ids(f"{GROUP}/ids")
    places = file.rows(f"{GROUP}/locations", 3, "f").astype(np.float64)
    pairs = file.rows(PARTNERS, 2).astype(np.uint64)
    file.check_lengths({f"{GROUP}/ids": len(ids), f"{GROUP}/locations": len(places)})
    if not np.isfinite(places).all():
        row = int(np.argmin(np.isfinite(places).all(axis=1)))
        raise file.error(f"{GROUP}/locations", f"row {row + 1} is {places[row].tolist()}")
    order = np.argsort(ids, kind="stable")
    ordered = ids[order]
    if (ordered[1:] == ordered[:-1]).any():
        twice = ordered[1:][ordered[1:] == ordered[:-1]][0]
        raise file.error(f"{GROUP}/ids", f"site {twice} occurs twice")
    missing = pairs[~np.isin(pairs, ids)]
    if missing.size:
        raise file.error(PARTNERS, f"a pair names site {missing[0]}, which is not there")
    rows = order[np.searchsorted(ordered, pairs)]
    # Where the labels are a part of the image, places count from where the labels start.
    offset = file.vector(GROUP, "offset", 3)
    places = places if offset is None else places + offset
    return SynapticPartners(pairs, places[rows[:, 0]], places[rows[:, 1]])
