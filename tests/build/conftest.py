"""A small benchmark from synthetic tissue, built once."""

from __future__ import annotations

from pathlib import Path

import pytest

from segmend.build.pipeline import Built, build
from segmend.build.plan import Plan, make_plan
from segmend.build.settings import load_settings

PLAN = """
name = "small"
seed = 3
[edits]
source = "synthetic-log"
[samples]
adjacent_per_merge = 1
max_rows = { merge_edit = 6, split_edit = 6, junction_control = 6, synapse_control = 6 }
[view]
half_extent_nm = [400, 500]
jitter_nm = 40
[em]
pixel_size_nm = 6
[splits]
rule = "volume"
[shards]
rows = 7
row_group = 3
"""

SOURCE = """
[[sources]]
dataset = "synthetic"
volume = "v{seed}"
split = "{split}"
parameters = {{ seed = {seed}, shape = [48, 128, 128], false_merges = 4 }}
"""


@pytest.fixture(scope="session")
def plan_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plan") / "small.toml"
    splits = {1: "train", 2: "train", 4: "validation", 5: "test"}
    sources = [SOURCE.format(seed=seed, split=split) for seed, split in splits.items()]
    path.write_text(PLAN + "".join(sources))
    return path


@pytest.fixture(scope="session")
def plan(plan_file: Path, segmend_cache: Path) -> Plan:
    return make_plan(load_settings(plan_file), plan_file.parent)


@pytest.fixture(scope="session")
def built(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(plan, tmp_path_factory.mktemp("built") / "bench")
