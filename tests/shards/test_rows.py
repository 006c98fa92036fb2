from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from segmend.core.errors import BadInputError, ReadFailedError, SchemaError, UnknownNameError
from segmend.core.sample import ROW_SCHEMA, VIEWS
from segmend.shards.rows import RowIdentity, decode_row, json_text, make_row
from segmend.testing.rows import random_row

IDENTITY = RowIdentity("unified_x", "0123456789ab", "split_edit", "train", "fly")

# The published card, one line per sample type: same_neuron, routing, labels.
CARD = {
    "merge_edit": (True, ["false_split_correction"], 1.0, None),
    "split_edit": (
        False,
        ["false_merge_identification", "split_mask_generation"],
        None,
        1.0,
    ),
    "adjacent_control": (False, ["false_split_correction"], 0.0, None),
    "junction_control": (True, ["false_merge_identification"], None, 0.0),
    "synapse_control": (False, ["false_split_correction"], 0.0, None),
}


def pictures(kind: str = "split_edit") -> dict:
    row = decode_row(random_row(kind, 3), ROW_SCHEMA.names)
    return {
        "geometry": row["geometry"],
        "em": {p: row[f"em_{p}_before"] for p in ("xy", "xz", "yz", "best")},
        "split_masks": {v: row[f"split_mask_{v}"] for v in VIEWS if kind == "split_edit"},
        "metadata": {"a": 1},
    }


@pytest.mark.parametrize("kind", CARD)
def test_labels_and_routing_follow_the_card(kind: str) -> None:
    row = random_row(kind, 0)
    same, routing, split_label, merge_label = CARD[kind]
    assert row["same_neuron"] is same
    assert row["task_routing"] == routing
    assert row["false_split_correction_label"] == split_label
    assert row["false_merge_identification_label"] == merge_label
    assert row["has_em"] is True
    assert row["has_after_mask"] is (kind == "split_edit")


def test_a_row_has_the_columns_of_the_schema_in_order() -> None:
    assert tuple(random_row("merge_edit", 0)) == ROW_SCHEMA.names


def test_the_key_is_the_md5_of_the_card() -> None:
    row = make_row(IDENTITY, **pictures())
    # md5 of "unified_x|0123456789ab", computed with coreutils md5sum
    assert row["combined_sample_hash"] == "3a277819a588d5173b1479987b73fef5"


def test_slots_name_the_images_that_are_there_alphabetically() -> None:
    given = pictures()
    row = make_row(IDENTITY, **(given | {"em": {"xz": given["em"]["xz"]}, "split_masks": {}}))
    assert row["present_slots"] == ["em_xz_before", "geometry"]
    assert row["em_xy_before"] is None
    assert row["has_em"] is True
    assert row["has_after_mask"] is False
    assert row["task_routing"] == ["false_merge_identification"]
    assert make_row(IDENTITY, **(given | {"em": {}}))["has_em"] is False


def test_pictures_survive_and_peers_read_them() -> None:
    given = pictures()
    row = make_row(IDENTITY, **given)
    with np.load(io.BytesIO(row["geometry"]), allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["arr_0"], given["geometry"])
    for plane, image in given["em"].items():
        png = row[f"em_{plane}_before"]["bytes"]
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png))), image)
    decoded = decode_row(row, ["split_mask_top", "species"])
    np.testing.assert_array_equal(decoded["split_mask_top"], given["split_masks"]["top"])
    assert decoded["species"] == "fly"


def changed(array: np.ndarray, where: tuple, value: float) -> np.ndarray:
    array = np.array(array)
    array[where] = value
    return array


