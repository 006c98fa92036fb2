"""Is what the records name still there, and is it what they say? Asked of every source at once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import msgspec

from segmend.catalog.opening import Location, open_layer
from segmend.catalog.record import File, Layer, Record
from segmend.core.errors import BadInputError, ReadFailedError, VerificationError
from segmend.store.options import StoreOptions
from segmend.store.probe import Probed, probe
from segmend.store.retry import RetryPolicy, TimeLimits
from segmend.store.webdav import list_files
from segmend.volumes.drivers.hdf5_cubes import CUBE_NAME
from segmend.volumes.formats import FORMATS

State = Literal["alive", "changed", "unreachable", "unknown"]

OPTIONS = StoreOptions(
    retry=RetryPolicy(attempts=3, budget_s=30.0), limits=TimeLimits(10.0, 20.0, 20.0, total_s=30.0)
)
"""A source that takes longer than this to say a few bytes counts as unreachable."""

AT_ONCE = 8
"""Sources asked at the same time."""


@dataclass(frozen=True, slots=True)
class Check:
    """What was found out about one source.

    Attributes:
        dataset: Name of the data set.
        what: ``file NAME`` or ``layer NAME``, of which version or volume.
        place: URL, or path of the copy on this machine.
        state: ``alive``: it answers, and agrees with everything that is recorded and can be
            compared; ``changed``: it answers, and is not what is recorded; ``unreachable``: it is
            not there, or nobody answers; ``unknown``: there is nothing to ask.
        why: What was compared, or what went wrong.
    """

    dataset: str
    what: str
    place: str
    state: State
    why: str


Question = Callable[[], Check]
Finding = Callable[[], tuple[State, str]]


def check_records(
    records: Iterable[tuple[Record, Path]],
    report: Callable[[int, int], None] = lambda _done, _total: None,
) -> list[Check]:
    """Ask every source of some records: the servers, and the copies on this machine.

    Args:
        records: Records, each with the folder that its files are kept in.
        report: Told how many of how many sources have been asked.

    Returns:
        A check of each file and mirror, in the order of the records.
    """
    questions = [q for record, folder in records for q in _questions(record, folder)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        checks = []
        for check in pool.map(lambda ask: ask(), questions):
            checks.append(check)
            report(len(checks), len(questions))
    return checks


def _questions(record: Record, folder: Path) -> Iterator[Question]:
    ask = partial(_answer, record)
    if record.generated:
        yield ask("all layers", "", _unknown("it is generated, not read"))
    for name, file in () if record.generated else record.files.items():
        what, copy = f"file {name}", folder / file.path
        if not file.urls:
            yield ask(what, "", _unknown("nobody publishes it; the user has it"))
        cube = _cube(record, name)
        for url in file.urls:
            served = _held if file.listed else partial(_served, file)
            yield ask(what, f"{url}{cube}", partial(served, f"{url}{cube}"))
        if copy.is_file():
            yield ask(what, str(copy), partial(_kept, file, copy))
    for what, name, layer in _remote_layers(record):
        for url in layer.urls:
            mirror = msgspec.structs.replace(layer, urls=(url,))
            yield ask(what, url, partial(_opened, record, name, mirror))


def _cube(record: Record, name: str) -> str:
    """What follows the address of a folder of cubes: the one in its middle stands for all."""
    for layer in record.layers.values():
        if layer.file == name and layer.driver == "hdf5-cubes":
            z, y, x = (count // 2 for count in layer.options["grid_shape"])
            return "/" + str(layer.options.get("name", CUBE_NAME)).format(x=x, y=y, z=z)
    return ""


def _answer(record: Record, what: str, place: str, find: Finding) -> Question:
    """A question whose failure is an answer."""

    def question() -> Check:
        try:
            state, why = find()
        except ReadFailedError as error:
            state, why = "unreachable", error.found or error.asked
        except (BadInputError, VerificationError) as error:
            state, why = "changed", f"{error.asked}: {error.found}" if error.found else error.asked
        return Check(record.name, what, place, state, why)

    return question


def _unknown(why: str) -> Finding:
    return lambda: ("unknown", why)


def _served(file: File, url: str) -> tuple[State, str]:
    """A file as its server describes it; its content is not read."""
    said = probe(url, OPTIONS)
    known = [_same_size(file, said)]
    if file.md5 and said.md5:
        known.append(_same("md5", file.md5, said.md5))
    elif file.sha256 or file.md5:
        known.append("its checksum is compared when it is fetched")
    return "alive", "; ".join(known)


def _held(url: str) -> tuple[State, str]:
    """A folder as its server lists it."""
    files = list_files(url, OPTIONS)
    return "alive", f"{len(files)} files, not recorded"


def _kept(file: File, copy: Path) -> tuple[State, str]:
    """A copy on this machine, read whole if its checksum is known."""
    known = [_same_size(file, Probed(copy.stat().st_size))]
    for algorithm, recorded in (("sha256", file.sha256), ("md5", file.md5)):
        if recorded:
            with copy.open("rb") as content:
                found = hashlib.file_digest(content, algorithm).hexdigest()
            known.append(_same(algorithm, recorded, found))
    return "alive", "; ".join(known)


def _opened(record: Record, name: str, layer: Layer) -> tuple[State, str]:
    """A remote volume: the file that describes it, then its layout as the record has it."""
    marker, known = _marker(layer), []
    if marker is not None:
        url = f"{layer.urls[0].rstrip('/')}/{marker}"
        found = _digest(url)
        if layer.metadata_sha256:
            known.append(_same(f"sha256 of {marker}", layer.metadata_sha256, found))
        else:
            known.append(f"sha256 of {marker} is {found}, not recorded")
    volume = open_layer(record, name, layer, at=Location(Path()), volume="")
    known.append(f"layout as recorded ({volume.dtype}, {volume.grid.shape} voxels)")
    return "alive", "; ".join(known)


def _marker(layer: Layer) -> str | None:
    """The file that describes a volume, where its format has one name for it."""
    markers = FORMATS[layer.driver].markers if layer.driver else ()
    return markers[0] if len(markers) == 1 else None


def _digest(url: str) -> str:
    """sha256 of a small file, read from where it lies: a server that is gone is not waited for."""
    from segmend.store.open import open_store

    root, _, key = url.rpartition("/")
    data = open_store(root, OPTIONS).read(key)
    if data is None:
        raise ReadFailedError(
            f"there is no {url}", found=f"there is no file '{key}'", reason="missing", url=url
        )
    return hashlib.sha256(data).hexdigest()


def _same_size(file: File, said: Probed) -> str:
    if said.size is None:
        return "the server does not say its size"
    if not file.size_bytes:
        return f"{said.size} bytes, not recorded"
    return _same("size", str(file.size_bytes), str(said.size))


def _same(what: str, recorded: str, found: str) -> str:
    if recorded != found:
        raise VerificationError(f"{what} is {found}", found=f"the record says {recorded}")
    return f"{what} as recorded"


def _remote_layers(record: Record) -> Iterator[tuple[str, str, Layer]]:
    """Layers that are read where they lie, over all versions and volumes, each once."""
    parts = [("", record.layers)]
    parts += [(f" of {name}", part.layers) for name, part in record.versions.items()]
    parts += [(f" of {name}", part.layers) for name, part in record.volumes.items()]
    for of, layers in parts:
        for name, layer in layers.items():
            if layer.urls:
                yield f"layer {name}{of}", name, layer
