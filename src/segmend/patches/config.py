"""Training data by configuration: what is mixed, sampled, changed and learnt, as a TOML file.

Shipped, in the folder ``configs``: ``snemi3d``, ``cremi``, ``microns``, ``mitoem2``, ``combine``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from segmend.catalog.dataset import open as open_dataset
from segmend.core.box import Box, Triple
from segmend.core.errors import BadInputError, LeakError
from segmend.core.registry import unknown_name
from segmend.patches.artefacts import Artefacts
from segmend.patches.augment import CutOut, Flips, Intensity, Sections
from segmend.patches.deform import Elastic, Misalignment
from segmend.patches.patches import Augmentation, Patches
from segmend.patches.sampling import GridSampler, RandomSampler, Want
from segmend.patches.shape import LocalShape
from segmend.patches.sources import Mix, Source, mix, source_of
from segmend.patches.targets import (
    Affinities,
    Binary,
    Boundaries,
    Centres,
    Semantic,
    SignedDistance,
    Target,
)

TARGETS: dict[str, type] = {
    "affinities": Affinities,
    "binary": Binary,
    "boundaries": Boundaries,
    "centres": Centres,
    "local_shape": LocalShape,
    "semantic": Semantic,
    "signed_distance": SignedDistance,
}
AUGMENTATIONS: dict[str, type] = {
    "artefacts": Artefacts,
    "cut_out": CutOut,
    "elastic": Elastic,
    "flips": Flips,
    "intensity": Intensity,
    "misalignment": Misalignment,
    "sections": Sections,
}
"""By the ``kind`` of a table; its other keys are the fields of the class."""

Count = Annotated[int, Meta(ge=1)]
Corners = tuple[tuple[float, float, float], tuple[float, float, float]]


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One volume, or a box of it.

    Attributes:
        dataset: Name in the catalogue, or path of a record, which starts at the file's folder.
        weight: Share of the samples, up to a factor.
        path: Its file, which starts at the file's folder; by default in the data folder.
        volume: Which of its volumes.
        version: Of its segmentation.
        labels: Layer of ids; by default its only one, else ``neurons``.
        box_nm: Start and stop ``(z, y, x)``, nm; by default all that image and labels share.
    """

    dataset: str
    weight: Annotated[float, Meta(gt=0)] = 1.0
    path: str = ""
    volume: str = ""
    version: str = ""
    labels: str = ""
    box_nm: Corners | None = None


class PatchesConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All of it.

    Attributes:
        size: Patch, voxels ``(z, y, x)``.
        train: What is learnt from.
        validation: What is validated on, patch by patch, unchanged; may be empty.
        targets: Tables of a ``kind`` of `TARGETS` and its fields.
        augment: Tables of a ``kind`` of `AUGMENTATIONS` and its fields, in order.
        labels: Give dense labels and their ids beside the targets.
        length: Samples per epoch.
        batch_size: Samples per batch.
        threads: Threads that make samples ahead.
        seed: Of everything random.
        want: Which patches, see `segmend.patches.sampling.RandomSampler`.
        share: Of a patch that must be known or foreground.
        balance: Classes of which each sample holds one.
        classes: Read the common classes.
        ignore: Classes that shall not count.
        voxel_size_nm: To resample every patch to; by default patches stay as stored.
    """

    size: tuple[Count, Count, Count]
    train: Annotated[tuple[Part, ...], Meta(min_length=1)]
    validation: tuple[Part, ...] = ()
    targets: tuple[dict[str, Any], ...] = ()
    augment: tuple[dict[str, Any], ...] = ()
    labels: bool = True
    length: Count = 1000
    batch_size: Count = 1
    threads: Annotated[int, Meta(ge=0)] = 2
    seed: int = 0
    want: Want = "anything"
    share: float = 0.05
    balance: tuple[str, ...] = ()
    classes: bool = False
    ignore: tuple[str, ...] = ()
    voxel_size_nm: tuple[float, float, float] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """What a configuration comes to.

    Attributes:
        train: Patches to learn from, changed at random.
        train_sampler: Which of them.
        validation: Patches as they are; None: nothing is validated on.
        validation_sampler: All of them, side by side.
    """

    train: Patches
    train_sampler: RandomSampler
    validation: Patches | None
    validation_sampler: GridSampler | None


def shipped() -> dict[str, Path]:
    """Files of the shipped configurations, by name."""
    folder = Path(str(files("segmend.patches") / "configs"))
    return {file.stem: file for file in sorted(folder.glob("*.toml"))}


def read_config(
    given: str | Path | Mapping[str, Any], **changes: Any
) -> tuple[PatchesConfig, Path]:
    """A configuration, and the folder that its paths start at.

    Args:
        given: Name of a shipped one, path of a TOML file, or its tables.
        **changes: Keys to replace.

    Raises:
        UnknownNameError: for a name that nothing is shipped under.
        BadInputError: for a key or a value that does not fit, or a file that is no TOML.
    """
    folder, where = Path(), "the configuration"
    tables: dict[str, Any]
    if isinstance(given, Mapping):
        tables = dict(given)
    else:
        known = shipped()
        file = known.get(str(given)) or Path(given)
        if not file.is_file():
            raise unknown_name("configuration", str(given), dict.fromkeys(known))
        where = str(file)
        # Shipped ones name no path; those of others start where the file lies.
        folder = Path() if str(given) in known else file.parent
        try:
            tables = tomllib.loads(file.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise BadInputError(f"{file} is no TOML", found=str(error)) from error
    try:
        return msgspec.convert(tables | changes, PatchesConfig), folder
    except msgspec.ValidationError as error:
        raise BadInputError(f"{where} does not hold", found=str(error)) from error


def prepare(config: PatchesConfig, folder: Path) -> Prepared:
    """Open what a configuration names.

    Raises:
        LeakError: if something is both learnt from and validated on.
        UnknownNameError: for a data set, class, target or augmentation that does not exist.
        BadInputError: for fields that do not fit, or patches that do not.
        NoSamplesError: if nothing of a source counts.
    """
    targets: list[Target] = [_made("target", TARGETS, table) for table in config.targets]
    augment: list[Augmentation] = [
        _made("augmentation", AUGMENTATIONS, table) for table in config.augment
    ]
    train, validation = _mixed(config, config.train, folder), None
    if config.validation:
        validation = _mixed(config, config.validation, folder)
        _check_apart(train.sources, validation.sources)
    size: Triple = config.size
    patches = Patches(train, size, targets=targets, augment=augment, labels=config.labels)
    sampler = RandomSampler(
        train,
        size,
        config.length,
        want=config.want,
        share=config.share,
        balance=config.balance,
        seed=config.seed,
    )
    if validation is None:
        return Prepared(patches, sampler, None, None)
    held_back = Patches(validation, size, targets=targets, labels=config.labels)
    return Prepared(patches, sampler, held_back, GridSampler(validation, size))


def _mixed(config: PatchesConfig, parts: Sequence[Part], folder: Path) -> Mix:
    weights: dict[Source, float] = {}
    for number, part in enumerate(parts):
        source = _source(config, part, folder)
        if source.name in {other.name for other in weights}:  # several boxes of one volume
            source = replace(source, name=f"{source.name} #{number}")
        weights[source] = part.weight
    return mix(weights, voxel_size=config.voxel_size_nm)


def _source(config: PatchesConfig, part: Part, folder: Path) -> Source:
    record = part.dataset.endswith(".toml")
    opened = open_dataset(
        str(folder / part.dataset) if record else part.dataset,
        path=folder / part.path if part.path else None,
        volume=part.volume or None,
        version=part.version or None,
    )
    return source_of(
        opened,
        labels=part.labels or None,
        classes=config.classes,
        ignore=config.ignore,
        within=None if part.box_nm is None else Box(*part.box_nm),
    )


def _check_apart(train: Sequence[Source], validation: Sequence[Source]) -> None:
    for one in train:
        for other in validation:
            shared = (
                one.box.intersect(other.box) if one.image.source == other.image.source else None
            )
            if shared is not None:
                raise LeakError(
                    f"'{one.name}' is both learnt from and validated on",
                    found=f"{shared} is in both",
                    fix="Give both parts a box_nm of their own",
                )


def _made(what: str, kinds: Mapping[str, type], table: Mapping[str, Any]) -> Any:
    """A target or an augmentation from its table."""
    kind = str(table.get("kind", ""))
    if kind not in kinds:
        raise unknown_name(what, kind, dict.fromkeys(kinds))
    given = {key: value for key, value in table.items() if key != "kind"}
    known = [field.name for field in fields(kinds[kind]) if field.init]
    for key in given:
        if key not in known:
            raise unknown_name(f"field of {what} '{kind}'", key, dict.fromkeys(known))
    try:
        return msgspec.convert(given, kinds[kind])
    except msgspec.ValidationError as error:
        raise BadInputError(f"{what} '{kind}' does not hold", found=str(error)) from error
