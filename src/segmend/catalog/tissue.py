"""Synthetic tissue on disk: generated once for a spec, then opened like any other data set."""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

from segmend.core.errors import BadInputError
from segmend.core.settings import settings
from segmend.synthetic.spec import TissueSpec


def cached_tissue(parameters: dict[str, Any]) -> Path:
    """The HDF5 file of synthetic tissue, generated if it is not in the cache.

    Once it is there it is never replaced, however many processes ask for it at once.

    Args:
        parameters: Fields of `TissueSpec`.

    Raises:
        BadInputError: if a field does not exist or the spec does not hold.
    """
    known = tuple(TissueSpec.__dataclass_fields__)
    unknown = sorted(set(parameters) - set(known))
    if unknown:
        raise BadInputError(
            f"synthetic tissue has no parameter {', '.join(map(repr, unknown))}",
            fix=f"Parameters: {', '.join(known)}",
        )
    frozen: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in parameters.items()
    }
    spec = TissueSpec(**frozen)
    file = settings().cache_dir / "synthetic" / f"{_key(spec)}.h5"
    if not file.exists():
        from segmend.synthetic.write import write_tissue

        file.parent.mkdir(parents=True, exist_ok=True)
        with _alone(file):
            if not file.exists():
                write_tissue(spec, file)
    return file


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Hold the lock that belongs to a file; it ends with the process that has it.

    Whoever comes second waits and finds the file: were it grown twice, the second would replace
    the first under its readers.
    """
    with file.with_suffix(".lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _key(spec: TissueSpec) -> str:
    """Spec and generator: a changed generator must never answer with the tissue of the old one."""
    digest = hashlib.sha256(repr(spec).encode())
    for folder in ("segmend.synthetic", "segmend.core"):
        for source in sorted(resources.files(folder).iterdir(), key=lambda f: f.name):
            if source.name.endswith(".py"):
                digest.update(source.read_bytes())
    return digest.hexdigest()[:20]
