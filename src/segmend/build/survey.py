"""What can be asked about one volume: its edits and controls, before anything is drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from segmend.build.settings import PlanSettings, Source
from segmend.build.sources import OpenedSource, open_source
from segmend.catalog.located_synapses import located_synapses
from segmend.core.box import Point, Triple
from segmend.core.errors import NoSamplesError, PlanError
from segmend.core.grid import VoxelGrid
from segmend.core.ids import Ids
from segmend.core.sample import Split
from segmend.edits.block_survey import Compared, Counted, contacts_of, count_blocks
from segmend.edits.logged import logged_edits
from segmend.edits.operation import EditOp, EditSet, Identity, edit_set
from segmend.edits.overlap import OverlapRules, overlap_edits
from segmend.edits.overlap_blocks import overlap_edits_by_blocks
from segmend.edits.overlap_table import Overlap, overlap_table
from segmend.edits.placed import Ground, placed_edits
from segmend.edits.placed_controls import PlacedControls, placed_controls
from segmend.edits.supervoxel_cut import Agglomerated, cut_by_supervoxels
from segmend.edits.synthetic_log import synthetic_log_edits
from segmend.render.site import Layers
from segmend.samples.candidate import Candidate
from segmend.samples.context import SampleContext, SampleRules
from segmend.samples.draw import draw_candidates
from segmend.segments.contacts import Contacts, find_contacts
from segmend.segments.label_reader import LabelReader, Labels, whole
from segmend.synthetic.history import Synapse


@dataclass(frozen=True, slots=True)
class Survey:
    """One volume of a plan and every question found in it.

    Attributes:
        name: Name of the volume within the plan.
        split: The split that all its rows belong to, where the plan says so.
        facts: What plan and card say about it.
        grid_origin_nm: Corner of the split cubes, from the record.
        layers: What is drawn from.
        candidates: The questions.
        excluded: What was considered and left out: count by ``stage: reason``.
    """

    name: str
    split: Split | None
    facts: dict[str, Any]
    grid_origin_nm: Point
    layers: Layers
    candidates: tuple[Candidate, ...]
    excluded: Counter[str]


def survey(source: Source, *, settings: PlanSettings, folder: Path) -> Survey:
    """Open a volume and find every question in it.

    Args:
        source: The volume.
        settings: The plan.
        folder: The plan's folder, where its paths start.

    Raises:
        NoSamplesError: if it has no edits.
        SegmendError: whatever opening it raises.
    """
    one = open_source(source, settings, folder)
    excluded: Counter[str] = Counter()
    candidates = _candidates(one, settings, excluded)
    return Survey(
        name=one.name,
        split=source.split,
        facts=one.facts(),
        grid_origin_nm=one.dataset.record.grid_origin_nm,
        layers=one.layers,
        candidates=candidates,
        excluded=excluded,
    )


@dataclass(frozen=True, eq=False)
class FoundEdits:
    """The edits of one volume and what they were found in.

    Attributes:
        automatic: uint64 ``(z, y, x)``.
        neurons: uint64, the same shape.
        supervoxels: uint64, the same shape, where splits go along them.
        contacts: Contacts of ``automatic``.
        edits: The edits.
        counted: Overlaps and boxes, where they were counted by blocks.
    """

    automatic: Labels
    neurons: Labels
    supervoxels: Ids | None
    contacts: Contacts
    edits: EditSet
    counted: Counted | None = None

    def overlaps(self, grid: VoxelGrid) -> Mapping[int, Overlap]:
        """How each segment of ``automatic`` is shared out among the neurons."""
        if self.counted is not None:
            return self.counted.overlaps
        return overlap_table(whole(self.automatic), whole(self.neurons), grid)


def found_edits(one: OpenedSource, settings: PlanSettings) -> FoundEdits:
    """The edits of an opened volume, as the plan asks for them.

    Raises:
        NoSamplesError: if there are none.
    """
    if settings.edits.block is not None:
        return _found_by_blocks(one, settings, settings.edits.block)
    automatic, neurons = one.segments("automatic"), one.segments("neurons")
    supervoxels = one.segments("supervoxels") if one.layers.supervoxels else None
    contacts = find_contacts(automatic, one.grid)
    if settings.edits.source == "overlap":
        rules, identity = _size_rules(settings), _identity(one)
        edits = overlap_edits(
            automatic, neurons, contacts, one.grid, rules=rules, identity=identity
        )
    else:
        table = overlap_table(automatic, neurons, one.grid)
        edits = _logged(one, settings, Ground(automatic, neurons, one.grid), table, contacts)
    if supervoxels is not None:
        volume = Agglomerated(automatic, supervoxels, neurons, one.grid)
        edits = cut_by_supervoxels(edits, volume, rules=_size_rules(settings))
    _check_edits(one, edits)
    return FoundEdits(automatic, neurons, supervoxels, contacts, edits)


def _found_by_blocks(one: OpenedSource, settings: PlanSettings, block: Triple) -> FoundEdits:
    """The same edits and contacts, with a block in memory at a time."""
    automatic, neurons = one.reader("automatic"), one.reader("neurons")
    compared = Compared(automatic.read, neurons.read, one.grid, block)
    counted = count_blocks(compared)
    contacts = contacts_of(compared, counted)
    if settings.edits.source == "overlap":
        made = overlap_edits_by_blocks(
            compared, rules=_size_rules(settings), identity=_identity(one), counted=counted
        )
        edits = edit_set(op if isinstance(op, EditOp) else op.reason for op in made)
    else:
        ground = Ground(automatic, neurons, one.grid)
        edits = _logged(one, settings, ground, counted.overlaps, contacts)
    _check_edits(one, edits)
    return FoundEdits(automatic, neurons, None, contacts, edits, counted)


def _candidates(
    one: OpenedSource, settings: PlanSettings, excluded: Counter[str]
) -> tuple[Candidate, ...]:
    found = found_edits(one, settings)
    record = one.dataset.record
    controls = PlacedControls()
    if one.frozen is not None:
        controls = placed_controls(one.frozen, Ground(found.automatic, found.neurons, one.grid))
    synapses, asked = controls.synapses, settings.samples.types
    if synapses is None:
        wanted = "synapse_control" in asked
        synapses = _synapses(one, found.automatic, excluded) if wanted else ()
    excluded.update(
        {f"samples: {w}": n for w, n in controls.excluded.items() if w.partition(":")[0] in asked}
    )
    context = SampleContext(
        dataset=record.name,
        version=record.version,
        volume=one.name,
        species=record.species,
        grid=one.grid,
        automatic=found.automatic,
        neurons=found.neurons,
        contacts=found.contacts,
        edits=found.edits,
        synapses=synapses,
        rules=_sample_rules(settings),
        seed=settings.seed,
        supervoxels=found.supervoxels,
        controls=controls,
        counted=found.counted,
    )
    drawn = draw_candidates(context, settings.samples.types)
    for stage, reasons in (("edits", context.edits.excluded), ("samples", drawn.excluded)):
        excluded.update({f"{stage}: {reason}": n for reason, n in reasons.items()})
    return drawn.candidates


def _synapses(one: OpenedSource, automatic: Labels, excluded: Counter[str]) -> tuple[Synapse, ...]:
    """The synapses of the data set, those of a published table found in the segmentation."""
    if "synapses" not in one.dataset.annotations:
        return one.dataset.synapses
    if isinstance(automatic, LabelReader):
        raise PlanError(
            f"the synapses of source '{one.name}' cannot be located by blocks",
            found="they are looked up in the whole segmentation at once",
            fix="Leave edits.block out, or synapse_control out of samples.types",
        )
    found, left_out = located_synapses(
        one.dataset.annotations, automatic, one.grid, whole=one.layers.automatic.grid
    )
    excluded.update({f"samples: synapse_control: {why}": n for why, n in left_out.items()})
    return found


def _identity(one: OpenedSource) -> Identity:
    return Identity(one.dataset.record.name, one.dataset.record.version, one.name)


def _logged(
    one: OpenedSource,
    settings: PlanSettings,
    ground: Ground,
    table: Mapping[int, Overlap],
    contacts: Contacts,
) -> EditSet:
    """Edits that somebody logged, or that were put in, on a volume."""
    how: dict[str, Any] = {"rules": _size_rules(settings), "identity": _identity(one)}
    if one.injected is not None:
        return logged_edits(one.injected, table, contacts, **how)
    if one.frozen is not None:
        placed = placed_edits(one.frozen.edits(), ground, table, contacts, **how)
        # What the history itself left out stays in the account.
        closure = one.frozen.closure
        return EditSet(placed.ops, placed.excluded + closure.dropped + closure.failed)
    return synthetic_log_edits(one.dataset.edits, table, contacts, **how)


def _check_edits(one: OpenedSource, edits: EditSet) -> None:
    if not edits.ops:
        reasons = ", ".join(f"{n} x {reason}" for reason, n in edits.excluded.most_common(5))
        raise NoSamplesError(
            f"no edits found in source '{one.name}'",
            found=f"left out: {reasons or 'nothing: the two segmentations agree'}",
            fix="Check that 'automatic' and 'neurons' belong together, or relax [edits]",
        )


def _size_rules(settings: PlanSettings) -> OverlapRules:
    edits = settings.edits
    return OverlapRules(
        min_segment_voxels=edits.min_segment_voxels,
        min_purity=edits.min_purity,
        min_contact_faces=edits.min_contact_faces,
        min_side_voxels=edits.min_side_voxels,
        min_side_radius_nm=edits.min_side_radius_nm,
    )


def _sample_rules(settings: PlanSettings) -> SampleRules:
    samples, view = settings.samples, settings.view
    return SampleRules(
        half_extent_nm=view.half_extent_nm,
        jitter_nm=view.jitter_nm,
        adjacent_per_merge=samples.adjacent_per_merge,
        adjacent_cube_nm=samples.adjacent_cube_nm,
        junction_min_purity=samples.junction_min_purity,
        junction_min_degree=samples.junction_min_degree,
        size=_size_rules(settings),
    )
