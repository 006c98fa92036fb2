"""Versions of the schema, told by columns and types alone."""

import pyarrow as pa
import pytest

from segmend.core.errors import SchemaError
from segmend.shards.arrow import arrow_schema, schema_version


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_version_is_known_by_its_columns_in_any_order_and_spelling(version):
    schema = arrow_schema(version)
    assert schema_version(schema, "s") == version
    assert schema_version(pa.schema(reversed(list(schema))), "s") == version
    large = {pa.string(): pa.large_string(), pa.binary(): pa.large_binary()}
    items = pa.list_(pa.field("element", pa.string()))
    spelled = [
        pa.field(f.name, items if pa.types.is_list(f.type) else large.get(f.type, f.type))
        for f in schema
    ]
    assert schema_version(pa.schema(spelled), "s") == version


def test_other_columns_are_named():
    v1, v2 = arrow_schema("v1"), arrow_schema("v2")
    with pytest.raises(SchemaError, match=r"x\.parquet.*nearest is v2.*'em_xy_before' is missing"):
        schema_version(v2.remove(v2.get_field_index("em_xy_before")), "x.parquet")
    with pytest.raises(SchemaError, match="'answer' is unknown"):
        schema_version(v1.append(pa.field("answer", pa.bool_())), "s")
    label = v1.get_field_index("false_split_correction_label")
    with pytest.raises(SchemaError, match="label' is double instead of bool"):
        schema_version(v1.set(label, v1.field(label).with_type(pa.float64())), "s")
    text = v2.set(v2.get_field_index("geometry"), pa.field("geometry", pa.string()))
    with pytest.raises(SchemaError, match="'geometry' is string instead of binary"):
        schema_version(text, "s")
    with pytest.raises(SchemaError, match="twice"):
        schema_version(v2.append(v2.field(0)), "s")
