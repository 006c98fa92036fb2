"""Is a file there, how long is it, and what does its server say of its content? Nothing is read."""

from __future__ import annotations

import base64
import binascii
import re
import time
from dataclasses import dataclass
from pathlib import Path

from segmend.core.errors import ReadFailedError, require
from segmend.store.attempts import until_answered
from segmend.store.options import StoreOptions
from segmend.store.place import Place, parse_place
from segmend.store.response import Response, refusal

_CONTENT_RANGE = re.compile(r"bytes \d+-\d+/(\d+)", re.IGNORECASE)
_UNSATISFIED = re.compile(r"bytes \*/(\d+)", re.IGNORECASE)
# S3's ETag is an MD5 unless it was uploaded in parts; Invenio (Zenodo) writes the word before it.
_MD5_ETAG = re.compile(r'"(?:md5:)?([0-9a-f]{32})"')


@dataclass(frozen=True, slots=True)
class Probed:
    """What a server says of a file.

    Attributes:
        size: Bytes; None if it does not say.
        md5: 32 hex digits; empty if it does not say.
    """

    size: int | None
    md5: str = ""


def probe(url: str | Path, options: StoreOptions | None = None) -> Probed:
    """Ask for the first byte of a file, and read what the answer says of the rest.

    Args:
        url: A path or a URL that `open_store` takes.
        options: How to ask.

    Raises:
        BadInputError: for a URL that cannot be used.
        ReadFailedError: if it is not there, or nobody answers.
    """
    place = parse_place(url)
    if place.scheme == "file":
        return _on_disk(Path(place.path))
    require("pycurl", extra="build")
    options = options or StoreOptions()
    return until_answered("find", place, options, lambda: _said(_ask(place, options)))


def _on_disk(path: Path) -> Probed:
    if not path.is_file():
        found = "it is a folder" if path.is_dir() else "there is no such file"
        raise ReadFailedError(f"cannot find {path}", found=found, reason="missing", url=str(path))
    return Probed(path.stat().st_size)


def _ask(place: Place, options: StoreOptions) -> Response:
    """The head of the answer, after redirects; the body of a server without ranges is cut off."""
    import pycurl

    from segmend.store.credentials import login_to
    from segmend.store.open import origin_of
    from segmend.store.origin import Login
    from segmend.store.redirect import REDIRECTS, next_url
    from segmend.store.store import Request
    from segmend.store.transfer import Transfer, curl_failure, prepare

    origin = origin_of(place, options.endpoint)
    login = login_to(origin, anonymous=options.anonymous)
    transfer = Transfer(0, Request("file", 0, 1), [origin.address], 0.0)
    curl = pycurl.Curl()
    try:
        while True:
            here = login if transfer.at_home else Login()
            prepare(curl, options, here)
            transfer.start(curl, options, here, time.monotonic())
            curl.setopt(pycurl.MAXFILESIZE_LARGE, 0)
            curl.setopt(pycurl.WRITEFUNCTION, lambda _: -1)
            curl.setopt(pycurl.CONNECTTIMEOUT_MS, int(1000 * options.limits.connect_s))
            curl.setopt(pycurl.TIMEOUT_MS, int(1000 * options.limits.total_s))
            try:
                curl.perform()
            except pycurl.error as error:
                code, text = error.args
                if code != pycurl.E_WRITE_ERROR:  # that one is our own doing
                    raise transfer.refused or curl_failure(code, text) from error
            answer = transfer.response(curl)
            if answer.status not in REDIRECTS:
                return answer
            transfer.urls.append(next_url(transfer.urls, answer.headers.get("location")))
    finally:
        curl.close()


def _said(answer: Response) -> Probed:
    headers = answer.headers
    if answer.status == 206:
        size = _CONTENT_RANGE.fullmatch(headers.get("content-range", ""))
        return Probed(int(size[1]) if size else None, _md5(answer))
    if answer.status == 416:  # there is no first byte
        size = _UNSATISFIED.fullmatch(headers.get("content-range", ""))
        return Probed(int(size[1]) if size else None)
    if answer.status != 200:
        raise refusal(answer)
    length = headers.get("content-length", "")
    encoded = headers.get("content-encoding", "identity") != "identity"
    return Probed(int(length) if length.isdigit() and not encoded else None, _md5(answer))


def _md5(answer: Response) -> str:
    """The MD5 of the whole file, where the server says one; see `segmend.store.digests`."""
    headers = answer.headers
    pairs = (item.strip().partition("=") for item in headers.get("x-goog-hash", "").split(","))
    google = {name: value for name, _, value in pairs}.get("md5", "")
    if google:
        try:
            return base64.b64decode(google, validate=True).hex()
        except binascii.Error:
            return ""
    etag = _MD5_ETAG.fullmatch(headers.get("etag", ""))
    is_s3 = "x-amz-request-id" in headers or headers.get("server") == "AmazonS3"
    said = etag is not None and (is_s3 or headers["etag"].startswith('"md5:'))
    encrypted = headers.get("x-amz-server-side-encryption", "AES256") != "AES256"
    return etag[1] if etag and said and not encrypted else ""
