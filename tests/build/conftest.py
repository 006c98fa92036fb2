"""A small benchmark from synthetic tissue, built once."""

from __future__ import annotations

from pathlib import Path

import pytest

from segmend.build.pipeline import Built, build
from segmend.build.plan import Plan, make_plan
from segmend.build.settings import load_settings


@pytest.fixture(scope="session")
def plan(plan_file: Path, segmend_cache: Path) -> Plan:
    return make_plan(load_settings(plan_file), plan_file.parent)


@pytest.fixture(scope="session")
def built(plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(plan, tmp_path_factory.mktemp("built") / "bench")
