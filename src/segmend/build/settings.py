"""What a plan file may say: one frozen record per table, unknown keys refused."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta

from segmend.core.errors import PlanError
from segmend.core.sample import SAMPLE_TYPES, SchemaVersion, Split
from segmend.samples.splits import LEAKS, NAMED_RULES, NamedRule

Positive = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]
Share = Annotated[float, Meta(ge=0, le=1)]
Leak = Literal["view", "lineage"]


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of every table of a plan."""


class Source(Table, frozen=True):
    """One volume.

    Attributes:
        dataset: Name in the catalogue, or path of a record.
        path: Its file; starts at the plan's folder.
        volume: Name of this volume among several of one data set.
        split: With the rule ``volume``: the split that all its rows belong to.
        parameters: For ``synthetic``: the tissue's parameters.
        box_nm: The part that questions are asked about, start and stop ``(z, y, x)`` nm; by
            default all of it. What a view shows may lie beyond.
        automatic: The label layer that is proofread.
        neurons: The label layer that says what belongs together.
        edits: With ``edits.source = "frozen"``: the folder of its frozen edits, and of the controls
            that were frozen with them; starts at the plan's folder.
    """

    dataset: str
    path: str = ""
    volume: str = ""
    split: Split | None = None
    parameters: dict[str, Any] = {}
    box_nm: tuple[tuple[float, float, float], tuple[float, float, float]] | None = None
    automatic: str = "automatic"
    neurons: str = "neurons"
    edits: str = ""


class Injected(Table, frozen=True):
    """Errors that are put into the layer ``neurons``, with ``edits.source = "injected"``.

    Attributes:
        constrictions: Neurons to cut at their thinnest neck, at most.
        sections: Sections to lose.
        section_share: Share of the neurons crossing such a section that are cut there.
        merges: Pairs of neurons that touch to stick together, at most; larger contacts are
            likelier.
        min_voxels: Smallest part of a cut, and smallest neuron of a pair.
        min_faces: Smallest contact of a cut or a pair, voxel faces.
    """

    constrictions: Annotated[int, Meta(ge=0)] = 20
    sections: Annotated[int, Meta(ge=0)] = 1
    section_share: Share = 0.5
    merges: Annotated[int, Meta(ge=0)] = 20
    min_voxels: Count = 1000
    min_faces: Count = 20


class Edits(Table, frozen=True):
    """Where edits come from and which count.

    Attributes:
        source: ``overlap``: compare the layers ``automatic`` and ``neurons``; ``synthetic-log``:
            the true history of synthetic tissue; ``frozen``: each source's frozen ``edits``, by
            where their clicks lie in the layers ``automatic`` and ``neurons``; ``injected``: errors
            that are put into the layer ``neurons``, and no layer ``automatic`` is needed.
        sides: ``neurons``: a split goes along the true neurons; ``supervoxels``: along the layer
            ``supervoxels``, as a proofreader of an agglomerated segmentation must split.
        min_segment_voxels: Smallest segment that takes part in a merge or a control.
        min_purity: Smallest share of one neuron in such a segment.
        min_contact_faces: Smallest contact of two segments, voxel faces.
        min_side_voxels: Smallest side of a split.
        min_side_radius_nm: Radius of the largest ball that must fit into a side of a split;
            thinner sides are shells along a membrane that two segmentations draw differently.
        block: Voxels held in memory at a time while edits and controls are found, ``(z, y, x)``; by
            default the whole volume is. What is found does not depend on it.
        injected: See below.
    """

    source: Literal["overlap", "synthetic-log", "frozen", "injected"] = "overlap"
    sides: Literal["neurons", "supervoxels"] = "neurons"
    min_segment_voxels: Count = 500
    min_purity: Share = 0.8
    min_contact_faces: Count = 20
    min_side_voxels: Count = 1000
    min_side_radius_nm: Annotated[float, Meta(ge=0)] = 25.0
    block: tuple[Count, Count, Count] | None = None
    injected: Injected = Injected()


