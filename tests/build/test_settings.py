"""Plan files: what holds, and one clear sentence for what does not."""

from pathlib import Path

import pytest

from segmend.build.settings import load_settings
from segmend.core.errors import PlanError

PLAN = """
name = "p"
seed = 1
[[sources]]
dataset = "fib25"
path = "a.h5"
[view]
half_extent_nm = [400, 500]
jitter_nm = 50
[em]
pixel_size_nm = 5
[splits]
rule = "cubes"
cube_nm = 600
accepted_leaks = ["view", "lineage"]
"""


@pytest.fixture
def plan(tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text(PLAN)
    return path


def test_a_plan_says_what_it_says(plan):
    settings = load_settings(plan)
    assert settings.view.half_extent_nm == (400, 500)
    assert settings.splits.accepted_leaks == ("view", "lineage")
    assert settings.edits.min_segment_voxels == 500  # design, "Edits from ground truth"


def test_example_plans_hold():
    """Every example but vnc.toml, which is the record of a data set."""
    examples = sorted((Path(__file__).parents[2] / "examples").glob("*.toml"))
    plans = [path for path in examples if path.name != "vnc.toml"]
    assert plans
    for path in plans:
        load_settings(path)


def test_overrides_reach_tables_lists_and_new_keys(plan):
    settings = load_settings(
        plan,
        [
            "seed=7",
            "samples.max_rows.merge_edit=10",
            "sources.0.path=b.h5",
            'samples.types=["merge_edit"]',
        ],
    )
    assert settings.seed == 7
    assert settings.samples.max_rows == {"merge_edit": 10}
    assert settings.sources[0].path == "b.h5"
    assert settings.samples.types == ("merge_edit",)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sede=1", "Did you mean 'seed'"),
        ("edits.min_puritty=0.5", "Did you mean 'min_purity'"),
        ("view.jitter_nm=-1", "jitter_nm"),
        ("view.half_extent_nm=[500, 400]", "must rise"),
        ("em.pixel_size_nm=0", "pixel_size_nm"),
        ("splits.fractions=[0.5, 0.1, 0.1]", "add up to 1"),
        ("splits.rule=cube", "rule"),
        ("splits.rule=cubes-80um", "its own cubes and shares"),
        ("splits.rule=volume", "needs a 'split'"),
        ("sources.0.split=test", "must not have a 'split'"),
        ('samples.types=["merge"]', "no sample type 'merge'"),
        ("samples.max_rows.merge=1", "no sample type 'merge'"),
        ("sources=[]", "sources"),
        ("name=Not A Name", "name"),
        ("sources.3.path=x", "not a position"),
        ("seed.deep=1", "goes through 'seed'"),
        ("seed", "key=value"),
    ],
)
def test_what_does_not_hold_is_named(plan, override, message):
    with pytest.raises(PlanError, match=message):
        load_settings(plan, [override])


def test_two_sources_need_two_names(plan):
    plan.write_text(PLAN.replace("[view]", '[[sources]]\ndataset = "fib25"\npath = "b.h5"\n[view]'))
    with pytest.raises(PlanError, match="one name"):
        load_settings(plan)


def test_missing_and_broken_files_are_named(tmp_path):
    with pytest.raises(PlanError, match="cannot read the plan"):
        load_settings(tmp_path / "none.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("name = ")
    with pytest.raises(PlanError, match="is not TOML"):
        load_settings(broken)
