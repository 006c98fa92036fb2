"""A data set as data: one TOML file, no class."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any, Literal

import msgspec

from segmend.catalog.labels import LabelSpec
from segmend.core.errors import SchemaError
from segmend.core.registry import unknown_name

Role = Literal["train", "validation", "test", "none"]

MAIN = "main"
"""Name of the file of a data set that is one file."""


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of a record: every field is known, and none changes."""


class Licence(Strict, frozen=True):
    """Terms of use.

    Attributes:
        state: ``stated`` by the owners, ``unstated``, or ``custom`` terms.
        name: SPDX name where there is one.
        source: Where the owners say so.
        forbids: Uses that the terms forbid: ``download`` (by a program: the owners hand it out),
            ``redistribution`` (no crops written for others), ``commercial``.
    """

    state: Literal["stated", "unstated", "custom"]
    name: str = ""
    source: str = ""
    forbids: tuple[Literal["download", "redistribution", "commercial"], ...] = ()


class File(Strict, frozen=True):
    """One file of a data set that is fetched whole.

    Attributes:
        path: Where it is kept, relative to the data folder (own records: to the record's folder).
        urls: Where it is published, mirrors in order; empty for a file that the user has.
        sha256: Of the file as published; empty where nobody has stated it.
        md5: Likewise.
        size_bytes: Likewise; 0 where unknown.
        unpack: Format of an archive; it is unpacked into a folder of its name without suffix.
        listed: It is a folder whose files the server lists: ``webdav``. It is fetched when it is
            asked for by name.
    """

    path: str
    urls: tuple[str, ...] = ()
    sha256: str = ""
    md5: str = ""
    size_bytes: int = 0
    unpack: Literal["", "zip", "tar.gz"] = ""
    listed: Literal["", "webdav"] = ""

    @property
    def contents(self) -> str:
        """The file, or the folder that its contents are unpacked into."""
        return self.path.removesuffix(f".{self.unpack}") if self.unpack else self.path


class Layer(Strict, frozen=True):
    """One array of the data set. What is recorded is checked when it is opened.

    Attributes:
        doc: What it holds.
        labels: Meaning of its values; None for the image.
        file: Name of the file it lies in, if it has no ``urls``.
        member: Path inside an unpacked archive or folder; ``{volume}`` stands for the volume.
        key: Array inside the file.
        urls: Where it is read lazily, mirrors in order.
        driver: What opens it; empty: inferred.
        dtype: Stored dtype; empty where unknown.
        shape: Voxels ``(z, y, x)`` at `voxel_size_nm`; None where unknown.
        voxel_size_nm: Voxel ``(z, y, x)`` of the scale that is opened; None: the file says.
        offset_nm: Corner of the first voxel ``(z, y, x)``; None: the file says, or 0.
        axes: Order of the stored axes, where the file does not say: ``"xyz"``.
        options: What only its driver takes, see `segmend.volumes.open_volume`.
        agglomerates: Annotations whose neurites its supervoxels are mapped to on reading; the ids
            of the second follow those of the first, 0 is no neurite.
        metadata_sha256: Of the file that describes a remote volume (``info``); empty: unknown.
    """

    doc: str
    labels: LabelSpec | None = None
    file: str = MAIN
    member: str = ""
    key: str = ""
    urls: tuple[str, ...] = ()
    driver: str = ""
    dtype: str = ""
    shape: tuple[int, int, int] | None = None
    voxel_size_nm: tuple[float, float, float] | None = None
    offset_nm: tuple[float, float, float] | None = None
    axes: str = ""
    options: dict[str, Any] = {}
    agglomerates: tuple[str, ...] = ()
    metadata_sha256: str = ""


class Beside(Strict, frozen=True):
    """A table or a folder of tracings that is published beside the volumes.

    Attributes:
        doc: What it holds.
        file: Name of the file it lies in.
        reader: What reads it, see `segmend.catalog.annotations.READERS`.
    """

    doc: str
    file: str
    reader: Literal[
        "l4dense-axons",
        "l4dense-dendrites",
        "l4dense-spine-heads",
        "l4dense-synapses",
        "l4dense-segments",
        "l4dense-connectome",
        "l4dense-interfaces",
        "tracings",
    ]


class Part(Strict, frozen=True):
    """A version or a volume of a data set: what differs in it.

    Attributes:
        doc: What it is.
        role: Its place in the official split, for a volume.
        date: When a version was published, ISO.
        layers: Layers that it adds or replaces.
        without: Layers of the data set that it lacks.
    """

    doc: str = ""
    role: Role = "none"
    date: str = ""
    layers: dict[str, Layer] = {}
    without: tuple[str, ...] = ()


class Overlap(Strict, frozen=True):
    """Tissue shared with another data set: training on one leaks into the other.

    Attributes:
        dataset: Name of the other.
        why: What is shared.
    """

    dataset: str
    why: str


class Uncertain(Strict, frozen=True):
    """Something recorded that is not certain.

    Attributes:
        what: Field of the record, dotted, or ``*``.
        why: What is known of it and from whom.
    """

    what: str
    why: str


