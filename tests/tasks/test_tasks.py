from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segmend.core.errors import LeakError, NoSamplesError, SchemaError, UnknownNameError
from segmend.core.sample import EM_COLUMNS, SAMPLE_TYPES, channel, em_channel
from segmend.shards.rows import decode_row
from segmend.tasks.false_merge_identification import FALSE_MERGE_IDENTIFICATION
from segmend.tasks.false_split_correction import FALSE_SPLIT_CORRECTION
from segmend.tasks.registry import TASKS
from segmend.tasks.split_mask_generation import SPLIT_MASK_GENERATION
from segmend.tasks.task import Look
from segmend.testing.rows import random_row
from segmend.testing.tasks import TaskContract, assert_equal_inputs


class TestFalseSplitCorrection(TaskContract):
    task = FALSE_SPLIT_CORRECTION


class TestFalseMergeIdentification(TaskContract):
    task = FALSE_MERGE_IDENTIFICATION


class TestSplitMaskGeneration(TaskContract):
    task = SPLIT_MASK_GENERATION


SPLIT_EDIT = decode_row(
    random_row("split_edit", 5),
    [*FALSE_MERGE_IDENTIFICATION.input_columns, *SPLIT_MASK_GENERATION.label_columns],
)
MERGE_EDIT = decode_row(random_row("merge_edit", 5), FALSE_SPLIT_CORRECTION.input_columns)
SINGLE = (FALSE_MERGE_IDENTIFICATION, SPLIT_MASK_GENERATION)


def test_the_registry_holds_the_three_tasks_of_the_card() -> None:
    assert set(TASKS) == {
        "false_split_correction",
        "false_merge_identification",
        "split_mask_generation",
    }
    with pytest.raises(UnknownNameError, match="Did you mean 'false_split_correction'"):
        TASKS["false_split_corection"]


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_no_division_of_the_em_mask_reaches_a_single_segment_task(seed: int) -> None:
    """Whoever draws A and B, as long as their union is the same, the model sees the same."""
    rng = np.random.default_rng(seed)
    other = {}
    for column, image in SPLIT_EDIT.items():
        if column not in EM_COLUMNS:
            other[column] = image
            continue
        image = image.copy()
        united = np.maximum(image[..., em_channel("mask_a")], image[..., em_channel("mask_b")])
        cut = rng.random(united.shape) < rng.random()
        image[..., em_channel("mask_a")] = united * cut
        image[..., em_channel("mask_b")] = united * ~cut
        other[column] = image
    for task in SINGLE:
        assert_equal_inputs(task.inputs(other), task.inputs(SPLIT_EDIT))


def test_the_united_mask_is_the_union() -> None:
    inputs = FALSE_MERGE_IDENTIFICATION.inputs(SPLIT_EDIT)
    for plane, image in zip(inputs.planes, inputs.em, strict=True):
        stored = SPLIT_EDIT[f"em_{plane}_before"]
        a, b = em_channel("mask_a"), em_channel("mask_b")
        assert stored[..., a].any()
        assert stored[..., b].any()
        np.testing.assert_array_equal(
            image[..., a] > 0, (stored[..., a] > 0) | (stored[..., b] > 0)
        )
        np.testing.assert_array_equal(image[..., em_channel("em")], stored[..., em_channel("em")])


def test_a_dual_task_sees_a_and_b_as_stored() -> None:
    inputs = FALSE_SPLIT_CORRECTION.inputs(MERGE_EDIT)
    np.testing.assert_array_equal(inputs.geometry, MERGE_EDIT["geometry"])
    assert inputs.planes == ("xy", "xz", "yz", "best")
    for plane, image in zip(inputs.planes, inputs.em, strict=True):
        np.testing.assert_array_equal(image, MERGE_EDIT[f"em_{plane}_before"])
    assert inputs.geometry[:, channel("mask_b")].any()


@pytest.mark.parametrize("task", SINGLE)
def test_the_best_plane_is_out_of_reach_of_single_segment_tasks(task) -> None:
    assert "em_best_before" not in task.input_columns
    assert "best" not in task.planes
    with pytest.raises(LeakError, match="em_best_before"):
        replace(task, input_columns=(*task.input_columns, "em_best_before"))


