"""NML files: read strictly, written whole, plain (``.nml``) or zipped (``.zip``, ``.nmx``)."""

from __future__ import annotations

import gc
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from segmend.annotations.annotation import Annotation
from segmend.annotations.archives import archive_members, read_member
from segmend.annotations.element_text import format_elements
from segmend.annotations.elements import MAX_BYTES, parse_elements
from segmend.annotations.nml_document import elements_of
from segmend.annotations.nml_elements import MANY, annotation_of
from segmend.core.errors import BadInputError
from segmend.store.atomic import atomic_file, output_errors
from segmend.store.local_file import local_file

ZIPPED = (".zip", ".nmx")
"""Endings of archives: webKnossos downloads zip files, PyKNOSSOS and SyConn write nmx."""


def read_nml(path: str | Path, *, member: str | None = None) -> Annotation:
    """Read an annotation.

    Args:
        path: A ``.nml`` file, or a ``.zip`` or ``.nmx`` archive.
        member: Which file of an archive; may be left out if it holds one NML file.

    Returns:
        Everything the file says: what NML does not define is kept as attributes and elements.

    Raises:
        ReadFailedError: if the file cannot be read or the archive is damaged or refused.
        BadInputError: naming line and tree, if it is not NML: entities, ids that are no uint64 or
            occur twice, edges that lead nowhere, numbers that are not finite.
    """
    name, data = _content(Path(path), member)
    with _no_collection():
        return annotation_of(parse_elements(data, name, many=MANY), name)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Without looking for cycles: a parsed file has none, and looking takes half of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def nml_members(path: str | Path) -> tuple[str, ...]:
    """Names of the NML files of an archive, sorted.

    Raises:
        ReadFailedError: if the archive cannot be read, is damaged or refused.
    """
    return tuple(sorted(n for n in archive_members(path) if n.lower().endswith(".nml")))


def write_nml(annotation: Annotation, path: str | Path) -> None:
    """Write an annotation; `read_nml` gives it back. Equal annotations give equal bytes.

    Args:
        annotation: What to write.
        path: The file, which appears whole or not at all; ``.zip`` and ``.nmx`` are archives of
            one NML file.

    Raises:
        BadInputError: for another ending, or an annotation that could not be read again.
        OutputError: if the place cannot be written.
    """
    final = Path(path)
    ending = final.suffix.lower()
    if ending not in (".nml", *ZIPPED):
        raise BadInputError(
            f"{final} cannot hold an annotation", fix="End its name with .nml, .zip or .nmx"
        )
    root = elements_of(annotation)
    data = "".join(format_elements(root)).encode()
    # Values made by hand can hold what a file could not, such as an edge that leads nowhere.
    if annotation_of(parse_elements(data, final.name), final.name) != annotation:
        raise BadInputError(
            f"the annotation would not come back from {final}",
            found="an attribute repeats a field of its element, or an element one of its section",
            fix="Give ids, names, positions and the like in their fields only",
        )
    with atomic_file(final) as temporary, output_errors(final):
        if ending == ".nml":
            temporary.write_bytes(data)
        else:
            with zipfile.ZipFile(temporary, "w") as archive:
                # An entry of its own, because writestr would note the time.
                entry = zipfile.ZipInfo(f"{final.stem}.nml")
                archive.writestr(entry, data, zipfile.ZIP_DEFLATED)


def _content(path: Path, member: str | None) -> tuple[str, bytes]:
    """What errors call the file, and its bytes."""
    if path.suffix.lower() not in ZIPPED:
        if member is not None:
            raise BadInputError(f"{path} is no archive: it has no member '{member}'")
        file = local_file(path)
        if file.size > MAX_BYTES:
            raise BadInputError(
                f"{path} is too large for an annotation",
                found=f"{file.size} bytes, at most {MAX_BYTES} are read",
            )
        with file.opened() as handle, os.fdopen(os.dup(handle), "rb") as opened:
            return path.name, opened.read(MAX_BYTES + 1)
    members = nml_members(path)
    if member is None and len(members) == 1:
        member = members[0]
    if member not in members:
        raise BadInputError(
            f"{path} holds no NML file '{member}'" if member else f"{path} needs a member",
            found=f"its NML files: {', '.join(members[:20]) or 'none'}",
            fix="Pass member=, one of them" if members else "",
        )
    return f"{path.name}:{member}", read_member(path, member, MAX_BYTES)
