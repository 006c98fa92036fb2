"""The schema, the vocabulary and their errors."""

import hashlib

import pytest

from segmend.core import sample
from segmend.core.errors import BadInputError, LeakError, SchemaError, UnknownNameError
from segmend.core.sample import ROW_SCHEMA, ROW_SCHEMAS, SAMPLE_TYPES
from segmend.core.schema import Field, Schema


def test_labels_and_metadata_cannot_be_inputs():
    ROW_SCHEMA.check_inputs(("geometry", "em_xy_before"))
    for name in ("metadata", "sample_type", "split_mask_top", "same_neuron"):
        with pytest.raises(LeakError, match=name):
            ROW_SCHEMA.check_inputs(("geometry", name))


def test_unknown_and_repeated_fields_are_refused():
    with pytest.raises(SchemaError, match="no field 'geom'"):
        ROW_SCHEMA["geom"]
    field = Field("a", "bool", "meta", "A.")
    with pytest.raises(BadInputError, match="twice"):
        Schema("s", (field, field))


def test_routing_and_labels_follow_the_card():
    # The table under "Task routing & labels" of the ConnectomeBench2 v2 card.
    assert {n: (t.label_task, t.label) for n, t in SAMPLE_TYPES.items()} == {
        "merge_edit": ("false_split_correction", 1.0),
        "adjacent_control": ("false_split_correction", 0.0),
        "synapse_control": ("false_split_correction", 0.0),
        "split_edit": ("false_merge_identification", 1.0),
        "junction_control": ("false_merge_identification", 0.0),
    }
    split = SAMPLE_TYPES["split_edit"]
    assert split.tasks(has_after_mask=True)[1:] == ("split_mask_generation",)
    assert split.tasks(has_after_mask=False) == ("false_merge_identification",)
    assert SAMPLE_TYPES["merge_edit"].tasks(has_after_mask=False) == ("false_split_correction",)


def test_the_primary_key_is_the_cards_md5():
    # Row printed on the card: unified_fly, 88cda73850c3.
    assert sample.combined_hash("unified_fly", "88cda73850c3") == "81c5a636674e76552ed428d6c3f1148c"
    assert hashlib.md5(b"unified_controls_fly|60a789906f67").hexdigest() == (
        sample.combined_hash(sample.source_archive("fly", "junction_control"), "60a789906f67")
    )


def test_unknown_names_suggest_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean 'depth'"):
        sample.channel("dept")
    with pytest.raises(UnknownNameError, match="Did you mean 'merge_edit'"):
        sample.sample_type("merge_edits")


def test_v1_columns_are_those_of_its_card():
    # "Columns" of the card of the smoke-test set.
    assert set(ROW_SCHEMAS["v1"].names) == {
        *("combined_sample_hash", "source_archive_sample_hash", "source_archive"),
        *("sample_type", "same_neuron", "species", "geometry", "geometry_single"),
        *("em_xy", "em_xz", "em_yz", "em_best", "has_single_mask", "has_dual_mask", "has_em"),
        *("present_slots", "task_routing", "split", "metadata"),
        *("false_split_correction_label", "false_merge_identification_label"),
    }
    assert sample.image_columns("v1")[:3] == ("geometry", "geometry_single", "em_xy")
    assert sample.image_columns("v2")[1] == sample.em_column("xy") == "em_xy_before"
    with pytest.raises(UnknownNameError, match="'v3'"):
        sample.row_schema("v3")
