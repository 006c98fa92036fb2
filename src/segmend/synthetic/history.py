"""What is known about synthetic tissue: the true edits and the true synapses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from segmend.core.box import Point

Cause = Literal["thin neck", "missing section", "low contrast", "touching membranes"]


@dataclass(frozen=True, slots=True)
class TrueEdit:
    """One correction that turns the automatic segmentation into the true neurons.

    Attributes:
        kind: ``merge`` repairs a false split, ``split`` a false merge.
        segments: Automatic segments that meet at the point: two for a merge, one for a split.
        before_roots: Root ids just before, as an edit server would name them, sorted.
        after_roots: Root ids just after, sorted.
        neurons: True neurons involved: one for a merge, two for a split.
        point_nm: Where the error is, ``(z, y, x)`` nm, on the interface of the two sides.
        timestamp: Seconds since 1970; strictly increasing along the history.
        cause: Why the automatic segmentation failed here.
    """

    kind: Literal["merge", "split"]
    segments: tuple[int, ...]
    before_roots: tuple[int, ...]
    after_roots: tuple[int, ...]
    neurons: tuple[int, ...]
    point_nm: Point
    timestamp: int
    cause: Cause


@dataclass(frozen=True, slots=True)
class Synapse:
    """One synapse.

    Attributes:
        cleft_id: Id in the cleft layer.
        pre_neuron: True neuron on the side of the vesicles.
        post_neuron: True neuron on the other side.
        pre_segment: Automatic segment at ``pre_point_nm``.
        post_segment: Automatic segment at ``post_point_nm``.
        center_nm: Centre of the cleft, ``(z, y, x)`` nm.
        pre_point_nm: A point inside the presynaptic neuron beside the cleft.
        post_point_nm: A point inside the postsynaptic neuron beside the cleft.
    """

    cleft_id: int
    pre_neuron: int
    post_neuron: int
    pre_segment: int
    post_segment: int
    center_nm: Point
    pre_point_nm: Point
    post_point_nm: Point
