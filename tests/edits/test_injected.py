"""Injected errors: every one is where it should be, and the log repairs them all."""

from __future__ import annotations

import numpy as np
import pytest

from segmend.core.errors import BadInputError
from segmend.core.grid import VoxelGrid
from segmend.edits.injected import SECTION, THIN, TOUCHING, Injection, inject, thinnest_cut
from segmend.edits.operation import Identity

IDENTITY = Identity("d", "1", "a")
SMALL = Injection(constrictions=4, sections=1, merges=4, min_voxels=200, min_faces=10)


@pytest.fixture(scope="module")
def neurons(tissue):
    return tissue.segments("neurons")


@pytest.fixture(scope="module")
def grid(tissue):
    return tissue.labels["neurons"].grid


@pytest.fixture(scope="module")
def injected(neurons, grid):
    return inject(neurons, grid, rules=SMALL, key="k", identity=IDENTITY)


def test_the_log_repairs_every_error(neurons, injected):
    """The oracle: carry the log out on pairs of segment and neuron, and compare with the truth."""
    inside = neurons != 0
    assert ((injected.automatic != 0) == inside).all()
    pairs = np.unique(np.stack([injected.automatic[inside], neurons[inside]], axis=1), axis=0)
    parts = [tuple(pair) for pair in pairs.tolist()]
    owner = {}
    splits = {e.segments[0]: set(e.neurons) for e in injected.log if e.kind == "split"}
    for segment, neuron in parts:
        owner.setdefault(segment, set()).add(neuron)
    # Segments of several neurons are exactly those that the log splits, into these.
    assert {s: n for s, n in owner.items() if len(n) > 1} == splits
    group = {part: {part} for part in parts}
    for edit in injected.log:
        if edit.kind == "merge":
            (neuron,) = edit.neurons
            a, b = (group[segment, neuron] for segment in edit.segments)
            assert a is not b  # no merge is asked for twice
            for part in (joined := a | b):
                group[part] = joined
    assert {frozenset(g) for g in map(frozenset, group.values())} == {
        frozenset(p for p in parts if p[1] == neuron) for _, neuron in parts
    }


def test_every_kind_of_error_occurs_and_the_rest_is_counted(injected):
    causes = [edit.facts["cause"] for edit in injected.log]
    assert causes.count(THIN) > 0
    assert causes.count(SECTION) > 0
    assert causes.count(TOUCHING) + injected.short[TOUCHING] == SMALL.merges


def test_points_lie_on_the_error(neurons, injected, grid):
    for edit in injected.log:
        z, y, x = (round(v) for v in grid.continuous(np.array(edit.point_nm)))
        around = tuple(slice(max(0, v - 2), v + 2) for v in (z, y, x))
        if edit.kind == "merge":
            assert set(edit.segments) <= set(injected.automatic[around].ravel().tolist())
        else:
            assert set(edit.neurons) <= set(neurons[around].ravel().tolist())


def test_a_lost_section_cuts_along_one_plane(injected, grid):
    planes = {e.point_nm[0] for e in injected.log if e.facts["cause"] == SECTION}
    # A neuron that crosses it several times is joined at its largest crossing.
    assert len(planes) == 1


def test_the_key_alone_decides(neurons, grid, injected):
    again = inject(neurons, grid, rules=SMALL, key="k", identity=IDENTITY)
    other = inject(neurons, grid, rules=SMALL, key="l", identity=IDENTITY)
    assert np.array_equal(again.automatic, injected.automatic)
    assert again.log == injected.log
    assert not np.array_equal(other.automatic, injected.automatic)


def dumbbell(neck: int) -> np.ndarray:
    z, y, x = np.indices((15, 15, 40))
    ball = lambda at: (z - 7) ** 2 + (y - 7) ** 2 + (x - at) ** 2 <= 36  # noqa: E731
    bar = ((z - 7) ** 2 + (y - 7) ** 2 <= neck**2) & (x > 7) & (x < 32)
    return ball(8) | ball(31) | bar


def test_a_dumbbell_is_cut_at_its_neck():
    rules = Injection(min_voxels=100, min_faces=5)
    off = thinnest_cut(dumbbell(2), (10, 10, 10), rules)
    mask = dumbbell(2)
    assert off is not None
    assert (off <= mask).all()
    x = np.argwhere(off)[:, 2]
    assert x.max() < 24 or x.min() > 15
    rest = np.argwhere(mask & ~off)[:, 2]
    assert x.max() <= rest.min() + 2 or rest.max() <= x.min() + 2


@pytest.mark.parametrize("mask", [dumbbell(6), np.ones((9, 9, 30), bool), np.ones((3, 3, 3), bool)])
def test_what_has_no_neck_is_not_cut(mask):
    assert thinnest_cut(np.pad(mask, 1), (10, 10, 10), Injection(min_voxels=100)) is None


def test_anisotropic_voxels_count_in_nm():
    # Flat along z: as thick as wide in nm, so no neck.
    mask = np.zeros((4, 20, 60), bool)
    mask[1:3, 5:15, 2:58] = True
    assert thinnest_cut(mask, (50, 10, 10), Injection(min_voxels=50)) is None


@pytest.mark.parametrize(
    "wrong", [{"merges": -1}, {"section_share": 1.5}, {"min_voxels": 0}, {"min_faces": 0}]
)
def test_rules_that_cannot_be_are_refused(wrong):
    with pytest.raises(BadInputError, match=next(iter(wrong))):
        Injection(**wrong)


def test_nothing_to_put_errors_into_is_refused():
    grid = VoxelGrid((1, 1, 1), (0, 0, 0), (2, 2, 2))
    with pytest.raises(BadInputError, match="no neurons"):
        inject(np.zeros((2, 2, 2), np.uint64), grid, rules=SMALL, key="k", identity=IDENTITY)
