"""The metadata of a row as far as the candidate knows it, under the published names."""

from __future__ import annotations

from typing import Any

from segmend.core.ids import id_strings
from segmend.samples.candidate import Candidate
from segmend.samples.site import xyz

PUBLISHED_KEYS = (
    "operation_id",
    "source_operation_id",
    "before_root_ids",
    "after_root_ids",
    "root_ids",
    "base_root",
    "adjacent_root",
    "pre_pt_root_id",
    "post_pt_root_id",
    "edit_point_nm",
    "interface_point_nm",
    "synapse_ctr_pt_nm",
    "cleft_score",
    "connection_score",
    "gaba",
    "ach",
    "glut",
    "oct",
    "ser",
    "da",
    "render_center_nm",
    "degree",
    "timestamp",
    "cutout_timestamp",
    "strategy",
    "is_merge",
    "species",
)
"""Keys of the published metadata (reference, section 2) that mean the same here. A key that a
sample type does not have is null, as published."""


def candidate_metadata(candidate: Candidate) -> dict[str, Any]:
    """The metadata of a row before it is rendered.

    Args:
        candidate: The question.

    Returns:
        JSON-able: every published key (null where it does not apply), then our own: the facts the
        sample type measured, ``segment_ids`` (drawn as A, B), ``neuron_ids``, ``cluster_id``,
        ``swapped`` and the names of data set, version and volume. Coordinates are ``[x, y, z]`` nm,
        ids decimal strings. ``root_ids`` and the per-segment facts keep the natural order, whether
        or not A and B were exchanged.
    """
    published: dict[str, Any] = dict.fromkeys(PUBLISHED_KEYS)
    own = {
        "operation_id": candidate.operation_id,
        "render_center_nm": xyz(candidate.render_center_nm),
        "species": candidate.species,
        "dataset": candidate.dataset,
        "version": candidate.version,
        "volume": candidate.volume,
        "anchor_nm": xyz(candidate.anchor_nm),
        "split_position_nm": xyz(candidate.position_nm),
        "segment_ids": id_strings(candidate.segments),
        "neuron_ids": id_strings(candidate.neurons),
        "cluster_id": str(candidate.cluster_id),
        "swapped": candidate.swapped,
    }
    return {**published, **candidate.facts, **own}
