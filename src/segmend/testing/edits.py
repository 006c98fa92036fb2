"""Hypothesis strategies of edits, for whoever writes a source or a reader of them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from segmend.edits.neutral import MOST_SECONDS
from segmend.edits.operation import EditOp

IDS = st.integers(1, 2**64 - 1)
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=8)
_POINTS: Any = st.tuples(*[st.floats(-1e7, 1e7)] * 3)
_LEAVES = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(-1e300, 1e300) | TEXT
_FACTS = st.dictionaries(
    TEXT,
    st.recursive(
        _LEAVES,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    ),
    max_size=3,
)


@st.composite
def edit_ops(draw: st.DrawFn) -> EditOp:
    """Any edit that an `EditOp` can be: ids up to 2**64 - 1, cuts, clicks, facts of any shape."""
    kind = draw(st.sampled_from(("merge", "split")))
    one = tuple(sorted(draw(st.sets(IDS, min_size=1, max_size=1))))
    most = 2 if kind == "merge" else 3
    many = tuple(sorted(draw(st.sets(IDS, min_size=2, max_size=most))))
    sides_in = draw(st.sampled_from(("neurons", "after", "supervoxels")))
    after = one if kind == "merge" else many
    cut: list[tuple[int, ...]] = []
    if sides_in == "supervoxels":
        ids = draw(st.lists(IDS, min_size=len(after), max_size=6, unique=True))
        cut = [tuple(sorted(ids[i :: len(after)])) for i in range(len(after))]
    return EditOp(
        operation_id=draw(TEXT),
        kind=kind,  # type: ignore[arg-type]
        before_ids=many if kind == "merge" else one,
        after_ids=after,
        point_nm=draw(_POINTS),
        cluster_id=draw(IDS),
        dataset="d",
        version=draw(TEXT),
        volume=draw(TEXT),
        source=draw(TEXT),
        timestamp=draw(st.none() | st.integers(0, MOST_SECONDS - 1)),
        facts=draw(_FACTS),
        sides_in=sides_in,  # type: ignore[arg-type]
        cut=tuple(cut),
        source_points_nm=tuple(draw(st.lists(_POINTS, max_size=2))),
        sink_points_nm=tuple(draw(st.lists(_POINTS, max_size=2))),
    )


def edit_lists(most: int = 4) -> st.SearchStrategy[list[EditOp]]:
    """Lists of edits of one data set whose operation ids differ."""
    return st.lists(edit_ops(), max_size=most, unique_by=lambda op: op.operation_id)
