"""Plans: what they hold, and what they refuse, on volumes small enough to know by heart."""

from __future__ import annotations

import shutil

import h5py
import numpy as np
import pytest

from segmend.build.plan import make_plan
from segmend.build.settings import load_settings
from segmend.core.errors import (
    GridMismatchError,
    NoSamplesError,
    PlanError,
    ReadFailedError,
    SchemaError,
    UnknownNameError,
)
from segmend.core.sample import VIEWS
from segmend.render.site import render_candidate

RECORD = """
name = "own"
title = "Own"
species = "fly"
version = "1"
files.main.path = "own.h5"
citation = "None."
grid_origin_nm = [0, 0, 0]
licence = { state = "unstated" }
layers.image = { key = "raw", doc = "EM" }
layers.automatic = { key = "automatic", doc = "Segmentation", labels = { kind = "instance" } }
layers.neurons = { key = "neurons", doc = "Truth", labels = { kind = "instance" } }
"""

PLAN = """
name = "own"
seed = 1
[[sources]]
dataset = "own.toml"
path = "own.h5"
[view]
half_extent_nm = [200, 200]
jitter_nm = 10
[em]
pixel_size_nm = 5
[splits]
rule = "cubes"
cube_nm = 100
fractions = [0.4, 0.3, 0.3]
accepted_leaks = ["view", "lineage"]
"""


def write(path, **layers):
    with h5py.File(path, "w") as file:
        for name, (array, size) in layers.items():
            file[name] = array
            file[name].attrs["resolution"] = size


