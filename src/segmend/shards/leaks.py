"""Which leaks between splits a benchmark accepts: said by its plan, or by its card without one."""

from __future__ import annotations

import json
import re

from segmend.core.errors import BadInputError, ReadFailedError
from segmend.shards.layout import CARD, PLAN_FILE
from segmend.shards.source import Source, card_head

_LEAKS = re.compile(r"^accepted_leaks: *(?P<leaks>\S.*?) *$", re.MULTILINE)


def accepted_leaks(source: Source) -> tuple[str, ...]:
    """The leaks that a benchmark declares; none if neither plan nor card name any.

    A built benchmark has its plan; one that was migrated has no plan of its own, and its card says
    what the original's plan said.

    Raises:
        ReadFailedError: if plan or card cannot be read.
        BadInputError: if they do not say which leaks.
    """
    path, content = f"{source.url}/{PLAN_FILE}", source.store.read(PLAN_FILE)
    if content is None:
        found = _LEAKS.search(card_head(source.store))
        path, content = f"{source.url}/{CARD}", found["leaks"].encode() if found else b"[]"
    try:
        told = json.loads(content)
    except ValueError as error:
        raise ReadFailedError(f"cannot read {path}", found=str(error)) from error
    leaks = told.get("accepted_leaks", []) if isinstance(told, dict) else told
    if not isinstance(leaks, list) or not all(isinstance(leak, str) for leak in leaks):
        raise BadInputError(f"{path} must list its accepted_leaks as strings", found=repr(leaks))
    return tuple(leaks)
