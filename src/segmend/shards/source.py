"""Where a benchmark lies: a folder, a bucket, a web server or the Hugging Face hub."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from segmend.core.errors import BadInputError, ReadFailedError, VerificationError
from segmend.shards.hub import HUB, resolve
from segmend.shards.layout import CARD, PLAN_FILE, SHARDS_CSV
from segmend.store.cache import cached
from segmend.store.files import FileStore
from segmend.store.open import open_store
from segmend.store.options import StoreOptions
from segmend.store.store import Store

SOURCE_FILE = "source.json"
"""Beside a fetched benchmark: where it came from."""

_LICENCE = re.compile(r"^license: *(?P<licence>\S.*?) *$", re.MULTILINE)
_LEAST_PREFIX = 7  # as short as git shows a commit


@dataclass(frozen=True, slots=True)
class Source:
    """The files of one benchmark, at one revision.

    Attributes:
        store: Reads them. A remote one keeps what it read, in the cache of remote objects.
        url: As the user named it; a hub repository with its commit.
        revision: Commit of the hub; elsewhere ``sha256:`` and the digest of ``shards.csv``.
        listing: Content of ``shards.csv``.
        licence: What the card declares; empty if it declares none.
        options: How it is read.
    """

    store: Store
    url: str
    revision: str
    listing: bytes
    licence: str
    options: StoreOptions = field(default_factory=StoreOptions)

    @property
    def sha256(self) -> str:
        """Digest of ``shards.csv``, which tells one benchmark from every other."""
        return hashlib.sha256(self.listing).hexdigest()

    @property
    def folder(self) -> Path | None:
        """The folder it lies in; None if it is remote."""
        return self.store.root if isinstance(self.store, FileStore) else None

    def read(self, name: str) -> bytes:
        """A whole file.

        Raises:
            ReadFailedError: if it is missing or cannot be read.
        """
        data = self.store.read(name)
        if data is None:
            raise ReadFailedError(
                f"cannot read {self.url}/{name}", found="there is no such file", reason="missing"
            )
        return data


def open_source(
    place: str | Path, *, revision: str | None = None, options: StoreOptions | None = None
) -> Source:
    """Find a benchmark; its list of shards and its card are read, nothing else.

    Args:
        place: A folder; an ``https://``, ``s3://`` or ``gs://`` URL; or ``hf://OWNER/NAME``.
        revision: Of the hub: a branch, tag or commit, by default ``main``; it is pinned to the
            commit that it means now. Elsewhere: what `Source.revision` must be, or how it begins.
        options: How a remote place is read.

    Raises:
        BadInputError: if there is no benchmark, or the place cannot be used.
        ReadFailedError: if it cannot be read.
        VerificationError: if it has another revision.
        MissingDependencyError: for a remote place without the packages that read it.
    """
    commit = ""
    if str(place).startswith(HUB):
        pinned = resolve(str(place), revision)
        store, url, commit = open_store(pinned.address, options), pinned.url, pinned.commit
    elif "://" in str(place):
        store, url = open_store(str(place), options), str(place).rstrip("/")
    else:
        folder = Path(place).absolute()  # workers may stand elsewhere
        if not folder.is_dir():
            raise BadInputError(
                f"{folder} is not a finished benchmark", found="there is no such folder"
            )
        store, url = FileStore(folder), str(folder)
    listing = store.read(SHARDS_CSV)
    if listing is None and store.read(PLAN_FILE) is not None:
        raise BadInputError(
            f"{url} holds an unfinished build",
            found=f"it has a {PLAN_FILE} and no {SHARDS_CSV}",
            fix=f"Go on with it: segmend build PLAN --out {url} --resume",
        )
    if listing is None:
        raise BadInputError(
            f"{url} is not a finished benchmark",
            found=f"it has no {SHARDS_CSV}",
            fix="Give what a finished `segmend build` wrote, or what is published",
        )
    told = commit or _told_revision(store) or f"sha256:{hashlib.sha256(listing).hexdigest()}"
    if revision is not None and not commit:
        _check_revision(url, revision, told, hashlib.sha256(listing).hexdigest())
    licence = _licence(store)
    return Source(cached(store, listing), url, told, listing, licence, options or StoreOptions())


def _told_revision(store: Store) -> str:
    """What a fetched copy says of itself."""
    text = store.read(SOURCE_FILE)
    if text is None:
        return ""
    try:
        return str(json.loads(text)["revision"])
    except (ValueError, KeyError, TypeError) as error:
        raise ReadFailedError(
            f"cannot read {store.url}/{SOURCE_FILE}", found=f"{type(error).__name__}: {error}"
        ) from error


def _check_revision(url: str, wanted: str, told: str, digest: str) -> None:
    known = (told, digest, f"sha256:{digest}")
    if wanted in known:
        return
    if len(wanted.removeprefix("sha256:")) >= _LEAST_PREFIX and any(
        name.startswith(wanted) for name in known
    ):
        return
    raise VerificationError(
        f"{url} is not revision '{wanted}'",
        found=f"it is {told}, and its {SHARDS_CSV} has sha256 {digest}",
        fix="Open the revision you mean, or fetch it again",
    )


def card_head(store: Store) -> str:
    """The YAML at the head of a card, as text; empty if there is none."""
    card = store.read(CARD)
    if card is None:
        return ""
    text = card.decode("utf-8", "replace")
    return text[4:].partition("\n---")[0] if text.startswith("---\n") else ""


def _licence(store: Store) -> str:
    """The licence that the head of a card declares."""
    found = _LICENCE.search(card_head(store))
    return found["licence"].strip("'\"") if found else ""
