"""Data sets of the Hugging Face hub: a name and a revision, pinned to one commit."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any

from segmend.core.errors import BadInputError, ReadFailedError, require

HUB = "hf://"

_NAME = re.compile(
    r"hf://(?:datasets/)?(?P<repo>[\w.-]+/[\w.-]+?)(?:@(?P<revision>[\w./-]+))?", re.ASCII
)
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Pinned:
    """A data set of the hub at one commit.

    Attributes:
        url: ``hf://OWNER/NAME@COMMIT``.
        commit: 40 hex digits.
        address: Web address below which its files are.
    """

    url: str
    commit: str
    address: str


def resolve(name: str, revision: str | None) -> Pinned:
    """Pin a data set to the commit that its revision means now.

    The hub is the one that ``HF_ENDPOINT`` names, else huggingface.co.

    Args:
        name: ``hf://OWNER/NAME``, perhaps with ``@REVISION``.
        revision: Branch, tag or commit; None: what the name says, else ``main``.

    Raises:
        BadInputError: if the name is none, or it and ``revision`` name two revisions.
        ReadFailedError: if the hub does not know it, or does not answer.
        MissingDependencyError: without huggingface_hub.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise BadInputError(f"'{name}' names no data set", fix="Write hf://OWNER/NAME")
    if revision and match["revision"] and revision != match["revision"]:
        raise BadInputError(
            f"'{name}' names another revision than was asked for", found=f"revision '{revision}'"
        )
    require("huggingface_hub", extra="hub")
    repo, wanted = match["repo"], revision or match["revision"] or "main"
    endpoint, commit = _commit(repo, wanted)
    address = f"{endpoint}/datasets/{repo}/resolve/{commit}"
    return Pinned(f"{HUB}{repo}@{commit}", commit, address)


def _commit(repo: str, revision: str) -> tuple[str, str]:
    """Address of the hub, and the commit."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))  # its own default is as of its import
    # What the HTTP library of the hub's client raises, whichever it is, and OSError.
    failures: tuple[Any, ...] = (*HfHubHTTPError.__bases__, ValueError)
    asked = f"cannot open {HUB}{repo} at revision '{revision}'"
    try:
        commit = api.dataset_info(repo, revision=revision, timeout=30).sha
    except HfHubHTTPError as error:  # also of a repository or revision that is not there
        missing = isinstance(error, RepositoryNotFoundError) or "404" in str(error)
        raise ReadFailedError(
            asked,
            found=str(error).splitlines()[0] if str(error) else type(error).__name__,
            fix="Check owner, name and revision" if missing else "Try again later",
            reason="missing" if missing else "server_error",
        ) from error
    except failures as error:
        raise ReadFailedError(asked, found=str(error), reason="connection") from error
    if commit is None or not _COMMIT.fullmatch(commit):
        raise ReadFailedError(asked, found=f"the hub says it is commit {commit!r}")
    return str(api.endpoint).rstrip("/"), commit
