"""What the cache holds, and whether it is what it says."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from segmend.store.atomic import sha256_file
from segmend.store.cache_files import CacheFolder


@dataclass(frozen=True, slots=True)
class Volume:
    """What is kept of one version of one remote volume.

    Attributes:
        url: Where it lies.
        version: Digest of its metadata files.
        objects: Objects and ranges kept.
        bytes: Their bytes; blobs that volumes share are counted for each.
    """

    url: str
    version: str
    objects: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Usage:
    """What the cache of remote objects holds.

    Attributes:
        blobs: Number of blobs.
        bytes: Bytes of disk they take.
        volumes: The volumes they belong to, largest first.
    """

    blobs: int
    bytes: int
    volumes: tuple[Volume, ...]


def usage(folder: CacheFolder) -> Usage:
    """Count what is there."""
    rooms = {blob.name: blob.room for _, blob in folder.blobs()}
    volumes = []
    for name in folder.volumes():
        kept = [b for _, b in folder.references(name) if b is not None and b.name in rooms]
        if not kept:
            continue  # All of it was removed to make room.
        told = _told(folder.description(name))
        volumes.append(
            Volume(
                url=told.get("url", "unknown"),
                version=told.get("version", "unknown"),
                objects=len(kept),
                bytes=sum(blob.room for blob in kept),
            )
        )
    volumes.sort(key=lambda volume: (-volume.bytes, volume.url, volume.version))
    return Usage(len(rooms), sum(rooms.values()), tuple(volumes))


def _told(description: bytes) -> dict[str, str]:
    with suppress(ValueError):
        told = json.loads(description)
        if isinstance(told, dict):
            return {str(key): str(value) for key, value in told.items()}
    return {}


def damaged(folder: CacheFolder, report: Callable[[str, int, int], None]) -> list[str]:
    """Read every blob and every reference.

    Nothing is removed here: a damaged blob is when it is next asked for, and read again.

    Args:
        folder: The cache.
        report: Told the stage, how many blobs are read, and how many there are.

    Returns:
        One sentence for each that is not what its name says. A reference whose blob was removed to
        make room is in order.
    """
    problems = []
    blobs = [(Path(entry.path), blob) for entry, blob in folder.blobs()]
    for done, (path, blob) in enumerate(blobs, start=1):
        try:
            whole = path.stat().st_size == blob.size
            if not whole or sha256_file(path) != blob.name.partition("-")[0]:
                problems.append(f"{path} does not hold what its name says")
        except FileNotFoundError:
            pass  # Another process made room meanwhile.
        except OSError as error:
            problems.append(f"{path} cannot be read: {error.strerror}")
        report("checking blobs", done, len(blobs))
    for link, named in folder.references():
        if named is None:
            problems.append(f"{link} leads to no blob")
    return problems
