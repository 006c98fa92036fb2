"""A site to ask about, before its view is drawn, and the facts that every sample type records."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from segmend.core.box import Point
from segmend.core.ids import id_strings
from segmend.edits.operation import EditOp, Identity
from segmend.edits.overlap_table import Overlap


@dataclass(frozen=True, slots=True)
class Site:
    """Where and what to ask; `segmend.samples.view.pose` makes a candidate of it.

    Attributes:
        kind: Name of the sample type.
        operation_id: The edit behind it, or a hash of the site (`site_hash`).
        anchor_nm: The site, ``(z, y, x)`` nm.
        segments: Automatic segments to draw, in their natural order (before any exchange).
        cluster_id: Final neuron of the base segment.
        neurons: True neurons of everything shown.
        key: Tells the samples of one operation apart.
        parent_nm: Derived samples only: anchor of the edit they were derived from.
        facts: Type-specific metadata.
    """

    kind: str
    operation_id: str
    anchor_nm: Point
    segments: tuple[int, ...]
    cluster_id: int
    neurons: tuple[int, ...]
    key: str = ""
    parent_nm: Point | None = None
    facts: dict[str, Any] = field(default_factory=dict)


def site_hash(identity: Identity, *parts: object) -> str:
    """Operation id of a site without an edit: 16 hex digits, like `operation_hash`."""
    key = "|".join(map(str, [identity.dataset, identity.version, identity.volume, *parts]))
    return hashlib.sha256(key.encode()).hexdigest()[:16]


def segment_facts(*overlaps: Overlap) -> dict[str, Any]:
    """What is known of the segments shown, one entry a segment, in their natural order.

    Returns:
        ``root_ids`` (decimal strings), ``segment_voxels``, ``segment_purity`` (share of the
        dominant neuron, 0 to 1).
    """
    return {
        "root_ids": id_strings(o.segment for o in overlaps),
        "segment_voxels": [o.voxels for o in overlaps],
        "segment_purity": [o.purity for o in overlaps],
    }


def edit_facts(op: EditOp) -> dict[str, Any]:
    """What is known of an edit, under the published names (reference, section 2).

    The roots before and after are those of the source's edit history where it keeps one, and else
    the segments and neurons themselves.
    """
    own = {k: v for k, v in op.facts.items() if k not in ("before_roots", "after_roots")}
    return {
        "before_root_ids": op.facts.get("before_roots", id_strings(op.before_ids)),
        "after_root_ids": op.facts.get("after_roots", id_strings(op.after_ids)),
        "edit_point_nm": xyz(op.point_nm),
        "interface_point_nm": xyz(op.point_nm),
        "timestamp": op.timestamp,
        "is_merge": op.kind == "merge",
        "edit_source": op.source,
        **own,
    }


def xyz(point_nm: Point) -> list[float]:
    """A point in the order of published metadata: ``[x, y, z]``, nm."""
    z, y, x = point_nm
    return [x, y, z]
