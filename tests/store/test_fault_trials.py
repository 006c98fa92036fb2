from pathlib import Path

import pytest

from segmend.testing.trials import make_trials, run_trials, table

COUNT = 208


def test_trials_depend_on_their_seed_alone() -> None:
    one, two = (
        [(t.name, t.way, t.times, t.seed) for t in make_trials(60, seed)] for seed in (1, 1)
    )
    assert one == two
    assert one != [(t.name, t.way, t.times, t.seed) for t in make_trials(60, 2)]


@pytest.mark.slow
def test_no_fault_gives_wrong_bytes_or_hangs(tmp_path: Path) -> None:
    results = run_trials(make_trials(COUNT, seed=1), tmp_path)
    bad = [result for result in results if result.outcome in ("silent wrong", "hang")]
    assert bad == []
    families = dict(table(results))
    assert families["all"].total() == COUNT
    # Most faults pass, and then the read must go on: an error every time would be no merit.
    for family in ("N1", "N2", "N3", "N4", "N5", "N6"):
        assert families[family]["recovered"] > families[family].total() / 3
    assert families["N8"]["typed error"] == families["N8"].total()
