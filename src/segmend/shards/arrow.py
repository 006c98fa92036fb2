"""The Arrow form of a schema, with the Hugging Face features that make images decode."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from segmend.core.errors import SchemaError
from segmend.core.sample import ROW_SCHEMAS, SCHEMA_VERSION, SchemaVersion, row_schema
from segmend.core.schema import DType

_ARROW: dict[DType, pa.DataType] = {
    "string": pa.string(),
    "strings": pa.list_(pa.string()),
    "bool": pa.bool_(),
    "float64": pa.float64(),
    "bytes": pa.binary(),
    # The storage type of `datasets.Image`.
    "png": pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())]),
}

# "Sequence" rather than "List": releases of `datasets` before 4 know only the former.
_FEATURES: dict[DType, dict[str, Any]] = {
    "string": {"dtype": "string", "_type": "Value"},
    "strings": {"feature": {"dtype": "string", "_type": "Value"}, "_type": "Sequence"},
    "bool": {"dtype": "bool", "_type": "Value"},
    "float64": {"dtype": "float64", "_type": "Value"},
    "bytes": {"dtype": "binary", "_type": "Value"},
    "png": {"_type": "Image"},
}


def arrow_schema(version: SchemaVersion = SCHEMA_VERSION) -> pa.Schema:
    """The Arrow schema of a row.

    Every Arrow field is nullable, as in the published files, so that shards of both can be
    concatenated; which columns may really hold null is the schema's to say and checked on writing.

    Args:
        version: ``v1`` or ``v2``.

    Returns:
        Arrow fields in the schema's order. The metadata key ``huggingface`` holds the features
        that `datasets` reads, so that ``png`` columns decode to images without segmend.
    """
    fields = row_schema(version)
    features = {field.name: _FEATURES[field.dtype] for field in fields}
    return pa.schema(
        [pa.field(field.name, _ARROW[field.dtype]) for field in fields],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )


def schema_version(found: pa.Schema, where: str) -> SchemaVersion:
    """Which version of the schema the columns of a shard are, by their names and types alone.

    Columns may come in any order, and text, lists and bytes in the forms that Arrow's writers
    choose between (``large_string``, other names of list items).

    Args:
        found: Columns of a shard.
        where: Its path, for the message.

    Raises:
        SchemaError: if they are those of no version, with what sets them apart from the nearest.
    """
    differences = {version: _differences(found, version) for version in ROW_SCHEMAS}
    nearest = min(differences, key=lambda version: len(differences[version]))
    if not differences[nearest]:
        return nearest
    raise SchemaError(
        f"{where} has other columns than any schema of ConnectomeBench2",
        found=f"nearest is {nearest}, where {'; '.join(differences[nearest][:4])}",
    )


def as_version(table: pa.Table, version: SchemaVersion) -> pa.Table:
    """A table of some columns of a shard with the very types of the schema.

    Text, lists and bytes come in several forms that mean the same (`schema_version`).

    Raises:
        SchemaError: if a value does not fit.
    """
    wanted = arrow_schema(version)
    schema = pa.schema([wanted.field(name) for name in table.column_names])
    if table.schema.equals(schema):
        return table
    try:
        return table.cast(schema)
    except pa.ArrowException as error:
        raise SchemaError("a column does not fit the schema", found=str(error)) from error


def _differences(found: pa.Schema, version: SchemaVersion) -> list[str]:
    wanted = arrow_schema(version)
    names = set(found.names)
    differences = [f"'{name}' is missing" for name in wanted.names if name not in names]
    differences += [f"'{name}' is unknown" for name in found.names if name not in wanted.names]
    if len(names) < len(found.names):
        differences.append("a column occurs twice")
    elif not differences:
        differences = [
            f"'{field.name}' is {found.field(field.name).type} instead of {field.type}"
            for field in wanted
            if not _same_type(found.field(field.name).type, field.type)
        ]
    return differences


def _same_type(found: Any, wanted: Any) -> bool:
    if pa.types.is_list(wanted):
        is_list = pa.types.is_list(found) or pa.types.is_large_list(found)
        return bool(is_list) and _same_type(found.value_type, wanted.value_type)
    if pa.types.is_struct(wanted):
        return bool(
            pa.types.is_struct(found)
            and {f.name for f in found} == {f.name for f in wanted}
            and all(_same_type(found.field(f.name).type, f.type) for f in wanted)
        )
    large = {pa.string(): pa.large_string(), pa.binary(): pa.large_binary()}
    return bool(found in (wanted, large.get(wanted)))
