"""Checksums that stores send with an object."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from importlib.util import find_spec

from segmend.core.errors import ReadFailedError

_MD5_ETAG = re.compile(r'"([0-9a-f]{32})"')


def check_digests(headers: Mapping[str, str], body: bytes, *, s3: bool) -> None:
    """Compare a whole object, as stored, with the checksums in the headers, where there are any.

    Google Cloud Storage sends ``x-goog-hash`` (CRC32C, and MD5 unless the object is composite) of
    the stored bytes, which says nothing where the server decoded gzip on the way.
    The ETag of S3 is an MD5 unless the object was uploaded in parts (then it has a ``-``) or is
    encrypted with a key of KMS or the customer. Other servers' ETags mean nothing.

    Ranges, and whole objects of other servers, come without a checksum: bits that flip under way
    and leave the length alone cannot be seen here, only by the format or by a known sha256.

    Args:
        headers: Of the answer, names in lower case.
        body: Before any Content-Encoding is decoded.
        s3: Whether the server is known to speak S3; else its headers tell.

    Raises:
        ReadFailedError: reason ``corrupt``, if a checksum differs.
    """
    if "x-goog-hash" in headers:
        _check_google(headers, body)
    elif s3 or "x-amz-request-id" in headers or headers.get("server") == "AmazonS3":
        _check_s3(headers, body)


def _check_google(headers: Mapping[str, str], body: bytes) -> None:
    stored = headers.get("x-goog-stored-content-encoding", "identity")
    if stored != headers.get("content-encoding", "identity"):
        return
    pairs = (item.strip().partition("=") for item in headers["x-goog-hash"].split(","))
    hashes = {name: value for name, _, value in pairs}
    # CRC32C by the optional package is ten times faster than MD5.
    if "crc32c" in hashes and find_spec("google_crc32c"):
        import google_crc32c

        found = google_crc32c.value(body).to_bytes(4, "big")
        _compare("x-goog-hash crc32c", hashes["crc32c"], _base64(found))
    elif "md5" in hashes:
        _compare("x-goog-hash md5", hashes["md5"], _base64(_md5(body)))


def _check_s3(headers: Mapping[str, str], body: bytes) -> None:
    etag = _MD5_ETAG.fullmatch(headers.get("etag", ""))
    own_key = "x-amz-server-side-encryption-customer-algorithm" in headers
    if etag and not own_key and headers.get("x-amz-server-side-encryption", "AES256") == "AES256":
        _compare("ETag (md5)", etag[1], _md5(body).hex())


def _md5(body: bytes) -> bytes:
    return hashlib.md5(body, usedforsecurity=False).digest()


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def _compare(name: str, expected: str, found: str) -> None:
    if expected != found:
        raise ReadFailedError(
            "checksum",
            found=f"{name} should be {expected}, is {found}",
            reason="corrupt",
        )
