"""What the catalogue holds, one line a data set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from segmend.catalog.labels import UNION, LabelSpec
from segmend.catalog.record import Layer, Record, load_record, record_names
from segmend.core.registry import unknown_name


@dataclass(frozen=True, slots=True)
class Entry:
    """A data set in the list.

    Attributes:
        name: Name in the catalogue.
        title: One line for people.
        species: As in the record.
        modality: As in the record; empty where it does not apply.
        layers: Names of its layers, over all versions and volumes, the image first.
        labels: Common classes that its label layers can give.
        versions: Versions of the segmentation, the default first.
        volumes: Its volumes; empty where it has one, or where they are found in its folder.
        licence: Terms, by their SPDX name where there is one, else their state.
        licence_state: ``stated``, ``unstated`` or ``custom``.
        hashed: Files and remote volumes whose content is known by a checksum.
        sources: Files and remote volumes in all.
        uncertain: Number of things recorded that are not certain.
    """

    name: str
    title: str
    species: str
    modality: str
    layers: tuple[str, ...]
    labels: tuple[str, ...]
    versions: tuple[str, ...]
    volumes: tuple[str, ...]
    licence: str
    licence_state: str
    hashed: int
    sources: int
    uncertain: int


FILTERS = ("species", "modality", "licence", "labels")
"""What the list can be narrowed by: fields of `Entry`."""


def entry(record: Record) -> Entry:
    """The line of a data set."""
    layers = {name: layer for layers in _layers(record) for name, layer in layers.items()}
    files = list(record.files.values()) if not record.generated else []
    remote = {i.urls[0]: i for i in _all_layers(record) if i.urls}.values()
    return Entry(
        name=record.name,
        title=record.title,
        species=record.species,
        modality=record.modality,
        layers=tuple(sorted(layers, key=lambda name: name != "image")),
        labels=tuple(sorted({c for i in _all_layers(record) if i.labels for c in given(i.labels)})),
        versions=(record.version, *(v for v in record.versions if v != record.version)),
        volumes=() if record.cases else tuple(record.volumes),
        licence=record.licence.name or record.licence.state,
        licence_state=record.licence.state,
        hashed=sum(bool(f.sha256 or f.md5) for f in files)
        + sum(bool(i.metadata_sha256) for i in remote),
        sources=len(files) + len(remote),
        uncertain=len(record.uncertain),
    )


def given(spec: LabelSpec) -> set[str]:
    """Common classes that a label layer can give, background left out."""
    named = {spec.as_class, *spec.classes.values(), *spec.names.values(), *spec.codes}
    if spec.kind == "semantic" and not (spec.classes or spec.names):
        named = set(UNION)
    return named - {"", "background"}


def entries(**wanted: str | None) -> list[Entry]:
    """The data sets of the catalogue, by name, narrowed by any of `FILTERS`.

    Args:
        **wanted: What a field must be, in any case; for ``labels`` a class that is among them, and
            for ``licence`` its name or its state.

    Raises:
        UnknownNameError: for a value that no data set has.
    """
    found = [entry(load_record(name)[0]) for name in record_names()]
    everything = found
    for field, value in wanted.items():
        if value is None:
            continue
        known = {text for one in everything for text in _values(one, field)}
        if value.casefold() not in {text.casefold() for text in known}:
            raise unknown_name(field, value, dict.fromkeys(known))
        same = value.casefold()
        found = [e for e in found if same in {t.casefold() for t in _values(e, field)}]
    return found


def _values(one: Entry, field: str) -> set[str]:
    if field == "labels":
        return set(one.labels)
    if field == "licence":
        return {one.licence, one.licence_state}
    return {getattr(one, field)} - {""}


def _layers(record: Record) -> Iterator[dict[str, Layer]]:
    yield record.layers
    for part in (*record.volumes.values(), *record.versions.values()):
        yield part.layers


def _all_layers(record: Record) -> list[Layer]:
    return [layer for layers in _layers(record) for layer in layers.values()]
