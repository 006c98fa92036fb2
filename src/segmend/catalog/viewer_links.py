"""Links of Neuroglancer and its relatives: the state that a link holds, and a link for a state.

A link holds its state after ``#!``, as percent-encoded JSON in which ``'`` may stand for ``"`` and
``_`` or ``&`` for a comma between values (neuroglancer, ``src/util/json.ts``), or it only refers to
a state that a server keeps; such a state is never fetched here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, quote, unquote, urlsplit

from segmend.core.errors import BadInputError

Written = Literal["mainline", "spelunker"]

SITES: dict[Written, str] = {
    "mainline": "https://neuroglancer-demo.appspot.com/",
    "spelunker": "https://spelunker.cave-explorer.org/",
}
"""Where links lead to."""

MAX_BYTES = 2**24
"""Longest link or file that is read; browsers stop at about two megabytes."""

_FRAGMENT = "!$&'()*+,;=:@/?~"
"""Characters that a fragment may hold as they are, RFC 3986, 3.5."""


@dataclass(frozen=True, slots=True)
class Pasted:
    """A state as it was found.

    Attributes:
        state: The JSON object.
        site: Host of the link; empty for JSON without a link.
    """

    state: dict[str, Any]
    site: str


def state_link(state: Mapping[str, Any], dialect: Written) -> str:
    """The link that shows a state."""
    text = json.dumps(state, separators=(",", ":"))
    return f"{SITES[dialect]}#!{quote(text, safe=_FRAGMENT)}"


def pasted_state(source: str | Path) -> Pasted:
    """The JSON state of a link, of JSON text, or of a file that holds either.

    Args:
        source: What somebody pasted, or the path of a file.

    Raises:
        BadInputError: if there is no state in it, or the link only refers to one.
    """
    text = str(source).strip()
    if isinstance(source, Path) or not (text.startswith("{") or "://" in text):
        text = _file_text(Path(source))
    if len(text) > MAX_BYTES:
        raise BadInputError("this is too long for a viewer's link", found=f"{len(text)} characters")
    if text.startswith("{"):
        return Pasted(_object(text, "the JSON text"), "")
    return _from_link(text)


def _file_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(
            f"'{path}' is neither a viewer's link nor a file that can be read",
            found=str(error),
            fix="Paste the whole link, or save the state as a file and give its path",
        ) from error


def _from_link(link: str) -> Pasted:
    try:
        parts = urlsplit(link)
    except ValueError as error:
        raise BadInputError(f"this is no link: {link[:80]}", found=str(error)) from error
    fragment = unquote(parts.fragment).strip()
    if fragment.startswith("!"):
        # A plus merges the state into the viewer's own, which a link opened afresh has not.
        text = fragment[1:].removeprefix("+").strip()
        if text.startswith("{"):
            return Pasted(_object(_plain_json(text), "the link"), parts.netloc)
        if text:
            raise _only_refers(text)
    for referred in parse_qs(parts.query).get("json_url", ()):
        raise _only_refers(referred)
    raise BadInputError(
        f"there is no viewer state in {link[:80]}",
        fix="Paste the whole address of the viewer, with everything after #!",
    )


def _only_refers(place: str) -> BadInputError:
    return BadInputError(
        "this link holds no state, it refers to one",
        found=f"the state is kept at {place[:200]}",
        fix="Save that state as a JSON file (in the viewer: 'Edit JSON state') and give its path",
    )


def _object(text: str, where: str) -> dict[str, Any]:
    try:
        state = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"{where} holds no JSON state", found=str(error)) from error
    if not isinstance(state, dict):
        raise BadInputError(f"{where} holds no JSON object", found=f"a {type(state).__name__}")
    return state


def _plain_json(text: str) -> str:
    """JSON as the standard has it: commas between values, double quotes around strings."""
    parts, quoted, at = [], "", 0
    while at < len(text):
        here = text[at]
        if quoted:
            if here == "\\":
                pair = text[at : at + 2]
                parts.append("'" if pair == "\\'" else pair)
                at += 2
                continue
            if here == quoted:
                quoted, here = "", '"'
            elif here == '"':
                here = '\\"'
        elif here in "'\"":
            quoted, here = here, '"'
        elif here in "_&":
            here = ","
        parts.append(here)
        at += 1
    return "".join(parts)
