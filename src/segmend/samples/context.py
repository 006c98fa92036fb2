"""Everything that the sample types draw their candidates from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from segmend.core.box import VoxelBox
from segmend.core.errors import BadInputError
from segmend.core.grid import VoxelGrid
from segmend.core.ids import Ids
from segmend.edits.block_survey import Counted
from segmend.edits.operation import EditSet, Identity, SideLayer
from segmend.edits.overlap import OverlapRules
from segmend.edits.overlap_table import Overlap, overlap_table
from segmend.edits.placed_controls import PlacedControls
from segmend.segments.boxes import segment_boxes
from segmend.segments.contacts import Contacts
from segmend.segments.label_reader import Labels, whole
from segmend.synthetic.history import Synapse


@dataclass(frozen=True, slots=True)
class SampleRules:
    """How candidates are drawn; the defaults are those of the design, section 3.

    Attributes:
        half_extent_nm: Smallest and largest half-width of the views, nm.
        jitter_nm: Standard deviation of the view centre around the site, nm per axis.
        adjacent_per_merge: Most adjacent controls for one merge.
        adjacent_cube_nm: Edge of the cube around a merge in which neighbours are looked for, nm; as
            published.
        junction_min_purity: Smallest share of one neuron in a segment with junction controls, and
            in what their view shows of it.
        junction_min_degree: Fewest branches that meet at a junction.
        size: Which segments and contacts are large enough to ask about.

    Raises:
        BadInputError: for values outside their range, naming the rule.
    """

    half_extent_nm: tuple[float, float]
    jitter_nm: float
    adjacent_per_merge: int = 3
    adjacent_cube_nm: float = 500.0
    junction_min_purity: float = 0.95
    junction_min_degree: int = 3
    size: OverlapRules = field(default_factory=OverlapRules)

    def __post_init__(self) -> None:
        low, high = self.half_extent_nm
        if not 0 < low <= high < math.inf:
            raise BadInputError(
                "'half_extent_nm' must be two positive lengths, smaller first, in nm",
                found=repr(self.half_extent_nm),
            )
        if not 0 <= self.jitter_nm < math.inf:
            raise BadInputError(f"'jitter_nm' must be 0 or more, got {self.jitter_nm}")
        if self.adjacent_per_merge < 0:
            raise BadInputError(
                f"'adjacent_per_merge' must be 0 or more, got {self.adjacent_per_merge}"
            )
        if not 0 < self.adjacent_cube_nm < math.inf:
            raise BadInputError(
                f"'adjacent_cube_nm' must be a positive length in nm, got {self.adjacent_cube_nm}"
            )
        if not 0.5 < self.junction_min_purity <= 1:
            raise BadInputError(
                "'junction_min_purity' must be above 0.5 and at most 1, "
                f"got {self.junction_min_purity}"
            )
        if self.junction_min_degree < 3:
            raise BadInputError(
                f"'junction_min_degree' must be at least 3, got {self.junction_min_degree}",
                fix="Where two branches meet nothing branches",
            )


@dataclass(frozen=True, eq=False)
class SampleContext:
    """One volume with its edits, ready to be asked about.

    Attributes:
        dataset: Name of the data set.
        version: Version of the segmentation the ids belong to.
        volume: Which volume of the data set.
        species: Animal, or ``synthetic``.
        grid: The grid of both label arrays.
        automatic: uint64 ``(z, y, x)``, the segmentation to proofread; 0 is no segment. Read where
            it is looked at if it was counted by blocks.
        neurons: uint64 ``(z, y, x)``, the true neurons; 0 is no ground truth. The same.
        contacts: Contacts of ``automatic``.
        edits: Merges and splits of ``automatic``.
        synapses: Synapses, if known.
        rules: How candidates are drawn.
        seed: Seed of every draw.
        after: uint64 ``(z, y, x)``, the segmentation after the edits, if a split's sides are in it.
        supervoxels: uint64 ``(z, y, x)``, the same for supervoxels.
        controls: What the source of the edits says beside them; what it has none of is looked for
            in the volume.
        counted: Overlaps and boxes, if they were counted by blocks.
    """

    dataset: str
    version: str
    volume: str
    species: str
    grid: VoxelGrid
    automatic: Labels
    neurons: Labels
    contacts: Contacts
    edits: EditSet
    synapses: tuple[Synapse, ...]
    rules: SampleRules
    seed: int
    after: Ids | None = None
    supervoxels: Ids | None = None
    controls: PlacedControls = field(default_factory=PlacedControls)
    counted: Counted | None = None

    def sides(self, name: SideLayer) -> Labels:
        """The labels that hold the sides of a split.

        Raises:
            BadInputError: if the context lacks them.
        """
        layers: dict[str, Labels | None] = {
            "neurons": self.neurons,
            "after": self.after,
            "supervoxels": self.supervoxels,
        }
        labels = layers[name]
        if labels is None:
            raise BadInputError(
                f"the sides of a split are in the layer '{name}'",
                found="the context has no such layer",
                fix=f"Give SampleContext({name}=...)",
            )
        return labels

    @property
    def identity(self) -> Identity:
        """Which segmentation the ids belong to."""
        return Identity(self.dataset, self.version, self.volume)

    @cached_property
    def overlaps(self) -> Mapping[int, Overlap]:
        """How each automatic segment is shared out among the true neurons."""
        if self.counted is not None:
            return self.counted.overlaps
        return overlap_table(whole(self.automatic), whole(self.neurons), self.grid)

    @cached_property
    def boxes(self) -> Mapping[int, VoxelBox]:
        """The box of voxels around each automatic segment."""
        return self.counted.boxes if self.counted else segment_boxes(whole(self.automatic))
