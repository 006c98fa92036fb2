"""XML from strangers: no entities, no surprises, bounded depth, attributes and size.

The parser is expat, which the standard library brings; what is refused here is what makes XML
dangerous (document types, hence entities of any kind) or what no annotation needs (text between
tags, nesting without end).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from typing import Any
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

Many = Mapping[tuple[str, ...], str]
"""Tags from the root to an element, and the tag of what it holds many of."""


@dataclass(frozen=True, slots=True)
class Element:
    """An XML element: a tag, attributes, children; equal whatever its place in a file.

    Attributes:
        tag: Its name.
        attributes: Their values by name, as text.
        children: Elements inside, in order.
        line: Where it starts in its file, from 1; 0 if it was made here.
        rows: Elements inside, in place of ``children``, where `parse_elements` was asked for them.
    """

    tag: str
    attributes: dict[str, str] = field(default_factory=dict)
    children: tuple[Element, ...] = ()
    line: int = field(default=0, compare=False)
    rows: Rows | None = None


@dataclass(frozen=True, slots=True)
class Rows:
    """Elements of one tag that hold nothing, as they came: most of a file.

    Attributes:
        tag: Of all of them.
        attributes: Of each, in order.
        lines: Where each starts in its file.
    """

    tag: str
    attributes: list[dict[str, str]]
    lines: list[int] = field(compare=False)

    def elements(self) -> tuple[Element, ...]:
        """The same one by one."""
        stated = zip(self.attributes, self.lines, strict=True)
        return tuple(Element(self.tag, attributes, (), line) for attributes, line in stated)


def parse_elements(data: bytes, name: str, *, many: Many | None = None) -> Element:
    """Parse a document.

    Args:
        data: The file.
        name: What errors call it.
        many: Which elements get ``rows``, if they hold elements of one tag and these hold nothing.

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
    if many:
        with suppress(BadInputError):  # rows are looked at together: each one by one tells which
            return _Builder(name, many).build(data)
    return _Builder(name, {}).build(data)


@dataclass(slots=True)
class _Opened:
    """An element whose end has not come."""

    tag: str
    attributes: dict[str, str]
    line: int
    children: list[Element] = field(default_factory=list)
    rows: Rows | None = None


@dataclass(frozen=True, slots=True)
class _Run:
    """What came since an element was opened that may hold rows.

    Attributes:
        tag: Of the rows.
        events: Attributes where a row starts, a tag where an element ends.
        lines: Where rows start.
        text: What stands between tags.
    """

    tag: str
    events: list[Any] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    text: list[str] = field(default_factory=list)

    def rows(self) -> Rows | None:
        """The rows; None if there is none, or something else inside what holds them."""
        end = 2 * len(self.lines)
        starts, ends = self.events[:end:2], self.events[1:end:2]
        whole = ends.count(self.tag) == len(starts) and set(map(type, starts)) == {dict}
        return Rows(self.tag, starts, self.lines) if whole and len(self.events) > end else None


class _Builder:
    """Collects elements from expat's calls."""

    def __init__(self, name: str, many: Many) -> None:
        self._name, self._many = name, many
        self._holders = {path[-1] for path in many}
        self._root: Element | None = None
        self._opened: list[_Opened] = []
        self._run: _Run | None = None
        self._parser = parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._doctype
        self._one_by_one()

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
        self._finish()
        assert self._root is not None  # expat refuses a document without one
        return self._root

    def _one_by_one(self) -> None:
        parser = self._parser
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        parser.CharacterDataHandler = self._text

    def _together(self, run: _Run) -> None:
        """Keep what comes, as long as it can be rows: one call of Python for each of them."""
        self._run = run
        parser, tag, events, other = self._parser, run.tag, run.events, self._start
        keep, note = events.append, run.lines.append

        def start(found: str, attributes: dict[str, str]) -> None:
            if found != tag or len(events) & 1:  # the last row has not ended, or more than it has
                other(found, attributes)
            else:
                keep(attributes)
                note(parser.CurrentLineNumber)

        parser.StartElementHandler, parser.EndElementHandler = start, keep
        parser.CharacterDataHandler = run.text.append

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._finish()
        self._check(tag, attributes)
        self._opened.append(_Opened(tag, attributes, self._parser.CurrentLineNumber))
        if tag in self._holders:
            row = self._many.get(tuple(one.tag for one in self._opened))
            if row is not None:
                self._together(_Run(row))

    def _end(self, _: str) -> None:
        one = self._opened.pop()
        element = Element(one.tag, one.attributes, tuple(one.children), one.line, one.rows)
        if self._opened:
            self._opened[-1].children.append(element)
        else:
            self._root = element

    def _finish(self) -> None:
        """Take what was kept."""
        run, self._run = self._run, None
        if run is None:
            return
        self._one_by_one()
        if run.text:
            self._text("".join(run.text))
        rows, events, lines = run.rows(), run.events, iter(run.lines)
        if rows is not None:
            self._check_rows(rows)
            self._opened[-1].rows = rows
            events = events[2 * len(run.lines) :]
        for event in events:
            if isinstance(event, str):
                self._end(event)
            else:
                self._check(run.tag, event)
                self._opened.append(_Opened(run.tag, event, next(lines)))

    def _check_rows(self, rows: Rows) -> None:
        values = chain.from_iterable(map(dict.values, rows.attributes))
        longest = max(map(len, values), default=0)
        if max(map(len, rows.attributes)) > MAX_ATTRIBUTES or longest > MAX_VALUE:
            raise self._error(f"a <{rows.tag}> has too many attributes, or too long ones")

    def _check(self, tag: str, attributes: dict[str, str]) -> None:
        if len(self._opened) >= MAX_DEPTH:
            raise self._error(f"elements are nested more than {MAX_DEPTH} deep")
        if len(attributes) > MAX_ATTRIBUTES:
            raise self._error(f"<{tag[:80]}> has more than {MAX_ATTRIBUTES} attributes")
        # All values together first: hardly any element is as long as one value may be.
        if len("".join(attributes.values())) > MAX_VALUE:
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
