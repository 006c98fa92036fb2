"""What is known of an edit history on a CAVE server: one TOML record each."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from segmend.core.errors import BadInputError
from segmend.core.registry import unknown_name
from segmend.edits.operation import EditKind

RECORDS = Path(__file__).with_name("records")

Count = Annotated[int, Meta(ge=1)]
Amount = Annotated[float, Meta(ge=0)]


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of every table of a record."""


class Roots(_Table, frozen=True):
    """Whose histories are asked for.

    Attributes:
        source: ``table``: the roots of an annotation table of proofread neurons; ``delta``: the
            roots that are new since some days.
        table: Name of the table.
        column: Its column of root ids.
        days: How far back ``delta`` looks.
        most: Most roots; 0: all. Which ones is a function of seed and id, so that a smaller number
            is a part of a larger one.
        seed: See above.
    """

    source: Literal["table", "delta"]
    table: str = ""
    column: str = "pt_root_id"
    days: Amount = 720.0
    most: Annotated[int, Meta(ge=0)] = 0
    seed: int = 42


class Batches(_Table, frozen=True):
    """How many things one request asks for; the defaults are the published pipeline's.

    Attributes:
        logs: Roots per change log.
        details: Operations per request for details; their numbers go into the URL.
        tables: Supervoxels per look-up of roots.
        leaves: Roots per request for the pieces of a root.
        synapses: Presynaptic roots per request for synapses.
    """

    logs: Count = 50
    details: Count = 100
    tables: Count = 5000
    leaves: Count = 20
    synapses: Count = 20


class Rules(_Table, frozen=True):
    """Which operations are kept.

    Attributes:
        chain_hops: An operation is dropped if one of the opposite kind follows within so many
            steps through the root ids ...
        chain_nm: ... and lies within this distance: it was undone.
        min_smaller_chunks: Smallest size of the smaller side, L2 chunks.
        min_larger_chunks: And of the larger side.
        max_root_chunks: Largest size of a side.
        um_per_chunk: Path length per L2 chunk, for the two rules below.
        min_edits_per_mm: Fewest edits per mm of path of the root; 0: no such rule.
        min_path_um: Shortest path of the root; 0: no such rule.
        check: Whether the roots of the clicked supervoxels just before and after every operation
            are compared with its root ids. Two more requests for each.
        margin_s: How long before and after.
    """

    chain_hops: Annotated[int, Meta(ge=0)] = 2
    chain_nm: Amount = 2500.0
    min_smaller_chunks: Annotated[int, Meta(ge=0)] = 0
    min_larger_chunks: Annotated[int, Meta(ge=0)] = 0
    max_root_chunks: Count = 2**62
    um_per_chunk: Amount = 0.0
    min_edits_per_mm: Amount = 0.0
    min_path_um: Amount = 0.0
    check: bool = True
    margin_s: Annotated[float, Meta(gt=0)] = 1.0

    @property
    def sized(self) -> bool:
        """Whether any rule needs the sizes of roots."""
        asked = (self.min_smaller_chunks, self.min_larger_chunks, self.min_edits_per_mm)
        return any((*asked, self.min_path_um)) or self.max_root_chunks < 2**62


class Controls(_Table, frozen=True):
    """Which controls are asked for beside the edits; by default none.

    Attributes:
        adjacent: Most neighbours of one edit: roots that share a face with a root of the edit in a
            cube around it, just before a merge and just after a split; 0: none. Published: 3.
        edits: Kinds of edit whose neighbours are looked for. Published: merges alone.
        cube_nm: Edge of the cube. Published: 500.
        proofread: Table of proofread neurons, by which a plan finds where true neurons branch;
            empty: no junction controls.
        synapses: Table of synapses; empty: no synapse controls.
        cleft: Prefix of the columns of the cleft's position; empty, where a table has none as
            FlyWire's: the midpoint of the two points.
        per_root: Most synapses of one presynaptic root.
        scores: Columns of the table to keep: scores, transmitters.
        min_scores: Smallest value of such a column. What the published controls were filtered by
            is not known: their generator is not public.
        seed: Which synapses of a root are taken is a function of it and their ids, so that a
            smaller ``per_root`` is a part of a larger one.
    """

    adjacent: Annotated[int, Meta(ge=0)] = 0
    edits: tuple[EditKind, ...] = ("merge",)
    cube_nm: Annotated[float, Meta(gt=0)] = 500.0
    proofread: str = ""
    synapses: str = ""
    cleft: str = "ctr_pt"
    per_root: Count = 3
    scores: tuple[str, ...] = ()
    min_scores: dict[str, float] = {}
    seed: int = 42

    @property
    def asked(self) -> tuple[str, ...]:
        """Names of the sample types that are asked for."""
        wanted = {
            "adjacent_control": self.adjacent,
            "junction_control": self.proofread,
            "synapse_control": self.synapses,
        }
        return tuple(name for name, wants in wanted.items() if wants)


class CaveRecord(_Table, frozen=True):
    """One edit history.

    Attributes:
        name: Name of the record and of its data set.
        title: What it is.
        species: Of the tissue.
        datastack: CAVE's name.
        server: URL of the global server; the datastack says where the others are.
        image: Where its EM lies.
        image_mip: Scale of the EM in the published benchmark.
        segmentation_mip: And of the segmentation.
        licence: SPDX name.
        citation: What to cite.
        roots: See there.
        batches: See there.
        rules: See there.
        controls: See there.
    """

    name: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
    title: str
    species: str
    datastack: str
    server: Annotated[str, Meta(pattern=r"^https?://[^@?#\s]+$")]
    licence: str
    roots: Roots
    citation: str = ""
    image: str = ""
    image_mip: Annotated[int, Meta(ge=0)] = 0
    segmentation_mip: Annotated[int, Meta(ge=0)] = 0
    batches: Batches = Batches()
    rules: Rules = Rules()
    controls: Controls = Controls()


def record_names() -> tuple[str, ...]:
    """Names of the records that come with segmend."""
    return tuple(sorted(path.stem for path in RECORDS.glob("*.toml")))


def load_cave_record(name: str) -> CaveRecord:
    """Load a record by name, or from a ``.toml`` file of your own.

    Raises:
        UnknownNameError: if there is no such record.
        BadInputError: if a file is missing, is not TOML, or a value does not fit.
    """
    if not name.endswith(".toml"):
        if name not in record_names():
            raise unknown_name("edit history", name, dict.fromkeys(record_names()))
        name = str(RECORDS / f"{name}.toml")
    try:
        return read_cave_record(Path(name).read_text(encoding="utf-8"), where=name)
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"cannot read the record {name}", found=str(error)) from error


def read_cave_record(text: str, *, where: str) -> CaveRecord:
    """Parse a record.

    Args:
        text: TOML.
        where: What errors name.

    Raises:
        BadInputError: if it is not TOML or a value does not fit.
    """
    try:
        record = msgspec.convert(tomllib.loads(text), CaveRecord)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise BadInputError(
            f"the record {where} does not hold", found=str(error), fix="See docs/edits.md"
        ) from None
    if record.roots.source == "table" and not record.roots.table:
        raise BadInputError(
            f"the record {where} does not hold",
            found="roots.source is 'table', roots.table is empty",
        )
    unkept = sorted(set(record.controls.min_scores) - set(record.controls.scores))
    if unkept:
        raise BadInputError(
            f"the record {where} does not hold",
            found=f"controls.min_scores speaks of {unkept}, controls.scores does not",
        )
    return record
