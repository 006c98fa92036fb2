"""One file over HTTP into a part: resumed, streamed, checked as far as HTTP can."""

from __future__ import annotations

import math
import re
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pycurl

from segmend.core.errors import OutputError
from segmend.store.credentials import login_to
from segmend.store.open import origin_of
from segmend.store.options import StoreOptions
from segmend.store.origin import Login
from segmend.store.partial import Note, Part, boot
from segmend.store.place import Place
from segmend.store.redirect import REDIRECTS, next_url
from segmend.store.response import AttemptFailedError, Response, refusal
from segmend.store.store import Request
from segmend.store.transfer import NO_SOCKETS_S, Transfer, curl_failure, prepare

# Told after each piece: bytes so far, and in all if that is known.
Progress = Callable[[int, int | None], None]

_PIECE = 1 << 20
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)", re.IGNORECASE)
_UNSATISFIED = re.compile(r"bytes \*/(\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Goal:
    """What is downloaded, and how.

    Attributes:
        place: The file.
        options: How it is read.
        sha256: What it must have; None: unknown.
        size: Bytes it must have; None: unknown.
        progress: Told how far it is.
    """

    place: Place
    options: StoreOptions
    sha256: str | None = None
    size: int | None = None
    progress: Progress | None = None


def complete(goal: Goal, part: Part) -> None:
    """Make a part complete, going on after what it has, in one attempt.

    Raises:
        AttemptFailedError: if it is not; what came stays in the part.
        OutputError: if it cannot be written.
    """
    if goal.place.scheme == "file":
        _copy(goal, part)
    else:
        _Download(goal, part).run()


def _copy(goal: Goal, part: Part) -> None:
    part.restart()
    try:
        with Path(goal.place.path).open("rb") as file:
            while piece := file.read(_PIECE):
                part.write(piece)
    except OutputError:
        raise
    except FileNotFoundError:
        raise AttemptFailedError("missing", "there is no such file") from None
    except OSError as error:
        raise AttemptFailedError("refused", str(error)) from error
    if goal.size not in (None, part.size):
        raise AttemptFailedError("corrupt", f"it has {part.size} bytes, not {goal.size}")


class _Download:
    """One attempt."""

    def __init__(self, goal: Goal, part: Part) -> None:
        self.goal, self.part = goal, part
        self.origin = origin_of(goal.place, goal.options.endpoint)
        self.login = login_to(self.origin, anonymous=goal.options.anonymous)
        self.transfer = Transfer(0, Request("file"), [self.origin.address], 0.0)
        self.buffer: list[bytes] = []
        self.buffered = 0
        self.total: int | None = None
        self.streaming = False
        self.told = 0
        self.error: AttemptFailedError | OutputError | KeyboardInterrupt | None = None

    def run(self) -> None:
        """As `complete`."""
        offset = self._resume_at()
        curl = pycurl.Curl()
        try:
            while (status := self._perform(curl, offset)) in REDIRECTS:
                location = self._response(status).headers.get("location")
                self.transfer.urls.append(next_url(self.transfer.urls, location))
        finally:
            curl.close()
        if status == 416:
            self._nothing_left(self._response(status))
        elif status not in (200, 206):
            raise refusal(self._response(status))
        elif not self.streaming:
            self._begin(status)  # an empty body
        self._flush()
        self._tell()
        total = self.goal.size if self.total is None else self.total
        if total is not None and self.part.size != total:
            found = f"{self.part.size} of {total} bytes came"
            raise AttemptFailedError("truncated", found, again=True)

    def _resume_at(self) -> int:
        """Bytes to go on after: those of the same object, or any that a checksum will judge."""
        note = self.part.note()
        same = note is not None and note.source == self.origin.root
        # After a power cut the part may hold anything, which only a checksum can tell.
        sure = note is not None and note.validator and note.boot == boot()
        return self.part.size if same and (self.goal.sha256 or sure) else 0

    def _perform(self, curl: pycurl.Curl, offset: int) -> int:
        transfer, options = self.transfer, self.goal.options
        login = self.login if transfer.at_home else Login()
        prepare(curl, options, login)
        transfer.start(curl, options, login, time.monotonic())
        headers = ["Accept-Encoding: identity", *login.headers]
        note = self.part.note()
        if offset:
            curl.setopt(pycurl.RANGE, f"{offset}-")
            if note and note.validator:
                headers.append(f"If-Range: {note.validator}")
        curl.setopt(pycurl.HTTPHEADER, headers)
        curl.setopt(pycurl.MAXFILESIZE_LARGE, 0)
        curl.setopt(pycurl.WRITEFUNCTION, self._receive)
        failure = self._drive(curl)
        if failure:
            self._flush()
            raise self.error or transfer.refused or failure
        return transfer.response(curl).status

    def _drive(self, curl: pycurl.Curl) -> AttemptFailedError | None:
        """Move bytes until the transfer ends; why it did, if it is not complete."""
        # A file may take as long as it needs.
        limits = replace(self.goal.options.limits, total_s=math.inf)
        tick_s = min(limits.connect_s, limits.first_byte_s, limits.stall_s) / 4
        multi = pycurl.CurlMulti()
        multi.add_handle(curl)
        try:
            while True:
                multi.perform()
                self._tell()
                _, complete, failed = multi.info_read()
                if complete:
                    return None
                if failed:
                    return curl_failure(*failed[0][1:])
                if multi.select(tick_s) < 0:
                    time.sleep(NO_SOCKETS_S)
                late = self.transfer.overdue(curl, limits, time.monotonic())
                if late:
                    return late
        finally:
            multi.remove_handle(curl)
            multi.close()

    def _response(self, status: int) -> Response:
        return Response(status, b"".join(self.transfer.head), b"")

    def _receive(self, data: bytes) -> int:
        """Take bytes from libcurl; anything but their number stops the transfer."""
        try:
            if not self.streaming:
                # Inside a callback libcurl does not tell the status.
                status = int(b"".join(self.transfer.head).rpartition(b"HTTP/1.")[2][2:5])
                if status not in (200, 206):
                    return len(data)
                self._begin(status)
            self.buffer.append(data)
            self.buffered += len(data)
            if self.buffered >= _PIECE:
                self._flush()
        except (AttemptFailedError, OutputError, KeyboardInterrupt) as error:
            self.error = error  # libcurl would swallow it
            return -1
        return len(data)

    def _begin(self, status: int) -> None:
        """Judge the headers: from where the bytes are, and of how many."""
        headers = self._response(status).headers
        said_length = headers.get("content-length", "").partition(",")[0]
        length = int(said_length) if said_length else None
        if headers.get("content-encoding", "identity") != "identity" and not self._keeps_gzip():
            raise AttemptFailedError("refused", "the server compresses the file on the way")
        if status == 206:
            said = _CONTENT_RANGE.fullmatch(headers.get("content-range", ""))
            if said is None or int(said[1]) != self.part.size or int(said[2]) + 1 != int(said[3]):
                found = f"wrong Content-Range '{headers.get('content-range', '')}'"
                raise AttemptFailedError("corrupt", found, again=True)
            note = self.part.note()
            if note and note.validator and note.validator != _validator(headers):
                self.part.restart()
                raise AttemptFailedError("corrupt", "the file changed midway", again=True)
            self.total = int(said[3])
        else:
            # The server ignores ranges, or the object is another one now.
            self.part.restart()
            self.total = length
            if length is None and "transfer-encoding" not in headers and not self.goal.sha256:
                raise AttemptFailedError("truncated", "without a length a cut would go unseen")
        self.streaming = True
        self._check_size()
        self.part.describe(Note(self.origin.root, _validator(headers), boot()))

    def _check_size(self) -> None:
        size, total = self.goal.size, self.total
        if size is not None and total is not None and total != size:
            found = f"the server has {total} bytes, {size} were expected"
            raise AttemptFailedError("corrupt", found)
        missing = (total or size or 0) - self.part.size
        free = shutil.disk_usage(self.part.path.parent).free
        if missing > free:
            raise OutputError(
                f"cannot write {self.part.path.parent}",
                found=f"{missing} bytes are still to come and {free} are free",
                fix="Make room, or choose another folder",
            )

    def _keeps_gzip(self) -> bool:
        """Whether the file is a gzip one anyway, which some servers announce as an encoding."""
        return self.origin.base.endswith((".gz", ".tgz"))

    def _flush(self) -> None:
        data, self.buffer, self.buffered = b"".join(self.buffer), [], 0
        if data:
            self.part.write(data)

    def _tell(self) -> None:
        if self.goal.progress and self.part.size != self.told:
            self.told = self.part.size
            self.goal.progress(self.part.size, self.total)

    def _nothing_left(self, response: Response) -> None:
        """Status 416: the part is the whole file already, or of another one."""
        said = _UNSATISFIED.fullmatch(response.headers.get("content-range", ""))
        if not self.goal.sha256 or said is None or int(said[1]) != self.part.size:
            self.part.restart()
            raise AttemptFailedError("truncated", "status 416 for the rest", again=True)
        self.total = self.part.size


def _validator(headers: Mapping[str, str]) -> str:
    """What ``If-Range`` may hold: a strong ETag or a date (RFC 9110, 13.1.5)."""
    etag = headers.get("etag", "")
    return etag if etag.startswith('"') else headers.get("last-modified", "")
