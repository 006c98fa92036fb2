"""What the values of a label layer mean, said once by its record and applied here."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from segmend.core.errors import SchemaError
from segmend.core.ids import Ids, as_ids

VOCABULARY = ("background", "neuron", "cleft", "mitochondria", "mito_boundary")
"""Common classes of semantic layers: the value is the position."""


class LabelSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Meaning of the values of one label layer.

    Attributes:
        kind: ``instance``: values are ids; ``semantic``: values are classes of `VOCABULARY`.
        background: The value that means "nothing here".
        invalid: Further values that are no ids (CREMI uses 2**64 - 2 for "not labelled").
    """

    kind: Literal["instance", "semantic"]
    background: int = 0
    invalid: tuple[int, ...] = ()


def segment_ids(labels: NDArray[Any], spec: LabelSpec, *, source: str) -> Ids:
    """Ids of an instance layer with background and invalid voxels set to 0.

    Args:
        labels: Stored values, any integer dtype.
        spec: Their meaning.
        source: Name for messages.

    Returns:
        uint64, the same shape.

    Raises:
        SchemaError: if the layer holds classes, or uses 0 as an id although its background is
            another value.
    """
    if spec.kind != "instance":
        raise SchemaError(f"{source} holds classes, not segment ids")
    ids = as_ids(labels)
    if spec.background != 0 and (ids == 0).any():
        raise SchemaError(
            f"{source} uses 0 as a segment id", found=f"its background is {spec.background}"
        )
    nothing = [v for v in (spec.background, *spec.invalid) if v != 0]
    if nothing:
        ids = np.where(np.isin(ids, np.array(nothing, np.uint64)), np.uint64(0), ids)
    return ids
