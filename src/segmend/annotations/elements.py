"""XML from strangers: no entities, no surprises, bounded depth, attributes and size.

The parser is expat, which the standard library brings; what is refused here is what makes XML
dangerous (document types, hence entities of any kind) or what no annotation needs (text between
tags, nesting without end).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from xml.parsers import expat

from segmend.core.errors import BadInputError

MAX_BYTES = 2**29
"""A larger file is refused: about four million nodes."""

MAX_DEPTH = 64
"""Elements inside one another; groups of trees nest, nothing else does."""

MAX_ATTRIBUTES = 64
"""Attributes of one element; a node of webKnossos has twelve."""

MAX_VALUE = 2**20
"""Characters of one attribute; the longest are comments that people write."""

PIECE_BYTES = 2**20

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


@dataclass(frozen=True, slots=True)
class Element:
    """An XML element: a tag, attributes, children; equal whatever its place in a file.

    Attributes:
        tag: Its name.
        attributes: Their values by name, as text.
        children: Elements inside, in order.
        line: Where it starts in its file, from 1; 0 if it was made here.
    """

    tag: str
    attributes: dict[str, str] = field(default_factory=dict)
    children: tuple[Element, ...] = ()
    line: int = field(default=0, compare=False)


def parse_elements(data: bytes, name: str) -> Element:
    """Parse a document.

    Args:
        data: The file.
        name: What errors call it.

    Returns:
        The root element.

    Raises:
        BadInputError: naming the line, if the document is not well formed, has a document type or
            text between tags, or exceeds a limit.
    """
    if len(data) > MAX_BYTES:
        raise BadInputError(
            f"{name} is too large for an annotation",
            found=f"{len(data)} bytes, at most {MAX_BYTES} are read",
            fix="Split it into files with fewer trees",
        )
    return _Builder(name).build(data)


class _Builder:
    """Collects elements from expat's calls."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._root: Element | None = None
        self._parser = parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler, parser.EndElementHandler = self._handlers()
        parser.CharacterDataHandler = self._text
        parser.StartDoctypeDeclHandler = self._doctype

    def build(self, data: bytes) -> Element:
        """Parse all bytes."""
        view = memoryview(data)
        try:
            for start in range(0, len(data), PIECE_BYTES):
                # expat copies what it is given and a bytes-like view is enough.
                self._parser.Parse(bytes(view[start : start + PIECE_BYTES]), False)
            self._parser.Parse(b"", True)
        except (expat.ExpatError, LookupError) as error:
            # LookupError: an encoding that nobody knows.
            raise self._error(f"it is not well-formed XML: {error}") from error
        assert self._root is not None  # expat refuses a document without one
        return self._root

    def _handlers(self) -> tuple[Callable[[str, dict[str, str]], None], Callable[[str], None]]:
        """What expat calls at tags: closures, because there are a million of them in a file."""
        parser, check = self._parser, self._check
        opened: list[tuple[str, dict[str, str], list[Element], int]] = []
        push, pop = opened.append, opened.pop

        def start(tag: str, attributes: dict[str, str]) -> None:
            # All values together first: hardly any element is as long as one value may be.
            if (
                len(opened) >= MAX_DEPTH
                or len(attributes) > MAX_ATTRIBUTES
                or len("".join(attributes.values())) > MAX_VALUE
            ):
                check(tag, attributes, len(opened))
            push((tag, attributes, [], parser.CurrentLineNumber))

        def end(_: str) -> None:
            tag, attributes, children, line = pop()
            element = Element(tag, attributes, tuple(children) if children else (), line)
            if opened:
                opened[-1][2].append(element)
            else:
                self._root = element

        return start, end

    def _check(self, tag: str, attributes: dict[str, str], depth: int) -> None:
        if depth >= MAX_DEPTH:
            raise self._error(f"elements are nested more than {MAX_DEPTH} deep")
        if len(attributes) > MAX_ATTRIBUTES:
            raise self._error(f"<{tag[:80]}> has more than {MAX_ATTRIBUTES} attributes")
        key = max(attributes, key=lambda name: len(attributes[name]))
        if len(attributes[key]) > MAX_VALUE:
            raise self._error(f"attribute '{key[:80]}' is longer than {MAX_VALUE} characters")

    def _text(self, text: str) -> None:
        if not text.isspace():
            raise self._error(f"there is text between tags: {text.strip()[:80]!r}")

    def _doctype(self, *_: object) -> None:
        raise self._error("it has a document type, which could define entities")

    def _error(self, found: str) -> BadInputError:
        return BadInputError(
            f"line {self._parser.CurrentLineNumber} of {self._name} cannot be read", found=found
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
