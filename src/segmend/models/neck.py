"""Masks without learning: the surface of a segment is cut where it holds together least.

The cut is the best normalised one along the second eigenvector of the surface's graph (Shi and
Malik, TPAMI 2000): grooves, steps in depth and thin necks near the centre are cheap, and each side
must be worth its cut. What a network learns about masks begins above this.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import eigsh

from segmend.core.errors import BadInputError
from segmend.core.random import keyed_generator
from segmend.loaders.examples import Reading, examples
from segmend.models.model import (
    ALONE,
    Answers,
    Arrays,
    LogRow,
    Session,
    TrainSettings,
    pack_masks,
)
from segmend.models.surface import STEP, Values, graph_of, surface_of
from segmend.shards.reader import Benchmark
from segmend.tasks.task import GEOMETRY, Inputs, Task

_THRESHOLDS = np.linspace(0.05, 0.95, 31)
"""Shares of the nodes at which a cut is tried; the smaller side has one in twenty at the least."""

_FEWEST = 8
"""Nodes below which there is nothing to cut."""


class Neck:
    """The best normalised cut of the visible surface; nothing is learnt."""

    def fit(
        self,
        benchmark: Benchmark,  # noqa: ARG002 - nothing is learnt
        tasks: Sequence[Task],  # noqa: ARG002
        settings: TrainSettings,  # noqa: ARG002
        session: Session = ALONE,  # noqa: ARG002
    ) -> Sequence[LogRow]:
        """Learn nothing."""
        return ()

    def predict(
        self, benchmark: Benchmark, task: Task, split: str, session: Session = ALONE
    ) -> Answers:
        """Side B of every view, for every row."""
        seen = replace(task, input_columns=(GEOMETRY,))  # EM is not even read
        reading = Reading(targets=False, packed=session.packed)
        rows, masks = examples(benchmark, seen, split, reading), []
        for done, example in enumerate(rows, start=1):
            masks.append(neck_cut(example.inputs))
            session.report("cutting", done, len(rows))
        return Answers(rows.hashes, masks=pack_masks(masks))

    def arrays(self) -> Arrays:
        """Nothing."""
        return {}

    def config(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def restore(self, arrays: Arrays, config: Mapping[str, Any]) -> None:  # noqa: ARG002
        """Check that nothing was saved."""
        if arrays:
            raise BadInputError("these weights are not those of 'neck'", found=", ".join(arrays))


def neck_cut(inputs: Inputs) -> NDArray[np.bool_]:
    """Side B of the best cut of what a row shows, (views, rows, columns).

    Args:
        inputs: A row.
    """
    surface = surface_of(inputs.geometry, inputs.views)
    sides = np.zeros(surface.shown.shape, bool)
    if len(surface.points) >= _FEWEST:
        sides[surface.shown] = best_cut(graph_of(surface))
    return np.kron(sides, np.ones((1, STEP, STEP), bool))


def best_cut(graph: sparse.csr_array) -> NDArray[np.bool_]:
    """One side of the best normalised cut of a connected graph, bool (nodes,).

    Args:
        graph: Symmetric weights, (nodes, nodes).
    """
    degree = np.asarray(graph.sum(axis=1)).ravel()
    scale = 1 / np.sqrt(degree)
    half = sparse.dia_array((scale[None], [0]), shape=graph.shape)
    similar = half @ graph @ half
    order = _second_eigenvector(similar) * scale
    sides = [order > threshold for threshold in np.quantile(order, _THRESHOLDS)]
    return min(sides, key=lambda side: _cost(graph, degree, side))


def _second_eigenvector(similar: sparse.csr_array) -> Values:
    """Of the normalised Laplacian, in the order of its eigenvalues."""
    nodes = similar.shape[0]
    laplacian = sparse.eye_array(nodes, format="csr") - similar
    start = keyed_generator("neck", nodes).random(nodes)
    # A shift just below 0, where the first eigenvalue lies, keeps the matrix invertible.
    values, vectors = eigsh(laplacian.tocsc(), k=2, sigma=-1e-5, v0=start)
    second: Values = vectors[:, np.argsort(values)[1]]
    return second


def _cost(graph: sparse.csr_array, degree: Values, side: NDArray[np.bool_]) -> float:
    """What a cut costs, as a share of what either side is worth; infinite without two sides."""
    ours, theirs = float(degree[side].sum()), float(degree[~side].sum())
    if not ours or not theirs:
        return float("inf")
    cut = float(side.astype(float) @ (graph @ (~side).astype(float)))
    return cut / ours + cut / theirs
