"""From a path or URL to a store."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote, unquote

from segmend.core.errors import ReadFailedError, require
from segmend.store.files import FileStore
from segmend.store.gs import gs_origin
from segmend.store.options import StoreOptions
from segmend.store.origin import Origin
from segmend.store.place import Place, parse_place
from segmend.store.s3 import s3_origin
from segmend.store.store import Store


def open_store(url: str | Path, options: StoreOptions | None = None) -> Store:
    """Open the store at a path or URL. Nothing is read yet.

    Args:
        url: Local folder, or a URL with ``file``, ``http``, ``https``, ``s3`` or ``gs``.
        options: How a remote store is read.

    Raises:
        BadInputError: for a URL that cannot be used.
        ReadFailedError: reason ``missing``, if a local folder is not there.
        MissingDependencyError: for a remote store without libcurl (pycurl).
    """
    place = parse_place(url)
    if place.scheme == "file":
        return _folder(place)
    require("pycurl", extra="build")
    # libcurl takes 20 ms to load, which local work need not pay.
    from segmend.store.http import HttpStore

    options = options or StoreOptions()
    return HttpStore(origin_of(place, options.endpoint), options)


def _folder(place: Place) -> FileStore:
    root = Path(place.path)
    if not root.is_dir():
        raise ReadFailedError(
            f"cannot open {root}",
            found="it is not a folder" if root.exists() else "there is no such folder",
            reason="missing",
            url=str(root),
        )
    return FileStore(root)


def origin_of(place: Place, endpoint: str | None) -> Origin:
    """The web addresses of a place; it is no file.

    Args:
        place: What the user named.
        endpoint: As in `StoreOptions`.
    """
    if place.scheme == "s3":
        return s3_origin(place, endpoint)
    if place.scheme == "gs":
        return gs_origin(place, endpoint)
    path = quote(unquote(place.path), safe="/-_.~!$&'()*+,;=:@")
    base = f"{place.scheme}://{place.host}/{path}".rstrip("/")
    return Origin(base, str(place), "http", place.query)
