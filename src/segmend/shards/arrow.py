"""The Arrow form of a schema, with the Hugging Face features that make images decode."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from segmend.core.sample import ROW_SCHEMA
from segmend.core.schema import DType, Schema

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


def arrow_schema(schema: Schema = ROW_SCHEMA) -> pa.Schema:
    """The Arrow schema of a segmend schema.

    Every Arrow field is nullable, as in the published files, so that shards of both can be
    concatenated; which columns may really hold null is the schema's to say and checked on writing.

    Args:
        schema: Fields and their storage types.

    Returns:
        Arrow fields in the schema's order. The metadata key ``huggingface`` holds the features
        that `datasets` reads, so that ``png`` columns decode to images without segmend.
    """
    features = {field.name: _FEATURES[field.dtype] for field in schema}
    return pa.schema(
        [pa.field(field.name, _ARROW[field.dtype]) for field in schema],
        metadata={"huggingface": json.dumps({"info": {"features": features}})},
    )
