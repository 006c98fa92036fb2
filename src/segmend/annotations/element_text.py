"""Elements as XML text, refusing what XML cannot hold."""

from __future__ import annotations

import re
from collections.abc import Iterator

from segmend.annotations.elements import Element
from segmend.core.errors import BadInputError

_PLAIN = re.compile(r"[A-Za-z0-9 ._+-]*")
"""Nothing to escape or to refuse in it."""

_UNWRITABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold (section 2.2 of the recommendation)."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]*")

_ESCAPES = str.maketrans(
    {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"}
    # A parser would turn these into blanks.
    | {c: f"&#{ord(c)};" for c in "\t\n\r"}
)


def format_elements(root: Element) -> Iterator[str]:
    """The text of a document, in pieces: one line per element, indented.

    Raises:
        BadInputError: for a tag, a name or a character that XML cannot hold.
    """
    yield '<?xml version="1.0" encoding="UTF-8"?>\n'
    yield from _format(root, "", set())


def _format(element: Element, indent: str, names: set[str]) -> Iterator[str]:
    """Lines of an element; ``names`` have been checked before: they are few, elements many."""
    head = f"{indent}<{_start_tag(element, names)}"
    if not element.children:
        yield f"{head}/>\n"
        return
    yield f"{head}>\n"
    inner = f"{indent}  "
    for child in element.children:
        if child.children:
            yield from _format(child, inner, names)
        else:  # nearly all of them: no generator each
            yield f"{inner}<{_start_tag(child, names)}/>\n"
    yield f"{indent}</{element.tag}>\n"


def _start_tag(element: Element, names: set[str]) -> str:
    attributes = element.attributes
    if element.tag not in names or not names.issuperset(attributes):
        for name in (element.tag, *attributes):
            if not _NAME.fullmatch(name):
                raise BadInputError(f"{name!r} cannot be the name of an XML element or attribute")
            names.add(name)
    # One look at all values: most hold digits only.
    values = attributes.values()
    if not _PLAIN.fullmatch("".join(values)):
        values = map(_escaped, values)  # type: ignore[assignment]
    words = "".join([f' {k}="{v}"' for k, v in zip(attributes, values, strict=True)])
    return f"{element.tag}{words}"


def _escaped(value: str) -> str:
    bad = _UNWRITABLE.search(value)
    if bad is not None:
        raise BadInputError(
            f"{value[:80]!r} cannot be written as XML",
            found=f"it holds the character {bad.group()!r}",
            fix="Remove the character",
        )
    return value.translate(_ESCAPES)
