"""Edits from the true history of a synthetic volume."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict

from segmend.core.ids import id_strings
from segmend.edits.logged import LoggedEdit, logged_edits
from segmend.edits.operation import EditSet, Identity, operation_hash
from segmend.edits.overlap import OverlapRules
from segmend.edits.overlap_table import Overlap
from segmend.segments.contacts import Contacts
from segmend.synthetic.history import TrueEdit

SOURCE = "synthetic log"


def synthetic_log_edits(
    true_edits: Iterable[TrueEdit],
    table: Mapping[int, Overlap],
    contacts: Contacts,
    *,
    rules: OverlapRules,
    identity: Identity,
) -> EditSet:
    """Turn a true history into edits; see `segmend.edits.logged.logged_edits`.

    Returns:
        The edits; the root ids of the history are in ``facts``, as decimal strings.

    Raises:
        BadInputError: if two records share their root ids.
    """
    log = [_logged(edit, identity) for edit in true_edits]
    return logged_edits(log, table, contacts, rules=rules, identity=identity)


def _logged(edit: TrueEdit, identity: Identity) -> LoggedEdit:
    # The roots, not the segments: one segment may need several splits.
    number = operation_hash(
        **asdict(identity), kind=edit.kind, ids=(*edit.before_roots, *edit.after_roots)
    )
    return LoggedEdit(
        number,
        edit.kind,
        edit.segments,
        edit.neurons,
        edit.point_nm,
        edit.timestamp,
        SOURCE,
        facts={
            "before_roots": id_strings(edit.before_roots),
            "after_roots": id_strings(edit.after_roots),
            "cause": edit.cause,
        },
    )
