"""Rows of two splits that have an origin in common: an operation, a segment, a neuron."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

ROOT_KEYS = (
    "root_ids",
    "segment_ids",
    "before_root_ids",
    "after_root_ids",
    "base_root",
    "adjacent_root",
    "pre_pt_root_id",
    "post_pt_root_id",
)
"""Keys of the metadata that name segments, of ours and of published rows (reference, section 2)."""

NEURON_KEYS = ("neuron_ids", "cluster_id")

Mark = tuple[Any, ...]


def operation_marks(metadata: Mapping[str, Any], place: Mark) -> Iterator[Mark]:
    """The operations a row comes from, within its volume."""
    for key in ("operation_id", "source_operation_id"):
        if metadata.get(key) not in (None, ""):
            yield (*place, str(metadata[key]))


def lineage_marks(metadata: Mapping[str, Any], place: Mark) -> Iterator[Mark]:
    """The segments and neurons that a row shows, within its volume."""
    for word, keys in (("segment", ROOT_KEYS), ("neuron", NEURON_KEYS)):
        for key in keys:
            value = metadata.get(key)
            for one in value if isinstance(value, list) else [value]:
                if one not in (None, ""):
                    yield (*place, word, str(one))


def shared(
    marks: Sequence[Iterable[Hashable]], splits: Sequence[int], *, one: int, other: int
) -> list[tuple[int, int]]:
    """Rows of split ``other`` that share a mark with a row of split ``one``.

    Returns:
        Each such row, with one row that it shares a mark with.
    """
    holder: dict[Hashable, int] = {}
    for row, of_row in enumerate(marks):
        if splits[row] == one:
            for mark in of_row:
                holder.setdefault(mark, row)
    found = []
    for row, of_row in enumerate(marks):
        if splits[row] == other:
            first = next((holder[mark] for mark in of_row if mark in holder), None)
            if first is not None:
                found.append((row, first))
    return found