def test_a_task_without_em_is_allowed() -> None:
    task = replace(FALSE_SPLIT_CORRECTION, input_columns=("geometry",))
    inputs = task.inputs({"geometry": MERGE_EDIT["geometry"]})
    assert inputs.em.shape == (0, 224, 224, 3)
    assert inputs.planes == ()


def test_a_task_with_one_view_sees_one_view() -> None:
    task = replace(FALSE_SPLIT_CORRECTION, views=("top",))
    geometry = task.inputs(MERGE_EDIT).geometry
    np.testing.assert_array_equal(geometry, MERGE_EDIT["geometry"][2:])
    masks = replace(SPLIT_MASK_GENERATION, views=("side",), label_columns=("split_mask_side",))
    np.testing.assert_array_equal(masks.target(SPLIT_EDIT)[0], SPLIT_EDIT["split_mask_side"])


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"input_columns": ("em_xy_before",)}, "must name 'geometry'"),
        ({"input_columns": ("geometry", "geometry")}, "each column once"),
        ({"input_columns": ("geometry", "em_zz")}, "no field 'em_zz'"),
        ({"label_columns": ("same_neuron",)}, "predicts the wrong columns"),
        ({"label_columns": ("false_merge_identification_label",)}, "predicts the wrong columns"),
        ({"views": ("back",)}, "unknown views"),
        ({"name": "other"}, "no row is routed"),
    ],
)
def test_a_task_that_makes_no_sense_is_refused(change: dict, what: str) -> None:
    with pytest.raises(SchemaError, match=what):
        replace(FALSE_SPLIT_CORRECTION, **change)


def test_rows_are_those_routed_to_the_task() -> None:
    kinds = [*SAMPLE_TYPES, "merge_edit"]
    rows = [random_row(kind, 0, split_masks=False) for kind in kinds]
    sidecar = pa.table(
        {
            "task_routing": [row["task_routing"] for row in rows],
            "has_em": [row["has_em"] for row in rows],
            "position": pa.array(range(100, 106), pa.int64()),
        }
    )
    chosen = {name: [kinds[i - 100] for i in task.rows(sidecar)] for name, task in TASKS.items()}
    assert chosen == {
        "false_split_correction": [
            "merge_edit",
            "adjacent_control",
            "synapse_control",
            "merge_edit",
        ],
        "false_merge_identification": ["split_edit", "junction_control"],
        "split_mask_generation": [],  # no row has its masks
    }


def test_a_row_without_a_needed_picture_is_named() -> None:
    with pytest.raises(NoSamplesError, match="needs 'em_xz_before'"):
        FALSE_SPLIT_CORRECTION.inputs(MERGE_EDIT | {"em_xz_before": None})


@pytest.mark.parametrize("task", TASKS.values(), ids=list(TASKS))
def test_a_row_of_another_task_has_no_target(task) -> None:
    with pytest.raises(NoSamplesError, match=task.name):
        task.target(dict.fromkeys(task.label_columns))


@pytest.mark.parametrize("label", [2.0, -1.0, 0.5, float("nan")])
def test_other_labels_are_refused(label: float) -> None:
    with pytest.raises(SchemaError, match="must be 0 or 1"):
        FALSE_SPLIT_CORRECTION.target({"false_split_correction_label": label})


def sidecar_of(**columns) -> pa.Table:
    return pa.table({"position": pa.array(range(len(columns["has_em"])), pa.int64()), **columns})


def test_rows_that_lack_a_picture_are_left_out_for_a_named_reason() -> None:
    sidecar = sidecar_of(task_routing=[["false_split_correction"]] * 3, has_em=[True, False, True])
    assert FALSE_SPLIT_CORRECTION.rows(sidecar).tolist() == [0, 2]
    assert FALSE_SPLIT_CORRECTION.left_out(sidecar) == {"no EM slices": 1}
    geometry = replace(FALSE_SPLIT_CORRECTION, input_columns=("geometry",))
    assert geometry.rows(sidecar).tolist() == [0, 1, 2]
    assert geometry.left_out(sidecar) == {}


