"""What a frozen edit history says of itself: format, checksums, and its account."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from segmend.core.errors import BadInputError, SchemaError

FORMAT = "segmend frozen edits 1"
MANIFEST = "manifest.json"
MOST_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Closure:
    """The account of a history: every operation known is kept, dropped or failed.

    Attributes:
        known: Operations that the source named.
        kept: Edits.
        dropped: Operations left out, by rule.
        failed: Operations that could not be read or contradict themselves, by reason.
    """

    known: int
    kept: int
    dropped: Counter[str]
    failed: Counter[str]

    @property
    def closed(self) -> bool:
        """Whether nothing is unaccounted for."""
        return self.known == self.kept + self.dropped.total() + self.failed.total()


class _Counts(msgspec.Struct):
    """An account as a manifest has it."""

    known: int
    kept: int
    dropped: dict[str, int]
    failed: dict[str, int]


class _Manifest(msgspec.Struct):
    """What every manifest says, whatever else it says."""

    format: str
    counts: _Counts
    sha256: dict[str, str]
    controls: dict[str, _Counts] = {}


def account_of(counts: Any) -> Closure:
    """An account from what a manifest says of it; `read_manifest` has looked at it."""
    told = msgspec.convert(counts, _Counts)
    return Closure(told.known, told.kept, Counter(told.dropped), Counter(told.failed))


def read_manifest(path: Path) -> dict[str, Any]:
    """Everything that a manifest says.

    Raises:
        BadInputError: if there is none.
        SchemaError: if it is of another format, or lacks what every manifest says.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MOST_BYTES)
    except OSError as error:
        raise BadInputError(
            f"{path.parent} is not a frozen edit history",
            found=f"cannot read its {MANIFEST}: {error.strerror}",
            fix="segmend edits freeze writes one",
        ) from error
    try:
        manifest: dict[str, Any] = json.loads(text)
        known = msgspec.convert(manifest, _Manifest)
    except (ValueError, RecursionError) as error:
        raise SchemaError(f"{path} is not a manifest", found=str(error)) from error
    if known.format != FORMAT:
        raise SchemaError(f"{path} is not a manifest of '{FORMAT}'", found=repr(known.format))
    return manifest
