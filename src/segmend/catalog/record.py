"""A data set as data: one TOML file, no class."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Literal

import msgspec

from segmend.catalog.labels import LabelSpec
from segmend.core.errors import SchemaError
from segmend.core.registry import unknown_name

Driver = Literal["hdf5", "synthetic"]


class Licence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Terms of use.

    Attributes:
        state: ``stated`` by the owners, ``unstated``, or ``custom`` terms.
        name: SPDX name where there is one.
        source: Where the owners say so.
    """

    state: Literal["stated", "unstated", "custom"]
    name: str = ""
    source: str = ""


class Layer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One array of the data set.

    Attributes:
        key: Data set inside the HDF5 file.
        doc: What it holds.
        labels: Meaning of its values; None for the image.
    """

    key: str
    doc: str
    labels: LabelSpec | None = None


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that is known about a data set.

    Attributes:
        name: Name in the catalogue.
        title: One line for people.
        species: Value of the column ``species``.
        version: Version of the segmentation; ids are unique within it.
        driver: What opens it.
        licence: Terms of use.
        citation: What to cite, plain text.
        layers: Arrays by name; ``image`` and the label layers.
        grid_origin_nm: Corner ``(z, y, x)`` of the split cubes: the canonical bounds of the whole
            data set, never of the rows at hand.
        path: Default file, relative to the record; empty where the caller must name one.
        parameters: For the driver ``synthetic``: what is made unless the caller says otherwise.
        tables: Further contents: ``edits``, ``synapses``, ``skeletons``.
        defects: Known defects, one sentence each.
        overlaps: Data sets that share tissue with this one.
    """

    name: str
    title: str
    species: str
    version: str
    driver: Driver
    licence: Licence
    citation: str
    layers: dict[str, Layer]
    grid_origin_nm: tuple[float, float, float]
    path: str = ""
    parameters: dict[str, int] = {}
    tables: tuple[Literal["edits", "synapses", "skeletons"], ...] = ()
    defects: tuple[str, ...] = ()
    overlaps: tuple[str, ...] = ()


def record_names() -> tuple[str, ...]:
    """Names of all shipped records."""
    folder = resources.files("segmend.catalog") / "records"
    return tuple(sorted(f.name.removesuffix(".toml") for f in folder.iterdir()))


def load_record(name: str) -> tuple[Record, Path]:
    """Load a record.

    Args:
        name: Name of a shipped record, or path of a ``.toml`` file of your own.

    Returns:
        The record and the folder that its paths start from.

    Raises:
        UnknownNameError: if there is no such record.
        SchemaError: if a file is not a valid record.
    """
    file = Path(name)
    if file.suffix == ".toml":
        if not file.is_file():
            raise SchemaError(f"there is no record {file}", fix="Check the path")
        return _parse(file.read_bytes(), str(file)), file.absolute().parent
    if name not in record_names():
        raise unknown_name("data set", name, dict.fromkeys(record_names()))
    shipped = resources.files("segmend.catalog") / "records" / f"{name}.toml"
    return _parse(shipped.read_bytes(), name), Path.cwd()


def _parse(text: bytes, source: str) -> Record:
    try:
        record = msgspec.toml.decode(text, type=Record)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise SchemaError(
            f"{source} is not a data set record",
            found=str(error),
            fix="See CONTRIBUTING.md, 'To add a data set'",
        ) from error
    image = record.layers.get("image")
    if image is None or image.labels is not None:
        raise SchemaError(f"{source} needs a layer 'image' without label meaning")
    return record