def test_a_render_that_a_v1_row_lacks_is_a_named_reason() -> None:
    routing = ["false_merge_identification", "split_mask_generation", "false_split_correction"]
    sidecar = sidecar_of(
        task_routing=[routing] * 4,
        has_em=[True] * 4,
        has_single_mask=[True, False, True, False],
        has_dual_mask=[True, True, False, False],
    )
    single, dual = (
        "no render of the single segment (geometry_single)",
        "no render of both segments (geometry)",
    )
    assert {name: task.rows(sidecar).tolist() for name, task in TASKS.items()} == {
        "false_split_correction": [0, 1],
        "false_merge_identification": [0, 2],
        "split_mask_generation": [0],
    }
    assert FALSE_SPLIT_CORRECTION.left_out(sidecar) == {dual: 2}
    assert FALSE_MERGE_IDENTIFICATION.left_out(sidecar) == {single: 2}
    assert SPLIT_MASK_GENERATION.left_out(sidecar) == {single: 2, dual: 1}


def v1_row() -> dict:
    rng = np.random.default_rng(0)
    both = (rng.random((3, 7, 224, 224)) < 0.4).astype(np.float16)
    return {
        "geometry": both,
        "geometry_single": rng.random((3, 7, 224, 224)).astype(np.float16),
        **{f"em_{p}": rng.integers(0, 255, (224, 224, 3), np.uint8) for p in V1_PLANES},
        "false_split_correction_label": True,
        "false_merge_identification_label": False,
    }


V1_PLANES = ("xy", "xz", "yz", "best")


def test_v1_shows_the_single_render_to_tasks_on_one_segment() -> None:
    row = v1_row()
    for task in SINGLE:
        assert task.picture_columns(version="v1") == ("geometry_single", "em_xy", "em_xz", "em_yz")
        shown = task.inputs(row | {"geometry": None, "em_best": None}, version="v1")
        np.testing.assert_array_equal(shown.geometry[:, :5], row["geometry_single"][:, :5])
    shown = FALSE_SPLIT_CORRECTION.inputs(row | {"geometry_single": None}, version="v1")
    np.testing.assert_array_equal(shown.geometry, row["geometry"])
    with pytest.raises(NoSamplesError, match="needs 'geometry_single'"):
        FALSE_MERGE_IDENTIFICATION.inputs(row | {"geometry_single": None}, version="v1")


def test_v1_labels_are_booleans() -> None:
    assert FALSE_SPLIT_CORRECTION.target(v1_row(), version="v1") == 1.0
    assert FALSE_MERGE_IDENTIFICATION.target(v1_row(), version="v1") == 0.0


def test_v1_split_masks_are_what_only_a_or_only_b_covers() -> None:
    row = v1_row()
    a, b = (row["geometry"][:, channel(name)] > 0 for name in ("mask_a", "mask_b"))
    target = SPLIT_MASK_GENERATION.target(row, version="v1")
    assert isinstance(target, np.ndarray)
    for index in np.ndindex(3, 224, 224):
        expected = {(True, False): 0, (False, True): 128}.get((a[index], b[index]), 255)
        assert target[index] == expected
    with pytest.raises(NoSamplesError, match="no target"):
        SPLIT_MASK_GENERATION.target(row | {"geometry": None}, version="v1")


def test_a_part_of_a_row_is_drawn_from_its_columns_alone() -> None:
    look = Look(("side",), ("xz",))
    assert FALSE_SPLIT_CORRECTION.picture_columns(look) == ("geometry", "em_xz_before")
    assert SPLIT_MASK_GENERATION.answer_columns(look) == ("split_mask_side",)
    shown = FALSE_SPLIT_CORRECTION.inputs(MERGE_EDIT, look)
    np.testing.assert_array_equal(shown.geometry, MERGE_EDIT["geometry"][1:2])
    np.testing.assert_array_equal(shown.em[0], MERGE_EDIT["em_xz_before"])
    with pytest.raises(LeakError, match="does not show best"):
        FALSE_MERGE_IDENTIFICATION.inputs(SPLIT_EDIT, Look((), ("best",)))
