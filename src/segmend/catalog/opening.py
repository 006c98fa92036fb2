"""From a layer of a record to a volume: where its bytes are, and whether it is what is recorded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segmend.catalog.record import MAIN, Layer, Record
from segmend.core.errors import BadInputError, ReadFailedError, SchemaError
from segmend.core.grid import VoxelGrid
from segmend.volumes.open import open_volume
from segmend.volumes.volume import Volume


@dataclass(frozen=True, slots=True)
class Location:
    """Where the files of a data set lie.

    Attributes:
        folder: The data folder.
        main: The file that stands for the record's file ``main``, where the caller named one.
    """

    folder: Path
    main: Path | None = None

    def of(self, record: Record, name: str) -> Path:
        """A file of the record, or the folder of its unpacked contents."""
        if name == MAIN and self.main is not None:
            return self.main
        return self.folder / record.files[name].contents


def open_layer(record: Record, name: str, layer: Layer, *, at: Location, volume: str) -> Volume:
    """Open a layer and check it against its record.

    Args:
        record: The data set.
        name: Name of the layer.
        layer: The layer.
        at: Where the files lie.
        volume: Which volume; it replaces ``{volume}`` in the layer's member.

    Raises:
        ReadFailedError: if the file is not there, or no mirror answers.
        SchemaError: if it is laid out otherwise than recorded.
    """
    if layer.urls:
        opened = _open_mirror(record, name, layer)
    else:
        opened = _open(layer_file(record, layer, at, volume), layer)
    if layer.voxel_size_nm is not None:
        opened = opened.at(layer.voxel_size_nm)
    _check(opened, layer, f"layer '{name}' of '{record.name}'")
    return opened


def layer_file(record: Record, layer: Layer, at: Location, volume: str) -> Path:
    """The file, or folder, that a layer without URLs lies in.

    Raises:
        ReadFailedError: if it is not there.
    """
    place = at.of(record, layer.file)
    if place.exists() and layer.member:
        place = place / layer.member.format(volume=volume)
    if place.exists():
        return place
    raise missing_file(record, place, layer.file, at)


def missing_file(
    record: Record, place: Path, name: str, at: Location, *, layer: str = ""
) -> ReadFailedError:
    """The error for a file of a record that is not where it is looked for.

    Args:
        record: The data set.
        place: Where it should be.
        name: The file's name in the record.
        at: Where the files lie.
        layer: What it is asked for by, where it does not come by itself.
    """
    published = record.files[name].urls
    asked = f" --layer {layer}" if layer else ""
    return ReadFailedError(
        f"there is no file {place}",
        found=f"'{record.name}' looks for its files in {at.folder}",
        fix=f"Run: segmend fetch {record.name}{asked}"
        if published
        else f"Pass path=..., for example sg.open('{record.name}', path='{place.name}')",
        reason="missing",
        url=str(place),
    )


def _open_mirror(record: Record, name: str, layer: Layer) -> Volume:
    """Open the first place that answers; if none does, say what each of them said."""
    failures = []
    for url in layer.urls:
        try:
            return _open(url, layer)
        except ReadFailedError as error:
            failures.append(f"{url}: {error.found or error.asked}")
    raise ReadFailedError(
        f"no source of layer '{name}' of '{record.name}' can be read",
        found="; ".join(failures),
        fix="Check the network; `segmend datasets check` says what is alive",
        reason="connection",
        url=layer.urls[0],
    )


def _open(place: str | Path, layer: Layer) -> Volume:
    # A remote volume states its own scales, and `at` chooses among them; one that does not is told
    # the voxel size of the finest by an option.
    placed: dict[str, Any] = (
        {} if layer.urls else {"voxel_size": layer.voxel_size_nm, "offset": layer.offset_nm}
    )
    # TOML has lists where Python has shapes.
    options: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in layer.options.items()
    }
    return open_volume(
        place,
        driver=layer.driver or None,
        key=layer.key or None,
        axes=layer.axes or None,
        **placed | options,
    )


def _check(opened: Volume, layer: Layer, what: str) -> None:
    stated: dict[str, tuple[object, object]] = {}
    if layer.dtype:
        stated["dtype"] = (layer.dtype, str(opened.dtype))
    if layer.shape is not None:
        stated["shape"] = (layer.shape, opened.grid.shape)
    if layer.offset_nm is not None:
        recorded = VoxelGrid(opened.grid.voxel_size, layer.offset_nm, opened.grid.shape)
        stated["offset"] = (recorded.offset, opened.grid.offset)
    for field, (recorded_value, found) in stated.items():
        if recorded_value != found:
            raise SchemaError(
                f"{what} is laid out otherwise than recorded",
                found=f"{opened.source} has {field} {found}, the record says {recorded_value}",
                fix="The source may have changed: check it, then correct the record",
            )


def location(record: Record, folder: Path, path: str | Path | None) -> Location:
    """Where the files are, if the caller named a file or a folder or neither.

    Args:
        record: The data set.
        folder: The data folder, if the caller named none.
        path: A folder stands for the data folder, anything else for the record's one file.

    Raises:
        BadInputError: if a file is named for a data set that has several or none.
    """
    if path is None:
        return Location(folder)
    place = Path(path).absolute()
    if place.is_dir():
        return Location(place)
    if MAIN not in record.files:
        raise BadInputError(
            f"'{record.name}' is not one file",
            found=f"its files are {sorted(record.files) or 'none: it is read from where it lies'}",
            fix="Pass the folder that holds them, or nothing",
        )
    return Location(place.parent, place)
