"""A benchmark of L4dense2019: supervoxels proofread against the neurites of its tables."""

import pytest

import segmend as sg
from segmend.build.pipeline import build
from segmend.build.plan import make_plan
from segmend.build.settings import load_settings
from segmend.catalog.fetching import fetch_files
from segmend.catalog.record import load_record
from segmend.core.errors import PlanError
from segmend.loaders.examples import examples
from segmend.shards.verify import verify
from segmend.tasks.registry import TASKS
from segmend.testing.standins import l4dense, write_standin

PLAN = """
name = "l4dense"
seed = 1
[[sources]]
dataset = "l4dense2019.toml"
automatic = "supervoxels"
neurons = "neurites"
[edits]
min_segment_voxels = 30
[samples]
types = ["merge_edit", "adjacent_control", "synapse_control"]
max_rows = { merge_edit = 12, adjacent_control = 12 }
[view]
half_extent_nm = [300, 350]
jitter_nm = 20
[em]
pixel_size_nm = 5
[splits]
rule = "cubes"
cube_nm = 700
accepted_leaks = ["view", "lineage"]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("l4dense")
    record, place = load_record(str(write_standin("l4dense2019", folder)))
    fetch_files(record, place, box=sg.Box(*record.default_box_nm))
    return folder


def planned(folder, *overrides):
    file = folder / "plan.toml"
    file.write_text(PLAN)
    return make_plan(load_settings(file, overrides), folder)


def candidates(plan):
    found = {}
    for candidate in (c for unit in plan.units for c in unit.candidates):
        found.setdefault(candidate.sample_type.name, []).append(candidate)
    return found


def test_merges_join_one_neurite_and_controls_lie_between_two(folder):
    truth, found = l4dense.truth(), candidates(planned(folder))
    neuron_of = {s: n for n, members in truth.members.items() for s in members}
    neurites = (*truth.axons, *truth.dendrites)
    assert set(found) == {"merge_edit", "adjacent_control", "synapse_control"}
    for candidate in found["merge_edit"]:
        a, b = (neuron_of[segment] for segment in candidate.segments)
        assert a == b in neurites
    for kind in ("adjacent_control", "synapse_control"):
        for candidate in found[kind]:
            a, b = (neuron_of[segment] for segment in candidate.segments)
            assert a != b


def test_the_true_partners_of_every_synapse_control(folder):
    truth, made = l4dense.truth(), l4dense.masked_tissue().synapses
    neuron_of = {s: n for n, members in truth.members.items() for s in members}
    true = {frozenset((s.pre_neuron, s.post_neuron)) for s in made}
    found = candidates(planned(folder))["synapse_control"]
    assert found
    for candidate in found:
        assert frozenset(neuron_of[s] for s in candidate.segments) in true


def test_a_box_asks_only_about_its_part(folder):
    box = sg.Box((0, 0, 0), (1120, 1348.8, 899.2))
    part = candidates(
        planned(folder, "sources.0.box_nm=[[0,0,0],[1120,1348.8,899.2]]", "splits.cube_nm=300")
    )
    for kind in ("merge_edit", "adjacent_control"):
        assert part[kind]
        for candidate in part[kind]:
            assert box.contains_point(candidate.anchor_nm)


def test_a_box_outside_and_a_layer_that_is_not_there_are_said(folder):
    with pytest.raises(PlanError, match="box_nm of source 'l4dense2019' reaches outside"):
        planned(folder, "sources.0.box_nm=[[0,0,0],[9e6,1,1]]")
    with pytest.raises(PlanError, match="neurite'"):
        planned(folder, "sources.0.neurons=neurite")


@pytest.mark.slow
def test_every_kind_is_drawn_and_shows_the_segments_it_names(folder, tmp_path):
    kinds = ("merge_edit", "adjacent_control", "synapse_control")
    few = f"samples.max_rows={{ {', '.join(f'{kind} = 12' for kind in kinds)} }}"
    plan = planned(folder, few)
    built = build(plan, tmp_path / "bench")
    assert verify(built.folder).problems == ()
    assert built.closure.unexplained == 0
    assert built.closure.committed == plan.n_rows
    benchmark = sg.benchmark(built.folder)
    assert set(benchmark.sidecar().column("sample_type").to_pylist()) == set(kinds)
    task = TASKS["false_split_correction"]
    for split in benchmark.splits:
        for example in examples(benchmark, task, split):
            for plane in example.inputs.em:
                assert plane[..., 1].any() or plane[..., 2].any()
            assert all(view[5].any() and view[6].any() for view in example.inputs.geometry)
