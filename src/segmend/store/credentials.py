"""Who asks."""

from __future__ import annotations

from segmend.core.errors import BadInputError
from segmend.store.gs import gs_login
from segmend.store.hub import hub_login, is_hub
from segmend.store.origin import Login, Origin
from segmend.store.s3 import s3_login


def login_to(origin: Origin, *, anonymous: bool) -> Login:
    """Credentials for an origin, from the environment of this process.

    The hub is asked as its own client asks: with a token where that knows one. Others are asked
    anonymously unless the caller says otherwise.

    Raises:
        BadInputError: if they are asked for and not there.
    """
    if origin.service == "http" and is_hub(origin):
        return hub_login()
    if anonymous:
        return Login()
    if origin.service == "s3":
        return s3_login()
    if origin.service == "gs":
        return gs_login()
    raise BadInputError(
        f"no credentials are known for {origin.root}",
        found="anonymous=False holds for s3:// and gs://",
        fix="Read it anonymously, or with a signed URL",
    )
