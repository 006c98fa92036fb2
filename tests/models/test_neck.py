"""Masks without learning, against cuts one can count."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

from segmend.core.sample import VIEWS, channel
from segmend.loaders.examples import examples
from segmend.models.model import quiet
from segmend.models.neck import best_cut, neck_cut
from segmend.models.packed import Form, pack
from segmend.models.surface import graph_of, surface_of
from segmend.models.views import SIZE, VIEW_AXES, reduce_geometry
from segmend.shards.reader import Benchmark
from segmend.tasks.registry import TASKS
from segmend.tasks.task import Inputs
from segmend.testing.capsules import capsule_benchmark

RADIUS, APART = 0.3, 0.5
"""Of two balls that overlap, and from centre to centre, half-widths of the view."""
DEPTH_HALF_EXTENT = 1.2


def balls(axis: int, *radii: float) -> tuple[Inputs, np.ndarray]:
    """Balls side by side along a world axis, ray by ray, and which ball each pixel shows."""
    step = (np.arange(224) + 0.5) / 112 - 1
    right, up = np.meshgrid(step, -step)
    geometry = np.zeros((3, 7, 224, 224), np.float16)
    nearest = np.full((3, 224, 224), -1)
    for view, name in enumerate(VIEWS):
        axes = np.array(VIEW_AXES[name], float)
        depth = np.full((224, 224), np.inf)
        for number, radius in enumerate(radii):
            centre = np.zeros(3)
            centre[axis] = APART * (number - (len(radii) - 1) / 2)
            r, u, along = axes @ centre
            inside = radius**2 - (right - r) ** 2 - (up - u) ** 2
            hit = along - np.sqrt(np.maximum(inside, 0))
            front = (inside > 0) & (hit < depth)
            depth[front] = hit[front]
            nearest[view][front] = number
            seen = np.stack([right, up, hit], -1) @ axes - centre
            for world, letter in enumerate("xyz"):
                image = geometry[view, channel(f"normal_{letter}")]
                image[front] = (seen[..., world] / radius)[front]
        body = nearest[view] >= 0
        geometry[view, channel("silhouette")] = geometry[view, channel("mask_a")] = body
        scaled = (np.where(body, depth, 0) / DEPTH_HALF_EXTENT + 1) / 2
        geometry[view, channel("depth")] = np.where(body, scaled, 0)
    em = np.zeros((3, 224, 224, 3), np.uint8)
    return Inputs(geometry, em, VIEWS, ("xy", "xz", "yz")), nearest


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_two_balls_are_cut_where_they_meet_in_all_views_alike(axis: int) -> None:
    inputs, nearest = balls(axis, RADIUS, RADIUS)
    said = neck_cut(inputs)
    body = nearest >= 0
    right = (said == (nearest == 1))[body].mean()
    assert max(right, 1 - right) > 0.97  # under one naming for the three views


def test_nothing_to_cut_is_no_side_b() -> None:
    inputs, _ = balls(0)
    assert not neck_cut(inputs).any()
    inputs.geometry[0, channel("silhouette"), 100, 100] = 1
    assert not neck_cut(inputs).any()


def test_the_cut_is_the_best_of_all_that_one_could_make() -> None:
    """Every cut of a small graph tried: two groups with one weak tie."""
    draws = np.random.default_rng(3)
    weights = np.zeros((10, 10))
    weights[:6, :6] = draws.uniform(0.5, 1, (6, 6))
    weights[6:, 6:] = draws.uniform(0.5, 1, (4, 4))
    weights[2, 7] = 0.1
    weights = np.triu(weights, 1) + np.triu(weights, 1).T

    def cost(side: np.ndarray) -> float:
        cut = weights[side][:, ~side].sum()
        return cut / weights[side].sum() + cut / weights[~side].sum()

    every = [np.array(choice) for choice in product([False, True], repeat=10)]
    best = min((side for side in every if side.any() and not side.all()), key=cost)
    found = best_cut(sparse.csr_array(weights))
    assert (found == best).all() or (found == ~best).all()


def test_every_part_is_connected_and_grooves_hold_least() -> None:
    inputs, _ = balls(0, RADIUS, 0.1, RADIUS)  # three balls, the middle one loose
    surface = surface_of(inputs.geometry, VIEWS)
    graph = graph_of(surface)
    assert sparse.csgraph.connected_components(graph)[0] == 1
    assert abs(graph - graph.T).max() < 1e-12
    two = surface_of(balls(0, RADIUS, RADIUS)[0].geometry, VIEWS)
    rows, columns = graph_of(two).nonzero()
    meets = np.sign(two.points[rows, 0]) != np.sign(two.points[columns, 0])
    ties = np.asarray(graph_of(two)[rows, columns]).ravel()
    side_by_side = np.abs(two.points[rows] - two.points[columns]).max(axis=1) < 0.1
    assert np.median(ties[meets & side_by_side]) < 0.5 * np.median(ties[~meets])


def test_networks_for_masks_are_shown_the_cut_as_sides_and_others_are_not(tmp_path: Path) -> None:
    kinds = {"split_edit": 2, "junction_control": 2}
    rows = Benchmark.open(capsule_benchmark(tmp_path / "bench", {"train": kinds}))
    a, b = channel("mask_a"), channel("mask_b")
    for name in ("split_mask_generation", "false_merge_identification"):
        found = examples(rows, TASKS[name], "train")
        folder = tmp_path / name
        folder.mkdir()
        packed = pack(found, Form(VIEWS, SIZE), folder, report=quiet)
        for geometry, example in zip(packed.geometry, found, strict=True):
            plain = reduce_geometry(example.inputs.geometry)
            np.testing.assert_array_equal(geometry[:, a] + geometry[:, b], plain[:, a])
            cut = neck_cut(example.inputs)[:, ::2, ::2]
            expected = plain[:, a] * cut if name == "split_mask_generation" else 0 * plain[:, a]
            np.testing.assert_array_equal(geometry[:, b], expected)
            assert cut.any()