class Record(Strict, frozen=True):
    """Everything that is known about a data set.

    Attributes:
        name: Name in the catalogue.
        title: One line for people.
        species: Value of the column ``species``.
        version: Default version of the segmentation; ids are unique within it.
        licence: Terms of use.
        citation: What to cite, plain text.
        grid_origin_nm: Corner ``(z, y, x)`` of the split cubes: the canonical bounds of the whole
            data set, never of the rows at hand.
        layers: Arrays by name; ``image`` and the label layers.
        files: Files that are fetched whole, by name.
        versions: Further versions of the segmentation by name.
        volumes: Volumes by name, where it has several.
        volume: Default volume.
        cases: ``nnunet``: the volumes are the cases of an nnU-Net folder, found when it is there.
        generated: What makes it, if it is not read: ``synthetic``.
        parameters: For a generated data set: what is made unless the caller says otherwise.
        tables: Further contents: ``edits``, ``synapses``, ``skeletons``.
        annotations: Tables and tracings that are published beside the volumes, by name.
        regions: Layers whose segments are named regions of the tissue.
        tissue: Organ or region.
        modality: For example ``FIB-SEM``.
        bibtex: The citation for a bibliography.
        homepage: Page of the owners.
        split: The official split, in words.
        metric: The official metric, in words.
        default_box_nm: Box ``(z, y, x)`` start and stop that ``segmend fetch`` takes from a volume
            too large to copy.
        folder: Folder of the data folder that fetched boxes go to; empty: its name.
        defects: Known defects, one sentence each.
        overlaps: Data sets that share tissue with this one.
        uncertain: What of this record is not certain.
    """

    name: str
    title: str
    species: str
    version: str
    licence: Licence
    citation: str
    grid_origin_nm: tuple[float, float, float]
    layers: dict[str, Layer] = {}
    files: dict[str, File] = {}
    versions: dict[str, Part] = {}
    volumes: dict[str, Part] = {}
    volume: str = ""
    cases: Literal["", "nnunet"] = ""
    generated: Literal["", "synthetic"] = ""
    parameters: dict[str, int] = {}
    tables: tuple[Literal["edits", "synapses", "skeletons"], ...] = ()
    annotations: dict[str, Beside] = {}
    regions: tuple[str, ...] = ()
    tissue: str = ""
    modality: str = ""
    bibtex: str = ""
    homepage: str = ""
    split: str = ""
    metric: str = ""
    default_box_nm: tuple[tuple[float, float, float], tuple[float, float, float]] | None = None
    folder: str = ""
    defects: tuple[str, ...] = ()
    overlaps: tuple[Overlap, ...] = ()
    uncertain: tuple[Uncertain, ...] = ()

    def layers_of(self, version: str, volume: str) -> dict[str, Layer]:
        """The layers of one version of one volume; the names must exist."""
        layers = dict(self.layers)
        for part in (self.volumes.get(volume), self.versions.get(version)):
            if part is not None:
                layers |= part.layers
                layers = {name: layer for name, layer in layers.items() if name not in part.without}
        return layers


def record_names() -> tuple[str, ...]:
    """Names of all shipped records."""
    folder = resources.files("segmend.catalog") / "records"
    return tuple(sorted(f.name.removesuffix(".toml") for f in folder.iterdir()))


def load_record(name: str) -> tuple[Record, Path | None]:
    """Load a record.

    Args:
        name: Name of a shipped record, or path of a ``.toml`` file of your own.

    Returns:
        The record, and the folder that its paths start from; None for the data folder.

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
    return _parse(shipped.read_bytes(), name), None


def _parse(text: bytes, source: str) -> Record:
    try:
        record = msgspec.toml.decode(text, type=Record)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise SchemaError(
            f"{source} is not a data set record",
            found=str(error),
            fix="See CONTRIBUTING.md, 'To add a data set'",
        ) from error
    _check(record, source)
    return record


def _check(record: Record, source: str) -> None:
    """What a schema cannot say: names that must exist, and an image in every volume."""
    for volume in [""] if record.cases else [*record.volumes] or [""]:
        image = record.layers_of(record.version, volume).get("image")
        if image is None or image.labels is not None:
            of = f" of volume '{volume}'" if volume else ""
            raise SchemaError(f"{source} needs a layer 'image' without label meaning{of}")
    parts = (*record.versions.values(), *record.volumes.values())
    layers = (record.layers, *(part.layers for part in parts))
    for name, layer in (item for some in layers for item in some.items()):
        _check_layer(record, name, layer, source)
    for name, beside in record.annotations.items():
        if beside.file not in record.files:
            raise _no_file(record, f"{source}: annotation '{name}'", beside.file)
    for name in record.regions:
        painted = record.layers.get(name)
        if painted is None or painted.labels is None:
            raise SchemaError(
                f"{source}: its regions name '{name}', which is no label layer",
                found=f"layers: {sorted(record.layers)}",
            )
    if record.volumes and not record.cases and record.volume not in record.volumes:
        raise SchemaError(
            f"{source}: the default volume '{record.volume}' is not one of its volumes",
            found=f"volumes: {sorted(record.volumes)}",
        )


def _check_layer(record: Record, name: str, layer: Layer, source: str) -> None:
    if not record.generated and not layer.urls and layer.file not in record.files:
        raise _no_file(record, f"{source}: layer '{name}'", layer.file, ", or give the layer urls")
    if layer.urls and layer.labels is not None and layer.labels.names:
        raise SchemaError(
            f"{source}: names of codes are looked up in a file, and layer '{name}' has urls",
            fix="Say with 'classes' which value is which class",
        )
    unknown = sorted(set(layer.agglomerates) - set(record.annotations))
    if unknown:
        raise SchemaError(
            f"{source}: layer '{name}' maps to the neurites of '{unknown[0]}'",
            found=f"annotations: {sorted(record.annotations) or 'none'}",
        )


def _no_file(record: Record, what: str, file: str, otherwise: str = "") -> SchemaError:
    return SchemaError(
        f"{what} lies in the file '{file}', which has no entry",
        found=f"files: {sorted(record.files) or 'none'}",
        fix=f"Add [files.{file}] with its path{otherwise}",
    )