class Samples(Table, frozen=True):
    """Which sample types are asked for, and how many.

    Attributes:
        types: Names of sample types.
        adjacent_per_merge: Most adjacent controls for one merge edit.
        adjacent_cube_nm: Edge of the cube around a merge in which neighbours are looked for.
        junction_min_purity: Smallest share of one neuron in a segment with junction controls.
        junction_min_degree: Fewest branches that meet at a junction.
        max_rows: Most rows by type; what a smaller number keeps, a larger one keeps too.
    """

    types: tuple[str, ...] = tuple(SAMPLE_TYPES)
    adjacent_per_merge: Annotated[int, Meta(ge=0)] = 3
    adjacent_cube_nm: Positive = 500.0
    junction_min_purity: Share = 0.95
    junction_min_degree: Annotated[int, Meta(ge=3)] = 3
    max_rows: dict[str, Count] = {}


class View(Table, frozen=True):
    """The geometry views.

    Attributes:
        half_extent_nm: Range that the half-width is drawn from.
        jitter_nm: Standard deviation of the centre around the site, per axis.
        encoding: ``metric`` (ours) or ``published`` (as ConnectomeBench2 codes depth and normals).
    """

    half_extent_nm: tuple[Positive, Positive]
    jitter_nm: Annotated[float, Meta(ge=0)]
    encoding: Literal["metric", "published"] = "metric"


class Em(Table, frozen=True):
    """The EM slices.

    Attributes:
        pixel_size_nm: nm per pixel of the 224 x 224 slices.
    """

    pixel_size_nm: Positive


class Splits(Table, frozen=True):
    """How rows are dealt to train, validation and test.

    Attributes:
        rule: ``cubes``: by the cube of space a site lies in; ``cubes-guarded``: the same, without
            rows that look into another split's cube and training rows whose neuron is tested;
            ``volume``: by whole volume. Names with their own cubes and shares: ``cubes-50um``
            (those of ConnectomeBench2 v1), ``cubes-80um`` (v2), ``cubes-80um-guarded``; which
            cube is in which split follows from our hash, for theirs is not published.
        cube_nm: Edge of a cube, for ``cubes`` and ``cubes-guarded``; 80,000 unless stated.
        fractions: Shares of train, validation and test, for the same; 0.75, 0.125, 0.125 unless
            stated.
        accepted_leaks: Leaks that the rule leaves open and the plan accepts; printed beside every
            score. ``cubes`` leaves ``view`` and ``lineage`` open, the others nothing.
    """

    rule: Literal[
        "cubes", "cubes-guarded", "volume", "cubes-50um", "cubes-80um", "cubes-80um-guarded"
    ]
    cube_nm: Positive | None = None
    fractions: tuple[Share, Share, Share] | None = None
    accepted_leaks: tuple[Leak, ...] = ()

    @property
    def numbers(self) -> NamedRule:
        """The rule with all its numbers."""
        if self.rule in NAMED_RULES:
            return NAMED_RULES[self.rule]
        usual = NAMED_RULES["cubes-80um"]
        kind = next(kind for kind in LEAKS if kind == self.rule)
        return NamedRule(kind, self.cube_nm or usual.cube_nm, self.fractions or usual.fractions)


class Shards(Table, frozen=True):
    """How rows are packed.

    Attributes:
        rows: Rows per shard; the published data set has about 800.
        row_group: Rows per Parquet row group, the unit of reading.
        schema: Columns: ``v2``, or ``v1`` as ConnectomeBench2's first version has them.
    """

    rows: Count = 800
    row_group: Count = 10
    schema: SchemaVersion = "v2"


class PlanSettings(Table, frozen=True):
    """A plan file.

    Attributes:
        name: Name of the benchmark: lower-case letters, digits, ``-`` and ``_``.
        seed: Key of every random choice.
        sources: The volumes, one table each.
        view: See below.
        em: See below.
        splits: See below.
        edits: See below.
        samples: See below.
        shards: See below.
    """

    name: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
    seed: Annotated[int, Meta(ge=0)]
    sources: Annotated[tuple[Source, ...], Meta(min_length=1)]
    view: View
    em: Em
    splits: Splits
    edits: Edits = Edits()
    samples: Samples = Samples()
    shards: Shards = Shards()


