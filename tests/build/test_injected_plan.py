"""Plans that put errors into a proofread segmentation, and how such edits compare."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from segmend.build.compare_edits import MEASURES, Measured, compare, measure_edits
from segmend.build.pipeline import build
from segmend.build.plan import make_plan
from segmend.build.settings import load_settings
from segmend.core.errors import PlanError
from segmend.shards.verify import verify
from segmend.testing.plans import TISSUE, write_plan

EDITS = """
source = "{source}"
injected = {{ constrictions = 4, sections = 1, merges = 4, min_voxels = 200, min_faces = 10 }}
min_segment_voxels = 100
min_side_voxels = 100
"""


def plan_in(folder, source="injected", automatic="automatic"):
    return write_plan(
        folder / f"{source}.toml",
        edits=EDITS.format(source=source),
        samples='types = ["merge_edit", "split_edit"]',
        source=f'{TISSUE}automatic = "{automatic}"',
    )


def test_a_plan_with_injected_errors_builds_and_is_the_same_twice(tmp_path):
    # The layer to correct is made, so none is needed.
    settings = load_settings(plan_in(tmp_path, automatic="none"))
    plan = make_plan(settings, tmp_path)
    kinds = {row.kind for unit in plan.units for row in unit.candidates}
    assert kinds == {"merge_edit", "split_edit"}
    rows = [row for unit in plan.units for row in unit.candidates]
    assert {row.facts["cause"] for row in rows} == {
        "thin neck",
        "missing section",
        "touching membranes",
    }
    assert make_plan(settings, tmp_path).content_hash == plan.content_hash
    assert verify(build(plan, tmp_path / "bench").folder).problems == ()


def test_errors_that_find_no_place_are_counted(tmp_path):
    file = plan_in(tmp_path)
    plan = make_plan(load_settings(file, ["edits.injected.merges=5000"]), tmp_path)
    # The cache answers the second time, and says the same.
    again = make_plan(load_settings(file, ["edits.injected.merges=5000"]), tmp_path)
    assert plan.excluded["edits: touching membranes: no place for it"] > 4000
    assert again.excluded == plan.excluded


def test_another_seed_puts_the_errors_elsewhere(tmp_path):
    file = plan_in(tmp_path)
    plans = [make_plan(load_settings(file, [f"seed={n}"]), tmp_path) for n in (3, 4)]
    ids = [{row.segments for unit in p.units for row in unit.candidates} for p in plans]
    assert ids[0] != ids[1]


def test_numbers_that_cannot_be_are_refused(tmp_path):
    with pytest.raises(PlanError, match=r"edits\.injected\.merges"):
        load_settings(plan_in(tmp_path), ["edits.injected.merges=-1"])
    with pytest.raises(PlanError, match="unknown field"):
        load_settings(plan_in(tmp_path), ["edits.injected.holes=1"])


def measured(folder, source):
    return measure_edits(load_settings(plan_in(folder, source)), folder)


def test_edits_are_alike_to_themselves(tmp_path):
    one = measured(tmp_path, "synthetic-log")
    found = [difference for difference in compare(one, one) if all(difference.counts)]
    assert {difference.measure for difference in found} == set(MEASURES)
    for difference in found:
        assert (difference.ks, difference.auroc) == (0, 0.5)
        assert difference.told_apart is False
    assert set(one.species) == {"synthetic"}


def test_real_and_injected_edits_are_measured_against_peers(tmp_path):
    first, second = measured(tmp_path, "synthetic-log"), measured(tmp_path, "injected")
    found = compare(first, second)
    assert len(found) == 2 * len(MEASURES)
    assert sum(all(one.counts) for one in found) >= 6
    for one in (one for one in found if all(one.counts)):
        a, b = (m.values[one.kind, one.measure] for m in (first, second))
        wins = mannwhitneyu(b[np.isfinite(b)], a[np.isfinite(a)]).statistic
        assert one.auroc == pytest.approx(wins / (one.counts[0] * one.counts[1]))


def made(sizes, clusters) -> Measured:
    values = {(k, m): np.array(sizes, float) for k in ("merge", "split") for m in MEASURES}
    return Measured(values, {"merge": clusters, "split": clusters}, {}, {})


def test_what_differs_is_told_apart_and_what_is_absent_is_not():
    names = [str(i) for i in range(40)]
    low, high = made(range(40), names), made(range(100, 140), names)
    (one, *_) = compare(low, high)
    assert (one.ks, one.auroc, one.told_apart) == (1, 1, True)
    (none, *_) = compare(low, made([], []))
    assert (none.counts, none.told_apart, none.interval) == ((40, 0), None, None)
    assert np.isnan(none.auroc)
