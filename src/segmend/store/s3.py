"""Amazon S3 and what speaks its protocol, as web addresses."""

from __future__ import annotations

import os
from collections.abc import Mapping
from urllib.parse import quote

from segmend.core.errors import BadInputError
from segmend.store.origin import Login, Origin
from segmend.store.place import Place


def s3_origin(
    place: Place, endpoint: str | None, environ: Mapping[str, str] = os.environ
) -> Origin:
    """Where the objects of a bucket lie.

    Args:
        place: ``s3://bucket/prefix``.
        endpoint: Server in place of Amazon's; also ``AWS_ENDPOINT_URL_S3`` or ``AWS_ENDPOINT_URL``.
        environ: The environment; ``AWS_REGION`` or ``AWS_DEFAULT_REGION`` is the bucket's region.

    Returns:
        Virtual-hosted addresses at Amazon, except for a bucket with a dot, which no certificate
        covers; path-style ones at any other endpoint.
    """
    bucket, prefix = quote(place.host, safe="-_.~"), quote(place.path, safe="/-_.~")
    server = endpoint or environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL")
    region = _region(environ)
    amazon = f"s3.{region}.amazonaws.com" if region else "s3.amazonaws.com"
    if server:
        base = f"{server.rstrip('/')}/{bucket}"
    elif "." in bucket:
        base = f"https://{amazon}/{bucket}"
    else:
        base = f"https://{bucket}.{amazon}"
    return Origin(f"{base}/{prefix}".rstrip("/"), str(place), "s3")


def s3_login(environ: Mapping[str, str] = os.environ) -> Login:
    """AWS Signature Version 4 with the keys of the environment, made by libcurl.

    Raises:
        BadInputError: if ``AWS_ACCESS_KEY_ID`` or ``AWS_SECRET_ACCESS_KEY`` is not set.
    """
    key, secret = environ.get("AWS_ACCESS_KEY_ID"), environ.get("AWS_SECRET_ACCESS_KEY")
    if not key or not secret:
        raise BadInputError(
            "cannot sign requests to S3",
            found="AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not both set",
            fix="Set them, or read anonymously",
        )
    token = environ.get("AWS_SESSION_TOKEN")
    headers = (f"x-amz-security-token: {token}",) if token else ()
    region = _region(environ) or "us-east-1"
    return Login(headers, f"aws:amz:{region}:s3", f"{key}:{secret}")


def _region(environ: Mapping[str, str]) -> str:
    return environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or ""
