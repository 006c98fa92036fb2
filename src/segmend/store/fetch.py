"""Plain files from the web: resumed, verified, and under their name only when complete."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from segmend.core.errors import BadInputError, OutputError, ReadFailedError, require
from segmend.store.atomic import atomic_file, output_errors, sha256_file
from segmend.store.download import Goal, Progress, complete
from segmend.store.options import StoreOptions
from segmend.store.partial import Part, open_part, sweep
from segmend.store.place import Place, parse_place
from segmend.store.response import AttemptFailedError, summary

_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class FetchResult:
    """A file that is there.

    Attributes:
        path: Where.
        sha256: Of its content.
        verified: Whether a known sha256 was given and is the same.
        source: Where it came from, without query; empty if it was there already.
    """

    path: Path
    sha256: str
    verified: bool
    source: str


def fetch(
    urls: str | Sequence[str],
    path: str | Path,
    *,
    sha256: str | None = None,
    size: int | None = None,
    options: StoreOptions | None = None,
    progress: Progress | None = None,
) -> FetchResult:
    """Download a file, from the first of its mirrors that has it.

    A download that was broken off, by an error or a kill, goes on where it stopped, in this process
    or another; two at once do no harm. The file appears under its name when it is complete,
    verified and flushed to the disk. A file that is there already is kept if it has the sha256;
    with none given, it is downloaded again.

    Args:
        urls: Mirrors, tried in order; a path or a URL that `open_store` takes.
        path: The file to write; its folder must exist.
        sha256: Of the content, 64 hex digits in lower case; None if nobody knows, and then no more
            than HTTP itself can tell is checked: `FetchResult.verified` is False.
        size: Bytes it must have; None if nobody knows.
        options: How to read.
        progress: Told bytes so far, and in all if that is known.

    Raises:
        BadInputError: for a URL or sha256 that cannot be used.
        ReadFailedError: if no mirror has the file; every mirror's failure is named.
        OutputError: if it cannot be written, or the disk has no room for it.
    """
    require("pycurl", extra="build")
    final, options = Path(path), options or StoreOptions()
    places = [parse_place(url) for url in ([urls] if isinstance(urls, str) else urls)]
    _check(final, places, sha256)
    if sha256 and final.is_file() and sha256_file(final) == sha256:
        return FetchResult(final, sha256, verified=True, source="")
    failed: list[tuple[Place, list[AttemptFailedError]]] = []
    part = open_part(final)
    try:
        for place in places:
            goal = Goal(place, options, sha256, size, progress)
            failures = _try(goal, part)
            if not failures:
                return _publish(part, goal)
            failed.append((place, failures))
    finally:
        part.close()
    raise _nobody(final, failed)


def _check(final: Path, places: Sequence[Place], sha256: str | None) -> None:
    if not places:
        raise BadInputError(f"no URL to fetch {final} from")
    if sha256 is not None and not _SHA256.fullmatch(sha256):
        raise BadInputError(f"'{sha256}' is not a sha256", fix="It has 64 hex digits, lower case")
    if not final.parent.is_dir():
        raise OutputError(
            f"cannot write {final}", found="its folder does not exist", fix="Create the folder"
        )


def _try(goal: Goal, part: Part) -> list[AttemptFailedError]:
    """Complete a part from one mirror; the failures since the last progress if that is not so."""
    failures: list[AttemptFailedError] = []
    began = time.monotonic()
    while True:
        before = part.size
        try:
            complete(goal, part)
            _verify(goal, part, resumed=before > 0)
        except AttemptFailedError as error:
            if part.size > before:
                failures, began = [], time.monotonic()
            failures.append(error)
            elapsed, asked = time.monotonic() - began, error.retry_after_s
            wait = goal.options.retry.wait(len(failures), elapsed, retry_after_s=asked)
            if wait is None or not error.again:
                return failures
            time.sleep(wait)
        else:
            return []


def _verify(goal: Goal, part: Part, *, resumed: bool) -> None:
    found = part.hash.hexdigest()
    if goal.sha256 not in (None, found):
        size = part.size
        part.restart()
        # The first part of a resumed file may be another version's; a whole one is simply wrong.
        found = f"sha256 of {size} bytes should be {goal.sha256}, is {found}"
        raise AttemptFailedError("corrupt", found, again=resumed)


def _publish(part: Part, goal: Goal) -> FetchResult:
    final = part.final
    with output_errors(final), atomic_file(final) as temporary:
        part.path.rename(temporary)
    part.remove()
    sweep(final)
    digest = part.hash.hexdigest()
    return FetchResult(final, digest, verified=goal.sha256 is not None, source=str(goal.place))


def _nobody(
    final: Path, failed: Sequence[tuple[Place, list[AttemptFailedError]]]
) -> ReadFailedError:
    place, failures = failed[-1]
    return ReadFailedError(
        f"cannot fetch {final.name}",
        found="; ".join(f"{place}: {summary(failures)}" for place, failures in failed),
        fix=failures[-1].fix,
        reason=failures[-1].reason,
        url=str(place),
        attempts=sum(len(failures) for _, failures in failed),
    )