@pytest.fixture
def folder(tmp_path):
    """Rods of neurons 1..16 along x, each cut into segments every 12 voxels."""
    shape, size = (40, 40, 72), (10, 10, 10)
    z, y, x = np.indices(shape)
    neurons = (1 + z // 10 + 4 * (y // 10)).astype(np.uint64)
    automatic = neurons * np.uint64(100) + (x // 12).astype(np.uint64)
    em = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
    write(tmp_path / "own.h5", raw=(em, size), automatic=(automatic, size), neurons=(neurons, size))
    (tmp_path / "own.toml").write_text(RECORD)
    (tmp_path / "plan.toml").write_text(PLAN)
    return tmp_path


def planned(folder, *overrides):
    return make_plan(load_settings(folder / "plan.toml", overrides), folder)


def change(folder, name, array=None, size=(10, 10, 10)):
    """Put a changed file in place of the old one, as people do who write a file anew."""
    with h5py.File(folder / "own.h5") as file:
        layers = {key: (file[key][:], file[key].attrs["resolution"]) for key in file}
    layers[name] = (layers[name][0] if array is None else array, size)
    write(folder / "new.h5", **layers)
    (folder / "new.h5").replace(folder / "own.h5")


def test_every_cut_is_a_merge_and_every_row_has_its_place(folder):
    plan = planned(folder, 'samples.types=["merge_edit"]')
    assert plan.n_rows == 16 * 5  # sixteen rods, five cuts each
    assert [u.shard_id for u in plan.units if u.split == "train"] == [0]
    keys = [c.combined_hash for u in plan.units for c in u.candidates]
    assert len(set(keys)) == len(keys)
    assert plan.sources[0]["fingerprint"].startswith("sha256:")
    assert plan.settings.splits.accepted_leaks == ("view", "lineage")


def test_where_a_volume_lies_does_not_change_the_plan_but_its_content_does(folder, tmp_path):
    first = planned(folder)
    shutil.move(folder / "own.h5", folder / "moved.h5")
    assert planned(folder, "sources.0.path=moved.h5").content_hash == first.content_hash
    assert planned(folder, "sources.0.path=moved.h5", "seed=2").content_hash != first.content_hash
    shutil.move(folder / "moved.h5", folder / "own.h5")
    change(folder, "raw", np.zeros((40, 40, 72), np.uint8))
    assert planned(folder).content_hash != first.content_hash


def test_a_smaller_limit_keeps_a_subset_and_counts_the_rest(folder):
    only = 'samples.types=["merge_edit"]'
    plans = {n: planned(folder, f"samples.max_rows.merge_edit={n}", only) for n in (20, 40)}
    rows = {n: {c.combined_hash for u in p.units for c in u.candidates} for n, p in plans.items()}
    assert len(rows[20]) == 20
    assert rows[20] < rows[40]
    plan = planned(folder, "samples.max_rows.merge_edit=20")
    assert plan.excluded["cap: merge_edit: beyond the limit of 20"] == 60


def test_rows_are_packed_into_shards_of_the_asked_size(folder):
    plan = planned(folder, "shards.rows=7")
    sizes = [len(u.candidates) for u in plan.units if u.split == "train"]
    assert set(sizes[:-1]) == {7}
    assert 0 < sizes[-1] <= 7
    assert sum(len(u.candidates) for u in plan.units) == plan.n_rows


def test_open_leaks_must_be_accepted_by_name(folder):
    with pytest.raises(PlanError, match=r"leaves leaks open.*lineage.*view"):
        planned(folder, "splits.accepted_leaks=[]")
    with pytest.raises(PlanError, match=r"open: \['lineage'\]"):
        planned(folder, 'splits.accepted_leaks=["view"]')


def test_a_split_without_rows_is_named(folder):
    with pytest.raises(NoSamplesError, match="no rows for validation and test"):
        planned(folder, "splits.fractions=[1.0, 0.0, 0.0]")


def test_segmentations_that_agree_hold_no_edits(folder):
    with h5py.File(folder / "own.h5") as file:
        neurons = file["neurons"][:]
    change(folder, "automatic", neurons)
    with pytest.raises(NoSamplesError, match="no edits found in source 'own'"):
        planned(folder)


def test_splits_go_along_supervoxels_where_the_plan_says_so(folder):
    """Two rods become one segment, agglomerated from the segments they were cut into."""
    with h5py.File(folder / "own.h5") as file:
        supervoxels = file["automatic"][:]
    merged = np.where(supervoxels // 100 == 6, supervoxels - 100, supervoxels)
    change(folder, "automatic", merged)
    only = ('samples.types=["merge_edit", "split_edit"]', "edits.min_side_radius_nm=0")
    with pytest.raises(PlanError, match="'supervoxels'"):
        planned(folder, *only, "edits.sides=supervoxels")
    change(folder, "supervoxels", supervoxels)
    layer = 'layers.supervoxels = { key = "supervoxels", doc = "", labels = { kind = "instance" } }'
    (folder / "own.toml").write_text(RECORD + layer + "\n")
    by_neurons = planned(folder, *only)
    by_supervoxels = planned(folder, *only, "edits.sides=supervoxels")
    rows = [
        {c.combined_hash: (c, unit) for unit in plan.units for c in unit.candidates if c.sides}
        for plan in (by_neurons, by_supervoxels)
    ]
    assert rows[0].keys() == rows[1].keys()
    assert len(rows[0]) == 6
    for plain, unit in rows[0].values():
        cut, cut_unit = rows[1][plain.combined_hash]
        (segment,) = cut.segments
        assert {*cut.cut} == {(segment,), (segment + 100,)}
        one = render_candidate(plain, unit.layers["own"], unit.style)
        other = render_candidate(cut, cut_unit.layers["own"], cut_unit.style)
        assert all(np.array_equal(one.split_masks[v], other.split_masks[v]) for v in VIEWS)


def test_em_and_labels_on_different_grids_are_named(folder):
    change(folder, "raw", size=(10, 10, 5))
    with pytest.raises(GridMismatchError, match="'image' and 'automatic'"):
        planned(folder)


def test_labels_that_are_not_integers_and_an_image_that_is_not_uint8_are_named(folder):
    change(folder, "raw", np.zeros((40, 40, 72), np.float32))
    with pytest.raises(SchemaError, match="float32"):
        planned(folder)
    change(folder, "raw", np.zeros((40, 40, 72), np.uint16))
    with pytest.raises(SchemaError, match="uint16"):
        planned(folder)
    change(folder, "raw", np.zeros((40, 40, 72), np.uint8))
    change(folder, "neurons", np.zeros((40, 72), np.uint64))
    with pytest.raises(SchemaError, match=r"\(40, 72\)"):
        planned(folder)


def test_missing_files_layers_and_data_sets_are_named(folder):
    with pytest.raises(ReadFailedError, match=r"there is no file .*none\.h5"):
        planned(folder, "sources.0.path=none.h5")
    with pytest.raises(UnknownNameError, match="no data set named 'fib52'"):
        planned(folder, "sources.0.dataset=fib52")
    with pytest.raises(PlanError, match="no edit log"):
        planned(folder, "edits.source=synthetic-log")
    (folder / "own.toml").write_text(RECORD.replace("layers.neurons", "layers.other"))
    with pytest.raises(PlanError, match=r"\['automatic', 'other'\]"):
        planned(folder)


@pytest.mark.parametrize("block", ["[40, 40, 72]", "[16, 13, 30]", "[7, 40, 11]"])
def test_a_plan_by_blocks_is_the_plan_of_the_whole(folder, block):
    """Rods with false merges, foreign shells and branches: all sample types but synapses."""
    with h5py.File(folder / "own.h5") as file:
        automatic = file["automatic"][:]
    automatic[:, 10:30, 24:36] = np.where(automatic[:, 10:30, 24:36] // 100 % 2, 9999, 0)
    automatic[10:20, :, 40:44] = 8888
    change(folder, "automatic", automatic)
    small = (
        "edits.min_segment_voxels=20",
        "edits.min_side_voxels=30",
        "edits.min_contact_faces=3",
        "edits.min_side_radius_nm=15",
        "samples.junction_min_purity=0.6",
    )
    whole = planned(folder, *small)
    assert {kind for kind, _ in whole.counts()} >= {"merge_edit", "split_edit", "adjacent_control"}
    found = planned(folder, *small, f"edits.block={block}")
    assert found.content_hash == whole.content_hash
    assert found.excluded == whole.excluded
    assert found.units[0].candidates == whole.units[0].candidates


def test_a_part_of_a_volume_can_be_gone_through_by_blocks(folder):
    part = "sources.0.box_nm=[[0, 0, 0], [400, 400, 500]]"
    only = 'samples.types=["merge_edit", "adjacent_control"]'
    whole = planned(folder, part, only)
    assert planned(folder, part, only, "edits.block=[9, 9, 9]").content_hash == whole.content_hash


@pytest.mark.parametrize(
    "override", ['edits.source="injected"', 'edits.sides="supervoxels"', "edits.block=[0, 1, 1]"]
)
def test_blocks_are_refused_where_the_whole_is_needed(folder, override):
    with pytest.raises(PlanError, match="block"):
        planned(folder, "edits.block=[9, 9, 9]", override)
