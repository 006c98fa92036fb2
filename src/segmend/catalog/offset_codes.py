"""Neurons, clefts and mitochondria in one volume, told apart by the range of the value.

The encoding of the first documents for CREMI (seeds/neurons-datasets.md): 0 background, 1 to
999,999 a neuron, 1,000,000 to 1,999,999 a cleft, from 2,000,000 a mitochondrion.

It loses identity: a voxel has one value, so that under a cleft or a mitochondrion nothing tells
whose neuron it is. Keep the layers apart wherever that matters; `decode_offsets` cannot bring it
back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from segmend.catalog.labels import VOCABULARY, LabelSpec
from segmend.core.errors import BadInputError, SchemaError, require
from segmend.core.ids import MAX_ID, Ids, as_ids

FIRST_CLEFT = 1_000_000
"""A cleft's value is its id plus this."""

FIRST_MITOCHONDRION = 2_000_000
"""A mitochondrion's value is its id plus this."""

OFFSET_CODES = LabelSpec(
    "coded", codes={"neuron": 1, "cleft": FIRST_CLEFT, "mitochondria": FIRST_MITOCHONDRION}
)
"""The meaning of such a volume, for a record."""


@dataclass(frozen=True, slots=True)
class OffsetLayers:
    """The layers of such a volume; uint64 ``(z, y, x)`` of one shape, 0 where there is none.

    Attributes:
        neurons: Ids of neurons; decoded: 0 also under clefts and mitochondria.
        clefts: Ids of synaptic clefts; decoded: 0 also under mitochondria.
        mitochondria: Ids of mitochondria.
    """

    neurons: Ids
    clefts: Ids
    mitochondria: Ids


def encode_offsets(layers: OffsetLayers) -> Ids:
    """One volume of three layers: clefts lie over neurons, mitochondria over both.

    Args:
        layers: Ids with 0 for background (`segmend.catalog.dataset.Dataset.segments` gives them).

    Returns:
        uint64, the same shape.

    Raises:
        BadInputError: if the shapes differ or an id does not fit below the next offset.
    """
    limits = {
        "neurons": FIRST_CLEFT - 1,
        "clefts": FIRST_MITOCHONDRION - FIRST_CLEFT - 1,
        "mitochondria": MAX_ID - FIRST_MITOCHONDRION,
    }
    arrays = {name: as_ids(getattr(layers, name)) for name in limits}
    shapes = {name: array.shape for name, array in arrays.items()}
    if len(set(shapes.values())) > 1:
        raise BadInputError("layers of one volume must have one shape", found=str(shapes))
    for name, limit in limits.items():
        largest = int(arrays[name].max(initial=0))
        if largest > limit:
            raise BadInputError(
                f"the ids of {name} do not fit the offset codes",
                found=f"the largest is {largest}, the codes have room up to {limit}",
                fix="Number them densely first and keep the table: relabel_dense(ids)",
            )
    codes = np.where(arrays["clefts"] > 0, arrays["clefts"] + FIRST_CLEFT, arrays["neurons"])
    over = arrays["mitochondria"]
    return np.where(over > 0, over + np.uint64(FIRST_MITOCHONDRION), codes)


def decode_offsets(codes: NDArray[Any]) -> OffsetLayers:
    """The layers of a volume of offset codes, as far as they are in it.

    Args:
        codes: Integers, any shape.

    Raises:
        SchemaError: at a value of exactly an offset: a cleft or mitochondrion with the id 0.
    """
    values = as_ids(codes)
    for offset in (FIRST_CLEFT, FIRST_MITOCHONDRION):
        if (values == offset).any():
            raise SchemaError(
                f"{offset} is an offset, not a segment",
                found="an id of 0 was encoded, which cannot be told from background",
                fix="Count ids from 1 before encoding",
            )
    clefts = (values > FIRST_CLEFT) & (values < FIRST_MITOCHONDRION)
    return OffsetLayers(
        neurons=_where(values < FIRST_CLEFT, values, 0),
        clefts=_where(clefts, values, FIRST_CLEFT),
        mitochondria=_where(values > FIRST_MITOCHONDRION, values, FIRST_MITOCHONDRION),
    )


def _where(chosen: NDArray[np.bool_], values: Ids, offset: int) -> Ids:
    return np.where(chosen, values - np.uint64(offset), np.uint64(0))


def mito_instances(classes: NDArray[np.uint8]) -> Ids:
    """Mitochondria as instances: connected parts of the class once the boundary is taken away.

    The boundary class of MitoEM 2.0 is there for this: it keeps touching mitochondria apart
    (seeds/neurons-datasets.md, 4). Its own voxels belong to no instance. Parts are connected
    through faces, as in the owners' mask_cc3d.py (luckieucas/MitoEM2.0): across an edge or a corner
    two mitochondria could touch past the boundary.

    Args:
        classes: The common classes, uint8 ``(z, y, x)``, all of them in memory.

    Returns:
        uint64, the same shape: 0, and ids from 1 in the order in which parts first occur.

    Raises:
        BadInputError: if it is no three-dimensional uint8 array.
    """
    require("cc3d", extra="build")
    import cc3d

    if classes.ndim != 3 or classes.dtype != np.uint8:
        raise BadInputError(
            "mitochondria are found in a volume of classes",
            found=f"an array of {classes.dtype} with shape {classes.shape}",
            fix="Pass the common classes of a box: dataset.classes[box]",
        )
    inside = classes == VOCABULARY.index("mitochondria")
    return as_ids(cc3d.connected_components(inside, connectivity=6))
