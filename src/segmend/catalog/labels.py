"""What the values of a label layer mean, said once by its record and applied here."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from segmend.core.errors import SchemaError
from segmend.core.ids import MAX_ID, Ids, as_ids

UNION = ("background", "neuron", "cleft", "mitochondria", "mito_boundary")
"""Classes of the published union label map: the value is the position."""

VOCABULARY = (*UNION, "vesicle", "synapse")
"""Common classes of semantic layers: the value is the position. It only ever grows at its end. A
``synapse`` is a synaptic contact as a whole, a ``cleft`` the gap alone; ``vesicle``: a cloud of
synaptic vesicles."""

IGNORED = 255
"""Value of a class array where nothing is known: no class, and no background either."""

IDS = range(MAX_ID + 1)

Kind = Literal["instance", "semantic", "coded", "detect"]


class LabelSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Meaning of the values of one label layer.

    Attributes:
        kind: ``instance``: values are ids; ``semantic``: values are classes; ``coded``: ids of
            several classes, told apart by their range; ``detect``: ``semantic`` if no value is
            above the largest in ``classes``, else ``instance``, decided when it is opened.
        background: The value that means "nothing here".
        invalid: Further values that are no ids (CREMI uses 2**64 - 2 for "not labelled").
        as_class: Class of `VOCABULARY` that the ids of an instance layer belong to; empty: none
            (an automatic segmentation repeats the neurons).
        classes: Class by stored value of a semantic layer; empty: values are those of
            `UNION`.
        names: Class by the name that the array's own attributes give a code, for files that name
            their codes (`segmend.catalog.named_codes`); where one names none, ``classes`` holds.
        codes: Class by first id of a coded layer: ids run up to the next one's first.
    """

    kind: Kind
    background: int = 0
    invalid: tuple[int, ...] = ()
    as_class: str = ""
    classes: dict[str, str] = {}
    names: dict[str, str] = {}
    codes: dict[str, int] = {}

    def __post_init__(self) -> None:
        # msgspec reports a ValueError here as a validation error of the record.
        named = [*self.classes.values(), *self.names.values(), *self.codes]
        named += [self.as_class] if self.as_class else []
        unknown = sorted(set(named) - set(VOCABULARY))
        if unknown:
            raise ValueError(f"no such class: {', '.join(unknown)}; known: {', '.join(VOCABULARY)}")
        if self.names and self.kind != "semantic":
            raise ValueError(f"names of codes make no sense for labels of the kind {self.kind}")
        if self.kind == "detect" and not self.classes:
            raise ValueError("the largest of its classes tells what a layer to detect holds: none")
        odd: list[str | int] = [v for v in self.classes if not v.removeprefix("-").isdecimal()]
        odd += [v for v in (self.background, *self.invalid, *self.codes.values()) if v not in IDS]
        if odd:
            raise ValueError(f"{odd[0]!r} cannot be the value of a label")


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
    nothing = no_segments(labels, spec, source=source)
    ids = as_ids(labels)
    if nothing:
        ids = np.where(np.isin(ids, np.array(nothing, np.uint64)), np.uint64(0), ids)
    return ids


def no_segments(labels: NDArray[Any], spec: LabelSpec, *, source: str) -> tuple[int, ...]:
    """Values other than 0 that stand for no segment: background and invalid ones.

    Args:
        labels: Stored values, any integer dtype.
        spec: Their meaning.
        source: Name for messages.

    Raises:
        SchemaError: if the layer holds classes, or uses 0 as an id although its background is
            another value.
    """
    if spec.kind != "instance":
        raise SchemaError(f"{source} holds classes, not segment ids")
    if spec.background != 0 and (labels == 0).any():
        raise SchemaError(
            f"{source} uses 0 as a segment id", found=f"its background is {spec.background}"
        )
    return tuple(v for v in (spec.background, *spec.invalid) if v != 0)


def class_values(labels: NDArray[Any], spec: LabelSpec, *, source: str) -> NDArray[np.uint8]:
    """Classes of the values of a layer.

    Args:
        labels: Stored values, any integer dtype.
        spec: Their meaning; not ``detect``, see `detected`.
        source: Name for messages.

    Returns:
        uint8, the same shape: positions in `VOCABULARY`, `IGNORED` at invalid values.

    Raises:
        SchemaError: if a value of a semantic layer has no class.
    """
    if spec.kind == "instance":
        found = _one_class(labels, spec)
    elif spec.kind == "coded":
        found = _coded_classes(labels, spec)
    else:
        found = _stored_classes(labels, spec, source)
    if spec.invalid:
        found[np.isin(labels, np.array(spec.invalid, np.uint64))] = IGNORED
    return found


def _one_class(labels: NDArray[Any], spec: LabelSpec) -> NDArray[np.uint8]:
    known = labels != np.uint64(spec.background)
    return np.where(known, np.uint8(VOCABULARY.index(spec.as_class)), np.uint8(0))


def _coded_classes(labels: NDArray[Any], spec: LabelSpec) -> NDArray[np.uint8]:
    ordered = sorted(spec.codes.items(), key=lambda item: item[1])
    edges = np.array([first for _, first in ordered], np.uint64)
    names = np.array([0, *(VOCABULARY.index(name) for name, _ in ordered)], np.uint8)
    return names[np.searchsorted(edges, as_ids(labels), side="right")]


def _stored_classes(labels: NDArray[Any], spec: LabelSpec, source: str) -> NDArray[np.uint8]:
    by_value = {int(v): VOCABULARY.index(c) for v, c in spec.classes.items()}
    by_value = by_value or {i: i for i in range(len(UNION))}
    values = np.unique(labels)
    unknown = [int(v) for v in values if int(v) not in by_value and int(v) not in spec.invalid]
    if unknown:
        raise SchemaError(
            f"{source} holds values that are no class",
            found=f"{unknown[:5]}; known: {sorted(by_value)}",
            fix="Correct the record's label meaning, or the file",
        )
    table = np.array([by_value.get(int(v), 0) for v in values], np.uint8)
    return table[np.searchsorted(values, labels)]
