"""A record as text for people."""

from __future__ import annotations

from collections.abc import Iterator

from segmend.catalog.record import File, Layer, Licence, Part, Record


def described(record: Record) -> str:
    """Everything a record says."""
    parts = [f"{record.name}: {record.title}", _table(facts(record))]
    parts += [f"files\n{_lines(_file(n, f) for n, f in record.files.items())}"] * bool(record.files)
    parts += [f"layers\n{_layers(record.layers)}"] * bool(record.layers)
    beside = (
        f"{name}: {one.doc}\n    {one.file}, {one.reader}"
        for name, one in record.annotations.items()
    )
    parts += [f"annotations\n{_lines(beside)}"] * bool(record.annotations)
    for kind, members in (("version", record.versions), ("volume", record.volumes)):
        parts += [_part(f"{kind} {name}", part) for name, part in members.items()]
    parts += [f"{title}\n{_lines(lines)}" for title, lines in remarks(record) if lines]
    parts += [f"bibtex\n{record.bibtex.strip()}"] * bool(record.bibtex)
    return "\n\n".join(parts)


def facts(record: Record) -> list[tuple[str, str]]:
    """What a record says of the data set as a whole, name by name; only what is known."""
    versions = [record.version, *(v for v in record.versions if v != record.version)]
    box = record.default_box_nm
    said = [
        ("species", record.species),
        ("tissue", record.tissue),
        ("modality", record.modality),
        ("versions", ", ".join([f"{versions[0]} (default)", *versions[1:]])),
        ("volumes", _volumes(record)),
        ("licence", licence_text(record.licence)),
        ("homepage", record.homepage),
        ("citation", " ".join(record.citation.split())),
        ("split", record.split),
        ("metric", record.metric),
        ("tables", ", ".join(record.tables)),
        ("parameters", ", ".join(f"{k} = {v}" for k, v in record.parameters.items())),
        ("corner of the split cubes", f"{list(record.grid_origin_nm)} nm (z, y, x)"),
        ("box that is fetched", f"{list(box[0])} to {list(box[1])} nm (z, y, x)" if box else ""),
    ]
    return [(name, text) for name, text in said if text]


def _volumes(record: Record) -> str:
    if record.cases:
        return "the cases of its nnU-Net folder"
    return ", ".join(f"{v} (default)" if v == record.volume else v for v in record.volumes)


def licence_text(licence: Licence) -> str:
    """Terms of use in a line: name, state, who says so, and what they forbid."""
    parts = [f"{licence.name} ({licence.state})" if licence.name else licence.state]
    parts += [f"by {licence.source}"] * bool(licence.source)
    parts += [f"forbids {' and '.join(licence.forbids)}"] * bool(licence.forbids)
    return ", ".join(parts)


def remarks(record: Record) -> list[tuple[str, list[str]]]:
    """What to beware of: a heading and sentences, none of them where there is nothing."""
    return [
        ("defects", list(record.defects)),
        ("leaks: shared tissue", [f"{o.dataset}: {o.why}" for o in record.overlaps]),
        ("not certain", [f"{u.what}: {u.why}" for u in record.uncertain]),
    ]


def _file(name: str, file: File) -> str:
    sums = [f"{k} {v}" for k, v in (("sha256", file.sha256), ("md5", file.md5)) if v]
    size = f"{file.size_bytes} bytes" if file.size_bytes else "size unknown"
    places = [f"\n    {url}" for url in file.urls] or ["\n    not published: the user has it"]
    said = ", ".join([file.path, size, *(sums or ["no checksum"])])
    return f"{name}: {said}{''.join(places)}"


def _part(title: str, part: Part) -> str:
    role = "" if part.role == "none" else part.role
    about = "; ".join(text for text in (part.doc, role, part.date) if text)
    missing = f"  without {', '.join(part.without)}" if part.without else ""
    lines = [f"{title}: {about}" if about else title, _layers(part.layers), missing]
    return "\n".join(line for line in lines if line)


def _layers(layers: dict[str, Layer]) -> str:
    return _lines(_layer(name, layer) for name, layer in layers.items())


def _layer(name: str, layer: Layer) -> str:
    shape = f"{' x '.join(map(str, layer.shape))} voxels" if layer.shape else "shape: the file says"
    size = (
        f"{' x '.join(f'{v:g}' for v in layer.voxel_size_nm)} nm"
        if layer.voxel_size_nm
        else "voxel size: the file says"
    )
    inside = " ".join(text for text in (layer.member, layer.key) if text)
    places = [*layer.urls] or [f"in the file {layer.file}{': ' if inside else ''}{inside}"]
    meaning = [f"labels: {_meaning(layer)}"] if layer.labels else []
    lines = [f"{name}: {layer.doc}", ", ".join(t for t in (layer.dtype, shape, size) if t)]
    return "\n    ".join([*lines, *meaning, *places])


def _meaning(layer: Layer) -> str:
    spec = layer.labels
    assert spec is not None
    said = [spec.kind, f"background {spec.background}"]
    said += [f"invalid {', '.join(map(str, spec.invalid))}"] * bool(spec.invalid)
    said += [f"class {spec.as_class}"] * bool(spec.as_class)
    said += [f"{value} = {name}" for value, name in spec.classes.items()]
    said += [f"'{named}' = {name}" for named, name in spec.names.items()]
    said += [f"{name} from {first}" for name, first in spec.codes.items()]
    return ", ".join(said)


def _lines(lines: Iterator[str] | list[str]) -> str:
    return "\n".join(f"  {line}" for line in lines)


def _table(facts: list[tuple[str, str]]) -> str:
    width = max(len(name) for name, _ in facts)
    return "\n".join(f"  {name.ljust(width)}  {text}" for name, text in facts)
