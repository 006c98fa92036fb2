"""Open a volume from nothing but its place: which driver it is, and why."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segmend.core.errors import BadInputError, ReadFailedError
from segmend.volumes.formats import FORMATS, STACKS, VolumeFormat
from segmend.volumes.volume import Volume

MAGIC_BYTES = 8


@dataclass(frozen=True, slots=True)
class Inference:
    """Which format a place has, and how that was found.

    Attributes:
        format: Name in `FORMATS`.
        place: The place without the word that named the format.
        because: The evidence, as a clause: "its name ends in .h5".
    """

    format: str
    place: str
    because: str


def infer(place: str | Path) -> Inference:
    """Find out which format a place has.

    By the word before ``://``; for a file by its suffix, else its first bytes; for a folder by the
    files it must hold, else by the suffix that all its files have; for a URL by asking for the
    files that its folder must hold.

    Args:
        place: A path, a URL, or either after the name of a format: ``precomputed://gs://b/seg``.

    Raises:
        BadInputError: if nothing fits, or more than one format does; it lists what was tried.
        ReadFailedError: if there is no such path, or the store cannot be read.
    """
    text = str(place)
    scheme, separator, rest = text.partition("://")
    for name, known in FORMATS.items():
        if separator and scheme in known.schemes:
            return Inference(name, rest, f"it starts with {scheme}://")
    if separator and scheme != "file":
        return _infer_remote(text)
    path = Path(_local_path(text) if separator else text)
    if path.is_dir():
        return _infer_folder(path)
    if not path.is_file():
        raise ReadFailedError(f"there is no file or folder {path}", reason="missing", url=str(path))
    return _infer_file(path)


def open_volume(
    place: str | Path,
    *,
    key: str | None = None,
    voxel_size: Sequence[float] | None = None,
    offset: Sequence[float] | None = None,
    axes: str | None = None,
    channel: int | None = None,
    absent: int | None = None,
    driver: str | None = None,
    **options: Any,
) -> Volume:
    """Open a volume of any format segmend reads. `infer` tells which, and why.

    Args:
        place: A path, a URL, or either after the name of a format: ``zarr://s3://bucket/em.zarr``.
        key: The array in a file or folder that holds several.
        voxel_size: nm per voxel ``(z, y, x)``, where the data do not say it.
        offset: Corner of the first voxel, nm ``(z, y, x)``, where the data do not say it.
        axes: The stored axes, slowest first, where the data do not say them.
        channel: The channel that is read, where there are several.
        absent: What certified absent voxels count as in bare arrays.
        driver: The format, a name in `FORMATS`, where it is not to be inferred.
        **options: What only one format takes: ``unit``, ``missing``, ``rgb_ids``, ... (see the
            function of its driver).

    Raises:
        BadInputError: if the format cannot be told, or does not take an option.
        UnknownNameError: if there is no such format, or no such array.
        SchemaError: if the data cannot be a volume.
        ReadFailedError: if they cannot be read.

    Example:
        >>> import segmend as sg
        >>> em = sg.open_volume("em.h5", key="volumes/raw")  # doctest: +SKIP
    """
    found = (
        Inference(driver, _bare(place, driver), "the caller said so") if driver else infer(place)
    )
    chosen = FORMATS[found.format]
    given = {
        "key": key,
        "voxel_size": voxel_size,
        "offset": offset,
        "axes": axes,
        "channel": channel,
        "absent": absent,
        **options,
    }
    taken = {name: value for name, value in given.items() if value is not None}
    if "take" in chosen.options and channel is not None:
        # Zarr and N5 take an element of any axis by its name.
        taken["take"] = {"c": taken.pop("channel"), **taken.get("take", {})}
    unknown = sorted(set(taken) - chosen.options)
    if unknown:
        raise BadInputError(
            f"{place} takes no option {', '.join(unknown)}",
            found=f"it is read as {found.format}, because {found.because}",
            fix=f"The options of {found.format}: {', '.join(sorted(chosen.options))}",
        )
    return _open(chosen, found, taken)


def _open(chosen: VolumeFormat, found: Inference, options: dict[str, Any]) -> Volume:
    remote = "://" in found.place and not found.place.startswith("file://")
    if remote and not chosen.remote:
        raise BadInputError(
            f"{found.place} cannot be read where it lies",
            found=f"it is {found.format}, because {found.because}",
            fix=f"Download it first: segmend fetch {found.place} --to PATH",
        )
    place = found.place
    if place.startswith("file://") and not chosen.remote:
        place = _local_path(place)
    module = importlib.import_module(f"segmend.volumes.drivers.{chosen.module}")
    function = getattr(module, chosen.function)
    needed = [
        name
        for name, parameter in list(inspect.signature(function).parameters.items())[1:]
        if parameter.default is parameter.empty and name not in options
    ]
    if needed:
        raise BadInputError(
            f"{found.place} cannot be opened without {', '.join(needed)}",
            found=f"it is read as {found.format}, because {found.because}",
            fix="Pass them, or name another format with driver=",
        )
    arguments = [options.pop("key")] if "key" in options else []
    volume: Volume = function(place, *arguments, **options)
    return volume


def _bare(place: str | Path, driver: str) -> str:
    """The place without a word for that format before it."""
    scheme, separator, rest = str(place).partition("://")
    return rest if separator and scheme in FORMATS[driver].schemes else str(place)


def _local_path(url: str) -> str:
    from segmend.store.place import parse_place

    return parse_place(url).path


def _suffix(name: str, known: VolumeFormat) -> str | None:
    return next((end for end in known.suffixes if name.lower().endswith(end)), None)


def _infer_file(path: Path) -> Inference:
    for name, known in FORMATS.items():
        end = _suffix(path.name, known)
        if end and name not in ("hdf5-cubes", "png"):
            return Inference(name, str(path), f"its name ends in {end}")
    with path.open("rb") as file:
        start = file.read(MAGIC_BYTES)
    for name, known in FORMATS.items():
        if any(start.startswith(magic) for magic in known.magic):
            return Inference(name, str(path), f"it starts with the bytes of {name}")
    ends = sorted({end for known in FORMATS.values() for end in known.suffixes})
    raise _unclear(
        str(path), f"a file with none of the suffixes {', '.join(ends)}, starting with {start!r}"
    )


def _infer_folder(path: Path) -> Inference:
    held = {
        name: next((marker for marker in known.markers if (path / marker).is_file()), None)
        for name, known in FORMATS.items()
    }
    found = [
        Inference(name, str(path), f"it holds a file {marker}")
        for name, marker in held.items()
        if marker
    ]
    if not found:
        names = [p.name for p in path.iterdir() if not p.name.startswith(".")]
        found = [
            Inference(name, str(path), "its files end in " + " or ".join(FORMATS[name].suffixes))
            for name in STACKS
            if any(_suffix(file, FORMATS[name]) for file in names)
        ]
    return _only(str(path), found, "a folder")


def _infer_remote(url: str) -> Inference:
    from segmend.store.open import open_store

    bare = url.partition("?")[0]
    for name, known in FORMATS.items():
        end = _suffix(bare, known)
        if end and name not in STACKS[2:]:
            return Inference(name, url, f"its name ends in {end}")
    store, found, refused = open_store(url), [], []
    for name, known in FORMATS.items():
        for marker in known.markers:
            try:
                held = store.read(marker) is not None
            except ReadFailedError as error:
                # Some buckets answer "forbidden" for what does not exist.
                if error.reason != "forbidden":
                    raise
                refused.append(marker)
                continue
            if held:
                found.append(Inference(name, url, f"it holds {marker}"))
                break
    return _only(url, found, f"forbidden: {', '.join(refused)}" if refused else "a URL")


def _only(place: str, found: Sequence[Inference], what: str) -> Inference:
    if len(found) == 1:
        return found[0]
    if found:
        reasons = "; ".join(f"{one.format}, because {one.because}" for one in found)
        raise _unclear(place, f"it could be {reasons}")
    markers = sorted({marker for known in FORMATS.values() for marker in known.markers})
    raise _unclear(place, f"{what} with none of the files {', '.join(markers)}")


def _unclear(place: str, found: str) -> BadInputError:
    return BadInputError(
        f"cannot tell which format {place} has",
        found=found,
        fix=f"Pass driver=, one of {', '.join(FORMATS)}",
    )
