"""Google Cloud Storage as web addresses."""

from __future__ import annotations

import os
from collections.abc import Mapping
from urllib.parse import quote

from segmend.core.errors import BadInputError
from segmend.store.origin import Login, Origin
from segmend.store.place import Place

PUBLIC = "https://storage.googleapis.com"


def gs_origin(
    place: Place, endpoint: str | None, environ: Mapping[str, str] = os.environ
) -> Origin:
    """Where the objects of a bucket lie.

    Args:
        place: ``gs://bucket/prefix``.
        endpoint: Server in place of Google's; also ``STORAGE_EMULATOR_HOST``.
        environ: The environment.
    """
    server = endpoint or environ.get("STORAGE_EMULATOR_HOST") or PUBLIC
    if "://" not in server:
        server = f"http://{server}"  # the emulator's variable may be host:port alone
    bucket, prefix = quote(place.host, safe="-_.~"), quote(place.path, safe="/-_.~")
    return Origin(f"{server.rstrip('/')}/{bucket}/{prefix}".rstrip("/"), str(place), "gs")


def gs_login(environ: Mapping[str, str] = os.environ) -> Login:
    """A bearer token from the environment.

    Raises:
        BadInputError: if ``GOOGLE_OAUTH_ACCESS_TOKEN`` is not set.
    """
    token = environ.get("GOOGLE_OAUTH_ACCESS_TOKEN")
    if not token:
        raise BadInputError(
            "cannot sign requests to Google Cloud Storage",
            found="GOOGLE_OAUTH_ACCESS_TOKEN is not set",
            fix="Set it to the output of 'gcloud auth print-access-token', or read anonymously",
        )
    return Login((f"Authorization: Bearer {token}",))
