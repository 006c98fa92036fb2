"""Rows are drawn place by place, and come in the order of the plan with the same bytes."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segmend.build.drawing import CELL_NM, by_place, drawn_in_place
from segmend.build.units import draw_row
from segmend.core.errors import OutputError
from segmend.core.random import keyed_generator


def anywhere(plan, count):
    """Candidates of two volumes, all over a cube of 5 um about the origin."""
    (one, *_) = (c for unit in plan.units for c in unit.candidates)
    draws = keyed_generator("anywhere", count)
    return [
        replace(one, volume=str(name), render_center_nm=tuple(map(float, point)))
        for name, point in zip(
            draws.choice(["a", "b"], count), draws.uniform(-2500, 2500, (count, 3)), strict=True
        )
    ]


def way(candidates, order):
    places = [candidates[number] for number in order]
    return sum(
        math.dist(a.render_center_nm, b.render_center_nm) if a.volume == b.volume else 10_000
        for a, b in pairwise(places)
    )


def test_every_candidate_comes_once_and_the_way_through_them_is_short(plan):
    candidates = anywhere(plan, 500)
    order = by_place(candidates)
    assert sorted(order) == list(range(500))
    assert [candidates[n].volume for n in order] == sorted(c.volume for c in candidates)
    assert way(candidates, order) < way(candidates, range(500)) / 3


@given(st.permutations(range(8)))
def test_the_eight_cells_of_a_cube_follow_each_other(plan, numbers):
    one = anywhere(plan, 1)[0]
    corners = [(n >> 2 & 1, n >> 1 & 1, n & 1) for n in numbers]
    cells = [
        replace(one, render_center_nm=tuple(CELL_NM * (c - 1) + 1 for c in k)) for k in corners
    ]
    assert [numbers[i] for i in by_place(cells)] == list(range(8))


def test_rows_come_in_the_order_of_the_plan_as_they_were_drawn(plan, tmp_path):
    unit = max(plan.units, key=lambda unit: len(unit.candidates))
    drawn = []

    def draw(candidate):
        drawn.append(candidate)
        return None if candidate is unit.candidates[1] else draw_row(candidate, unit)

    rows = list(drawn_in_place(unit.candidates, draw, tmp_path))
    kept = [c for c in unit.candidates if c is not unit.candidates[1]]
    assert rows == [draw_row(candidate, unit) for candidate in kept]
    assert drawn == [unit.candidates[number] for number in by_place(unit.candidates)]
    assert not list(tmp_path.iterdir())


def test_a_place_where_rows_cannot_wait_is_named(plan, tmp_path):
    with pytest.raises(OutputError, match="gone"):
        list(drawn_in_place(anywhere(plan, 2), lambda _: {}, tmp_path / "gone"))