def load_settings(path: Path, overrides: Sequence[str] = ()) -> PlanSettings:
    """Read a plan file.

    Args:
        path: TOML file.
        overrides: ``key=value`` with a dotted key and a TOML value, for example
            ``samples.max_rows.merge_edit=100`` or ``sources.0.split="test"``.

    Raises:
        PlanError: if the file is missing, is not TOML, has an unknown key, or a value that does
            not fit; the message names key and value.
    """
    try:
        data = tomllib.loads(path.read_text())
    except OSError as error:
        raise PlanError(f"cannot read the plan {path}", found=str(error.strerror)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PlanError(f"the plan {path} is not TOML", found=str(error)) from error
    for override in overrides:
        _override(data, override)
    try:
        plan = msgspec.convert(data, PlanSettings)
    except msgspec.ValidationError as error:
        raise PlanError(
            f"the plan {path} does not hold", found=str(error), fix=_hint(error)
        ) from None
    _check(plan, path)
    return plan


def _override(data: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise PlanError(f"--set {override} is not key=value")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value  # a bare word is a string
    *path, last = key.split(".")
    place: Any = data
    for part in path:
        place = _step(place, part, key)
    if isinstance(place, list):
        place[_index(place, last, key)] = parsed
    else:
        place[last] = parsed


def _step(place: Any, part: str, key: str) -> Any:
    if isinstance(place, list):
        return place[_index(place, part, key)]
    below = place.setdefault(part, {})
    if not isinstance(below, (dict, list)):
        raise PlanError(f"--set {key} goes through '{part}'", found=f"its value is {below!r}")
    return below


def _index(place: list[Any], part: str, key: str) -> int:
    if not part.isdigit() or int(part) >= len(place):
        raise PlanError(f"--set {key}: '{part}' is not a position", found=f"there are {len(place)}")
    return int(part)


def _hint(error: msgspec.ValidationError) -> str:
    unknown = re.search(r"unknown field `(.+?)`", str(error))
    if unknown is None:
        return "See docs/plan.md for every key"
    tables = (PlanSettings, Source, Edits, Injected, Samples, View, Em, Splits, Shards)
    known = {field for table in tables for field in table.__struct_fields__}
    near = difflib.get_close_matches(unknown[1], known, n=1)
    return f"Did you mean '{near[0]}'?" if near else "See docs/plan.md for every key"


def _check(plan: PlanSettings, path: Path) -> None:
    def refuse(what: str, found: str, fix: str) -> None:
        raise PlanError(f"the plan {path} does not hold: {what}", found=found, fix=fix)

    for name in (*plan.samples.types, *plan.samples.max_rows):
        if name not in SAMPLE_TYPES:
            refuse(f"no sample type '{name}'", f"known: {', '.join(SAMPLE_TYPES)}", "")
    low, high = plan.view.half_extent_nm
    if low > high:
        refuse("view.half_extent_nm must rise", f"[{low}, {high}]", "Write [smallest, largest]")
    splits = plan.splits
    if splits.rule in NAMED_RULES and (splits.cube_nm, splits.fractions) != (None, None):
        refuse(
            f"splits.rule '{splits.rule}' has its own cubes and shares",
            "cube_nm or fractions are set",
            "Use 'cubes' or 'cubes-guarded' for others",
        )
    total = sum(splits.numbers.fractions)
    if abs(total - 1) > 1e-9:
        refuse("splits.fractions must add up to 1", f"they add up to {total}", "")
    edits = plan.edits
    if edits.block and (edits.source == "injected" or edits.sides == "supervoxels"):
        what = "source 'injected'" if edits.source == "injected" else "sides 'supervoxels'"
        refuse(f"edits.{what} goes with no edits.block", "they take the volume whole", "")
    names = [source_name(s) for s in plan.sources]
    if len(set(names)) != len(names):
        refuse("two sources have one name", str(names), "Give each its own 'volume'")
    by_volume, frozen = plan.splits.rule == "volume", plan.edits.source == "frozen"
    for source, name in zip(plan.sources, names, strict=True):
        if frozen != bool(source.edits):
            refuse(
                f"source '{name}' {'needs' if frozen else 'must not have'} 'edits'",
                f"edits.source is '{plan.edits.source}'",
                "Name the folder that segmend edits freeze wrote" if frozen else "",
            )
        if by_volume != (source.split is not None):
            options = ", ".join(get_args(Split))
            refuse(
                f"source '{name}' {'needs' if by_volume else 'must not have'} a 'split'",
                f"splits.rule is '{plan.splits.rule}'",
                f"One of: {options}" if by_volume else "Only the rule 'volume' deals out sources",
            )


def source_name(source: Source) -> str:
    """Name of one source: the volume's if it has one, else the data set's."""
    return source.volume or Path(source.dataset).stem
