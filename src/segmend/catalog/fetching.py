"""Published files of a data set, fetched whole to where `segmend.catalog.dataset.open` looks."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from segmend.catalog.record import File, Record
from segmend.catalog.unpacking import unpack
from segmend.catalog.wanted import Wanted, wanted_files
from segmend.core.box import Box
from segmend.core.errors import BadInputError, OutputError, ReadFailedError, SchemaError
from segmend.store.atomic import output_errors, sha256_file
from segmend.store.fetch import fetch
from segmend.store.webdav import list_files

Report = Callable[[str, int, int], None]
"""Told what is being fetched, its bytes so far, and in all (0 if unknown)."""

RECEIPT = ".segmend.json"
"""File in an unpacked folder that says which archive it came from."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file, or an unpacked folder, that is there.

    Attributes:
        path: Where it is opened from.
        checked: Which published checksum it was found to have: ``sha256``, ``md5``, or none,
            because none is recorded.
        fresh: Whether it was downloaded now.
    """

    path: Path
    checked: str
    fresh: bool


def fetch_files(
    record: Record,
    folder: Path,
    *,
    version: str = "",
    volume: str = "",
    layers: Collection[str] = (),
    box: Box | None = None,
    link: Path | None = None,
    report: Report = lambda _what, _done, _total: None,
) -> tuple[Fetched, ...]:
    """Fetch the files that a volume needs; what is there and verified is left as it is.

    Downloads go on where they broke off. Archives are unpacked and not kept. Nothing appears under
    its name before it is complete and has the recorded checksum.

    Args:
        record: The data set.
        folder: The data folder.
        version: Version of the segmentation; empty: the record's.
        volume: Which volume; empty: the record's; ``all``: every one.
        layers: Which layers; empty: every one.
        box: Of a data set published as many cubes: which part.
        link: A folder to hold the bytes (a scratch disk); the data folder gets symbolic links.
        report: Told how far it is.

    Raises:
        UnknownNameError: for an unknown version, volume or layer.
        BadInputError: if the terms of use forbid it, a file is not published, or cubes are wanted
            without a box.
        ReadFailedError: if nobody has a file, or it is not what was published.
        OutputError: if it cannot be written, or something else has its place.
    """
    refuse_forbidden(record, "download")
    if link is not None:
        link = link.absolute()
    fetched = []
    asked = wanted_files(record, version, volume, layers=layers, box=box)
    for wanted in (one for some in asked for one in _listed(some)):
        place = folder / wanted.file.contents
        real = _real(place, wanted.file, link)
        with output_errors(real):
            (real / wanted.member).parent.mkdir(parents=True, exist_ok=True)
        make = _unpacked if wanted.file.unpack else _plain
        made = make(wanted, real, report)
        if link is not None:
            _link(place, real)
        fetched.append(replace(made, path=place / wanted.member))
    return tuple(fetched)


def _listed(wanted: Wanted) -> tuple[Wanted, ...]:
    """The files of a folder that its server lists, of the first mirror that does; else itself.

    Raises:
        ReadFailedError: if no mirror lists the folder, or it is empty.
    """
    if not wanted.file.listed:
        return (wanted,)
    failures = []
    for url in wanted.file.urls:
        try:
            members = list_files(url)
        except (ReadFailedError, SchemaError) as error:
            failures.append(str(error))
            continue
        if members:
            return tuple(Wanted(wanted.file, member) for member in members)
        failures.append(f"{url} is empty")
    raise ReadFailedError(
        f"cannot list {wanted.file.path}",
        found="; ".join(failures),
        fix="Copy the folder from its owners by a WebDAV client",
        reason="connection",
        url=wanted.file.urls[0],
    )


def refuse_forbidden(record: Record, use: str) -> None:
    """Do nothing if the terms of use allow a use, or do not speak of it.

    Args:
        record: The data set.
        use: As in `segmend.catalog.record.Licence.forbids`.

    Raises:
        BadInputError: if they forbid it.
    """
    if use in record.licence.forbids:
        raise BadInputError(
            f"the terms of '{record.name}' forbid {use}",
            found=f"{record.licence.name}, {record.licence.source}",
            fix=f"Ask its owners: {record.homepage or record.licence.source}",
        )


def _real(place: Path, file: File, link: Path | None) -> Path:
    """Where the bytes go: the place itself, or what it links to."""
    if link is None:
        return place.resolve() if place.is_symlink() else place
    parts = PurePosixPath(file.contents).parts
    real = link.joinpath(*(parts[1:] or parts))
    if place.is_symlink() and place.resolve() == real.resolve():
        return real
    if os.path.lexists(place):
        raise OutputError(
            f"cannot link {place} to {real}",
            found="something is there already",
            fix="Move it away, or leave out --link",
        )
    return real


def _link(place: Path, real: Path) -> None:
    if place.is_symlink():
        return
    with output_errors(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        temporary = place.with_name(f".{place.name}.{secrets.token_hex(4)}.tmp")
        temporary.symlink_to(real)
        temporary.rename(place)


def _plain(wanted: Wanted, real: Path, report: Report) -> Fetched:
    path = real / wanted.member if wanted.member else real
    file = wanted.file
    if path.is_file() and not wanted.member:
        checked = _checked(path, file)
        if checked is not None:
            return Fetched(path, checked, fresh=False)
    elif path.is_file():
        return Fetched(path, "", fresh=False)
    _published(wanted)
    return Fetched(path, _download(wanted, path, report), fresh=True)


def _unpacked(wanted: Wanted, real: Path, report: Report) -> Fetched:
    file = wanted.file
    if os.path.lexists(real):
        return Fetched(real, _by_receipt(real, file), fresh=False)
    archive = real.with_name(PurePosixPath(file.path).name)
    own = archive.is_file() and _checked(archive, file) is not None
    if not own:
        _published(wanted)
        archive = archive.with_name(f".{archive.name}.fetched")
    checked = _checked(archive, file) if archive.is_file() else None
    if checked is None:
        checked = _download(wanted, archive, report)
    sums = {"sha256": sha256_file(archive), "md5": _md5(archive)}
    assert file.unpack
    report(f"unpacking {real.name}", 0, 0)
    try:
        unpack(archive, real, form=file.unpack, receipt=(RECEIPT, json.dumps(sums).encode()))
    except OutputError:
        if not real.exists():  # Else another process was faster.
            raise
    if not own:
        archive.unlink(missing_ok=True)
    return Fetched(real, checked, fresh=not own)


def _by_receipt(folder: Path, file: File) -> str:
    """Which recorded checksum the archive of an unpacked folder had."""
    try:
        sums = json.loads((folder / RECEIPT).read_bytes())
    except (OSError, ValueError):
        return ""  # Unpacked by hand: nobody can say.
    for name, recorded in (("sha256", file.sha256), ("md5", file.md5)):
        if recorded and sums.get(name) != recorded:
            raise OutputError(
                f"{folder} was unpacked from another archive",
                found=f"its {name} was {sums.get(name)}, recorded is {recorded}",
                fix="Remove the folder and fetch again",
            )
        if recorded:
            return name
    return ""


def _published(wanted: Wanted) -> None:
    if not wanted.file.urls:
        raise BadInputError(
            f"{wanted.file.path} is published nowhere as one file",
            fix="Get it from its owners and put it there, or pass path= when you open it",
        )


def _download(wanted: Wanted, path: Path, report: Report) -> str:
    """Download from the first mirror that has the recorded bytes; which checksum told so."""
    file = wanted.file
    bytes_known = file.size_bytes if not wanted.member else 0

    def progress(done: int, total: int | None) -> None:
        report(f"downloading {path.name}", done, total or 0)

    if wanted.member or not file.md5 or file.sha256:
        sha256 = "" if wanted.member else file.sha256
        fetch(wanted.urls, path, sha256=sha256 or None, size=bytes_known or None, progress=progress)
        return "sha256" if sha256 else ""
    unverified = path.with_name(f".{path.name}.unverified")
    failures = []
    for url in wanted.urls:
        try:
            fetch(url, unverified, size=bytes_known or None, progress=progress)
        except ReadFailedError as error:
            failures.append(str(error))
            continue
        found = _md5(unverified)
        if found == file.md5:
            with output_errors(path):
                unverified.rename(path)
            return "md5"
        unverified.unlink()
        failures.append(f"{url}: md5 should be {file.md5}, is {found}")
    raise ReadFailedError(
        f"cannot fetch {path.name}",
        found="; ".join(failures),
        fix="The published file may have changed: check it, then correct the record",
        reason="corrupt",
        url=wanted.urls[-1],
        attempts=len(failures),
    )


def _checked(path: Path, file: File) -> str | None:
    """Which recorded checksum a file has; none if none is recorded; None if it is another file."""
    if file.size_bytes and path.stat().st_size != file.size_bytes:
        return None
    if file.sha256:
        return "sha256" if sha256_file(path) == file.sha256 else None
    if file.md5:
        return "md5" if _md5(path) == file.md5 else None
    return ""


def _md5(path: Path) -> str:
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
