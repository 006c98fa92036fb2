"""The words a sample is described in: views, channels, planes, sample types, tasks, columns.

Names, types and routing follow the cards of ConnectomeBench2, of v1 (whose card is that of the
smoke-test set) and v2 (`docs/format.md`). Nothing else in the project repeats them: no integer
channel index, no list of columns.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

from segmend.core.errors import BadInputError
from segmend.core.registry import unknown_name
from segmend.core.schema import Field, Schema

IMAGE_SIZE = 224
"""Width and height of every image, pixels."""

VIEWS = ("front", "side", "top")
"""Geometry views, in the order of axis 0 of the geometry array."""

CHANNELS = (
    "silhouette",
    "depth",
    "normal_x",
    "normal_y",
    "normal_z",
    "mask_a",
    "mask_b",
)
"""Geometry channels, in the order of axis 1 of the geometry array."""

GEOMETRY_SHAPE = (len(VIEWS), len(CHANNELS), IMAGE_SIZE, IMAGE_SIZE)
VIEW_CUBE = 1.2
"""Half-width of the rendered cube in units of the view half-extent (reference 1.5)."""

GEOMETRY_KEY = "arr_0"
"""Name of the array inside the geometry npz."""

PLANES = ("xy", "xz", "yz", "best")
"""EM slices. ``best`` is the oblique plane that shows most of both segments."""

EM_CHANNELS = ("em", "mask_a", "mask_b")
"""EM slice channels, in the order of the last axis of the image."""

SPLIT_MASK_A, SPLIT_MASK_B, SPLIT_MASK_BACKGROUND = 0, 128, 255
"""Pixel values of a split mask (card of ConnectomeBench2 v2; reference 1.7)."""

SPLITS = ("train", "validation", "test")
SPLIT_FOLDERS = {"train": "train", "validation": "val", "test": "test"}

SchemaVersion = Literal["v1", "v2"]
SCHEMA_VERSION: SchemaVersion = "v2"
"""The schema of what is written unless v1 is asked for."""

Split = Literal["train", "validation", "test"]
TaskName = Literal["false_split_correction", "false_merge_identification", "split_mask_generation"]


def channel(name: str) -> int:
    """Position of a geometry channel."""
    return _position("geometry channel", name, CHANNELS)


def em_channel(name: str) -> int:
    """Position of an EM slice channel."""
    return _position("EM channel", name, EM_CHANNELS)


def em_column(plane: str, version: SchemaVersion = SCHEMA_VERSION) -> str:
    """Column of an EM slice."""
    name = f"em_{PLANES[_position('EM plane', plane, PLANES)]}"
    return name if version == "v1" else f"{name}_before"


def split_mask_column(view: str) -> str:
    """Column of a split mask."""
    return f"split_mask_{VIEWS[_position('view', view, VIEWS)]}"


def _position(kind: str, name: str, names: tuple[str, ...]) -> int:
    if name not in names:
        raise unknown_name(kind, name, dict.fromkeys(names))
    return names.index(name)


EM_COLUMNS = tuple(em_column(plane) for plane in PLANES)
SPLIT_MASK_COLUMNS = tuple(split_mask_column(view) for view in VIEWS)


@dataclass(frozen=True, slots=True)
class SampleType:
    """What kind of question a row asks.

    Attributes:
        name: Value of the column ``sample_type``.
        same_neuron: Whether everything shown belongs to one neuron.
        dual: True if two segments (A, B) are drawn, False for one segment (A; B empty).
        doc: One sentence for the card.
    """

    name: str
    same_neuron: bool
    dual: bool
    doc: str

    @property
    def label_task(self) -> TaskName:
        """The classification task this type serves."""
        return "false_split_correction" if self.dual else "false_merge_identification"

    @property
    def label(self) -> float:
        """The label in `label_task`: 1 where there is an error to correct."""
        return float(self.same_neuron if self.dual else not self.same_neuron)

    def tasks(self, *, has_after_mask: bool) -> tuple[TaskName, ...]:
        """Tasks a row of this type serves (the card's ``task_routing``)."""
        if self.name == "split_edit" and has_after_mask:
            return (self.label_task, "split_mask_generation")
        return (self.label_task,)


SAMPLE_TYPES = {
    t.name: t
    for t in (
        SampleType("merge_edit", True, True, "two segments of one neuron: a false split"),
        SampleType("split_edit", False, False, "one segment, several neurons: a false merge"),
        SampleType("adjacent_control", False, True, "two touching segments of two neurons"),
        SampleType("junction_control", True, False, "a true branch point of one neuron"),
        SampleType("synapse_control", False, True, "the two partners of a synapse"),
    )
}


def sample_type(name: str) -> SampleType:
    """The sample type of that name.

    Raises:
        UnknownNameError: if there is none.
    """
    if name not in SAMPLE_TYPES:
        raise unknown_name("sample type", name, SAMPLE_TYPES)
    return SAMPLE_TYPES[name]


def draws_pair(column: str, kind: SampleType, version: SchemaVersion) -> bool:
    """Whether a geometry column shows two segments (A, B), or one (A, with B empty).

    Rows of v1 have a column for each; the one column of v2 shows what the sample type is about.
    """
    return column == "geometry" and (version == "v1" or kind.dual)


def source_archive(dataset: str, name: str) -> str:
    """Name of the archive a row belongs to: edits and adjacent controls, or other controls."""
    controls = name in ("junction_control", "synapse_control")
    return f"unified_controls_{dataset}" if controls else f"unified_{dataset}"


def combined_hash(archive: str, sample_hash: str) -> str:
    """Primary key of a row, as the card defines it: md5 of ``archive|sample_hash``."""
    if "|" in archive:
        raise BadInputError(f"a source archive must not contain '|', got '{archive}'")
    return hashlib.md5(f"{archive}|{sample_hash}".encode(), usedforsecurity=False).hexdigest()


def _image(name: str, role: Literal["input", "label"], doc: str, channels: int) -> Field:
    shape = (IMAGE_SIZE, IMAGE_SIZE, channels)[: 3 if channels > 1 else 2]
    return Field(name, "png", role, doc, shape=shape, nullable=True)


def _geometry(name: str, doc: str, *, nullable: bool) -> Field:
    return Field(name, "bytes", "input", doc, shape=GEOMETRY_SHAPE, nullable=nullable)


def _em(version: SchemaVersion) -> tuple[Field, ...]:
    docs = {plane: f"EM, mask A, mask B on the {plane} plane." for plane in PLANES}
    return tuple(_image(em_column(p, version), "input", doc, 3) for p, doc in docs.items())


_IDENTITY = (
    Field("combined_sample_hash", "string", "meta", "Primary key: md5 of archive|sample hash."),
    Field("source_archive_sample_hash", "string", "meta", "Hash within the archive."),
    Field("source_archive", "string", "meta", "Archive the row was rendered for."),
    Field("sample_type", "string", "meta", "What kind of question the row asks."),
    Field("same_neuron", "bool", "label", "Whether all that is shown is one neuron."),
    Field("task_routing", "strings", "meta", "Tasks the row serves."),
)
_ORIGIN = (
    Field("split", "string", "meta", "train, validation or test."),
    Field("species", "string", "meta", "Animal, or synthetic."),
    Field("has_em", "bool", "meta", "Whether EM slices are present."),
)
_CONTENT = (
    Field("present_slots", "strings", "meta", "Image columns that are present."),
    Field("metadata", "string", "meta", "JSON with the provenance of the row."),
)
_LABELS = {
    "false_split_correction_label": "1: merge A and B; 0: do not.",
    "false_merge_identification_label": "1: holds a false merge; 0: does not.",
}
_NPZ = "npz, key arr_0: float16 views x channels x rows x columns"

ROW_SCHEMA_V1 = Schema(
    "v1",
    (
        *_IDENTITY,
        *(Field(name, "bool", "label", doc) for name, doc in _LABELS.items()),
        *_ORIGIN,
        Field("has_single_mask", "bool", "meta", "Whether geometry_single is present."),
        Field("has_dual_mask", "bool", "meta", "Whether geometry is present."),
        *_CONTENT,
        _geometry("geometry", f"{_NPZ}; segments A and B.", nullable=True),
        _geometry("geometry_single", f"{_NPZ}; one segment, B empty.", nullable=True),
        *_em("v1"),
    ),
)
"""Columns of a ConnectomeBench2 v1 row, as the card of the smoke-test set lists them.

Labels are given for every row; ``task_routing`` alone tells which of them count."""

ROW_SCHEMA = Schema(
    "v2",
    (
        *_IDENTITY,
        *(Field(name, "float64", "label", doc, nullable=True) for name, doc in _LABELS.items()),
        *_ORIGIN,
        Field("has_after_mask", "bool", "meta", "Whether split masks are present."),
        *_CONTENT,
        _geometry("geometry", f"{_NPZ}.", nullable=False),
        *_em("v2"),
        *(
            _image(split_mask_column(v), "label", f"0 A, 128 B, 255 background; {v} view.", 1)
            for v in VIEWS
        ),
    ),
)
"""Columns of a ConnectomeBench2 v2 row, in order."""

ROW_SCHEMAS: dict[SchemaVersion, Schema] = {"v1": ROW_SCHEMA_V1, "v2": ROW_SCHEMA}
"""Columns of a row by version of the schema."""


def row_schema(version: str) -> Schema:
    """The columns of a row in a version of the schema.

    Raises:
        UnknownNameError: if there is no such version.
    """
    for known, schema in ROW_SCHEMAS.items():
        if known == version:
            return schema
    raise unknown_name("schema version", version, dict.fromkeys(ROW_SCHEMAS))


def image_columns(version: SchemaVersion) -> tuple[str, ...]:
    """Columns that hold pixels, in order: the ones ``present_slots`` counts."""
    return tuple(field.name for field in ROW_SCHEMAS[version] if field.shape)
