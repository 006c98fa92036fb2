"""Frozen controls placed on a volume at hand, as edits are: by where their points lie."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from segmend.core.box import Point
from segmend.core.ids import id_strings
from segmend.edits.control import Control
from segmend.edits.frozen import FrozenEdits
from segmend.edits.placed import Ground
from segmend.synthetic.history import Synapse


@dataclass(frozen=True, slots=True)
class PlacedNeighbour:
    """A neighbour of an edit.

    Attributes:
        operation_id: The edit.
        segments: Automatic segments at the two points of the contact: base, neighbour.
        point_nm: The contact, ``(z, y, x)`` nm.
        facts: What the source knows, under the published names.
    """

    operation_id: str
    segments: tuple[int, int]
    point_nm: Point
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class PlacedControls:
    """Controls of a history on a volume; None: the history has none of the kind.

    Attributes:
        neighbours: Of edits, in the order of the history.
        proofread: For each proofread true neuron what the source knows of it.
        synapses: With the segments and neurons at their points.
        synapse_facts: Scores and root ids of each synapse, by its number.
        excluded: What could not be placed, and what the history itself left out, by
            ``type: reason``.
    """

    neighbours: tuple[PlacedNeighbour, ...] | None = None
    proofread: Mapping[int, dict[str, Any]] | None = None
    synapses: tuple[Synapse, ...] | None = None
    synapse_facts: Mapping[int, dict[str, Any]] = field(default_factory=dict)
    excluded: Counter[str] = field(default_factory=Counter)


def placed_controls(frozen: FrozenEdits, ground: Ground) -> PlacedControls:
    """Place the controls of a frozen history.

    Args:
        frozen: The history.
        ground: The automatic segmentation and the true neurons.
    """
    excluded: Counter[str] = Counter()
    for kind in frozen.control_kinds:
        closure = frozen.control_closure(kind)
        for reason, number in (closure.dropped + closure.failed).items():
            excluded[f"{kind}: {reason}"] += number

    def kept(kind: str) -> Iterator[Control] | None:
        return frozen.controls(kind) if kind in frozen.control_kinds else None

    beside, neurons, pairs = map(kept, ("adjacent_control", "junction_control", "synapse_control"))
    synapses = None if pairs is None else dict(_synapses(pairs, ground, excluded))
    return PlacedControls(
        neighbours=None if beside is None else tuple(_neighbours(beside, ground, excluded)),
        proofread=None if neurons is None else _proofread(neurons, ground, excluded),
        synapses=None if synapses is None else tuple(synapses),
        synapse_facts={one.cleft_id: facts for one, facts in (synapses or {}).items()},
        excluded=excluded,
    )


def _neighbours(
    controls: Iterator[Control], ground: Ground, excluded: Counter[str]
) -> Iterator[PlacedNeighbour]:
    for one in controls:
        base, other = (ground.segment_at(point) for point in one.points_nm)
        fault = _fault(base, other)
        if fault:
            excluded[f"{one.kind}: {fault}"] += 1
            continue
        assert base is not None
        assert other is not None
        base_root, adjacent_root = id_strings(one.root_ids)
        facts = {
            "base_root": base_root,
            "adjacent_root": adjacent_root,
            "cutout_timestamp": one.cutout_timestamp,
            **one.facts,
        }
        yield PlacedNeighbour(one.source_id, (base, other), one.point_nm, facts)


def _proofread(
    controls: Iterator[Control], ground: Ground, excluded: Counter[str]
) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for one in controls:
        neuron = ground.neuron_at(one.point_nm)
        if neuron is None:
            excluded[f"{one.kind}: point outside the volume"] += 1
        elif neuron == 0:
            excluded[f"{one.kind}: point without ground truth"] += 1
        elif neuron in found:
            excluded[f"{one.kind}: neuron named by another root"] += 1
        else:
            (root,) = id_strings(one.root_ids)
            found[neuron] = {"proofread_root": root, "cutout_timestamp": one.cutout_timestamp}
    return found


def _synapses(
    controls: Iterator[Control], ground: Ground, excluded: Counter[str]
) -> Iterator[tuple[Synapse, dict[str, Any]]]:
    for one in controls:
        segments = [ground.segment_at(point) for point in one.points_nm]
        neurons = [ground.neuron_at(point) for point in one.points_nm]
        if None in segments:
            excluded[f"{one.kind}: point outside the volume"] += 1
            continue
        pre_root, post_root = id_strings(one.root_ids)
        facts = {
            "pre_pt_root_id": pre_root,
            "post_pt_root_id": post_root,
            "cutout_timestamp": one.cutout_timestamp,
            **one.facts,
        }
        synapse = Synapse(
            cleft_id=int(one.source_id),
            pre_neuron=neurons[0] or 0,
            post_neuron=neurons[1] or 0,
            pre_segment=segments[0] or 0,
            post_segment=segments[1] or 0,
            center_nm=one.point_nm,
            pre_point_nm=one.points_nm[0],
            post_point_nm=one.points_nm[1],
        )
        yield synapse, facts


def _fault(base: int | None, other: int | None) -> str:
    if base is None or other is None:
        return "point outside the volume"
    if base == 0 or other == 0:
        return "point in no segment"
    return "one segment on both sides" if base == other else ""