GEOMETRY = pictures()["geometry"]
INSIDE = tuple(np.argwhere(GEOMETRY[0, 0])[0])
OUTSIDE = tuple(np.argwhere(GEOMETRY[0, 0] == 0)[0])


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"geometry": GEOMETRY[:2]}, "geometry is float16"),
        ({"geometry": GEOMETRY.astype(np.float32)}, "geometry is float32"),
        ({"geometry": changed(GEOMETRY, (0, 1, *INSIDE), np.nan)}, "NaN or infinity"),
        ({"geometry": changed(GEOMETRY, (0, 2, *INSIDE), np.inf)}, "NaN or infinity"),
        ({"geometry": changed(GEOMETRY, (0, 0, *INSIDE), 0.5)}, "silhouette holds values"),
        ({"geometry": changed(GEOMETRY, (0, 5, *INSIDE), 0)}, "not the union"),
        ({"geometry": changed(GEOMETRY, (0, 6, *INSIDE), 1)}, "single-segment row is not empty"),
        ({"geometry": changed(GEOMETRY, (0, 1, *INSIDE), -0.5)}, "depth outside"),
        ({"geometry": changed(GEOMETRY, (0, 3, *INSIDE), 1.5)}, "normal outside"),
        ({"geometry": changed(GEOMETRY, (0, 3, *OUTSIDE), 0.5)}, "background is not 0"),
        ({"em": {"xy": np.full((224, 224, 3), 7, np.uint8)}}, "other than 0 and 255"),
        ({"em": {"xy": np.zeros((224, 223, 3), np.uint8)}}, "another shape"),
        ({"em": {"xy": np.zeros((224, 224, 3), np.int64)}}, "int64"),
        ({"split_masks": {"top": np.full((224, 224), 255, np.uint8)}}, "holds split_mask_top"),
        ({"split_masks": {v: np.full((224, 224), 1, np.uint8) for v in VIEWS}}, r"\(0, 128, 255\)"),
    ],
)
def test_wrong_pictures_are_named(change: dict, what: str) -> None:
    with pytest.raises(SchemaError, match=what):
        make_row(IDENTITY, **(pictures() | change))


def test_masks_of_other_types_are_refused() -> None:
    junction = replace(IDENTITY, kind="junction_control")
    with pytest.raises(SchemaError, match="junction_control row holds split_mask_front"):
        make_row(junction, **pictures())
    with pytest.raises(SchemaError, match="mask B of a junction_control"):
        make_row(junction, **(pictures() | {"split_masks": {}}))


@pytest.mark.parametrize(
    ("identity", "error"),
    [
        (replace(IDENTITY, kind="merge"), UnknownNameError),
        (replace(IDENTITY, split="val"), SchemaError),
        (replace(IDENTITY, archive="a|b"), BadInputError),
        (replace(IDENTITY, species=None), SchemaError),
    ],
)
def test_a_wrong_identity_is_refused(identity: RowIdentity, error: type[Exception]) -> None:
    with pytest.raises(error):
        make_row(identity, **pictures())


def test_unknown_planes_and_views_are_refused() -> None:
    for change in ({"em": {"zz": GEOMETRY}}, {"split_masks": {"back": GEOMETRY}}):
        with pytest.raises(UnknownNameError):
            make_row(IDENTITY, **(pictures() | change))


@pytest.mark.parametrize(
    "metadata",
    [
        {"root_ids": [864691135341133440]},
        {"a": {"b": -(2**60)}},
        {"a": float("nan")},
        {"a": np.float32(1)},
        {"a": b"x"},
    ],
)
def test_metadata_that_json_would_change_are_refused(metadata: dict) -> None:
    with pytest.raises(BadInputError, match="metadata"):
        json_text(metadata)


def test_metadata_text_does_not_depend_on_the_order_of_keys() -> None:
    assert json_text({"b": 1, "a": "ü"}) == json_text({"a": "ü", "b": 1})
    assert json.loads(json_text({"id": "864691135341133440"}))["id"] == "864691135341133440"


def test_damage_names_its_column() -> None:
    row = random_row("merge_edit", 0)
    row["em_xz_before"] = {"bytes": b"no", "path": None}
    with pytest.raises(ReadFailedError, match="em_xz_before"):
        decode_row(row, ["em_xz_before"])
    with pytest.raises(ReadFailedError, match="no bytes"):
        decode_row({"em_xz_before": {"bytes": None, "path": "/etc/passwd"}}, ["em_xz_before"])
