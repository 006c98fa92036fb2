"""What of a data set published as cubes comes whole or not at all: no box cuts a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from segmend.catalog.checking import AT_ONCE, OPTIONS
from segmend.catalog.record import File, Record
from segmend.core.errors import ReadFailedError
from segmend.store.probe import probe

CUBES = "hdf5-cubes"
"""Driver of layers that a box cuts before they are fetched."""


@dataclass(frozen=True, slots=True)
class Whole:
    """A published file, or a folder of files, that no box cuts.

    Attributes:
        path: Where it is kept, relative to the data folder.
        names: Layers and annotations that lie in it, and by which it is asked for.
        folder: Whether it is a folder, whose files its server lists.
        n_bytes: Its size; None for a folder, or where neither record nor server says it.
    """

    path: str
    names: tuple[str, ...]
    folder: bool
    n_bytes: int | None


def cut_layers(record: Record) -> tuple[str, ...]:
    """Names of the layers of which a box takes a part, and that need no table to be read."""
    return tuple(
        name
        for name, layer in record.layers.items()
        if layer.driver == CUBES and not layer.agglomerates
    )


def mapped_layers(record: Record) -> dict[str, tuple[str, ...]]:
    """Layers whose cubes are cut too, but which tables map on reading: the tables by layer."""
    return {
        name: tuple(layer.agglomerates)
        for name, layer in record.layers.items()
        if layer.agglomerates
    }


def whole_files(record: Record, folder: Path) -> tuple[Whole, ...]:
    """The files that come whole and are not there yet; servers are asked how large they are.

    Args:
        record: The data set.
        folder: The data folder.
    """
    names: dict[str, list[str]] = {}
    for name, layer in record.layers.items():
        if not layer.urls and layer.driver != CUBES:
            names.setdefault(layer.file, []).append(name)
    for name, beside in record.annotations.items():
        names.setdefault(beside.file, []).append(name)
    left = [
        (record.files[key], tuple(found))
        for key, found in names.items()
        if record.files[key].urls and not (folder / record.files[key].contents).exists()
    ]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        sizes = pool.map(_size, [file for file, _ in left])
    return tuple(
        Whole(file.contents, found, bool(file.listed), size)
        for (file, found), size in zip(left, sizes, strict=True)
    )


def told(wholes: Sequence[Whole], mapped: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """What people should know of what was left, and how to ask for it, in sentences.

    Args:
        wholes: From `whole_files`.
        mapped: From `mapped_layers`.
    """
    files = [one for one in wholes if not one.folder]
    folders = [name for one in wholes if one.folder for name in one.names]
    lines = []
    if files:
        parts = (f"{one.path} ({', '.join(one.names)}): {_text(one.n_bytes)}" for one in files)
        sizes = [one.n_bytes for one in files]
        total = _text(None if None in sizes else sum(size or 0 for size in sizes))
        lines.append(
            f"not taken, because no box cuts them: {len(files)} files, {total}; {'; '.join(parts)}"
        )
    if folders:
        lines.append(
            f"nor taken: {len(folders)} folders that their server lists: {', '.join(folders)}"
        )
    if wholes:
        lines.append(f"take them whole by name, for example --layer {wholes[0].names[0]}")
        lines += [
            f"--layer {layer} brings {' and '.join(tables)} with it, of which it is made"
            for layer, tables in mapped.items()
        ]
    return tuple(lines)


def _size(file: File) -> int | None:
    if file.size_bytes or file.listed:
        return file.size_bytes or None
    for url in file.urls:
        try:
            return probe(url, OPTIONS).size
        except ReadFailedError:
            continue  # the next mirror; what is fetched will say what is wrong
    return None


def _text(n_bytes: int | None) -> str:
    if n_bytes is None:
        return "of unknown size"
    return f"{n_bytes / 1e9:.3g} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:.3g} MB"
